"""Secrets in memory: for tests."""

from __future__ import annotations

from collections.abc import Mapping

from bifrost.secrets.base import SecretStore, check_segment


class MemorySecrets(SecretStore):
    """A store of `{scope: {name: value}}`."""

    def __init__(self, secrets: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._secrets = {scope: dict(named) for scope, named in (secrets or {}).items()}

    async def read(self, scope: str, name: str) -> str | None:
        _check(scope, name)
        return self._secrets.get(scope, {}).get(name)

    async def write(self, scope: str, name: str, value: str) -> None:
        _check(scope, name)
        self._secrets.setdefault(scope, {})[name] = value

    async def delete(self, scope: str, name: str) -> None:
        _check(scope, name)
        self._secrets.get(scope, {}).pop(name, None)

    async def names(self, scope: str) -> list[str]:
        check_segment("organization id", scope)
        return sorted(self._secrets.get(scope, {}))

    def place(self, scope: str, name: str) -> str:
        return f"{scope}/{name}"


def _check(scope: str, name: str) -> None:
    check_segment("organization id", scope)
    check_segment("secret name", name)
