"""Secrets in Vault (or OpenBao, which speaks the same API): KV v2, one path for each secret.

`<mount>/data/<prefix>/<scope>/<name>`, the value under the key `value`
(https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Self

import hvac
import requests

from bifrost.errors import ConfigurationError, IntegrationError, PermissionError  # noqa: A004 - the name is the guide's
from bifrost.secrets.base import SecretStore, check_segment
from bifrost.settings import Settings

CACHE_SECONDS: Final = 5.0
"""How long a value may be served without asking Vault again."""
CACHE_ENTRIES: Final = 1024
_TIMEOUT: Final = (3.05, 10.0)  # seconds to connect, and between two bytes of an answer
_KEY: Final = "value"

_Place = tuple[str, str]


class VaultSecrets(SecretStore):
    """A store over one KV v2 engine.

    Values, and the absence of one, are remembered in memory for a few seconds, so that a burst of calls is one request;
    `flush` forgets them. Readers that ask for the same secret at the same time share one request.

    Args:
        client: An hvac client with `RawAdapter` and `ignore_exceptions`; see `from_settings`.
        mount: Where the engine is mounted.
        prefix: The path below the mount.
        cache_seconds: How long values are remembered; 0 for not at all.
        cache_entries: How many are remembered at most; the oldest make room.
    """

    def __init__(self, client: hvac.Client, *, mount: str, prefix: str, cache_seconds: float = CACHE_SECONDS,
                 cache_entries: int = CACHE_ENTRIES) -> None:
        self._client = client
        self._mount = mount.strip("/")
        self._prefix = prefix.strip("/")
        self._cache_seconds = cache_seconds
        self._cache_entries = cache_entries
        self._cache: OrderedDict[_Place, tuple[float, str | None]] = OrderedDict()
        self._reading: dict[_Place, asyncio.Task[str | None]] = {}

    @classmethod
    def from_settings(cls, settings: Settings, *, cache_seconds: float = CACHE_SECONDS) -> Self:
        """The store that the settings describe, with their token. Nothing is asked of Vault yet.

        Raises:
            ConfigurationError: there is no token.
        """
        if not settings.vault_token:
            raise ConfigurationError(
                f"There is no token for Vault at {settings.vault_addr}: set VAULT_TOKEN to one that may read "
                f"{settings.vault_mount}/data/{settings.vault_prefix}/*", config_key="VAULT_TOKEN")
        # Raw answers: hvac's exceptions lose the status code, which decides here whether a call is tried again.
        client = hvac.Client(
            url=settings.vault_addr, token=settings.vault_token, namespace=settings.vault_namespace or None,
            verify=settings.vault_cacert or None, adapter=hvac.adapters.RawAdapter, ignore_exceptions=True,
            timeout=_TIMEOUT)  # type: ignore[arg-type]  # passed on to requests, which takes two bounds
        return cls(client, mount=settings.vault_mount, prefix=settings.vault_prefix, cache_seconds=cache_seconds)

    async def read(self, scope: str, name: str) -> str | None:
        self._path(scope, name)  # refused before anything is remembered under it
        place = (scope, name)
        read_at, value = self._cache.get(place, (-self._cache_seconds, None))
        if time.monotonic() - read_at < self._cache_seconds:
            return value
        if place not in self._reading:
            task = asyncio.create_task(self._read_once(place))
            self._reading[place] = task
            task.add_done_callback(lambda done: self._settle(place, done))
        return await asyncio.shield(self._reading[place])  # a reader that is cancelled leaves it to the others

    async def write(self, scope: str, name: str, value: str) -> None:
        path = self._path(scope, name)
        try:
            await self._ask(self._client.secrets.kv.v2.create_or_update_secret, path, secret={_KEY: value})
        finally:
            self._forget((scope, name))

    async def delete(self, scope: str, name: str) -> None:
        path = self._path(scope, name)
        try:
            await self._ask(self._client.secrets.kv.v2.delete_metadata_and_all_versions, path)
        finally:
            self._forget((scope, name))

    async def names(self, scope: str) -> list[str]:
        found = await self._ask(self._client.secrets.kv.v2.list_secrets, self._path(scope))
        keys = found.get("keys", []) if found else []
        return sorted(key for key in keys if not key.endswith("/"))  # what ends so is a folder

    def place(self, scope: str, name: str) -> str:
        return f"{self._mount}/{self._path(scope, name)}"

    def flush(self) -> None:
        """Forget every value, so that the next read asks Vault: for secrets that were just rotated."""
        self._cache.clear()
        self._reading.clear()

    def _path(self, scope: str, *name: str) -> str:
        segments = [check_segment("organization id", scope), *(check_segment("secret name", part) for part in name)]
        return "/".join([*filter(None, [self._prefix]), *segments])

    async def _read_once(self, place: _Place) -> str | None:
        found = await self._ask(self._client.secrets.kv.v2.read_secret_version, self._path(*place),
                                raise_on_deleted_version=True)
        if found is None:
            return None
        held = found.get("data") or {}
        if not isinstance(held.get(_KEY), str):
            problem = "is not text" if _KEY in held else "is missing"
            raise ConfigurationError(f"The secret at {self.place(*place)} has no usable value: its key '{_KEY}' {problem}. "
                                     f"Write it as text under the key '{_KEY}'", config_key=place[1])
        return str(held[_KEY])

    def _settle(self, place: _Place, task: asyncio.Task[str | None]) -> None:
        """Remember what a read found, unless it failed, or a write or a flush has overtaken it."""
        failed = task.cancelled() or task.exception() is not None
        if self._reading.get(place) is not task:
            return
        del self._reading[place]
        if failed:
            return
        self._cache[place] = (time.monotonic(), task.result())
        self._cache.move_to_end(place)
        while len(self._cache) > self._cache_entries:
            self._cache.popitem(last=False)

    def _forget(self, place: _Place) -> None:
        self._cache.pop(place, None)
        self._reading.pop(place, None)

    async def _ask(self, method: Callable[..., requests.Response], path: str, **arguments: Any) -> dict[str, Any] | None:
        """Call hvac in a thread; the `data` of the answer, or None where there is nothing at `path`."""
        try:
            response = await asyncio.to_thread(method, path=path, mount_point=self._mount, **arguments)
        except (requests.ConnectionError, requests.Timeout) as error:
            if not isinstance(error, requests.exceptions.SSLError):
                raise IntegrationError(f"Vault at {self._client.url} cannot be reached: {type(error).__name__}",
                                       integration="vault") from error
            raise ConfigurationError(f"There is no trusted TLS connection to Vault at {self._client.url}: set VAULT_CACERT to "
                                     "the file of its certificate authority, and check that VAULT_ADDR is https where Vault "
                                     "speaks TLS, and only there", config_key="VAULT_CACERT") from error
        except OSError as error:  # every error of requests is one: a URL it cannot use, a certificate file that is missing
            raise ConfigurationError(f"Vault cannot be asked at '{self._client.url}': {error}. Check VAULT_ADDR and "
                                     "VAULT_CACERT", config_key="VAULT_ADDR") from error
        return self._judge(f"{self._mount}/{path}", response)

    def _judge(self, place: str, response: requests.Response) -> dict[str, Any] | None:
        answer = _content(response)
        status, reason = response.status_code, "; ".join(map(str, answer.get("errors") or [response.reason]))
        if status == 403:
            raise PermissionError(f"Vault refuses access to {place}: the token has expired, or no policy of it allows "
                                  "this", required_permission=place)
        if status == 405 or (status == 404 and answer.get("errors")):
            raise ConfigurationError(f"Vault has no KV v2 engine mounted at '{self._mount}' ({reason}): mount one there, or "
                                     "set BIFROST_VAULT_MOUNT", config_key="BIFROST_VAULT_MOUNT")
        if status == 404:
            return None
        if not response.ok:
            raise IntegrationError(f"Vault answered {status} for {place}: {reason}", integration="vault",
                                   status_code=status)
        found: dict[str, Any] = answer.get("data") or {}
        return found


def _content(response: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty where it has no content, or an error that is no JSON (as proxies answer).

    Raises:
        IntegrationError: it says that it succeeded, and is not what Vault answers.
    """
    try:
        answer = response.json() if response.content else {}
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    if response.ok:
        raise IntegrationError(f"What answers at {response.url} is not Vault: it did not answer a JSON object",
                               integration="vault", status_code=502)
    return {}
