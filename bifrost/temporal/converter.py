"""Values across Temporal: JSON as `values` writes it, large ones in the store of payloads, and the last line of defence for secrets.

The codec masks every remembered secret value in what leaves the process, before anything is stored, and the failure converter
does so in messages and stack traces. Both are nets: the rule that keeps values out of workflow code is in `durable_context`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)

from bifrost import redaction
from bifrost.temporal import failures, payloads
from bifrost.temporal.values import check_size, encode, restore

_TRACE = 64 * 1024
"""How many characters of a stack trace are kept, from its end."""
_LARGE = 64 * 1024
"""From this size on, in bytes, a payload is masked in a thread: the event loop has calls to keep alive."""


class _JSON(PydanticJSONPlainPayloadConverter):
    def to_payload(self, value: Any) -> Payload | None:
        return _json(encode(value))

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return restore(super().from_payload(payload, type_hint), payload.data)


def _json(data: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=data)


class _Converter(CompositePayloadConverter):
    def __init__(self) -> None:
        usual = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(_JSON() if isinstance(one, JSONPlainPayloadConverter) else one for one in usual))

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        made = super().to_payloads(values)
        for payload in made:
            check_size(payload.ByteSize())
        return made


class _MaskingCodec(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [_masked(payload) if payload.ByteSize() < _LARGE else await asyncio.to_thread(_masked, payload)
                for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


def _masked(payload: Payload) -> Payload:
    data = payload.data  # a new object each time it is asked for
    masked = redaction.mask_bytes(data)
    return payload if masked is data else Payload(metadata=payload.metadata, data=masked)


class _MaskingFailureConverter(DefaultFailureConverter):
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        link: Failure | None = failure
        while link is not None:
            link.message = failures.cut(redaction.mask(link.message))
            link.stack_trace = redaction.mask(link.stack_trace)[-_TRACE:]
            link = link.cause if link.HasField("cause") else None


_WITHOUT_STORE = replace(pydantic_data_converter, payload_converter_class=_Converter, payload_codec=_MaskingCodec(),
                         failure_converter_class=_MaskingFailureConverter)
CONVERTER: PayloadConverter = _WITHOUT_STORE.payload_converter
"""Makes payloads of values, and values of payloads, in this process."""


def data_converter(location: str | None) -> DataConverter:
    """The data converter of a client, a worker or a replayer.

    Args:
        location: Where large payloads are, as `BIFROST_PAYLOADS` says it; None where there can be none. Nothing is opened
            before the first of them is stored or read.
    """
    return _WITHOUT_STORE if location is None else replace(_WITHOUT_STORE, external_storage=payloads.storage(location))


def payload_of(value: Any, what: str, root: str = "") -> Payload:
    """A value as it goes to Temporal.

    Args:
        value: An argument or a result.
        what: What it is, for the message: "The result of crm.users".
        root: What the path in the message begins with: `result` makes it `result.users[3].client`.

    Raises:
        ValidationError: something in it is no JSON, or it is too large. The message and `field` say where.
    """
    payload = CONVERTER.to_payload(value) if value is None else _json(encode(value, what, root))
    check_size(payload.ByteSize(), what)
    return payload
