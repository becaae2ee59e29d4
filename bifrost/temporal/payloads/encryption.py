"""Payloads that only their organization's key opens: AES-256-GCM, with data keys that Vault's transit engine wraps.

An encrypted payload carries what it takes to open it, apart from the key in Vault:

    metadata   encoding = binary/encrypted, the key's name, the wrapped data key, the version of this form
    data       nonce (12 bytes) ‖ AES-256-GCM(the payload, whole); the metadata above is authenticated with it

Whose payload it is, is known where it is made: inside a run and inside an activity by the context, elsewhere by `owned_by`. What
has no organization is GLOBAL's. A payload carries its owner in a mark from there to the codec, which takes it off.

A data key encrypts for `FRESH` seconds at most, and opens for as long without Vault being asked again; so much later a deleted
key takes effect. While Vault is away, keys that are known stay in use, up to `STALE` seconds. What needs a key that nobody
knows is tried for `PATIENCE` seconds, and then fails with an error that is worth another attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import importlib
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from temporalio import workflow
from temporalio.api.common.v1 import Payload

from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError
from bifrost.messages import GLOBAL_SCOPE, NotNow
from bifrost.secrets.transit import PREFIX, VaultTransit, key_name
from bifrost.settings import Settings
from bifrost.temporal.payloads.store import TO_STORE

FRESH: Final = 900.0
"""How long a data key is used without asking Vault, in seconds."""
STALE: Final = 3600.0
"""How long it is used while Vault does not answer, in seconds."""
USES: Final = 1_000_000
"""How many payloads a data key encrypts; far below the 2³² that random nonces allow (NIST SP 800-38D, 8.3)."""
KEPT: Final = 10_000
"""How many data keys are kept in memory."""
PATIENCE: Final = 5.0
"""How long Vault is asked again, in seconds; a workflow task has ten."""
AGAIN: Final = 10.0
"""When a call whose arguments cannot be read because Vault is away is made again, in seconds."""
GIVE_UP: Final = 3600.0
"""For how long that is tried, in seconds."""

ENCODING: Final = b"binary/encrypted"
VERSION: Final = b"1"
_KEY: Final = "encryption-key-id"
_WRAPPED: Final = "encryption-data-key"
_VERSION: Final = "encryption-version"
OWNER: Final = "bifrost-owner"
"""The mark, in a payload's metadata, that says whose it is; never sent."""
_NONCE: Final = 12
_LARGE: Final = 128 * 1024
"""From this size on, in bytes, a payload is encrypted in a thread, and its nonce is derived from it."""
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 1.0

# --- whose ------------------------------------------------------------------------------------------------------------

owner: ContextVar[str | None] = ContextVar("owner", default=None)
"""The organization of the payloads that this task makes outside of runs."""


@contextlib.contextmanager
def owned_by(org_id: str | None) -> Iterator[None]:
    """What is sent to Temporal inside is this organization's."""
    token = owner.set(org_id)
    try:
        yield
    finally:
        owner.reset(token)


def mark(payload: Payload) -> Payload:
    """The payload, marked with the organization of the run that makes it. Outside of runs it stays as it is."""
    if workflow.in_workflow() and (org_id := getattr(workflow.instance(), "owner", None)):
        payload.metadata[OWNER] = org_id.encode()
    return payload


def unmark(payload: Payload) -> tuple[Payload, str]:
    """The payload without its mark, and its owner."""
    if OWNER not in payload.metadata:
        return payload, owner.get() or GLOBAL_SCOPE
    bare = Payload()
    bare.CopyFrom(payload)
    return bare, bare.metadata.pop(OWNER).decode()


# --- with which key ---------------------------------------------------------------------------------------------------


class KeyService(Protocol):
    """What wraps and unwraps data keys; `secrets.transit` says what it answers and raises."""

    async def new(self, name: str) -> tuple[bytes, str]:
        """A fresh data key, and its wrapped form."""

    async def unwrap(self, name: str, wrapped: str) -> bytes:
        """The data key of a wrapped form."""


@dataclass(slots=True)
class _DataKey:
    name: str
    wrapped: str
    plain: bytes = field(repr=False)
    since: float
    uses: int = 0
    cipher: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Not before a key is needed: it takes as long to import as all of this folder.
        self.cipher = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM(self.plain)


class DataKeys:
    """The data keys that this process knows.

    Args:
        service: Opens the connection to what wraps them; called with the first one that is needed.
        clock: Seconds that only grow.
        patience: How long the service is asked again, in seconds.
    """

    def __init__(self, service: Callable[[], KeyService], *, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE) -> None:
        self._connect = service
        self._clock = clock
        self._patience = patience
        self._known: OrderedDict[tuple[str, str], _DataKey] = OrderedDict()
        self._writing: dict[str, _DataKey] = {}
        self._asked: dict[tuple[str, str], asyncio.Future[_DataKey]] = {}

    @functools.cached_property
    def _service(self) -> KeyService:
        return self._connect()

    async def to_write(self, org_id: str) -> _DataKey:
        """A key to encrypt an organization's payload with; counts as one use.

        Raises:
            IntegrationError: Vault does not answer, and no key of the organization is known.
            PermissionError: Vault refuses.
            ConfigurationError: there is no transit engine, or no way to log in to Vault.
        """
        name = key_name(org_id)
        key = self._writing.get(name)
        if key is None or key.uses >= USES or self._clock() - key.since >= FRESH:
            key = await self._once((name, ""), lambda: self._make(name), self._newest(name))
            self._writing[name] = key
        key.uses += 1
        return key

    async def to_read(self, name: str, wrapped: str) -> _DataKey:
        """The key that a payload was encrypted with.

        Raises:
            NotFoundError: the organization's key is gone.
            IntegrationError: Vault does not answer.
            PermissionError: Vault refuses.
            ConfigurationError: there is no transit engine, or no way to log in to Vault.
        """
        key = self._known.get((name, wrapped))
        if key is None or self._clock() - key.since >= FRESH:
            key = await self._once((name, wrapped), lambda: self._unwrap(name, wrapped), key)
        self._known.move_to_end((name, wrapped))
        return key

    async def _make(self, name: str) -> _DataKey:
        plain, wrapped = await self._service.new(name)
        return self._keep(_DataKey(name, wrapped, plain, self._clock()))

    async def _unwrap(self, name: str, wrapped: str) -> _DataKey:
        try:
            plain = await self._service.unwrap(name, wrapped)
        except NotFoundError:
            self._known.pop((name, wrapped), None)
            raise
        return self._keep(_DataKey(name, wrapped, plain, self._clock()))

    def _keep(self, key: _DataKey) -> _DataKey:
        self._known[key.name, key.wrapped] = key
        while len(self._known) > KEPT:
            gone = self._known.popitem(last=False)[1]
            if self._writing.get(gone.name) is gone:
                del self._writing[gone.name]
        return key

    def _newest(self, name: str) -> _DataKey | None:
        """A key of that name which is known, to write with while there is no new one."""
        keys = [key for key in self._known.values() if key.name == name and key.uses < USES]
        return max(keys, key=lambda key: key.since, default=None)

    async def _once(self, what: tuple[str, str], ask: Callable[[], Awaitable[_DataKey]], stale: _DataKey | None) -> _DataKey:
        """One question for all who ask the same at the same time; the key that is known already, while Vault is away."""
        asked = self._asked.get(what)
        if asked is None or asked.get_loop() is not asyncio.get_running_loop():
            asked = self._asked[what] = asyncio.ensure_future(self._patiently(ask, stale))
            asked.add_done_callback(lambda _done: self._asked.pop(what, None))
        return await asyncio.shield(asked)  # one that is cancelled leaves it to the others

    async def _patiently(self, ask: Callable[[], Awaitable[_DataKey]], stale: _DataKey | None) -> _DataKey:
        began, wait = time.monotonic(), _FIRST_WAIT
        while True:
            try:
                return await ask()
            except IntegrationError:
                if stale is not None and self._clock() - stale.since < STALE:
                    return stale
                if time.monotonic() - began + wait > self._patience:
                    raise
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)


# --- the payload ------------------------------------------------------------------------------------------------------


def is_encrypted(payload: Payload) -> bool:
    """Whether `unseal` is needed to read it."""
    return payload.metadata.get("encoding") == ENCODING


def name_of_key(payload: Payload) -> str:
    """The organization that an encrypted payload says it is of; what it says is authenticated when it is opened."""
    return payload.metadata[_KEY].decode(errors="replace").removeprefix(PREFIX) if _KEY in payload.metadata else ""


class Envelopes:
    """Encrypts payloads, and opens them.

    Args:
        keys: Data keys.
    """

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    @classmethod
    def from_settings(cls, settings: Settings) -> Envelopes:
        """With keys from the Vault that the settings describe, which is asked when the first key is needed."""
        return cls(DataKeys(lambda: VaultTransit.from_settings(settings)))

    async def seal(self, payload: Payload, org_id: str) -> Payload:
        """The payload, encrypted for an organization.

        Raises:
            IntegrationError: Vault does not answer, and no key of the organization is known.
            PermissionError: Vault refuses.
            ConfigurationError: there is no transit engine, or no way to log in to Vault.
        """
        key = await self._keys.to_write(org_id)
        stored = {name: value for name, value in payload.metadata.items() if name == TO_STORE}
        inner = Payload(metadata={name: value for name, value in payload.metadata.items() if name not in stored}, data=payload.data)
        plain = inner.SerializeToString(deterministic=True)
        nonce = _derived(key.plain, plain) if stored or len(plain) >= _LARGE else os.urandom(_NONCE)
        metadata = {"encoding": ENCODING, _KEY: key.name.encode(), _WRAPPED: key.wrapped.encode(), _VERSION: VERSION}
        return Payload(metadata={**metadata, **stored}, data=nonce + await _work(key.cipher.encrypt, nonce, plain, _bound(metadata)))

    async def unseal(self, payload: Payload) -> Payload:
        """The payload that was encrypted.

        Raises:
            NotFoundError: its organization's key is gone.
            IntegrationError: Vault does not answer; the details ask a run to make the call again.
            ConfigurationError: it was changed since, or is of a form that this version does not know.
        """
        name, wrapped = (payload.metadata.get(one, b"").decode(errors="replace") for one in (_KEY, _WRAPPED))
        if payload.metadata.get(_VERSION) != VERSION or not name or not wrapped:
            raise ConfigurationError("An encrypted payload is of a form that this version of Bifrost does not know, or lacks the name "
                                     "of its key", config_key="BIFROST_ENCRYPTION")
        try:
            key = await self._keys.to_read(name, wrapped)
        except IntegrationError as error:
            error.details[NotNow.KEY] = NotNow(reason=error.message, after_seconds=AGAIN, attempts=0, give_up_seconds=GIVE_UP).model_dump()
            raise
        data = payload.data
        try:
            return Payload.FromString(await _work(key.cipher.decrypt, data[:_NONCE], data[_NONCE:], _bound(payload.metadata)))
        except Exception as error:
            raise ConfigurationError("An encrypted payload is damaged: its content or its metadata is not what was written",
                                     config_key="BIFROST_ENCRYPTION") from error


def _bound(metadata: Any) -> bytes:
    """What is authenticated beside the payload."""
    return b"\0".join(metadata[name] for name in ("encoding", _VERSION, _KEY, _WRAPPED))


def _derived(key: bytes, plain: bytes) -> bytes:
    """A nonce for what is stored outside: the same for the same, so that a replay stores the same file and not another."""
    return hmac.digest(hmac.digest(key, b"nonce", "sha256"), plain, "sha256")[:_NONCE]


async def _work(cipher: Callable[[bytes, bytes, bytes], bytes], nonce: bytes, content: bytes, bound: bytes) -> bytes:
    if len(content) < _LARGE:
        return cipher(nonce, content, bound)
    return await asyncio.to_thread(cipher, nonce, content, bound)
