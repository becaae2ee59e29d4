"""Secrets in memory: for tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from bifrost.secrets.base import KeptSecret, SecretStore, check_segment


class MemorySecrets(SecretStore):
    """A store of `{scope: {name: value}}`."""

    def __init__(self, secrets: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._secrets = {scope: dict(named) for scope, named in (secrets or {}).items()}
        began = datetime.now(UTC)
        self._kept = {scope: {name: KeptSecret(name, 1, began) for name in named} for scope, named in self._secrets.items()}

    async def read(self, scope: str, name: str) -> str | None:
        _check(scope, name)
        return self._secrets.get(scope, {}).get(name)

    async def write(self, scope: str, name: str, value: str) -> int:
        _check(scope, name)
        self._secrets.setdefault(scope, {})[name] = value
        kept = self._kept.setdefault(scope, {})
        kept[name] = KeptSecret(name, kept[name].version + 1 if name in kept else 1, datetime.now(UTC))
        return kept[name].version

    async def delete(self, scope: str, name: str) -> None:
        _check(scope, name)
        self._secrets.get(scope, {}).pop(name, None)
        self._kept.get(scope, {}).pop(name, None)

    async def names(self, scope: str) -> list[str]:
        return [kept.name for kept in await self.listed(scope)]

    async def listed(self, scope: str) -> list[KeptSecret]:
        check_segment("organization id", scope)
        return sorted(self._kept.get(scope, {}).values(), key=lambda kept: kept.name)

    def place(self, scope: str, name: str) -> str:
        return f"{scope}/{name}"


def _check(scope: str, name: str) -> None:
    check_segment("organization id", scope)
    check_segment("secret name", name)
