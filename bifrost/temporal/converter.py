"""Values across Temporal: JSON by pydantic, and the last line of defence for secrets.

The codec masks every remembered secret value in what leaves the process, and the failure converter does so in messages and
stack traces. Both are nets: the rule that keeps values out of workflow code is in `durable_context`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import PydanticSerializationError, to_json
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)

from bifrost import redaction
from bifrost.errors import ValidationError
from bifrost.models import Secret


class _JSON(PydanticJSONPlainPayloadConverter):
    def to_payload(self, value: Any) -> Payload | None:
        try:
            return Payload(metadata={"encoding": b"json/plain"}, data=to_json(value, fallback=_otherwise))
        except PydanticSerializationError as error:
            raise ValidationError(
                f"A value cannot be stored: {str(error).removeprefix('Error serializing to JSON: ')}. Arguments and results are "
                "JSON: dictionaries, lists, strings, numbers, dates, pydantic models, dataclasses") from None


def _otherwise(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.to_wire()
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is no JSON")


class _Converter(CompositePayloadConverter):
    def __init__(self) -> None:
        usual = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(_JSON() if isinstance(one, JSONPlainPayloadConverter) else one for one in usual))


class _MaskingCodec(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [_masked(payload) for payload in payloads]

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
            link.message = redaction.mask(link.message)
            link.stack_trace = redaction.mask(link.stack_trace)
            link = link.cause if link.HasField("cause") else None


DATA_CONVERTER = replace(pydantic_data_converter, payload_converter_class=_Converter, payload_codec=_MaskingCodec(),
                         failure_converter_class=_MaskingFailureConverter)
"""The data converter of every client and worker."""
