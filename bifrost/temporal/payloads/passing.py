"""What passes untouched: a message of a run in which nothing is encrypted, stored outside, secret, or too large to say so at once.

The SDK walks through the message of each workflow task six times, three in and three out, and gives every payload in it a task
of asyncio's each time, whether the data converter has anything to do there or not. That is a seventh of what the event loop of a
worker does for an execution of five calls, and an eighth of a replay. Nearly always a look at the bytes of the whole message says
that there is nothing to do: a payload's data lie in them as they are, so what is not in the message is in none of its payloads.

The SDK has no place to say so. `install` puts the look before its two functions; whatever may have something to do goes on to
them, and so does each message of another data converter.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from google.protobuf.message import Message
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.bridge import worker as bridge
from temporalio.converter import DataConverter
from temporalio.converter._extstore import StorageOperationMetrics

from bifrost import redaction
from bifrost.temporal.payloads.converter import LARGE, Codec
from bifrost.temporal.payloads.encryption import ENCODING, OWNER
from bifrost.temporal.payloads.store import TO_STORE

_SEALED: Final = (ENCODING, b"json/external-storage-reference", b"__temporal_external_storage_reference",
                  ExternalStorageReference.DESCRIPTOR.full_name.encode())
"""One of these is in the metadata of each payload that is encrypted or stored outside; the last three are the SDK's (`_extstore`)."""
_MARKS: Final = (OWNER.encode(), TO_STORE.encode())


class _Walk(Protocol):
    def __call__(self, message: Message, data_converter: DataConverter, *args: Any, **options: Any) -> Awaitable[StorageOperationMetrics]:
        """Decode or encode all payloads in a message."""


def comes_open(message: Message, codec: Codec) -> bool:
    """Whether there is nothing to decrypt, or to fetch, in a message to a run."""
    del codec
    data = message.SerializeToString()
    return not any(sign in data for sign in _SEALED)


def goes_as_it_is(message: Message, codec: Codec) -> bool:
    """Whether there is nothing to mask, to encrypt, or to store outside, in a message of a run's."""
    if codec.encrypting or message.ByteSize() >= LARGE:
        return False
    data = message.SerializeToString()
    return not any(mark in data for mark in _MARKS) and redaction.mask_bytes(data) is data


def install() -> None:
    """Have the SDK's workers of this process look first. Once is enough, and no harm is done by more."""
    for name, passes in (("decode_activation", comes_open), ("encode_completion", goes_as_it_is)):
        walk = getattr(bridge, name)
        if not hasattr(walk, "__wrapped__"):
            setattr(bridge, name, _unless(passes, walk))


def _unless(passes: Callable[[Message, Codec], bool], walk: _Walk) -> _Walk:
    @functools.wraps(walk)
    async def looked_at(message: Message, data_converter: DataConverter, *args: Any, **options: Any) -> StorageOperationMetrics:
        codec = data_converter.payload_codec
        if isinstance(codec, Codec) and passes(message, codec):
            return StorageOperationMetrics()
        return await walk(message, data_converter, *args, **options)

    return looked_at
