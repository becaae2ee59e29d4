"""Secrets in Vault (or OpenBao, which speaks the same API): KV v2, one path for each secret.

`<mount>/data/<prefix>/<scope>/<name>`, the value under the key `value`
(https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from datetime import datetime
from typing import Any, Final, Self

from bifrost import metrics
from bifrost.errors import ConfigurationError
from bifrost.secrets.base import KeptSecret, SecretStore, check_segment
from bifrost.secrets.vault_connection import PATIENCE, TIMEOUT, Access, Request, VaultConnection
from bifrost.settings import Settings

CACHE_SECONDS: Final = 5.0
"""How long a value may be served without asking Vault again."""
MISSING_SECONDS: Final = 1.0
"""The same for the absence of a secret: whoever reads that one is missing sets it, and tries again."""
CACHE_ENTRIES: Final = 1024
_KEY: Final = "value"

_Place = tuple[str, str]


class VaultSecrets(SecretStore):
    """A store over one KV v2 engine.

    Values, and the absence of one, are remembered in memory for a few seconds, so that a burst of calls is one request;
    `flush` forgets them. Readers that ask for the same secret at the same time share one request.

    Args:
        connection: The way to Vault; see `from_settings`.
        mount: Where the engine is mounted.
        prefix: The path below the mount.
        cache_seconds: How long values are remembered; 0 for not at all.
        cache_entries: How many are remembered at most; the oldest make room.
    """

    def __init__(self, connection: VaultConnection, *, mount: str, prefix: str, cache_seconds: float = CACHE_SECONDS,
                 cache_entries: int = CACHE_ENTRIES) -> None:
        self.connection = connection
        self._mount = mount.strip("/")
        self._prefix = prefix.strip("/")
        self._cache_seconds = cache_seconds
        self._cache_entries = cache_entries
        self._cache: OrderedDict[_Place, tuple[float, str | None]] = OrderedDict()
        self._reading: dict[_Place, asyncio.Task[str | None]] = {}

    @classmethod
    def from_settings(cls, settings: Settings, *, cache_seconds: float | None = None, patience: float = PATIENCE,
                      timeout: tuple[float, float] = TIMEOUT) -> Self:
        """The store that the settings describe. Nothing is asked of Vault yet.

        Args:
            settings: Where Vault is, and how to log in.
            cache_seconds: In place of the settings'.
            patience: For how many seconds a request is made again while Vault is away; 0 for once only.
            timeout: Seconds to connect, and between two bytes of an answer.

        Raises:
            ConfigurationError: there is no way to log in, or several.
        """
        connection = VaultConnection.from_settings(settings, patience=patience, timeout=timeout)
        return cls(connection, mount=settings.vault_mount, prefix=settings.vault_prefix,
                   cache_seconds=settings.secret_cache_seconds if cache_seconds is None else cache_seconds)

    async def read(self, scope: str, name: str) -> str | None:
        self._path(scope, name)  # refused before anything is remembered under it
        place = (scope, name)
        good_until, value = self._cache.get(place, (0.0, None))
        if time.monotonic() < good_until:
            metrics.record(metrics.SECRET_READS, outcome="hit")
            return value
        if place not in self._reading:
            task = asyncio.create_task(self._read_once(place))
            self._reading[place] = task
            task.add_done_callback(lambda done: self._settle(place, done))
        try:
            value = await asyncio.shield(self._reading[place])  # a reader that is cancelled leaves it to the others
        except Exception:
            metrics.record(metrics.SECRET_READS, outcome="error")
            raise
        metrics.record(metrics.SECRET_READS, outcome="miss")
        return value

    async def write(self, scope: str, name: str, value: str) -> int:
        path = self._path(scope, name)
        try:
            written = await self._ask(
                lambda vault: vault.secrets.kv.v2.create_or_update_secret(path, {_KEY: value}, mount_point=self._mount),
                self._access("data", path, "create", "update"))
        finally:
            self.forget(scope, name)
        return int((written or {}).get("version") or 0)

    async def delete(self, scope: str, name: str) -> None:
        path = self._path(scope, name)
        try:
            await self._ask(lambda vault: vault.secrets.kv.v2.delete_metadata_and_all_versions(path, self._mount),
                            self._access("metadata", path, "delete"))
        finally:
            self.forget(scope, name)

    async def names(self, scope: str) -> list[str]:
        path = self._path(scope)
        found = await self._ask(lambda vault: vault.secrets.kv.v2.list_secrets(path, self._mount),
                                self._access("metadata", f"{path}/", "list"))
        keys = found.get("keys", []) if found else []
        return sorted(key for key in keys if not key.endswith("/"))  # what ends so is a folder

    async def listed(self, scope: str) -> list[KeptSecret]:
        names = await self.names(scope)
        found = await asyncio.gather(*(self._kept(name, self._path(scope, name)) for name in names))
        return [kept for kept in found if kept]

    def place(self, scope: str, name: str) -> str:
        return f"{self._mount}/{self._path(scope, name)}"

    def forget(self, scope: str, name: str) -> None:
        self._cache.pop((scope, name), None)
        self._reading.pop((scope, name), None)

    async def answers(self) -> bool:
        """Whether Vault is there, unsealed, and accepts the login; it is asked for no secret.

        https://developer.hashicorp.com/vault/api-docs/system/health

        Raises:
            WorkflowException: it is not; says what is wrong.
        """
        answer = await self.connection.ask(lambda vault: vault.sys.read_health_status(standby_ok=True, method="GET"),
                                           Access("sys/health", "sys/health", ("read",)))
        return answer.status == 200

    def flush(self) -> None:
        """Forget every value, so that the next read asks Vault: for secrets that were just rotated."""
        self._cache.clear()
        self._reading.clear()

    def _path(self, scope: str, *name: str) -> str:
        segments = [check_segment("organization id", scope), *(check_segment("secret name", part) for part in name)]
        return "/".join([*filter(None, [self._prefix]), *segments])

    def _access(self, kind: str, path: str, *capabilities: str) -> Access:
        return Access(f"{self._mount}/{path}".rstrip("/"), f"{self._mount}/{kind}/{path}", capabilities)

    async def _read_once(self, place: _Place) -> str | None:
        path = self._path(*place)
        found = await self._ask(
            lambda vault: vault.secrets.kv.v2.read_secret_version(path, mount_point=self._mount, raise_on_deleted_version=True),
            self._access("data", path, "read"))
        if found is None:
            return None
        held = found.get("data") or {}
        if not isinstance(held.get(_KEY), str):
            problem = "is not text" if _KEY in held else "is missing"
            raise ConfigurationError(f"The secret at {self.place(*place)} has no usable value: its key '{_KEY}' {problem}. "
                                     f"Write it as text under the key '{_KEY}'", config_key=place[1])
        return str(held[_KEY])

    async def _kept(self, name: str, path: str) -> KeptSecret | None:
        """The secret's metadata; None where it was deleted a moment ago."""
        found = await self._ask(lambda vault: vault.secrets.kv.v2.read_secret_metadata(path, self._mount),
                                self._access("metadata", path, "read"))
        if found is None:
            return None
        version = int(found.get("current_version") or 0)
        current = (found.get("versions") or {}).get(str(version)) or {}
        gone = not current or current.get("destroyed") or current.get("deletion_time")
        return KeptSecret(name, version, None if gone else datetime.fromisoformat(current["created_time"]))

    def _settle(self, place: _Place, task: asyncio.Task[str | None]) -> None:
        """Remember what a read found, unless it failed, or a write or a flush has overtaken it."""
        failed = task.cancelled() or task.exception() is not None
        if self._reading.get(place) is not task:
            return
        del self._reading[place]
        if failed:
            return
        value = task.result()
        seconds = self._cache_seconds if value is not None else min(self._cache_seconds, MISSING_SECONDS)
        self._cache[place] = (time.monotonic() + seconds, value)
        self._cache.move_to_end(place)
        while len(self._cache) > self._cache_entries:
            self._cache.popitem(last=False)

    async def _ask(self, request: Request, access: Access) -> dict[str, Any] | None:
        """The `data` of the answer, or None where there is nothing at this place."""
        answer = await self.connection.ask(request, access)
        if answer.status == 405 or (answer.status == 404 and answer.content.get("errors")):
            raise ConfigurationError(f"Vault has no KV v2 engine mounted at '{self._mount}' ({answer.reason}): mount one there, or "
                                     "set BIFROST_VAULT_MOUNT", config_key="BIFROST_VAULT_MOUNT")
        if answer.status == 404:
            return None
        found: dict[str, Any] = answer.required(access).get("data") or {}
        return found
