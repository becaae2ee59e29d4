"""Large arguments and results: they lie in files beside Temporal, which keeps a reference to each.

Temporal refuses a payload of more than 2 MiB, and a history that is carried about is better small. From `THRESHOLD` on, a
payload is a file `<SHA-256 of what it holds>.payload` in a folder or behind a URL, which all that execute, start or read
executions must reach. What is the same is kept once; what is read is verified.

A file is needed as long as Temporal has an execution that refers to it. Temporal forgets closed executions after the
namespace's retention; `bifrost payloads prune` removes what no execution refers to any more.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.client import Client, WorkflowHandle
from temporalio.converter import (
    ExternalStorage,
    JSONProtoPayloadConverter,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
)
from temporalio.service import RPCError, RPCStatusCode

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.places import Place, open_place

VARIABLE: Final = "BIFROST_PAYLOADS"
THRESHOLD: Final = 256 * 1024
"""From this size on, in bytes, a payload is stored outside Temporal."""
FRESH: Final = timedelta(hours=1)
"""What was put less than this ago is not put again: behind a URL, renewing a time is a whole upload."""
GRACE: Final = timedelta(days=1)
"""What was put, or put again, less than this ago is never removed: an execution that needs it may just be beginning."""
DRIVER: Final = "bifrost"
"""The driver's name in histories; never change it."""
TO_STORE: Final = "bifrost-store"
"""The mark, in a payload's metadata, of one that is stored however small it is."""

_SUFFIX: Final = ".payload"
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_SHORT: Final = 12
M = TypeVar("M", bound=Message)


class PayloadStore:
    """Files by what they hold.

    Args:
        location: A folder, or a URL of fsspec's.

    Raises:
        ConfigurationError: fsspec, or the package for the URL's protocol, is not installed, or the place cannot be reached.
    """

    def __init__(self, location: str) -> None:
        self._files: Place = open_place(location, VARIABLE)

    def put(self, content: bytes) -> str:
        """Keep content, and answer its digest. What is kept already has its time renewed.

        Raises:
            ConfigurationError: the store cannot be reached, or cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        name = digest + _SUFFIX
        try:
            put_at = self._files.written_at(name)
            if put_at is None:
                self._files.write(name, content)
            elif datetime.now(UTC) - put_at >= FRESH:
                self._files.renew(name, content)
        except OSError as error:
            raise ConfigurationError(f"{self._files.shown(name)} cannot be written: {error}. See {VARIABLE}",
                                     config_key=VARIABLE) from error
        return digest

    def get(self, digest: str) -> bytes:
        """What was put, verified.

        Raises:
            NotFoundError: it is not there.
            ConfigurationError: the store has something else there, or cannot be reached.
        """
        name = digest + _SUFFIX
        try:
            content = self._files.read(name) if _DIGEST.fullmatch(digest) else None
        except OSError as error:
            raise ConfigurationError(f"{self._files.shown(name)} cannot be read: {error}. See {VARIABLE}",
                                     config_key=VARIABLE) from error
        if content is None:
            raise NotFoundError(f"Payload {digest[:_SHORT]} not found: {self._files.shown(name)} does not exist. Large arguments "
                                f"and results lie there: it was removed, or {VARIABLE} is not what it was when they were written",
                                kind="payload", name=digest, near=[])
        if hashlib.sha256(content).hexdigest() != digest:
            raise ConfigurationError(f"Payload {digest[:_SHORT]} is damaged: {self._files.shown(name)} holds something else than "
                                     "what was written", config_key=VARIABLE)
        return content

    def times(self) -> Mapping[str, datetime]:
        """When each was put last, in UTC, by digest.

        Raises:
            ConfigurationError: the store cannot be reached.
        """
        named = ((name.removesuffix(_SUFFIX), put_at) for name, put_at in self._files.times().items() if name.endswith(_SUFFIX))
        return {digest: put_at for digest, put_at in named if _DIGEST.fullmatch(digest)}

    def remove(self, digest: str) -> None:
        """Keep it no longer; no error where it is not kept.

        Raises:
            ConfigurationError: the store cannot be reached.
        """
        self._files.erase(digest + _SUFFIX)


class _Driver(StorageDriver):
    """What the SDK gives large payloads to, after they were masked."""

    def __init__(self, location: str) -> None:
        self._location = location

    @functools.cached_property
    def _store(self) -> PayloadStore:
        return PayloadStore(self._location)

    def name(self) -> str:
        return DRIVER

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        del context
        return [await asyncio.to_thread(self._keep, payload) for payload in payloads]

    def _keep(self, payload: Payload) -> StorageDriverClaim:
        metadata = {key: value.decode("latin-1") for key, value in payload.metadata.items() if key != TO_STORE}
        return StorageDriverClaim({"sha256": self._store.put(payload.data), "metadata": json.dumps(metadata, sort_keys=True)})

    async def retrieve(self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]) -> list[Payload]:
        del context
        return [await asyncio.to_thread(self._read, claim.claim_data) for claim in claims]

    def _read(self, claim: Mapping[str, str]) -> Payload:
        metadata = json.loads(claim["metadata"])
        return Payload(metadata={key: value.encode("latin-1") for key, value in metadata.items()}, data=self._store.get(claim["sha256"]))


def storage(location: str) -> ExternalStorage:
    """The SDK's part of it. The location is opened with the first payload that is stored or read."""
    driver = _Driver(location)

    def select(context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        del context
        return driver if TO_STORE in payload.metadata or payload.ByteSize() >= THRESHOLD else None

    return ExternalStorage(drivers=[driver], driver_selector=select, payload_size_threshold=0)


def to_store(payload: Payload) -> Payload:
    """The payload, marked to be stored however small it is."""
    return Payload(metadata={**payload.metadata, TO_STORE: b""}, data=payload.data)


# --- references ------------------------------------------------------------------------------------------------------

_REFERENCES: Final = JSONProtoPayloadConverter()
_REFERENCE: Final = ExternalStorageReference.DESCRIPTOR.full_name.encode()


def references(message: Message) -> set[str]:
    """The digests of all payloads that a history, or any other message of Temporal's, refers to."""
    return {digest for payload in within(message, Payload) if (digest := _digest(payload))}


async def needed(client: Client) -> set[str]:
    """The digests of all payloads that the executions of a namespace refer to: open ones, and closed ones that Temporal still has.

    Raises:
        ConfigurationError: Temporal refuses.
    """
    found: set[str] = set()
    try:
        async for execution in client.list_workflows():
            found |= await _needed_by(client.get_workflow_handle(execution.id, run_id=execution.run_id))
    except RPCError as error:
        raise ConfigurationError(f"Temporal refuses to tell which payloads are needed: {error}") from error
    return found


async def _needed_by(handle: WorkflowHandle[Any, Any]) -> set[str]:
    try:
        found = references((await handle.describe()).raw_description)
        async for event in handle.fetch_history_events():
            found |= references(event)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return set()  # forgotten meanwhile
    return found


def within(message: Message, kind: type[M]) -> Iterator[M]:
    """All parts of a kind in a message of Temporal's; one that stands in another comes after it."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            each: Any = [value] if isinstance(value, Message) else value.values() if isinstance(value, Mapping) else value
            for one in each:
                if isinstance(one, Message):  # and no map from text to text
                    yield from within(one, kind)


def _digest(payload: Payload) -> str | None:
    if payload.metadata.get("messageType") != _REFERENCE:
        return None
    reference = _REFERENCES.from_payload(payload, ExternalStorageReference)
    return reference.claim_data.get("sha256") if reference.driver_name == DRIVER else None
