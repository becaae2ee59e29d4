"""Values across Temporal: JSON as `values` writes it, large ones in the store of payloads, and the last line of defence for secrets.

    value ─► JSON ─► mask ─► encrypt, if it is on ─► store outside, if large ─► Temporal

The codec masks every remembered secret value in what leaves the process, before it is encrypted or stored, and the failure
converter does so in messages and stack traces. Both are nets: the rule that keeps values out of workflow code is in
`durable_context`. What comes back is decrypted whether encryption is on or not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Self

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    PayloadConverter,
    SerializationContext,
    StorageDriverStoreContext,
)

from bifrost import redaction
from bifrost.errors import ConfigurationError, IntegrationError, WorkflowException
from bifrost.messages import GLOBAL_SCOPE
from bifrost.temporal import failures
from bifrost.temporal.payloads import store as payloads
from bifrost.temporal.payloads import values
from bifrost.temporal.payloads.encryption import Envelopes, is_encrypted, mark, unmark
from bifrost.temporal.payloads.values import check_size, encode, restore

_TRACE = 64 * 1024
"""How many characters of a stack trace are kept, from its end."""
LARGE: Final = 64 * 1024
"""From this size on, in bytes, a payload is masked in a thread: the event loop has calls to keep alive."""


class _JSON(PydanticJSONPlainPayloadConverter):
    def to_payload(self, value: Any) -> Payload | None:
        return _json(encode(value))

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return restore(super().from_payload(payload, type_hint), payload.data)


def _json(data: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=data)


# Once for the process: the SDK makes a converter anew several times for each call, and each would build its type adapters anew.
_ENCODINGS: Final[Mapping[bytes, EncodingPayloadConverter]] = CompositePayloadConverter(*(
    _JSON() if isinstance(one, JSONPlainPayloadConverter) else one
    for one in DefaultPayloadConverter.default_encoding_payload_converters)).converters


class _Converter(CompositePayloadConverter):
    def __init__(self) -> None:
        self.converters = _ENCODINGS

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        made = super().to_payloads(values)
        for payload in made:
            check_size(payload.ByteSize())
        return made


class _EncryptedConverter(_Converter):
    """Says whose each payload is, for the codec."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return [mark(payload) for payload in super().to_payloads(values)]


class Codec(PayloadCodec):
    """Masks and encrypts what goes out, and decrypts what comes in.

    Args:
        envelopes: Encrypt and decrypt; None where nothing can be.
        encrypting: Whether what goes out is encrypted.
    """

    def __init__(self, envelopes: Envelopes | None, *, encrypting: bool) -> None:
        self.envelopes = envelopes
        self.encrypting = encrypting

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [await self._encoded(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [await self._opened(payload) if is_encrypted(payload) else payload for payload in payloads]

    async def _encoded(self, payload: Payload) -> Payload:
        bare, org_id = unmark(payload)
        masked = _masked(bare) if bare.ByteSize() < LARGE else await asyncio.to_thread(_masked, bare)
        if not self.encrypting or is_encrypted(masked):
            return masked
        assert self.envelopes is not None, "what encrypts has keys"
        return await self.envelopes.seal(masked, org_id)

    async def _opened(self, payload: Payload) -> Payload:
        if self.envelopes is None:
            raise ConfigurationError("A payload is encrypted, and this process was given no Vault to ask for its key", config_key="VAULT_ADDR")
        return await self.envelopes.unseal(payload)


def _masked(payload: Payload) -> Payload:
    data = payload.data  # a new object each time it is asked for
    masked = redaction.mask_bytes(data)
    return payload if masked is data else Payload(metadata=payload.metadata, data=masked)


class _FailureConverter(DefaultFailureConverter):
    """Masks what failures say; where payloads are encrypted, so are messages and stack traces."""

    encrypting = False

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        error = exception
        if isinstance(exception, WorkflowException):  # of the codec, or of the store of payloads
            error = failures.application_error(exception, retry=failures.may_retry(exception))
        super().to_failure(error, payload_converter, failure)
        if failures.is_not_now(exception):
            failure.application_failure_info.non_retryable = True
        link: Failure | None = failure
        while link is not None:
            _mask_link(link)
            if self.encrypting and not link.HasField("encoded_attributes"):
                link.encoded_attributes.CopyFrom(_json(encode({"message": link.message, "stack_trace": link.stack_trace})))
            if link.HasField("encoded_attributes"):
                link.message, link.stack_trace = ENCODED, ""
            link = link.cause if link.HasField("cause") else None
        if self.encrypting:
            for payload in payloads.within(failure, Payload):  # also those that come from an activity's failure, as the codec left them
                mark(payload)


class _EncryptedFailureConverter(_FailureConverter):
    encrypting = True


ENCODED: Final = "Encoded failure"
"""The message of a failure whose real one is encrypted; the SDKs' own word for it."""


def _mask_link(link: Failure) -> None:
    link.message = failures.cut(redaction.scrub(link.message))
    link.stack_trace = redaction.scrub(link.stack_trace)[-_TRACE:]
    if link.HasField("application_failure_info"):
        link.application_failure_info.type = redaction.mask(link.application_failure_info.type)


async def reveal(message: Message, converter: DataConverter) -> None:
    """Put their real messages and stack traces into the failures of an event of a history, or of another message of Temporal's.

    Raises:
        NotFoundError: the key of the organization is gone.
        IntegrationError: Vault does not answer.
    """
    if isinstance(message, HistoryEvent) and "failure" not in getattr(message, str(message.WhichOneof("attributes"))).DESCRIPTOR.fields_by_name:
        return  # as most have none
    for failure in payloads.within(message, Failure):
        if failure.HasField("encoded_attributes"):
            [said] = await converter.decode([failure.encoded_attributes])
            failure.message, failure.stack_trace = said["message"], said["stack_trace"]
            failure.ClearField("encoded_attributes")


class _DataConverter(DataConverter):
    """The same wherever a payload goes: the SDK would ask each part of it, and make a converter anew, for what no part looks at."""

    def with_context(self, context: SerializationContext) -> Self:
        del context
        return self

    def _with_store_context(self, store_ctx: StorageDriverStoreContext) -> DataConverter:  # the SDK's own, which makes a copy
        del store_ctx
        return self


_WITHOUT_STORE = _DataConverter(payload_converter_class=_Converter, payload_codec=Codec(None, encrypting=False),
                                failure_converter_class=_FailureConverter)
CONVERTER: PayloadConverter = _WITHOUT_STORE.payload_converter
"""Makes payloads of values, and values of payloads, in this process."""


def data_converter(location: str | None, envelopes: Envelopes | None = None, *, encrypting: bool = False) -> DataConverter:
    """The data converter of a client, a worker or a replayer.

    Args:
        location: Where large payloads are, as `BIFROST_PAYLOADS` says it; None where there can be none. Nothing is opened
            before the first of them is stored or read.
        envelopes: Open what is encrypted; None where nothing can be.
        encrypting: Whether they also encrypt what goes out.
    """
    made = _WITHOUT_STORE if envelopes is None else replace(
        _WITHOUT_STORE, payload_codec=Codec(envelopes, encrypting=encrypting),
        payload_converter_class=_EncryptedConverter if encrypting else _Converter,
        failure_converter_class=_EncryptedFailureConverter if encrypting else _FailureConverter)
    return made if location is None else replace(made, external_storage=payloads.storage(location))


def without_handles(payload: Payload) -> Payload:
    """A result without handles of secrets: stars stand for each. Refusing it would fail a run whose work is all done."""
    if values.SECRET_MARK in payload.data:
        payload.data = values.starred(payload.data)
    return payload


async def require_key(converter: DataConverter) -> None:
    """Ask for a key where payloads are encrypted, so that a mistake is said now, and not by each task that then hangs.

    Vault not answering is none: tasks wait for it.

    Raises:
        PermissionError: Vault refuses.
        ConfigurationError: there is no transit engine, or no way to log in to Vault.
    """
    codec = converter.payload_codec
    if isinstance(codec, Codec) and codec.encrypting and codec.envelopes:
        with contextlib.suppress(IntegrationError):
            await codec.envelopes.seal(Payload(), GLOBAL_SCOPE)


def envelopes_of(converter: DataConverter) -> Envelopes | None:
    """What opens encrypted payloads for a data converter."""
    codec = converter.payload_codec
    return codec.envelopes if isinstance(codec, Codec) else None


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
