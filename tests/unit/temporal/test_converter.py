"""Values on their way to Temporal: what becomes JSON, what is refused, and that no secret goes along."""

from __future__ import annotations

import dataclasses
import enum
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydantic
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import StorageDriverStoreContext, WithSerializationContext, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError

from bifrost import redaction
from bifrost.errors import IntegrationError, ValidationError
from bifrost.models import Secret
from bifrost.record import record
from bifrost.temporal import failures
from bifrost.temporal.payloads.converter import _ENCODINGS, CONVERTER, data_converter, payload_of

CANARY = "canary-value-1"
DATA_CONVERTER = data_converter(None)


class _Colour(enum.Enum):
    RED = "red"


class _Model(pydantic.BaseModel):
    a: int


@dataclasses.dataclass
class _Made:
    at: date
    model: _Model


@pytest.mark.parametrize(("value", "stored"), [
    (None, b""), ({"a": [1, 2.5, True, None, "ü"]}, '{"a":[1,2.5,true,null,"ü"]}'.encode()), (datetime(2030, 1, 1, tzinfo=UTC), b'"2030-01-01T00:00:00Z"'),
    (_Made(date(2030, 1, 1), _Model(a=1)), b'{"at":"2030-01-01","model":{"a":1}}'), (_Colour.RED, b'"red"'), (timedelta(seconds=5), b'"PT5S"'),
    (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'), ((1, 2), b"[1,2]"), (Decimal("1.5"), b'"1.5"'),
    (record({"value": [{"skuId": 1}]}), b'{"value":[{"skuId":1}]}'), (Secret("acme", "k"), b'{"$secret":{"org_id":"acme","name":"k"}}'),
    ({"deep": [Secret("acme", "k")]}, b'{"deep":[{"$secret":{"org_id":"acme","name":"k"}}]}'), (b"raw", b"raw"),
    ([Secret("acme", "k").to_wire()], b'[{"$$secret":{"org_id":"acme","name":"k"}}]'), ({"$secret": 5}, b'{"$secret":5}')])
def test_values_become_json(value: Any, stored: bytes) -> None:
    """Plain values, dates, models, dataclasses, records; a secret handle travels by its name."""
    assert CONVERTER.to_payload(value).data == stored


async def test_values_come_back() -> None:
    """What was encoded is decoded, as the type that is asked for."""
    for value, kind in [({"a": [1, None]}, None), (_Made(date(2030, 1, 1), _Model(a=1)), _Made), ("text", str), (b"raw", bytes), (None, None)]:
        [payload] = await DATA_CONVERTER.encode([value])
        assert await DATA_CONVERTER.decode([payload], [kind] if kind else None) == [value]


class _Odd:
    pass


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(("value", "said"), [
    (_Odd(), "test_converter._Odd is no JSON"), ({"a": [_Odd()]}, "a[0]: tests.unit.temporal.test_converter._Odd is no JSON"), (len, "the function len is no JSON"),
    (ValueError("x"), "builtins.ValueError is no JSON"), (_circle(), "[0]: it contains itself"), ("\ud800", "surrogates not allowed"), (_Odd, "the class _Odd is no JSON")])
def test_what_is_no_json_is_refused_in_words(value: Any, said: str) -> None:
    """The refusal names the type and the place, and says what can be stored."""
    with pytest.raises(ValidationError, match="A value cannot be stored: ") as refusal:
        CONVERTER.to_payload(value)
    assert said in str(refusal.value)
    assert "dictionaries with texts as keys, lists, strings" in str(refusal.value)
    assert "Error serializing" not in str(refusal.value)


async def test_the_codec_masks_what_goes_out() -> None:
    """A remembered value is stars in a payload of any encoding; every other payload is the very one that came."""
    codec = DATA_CONVERTER.payload_codec
    assert codec is not None
    clean = Payload(metadata={"encoding": b"json/plain"}, data=b'{"a":1}')
    dirty = Payload(metadata={"encoding": b"binary/plain"}, data=b"\xff" + CANARY.encode())
    redaction.remember(CANARY)
    encoded = await codec.encode([clean, dirty])
    assert encoded[0] is clean
    assert (encoded[1].data, encoded[1].metadata["encoding"]) == (b"\xff********", b"binary/plain")
    assert await codec.decode(encoded) == encoded
    [payload] = await DATA_CONVERTER.encode([{"header": f"Bearer {CANARY}"}])
    assert payload.data == b'{"header":"Bearer ********"}'


async def test_failures_are_masked_to_their_roots() -> None:
    """Message, stack trace and details of an error and of each of its causes go out without the value."""
    redaction.remember(CANARY)
    try:
        try:
            raise ValueError(f"inner {CANARY}")
        except ValueError as cause:
            raise IntegrationError(f"outer {CANARY}", details={"seen": CANARY}) from cause
    except IntegrationError as error:
        carried = failures.application_error(error, retry=False)
    failure = Failure()
    await DATA_CONVERTER.encode_failure(carried, failure)
    assert CANARY not in str(failure)
    assert CANARY.encode() not in failure.SerializeToString()
    assert (failure.message, failure.cause.message) == ("outer ********", "inner ********")
    assert "test_converter.py" in failure.stack_trace
    decoded = await DATA_CONVERTER.decode_failure(failure)
    assert isinstance(decoded, ApplicationError)
    arrived = failures.from_application_error(decoded)
    assert isinstance(arrived, IntegrationError)
    assert arrived.details == {"seen": "********"}
    assert str(arrived.__cause__) == "inner ********"


async def test_failures_without_secrets_are_left_alone() -> None:
    """Nothing is masked where nothing has to be."""
    failure = Failure()
    await DATA_CONVERTER.encode_failure(ApplicationError("plain", type="Odd"), failure)
    assert (failure.message, failure.application_failure_info.type, failure.HasField("cause")) == ("plain", "Odd", False)


async def test_bytes_are_masked_before_they_are_written_in_base64() -> None:
    """Stars within base64 could not be read again; so a value in bytes becomes stars first, and the rest of them comes back."""
    redaction.remember(CANARY)
    [payload] = await DATA_CONVERTER.encode([{"raw": b"\xff" + CANARY.encode() + b"\xfe"}])
    assert await DATA_CONVERTER.decode([payload]) == [{"raw": b"\xff********\xfe"}]


async def test_a_large_payload_is_masked_too() -> None:
    """What is masked in a thread is masked."""
    redaction.remember(CANARY)
    [payload] = await DATA_CONVERTER.encode(["x" * 100_000 + CANARY])
    assert payload.data.endswith(b'x********"')


def test_a_payload_names_what_it_is_of() -> None:
    """In the refusal stands whose value it is, where in it, and how large it may be."""
    assert payload_of({"a": b"\x00"}, "The result").data == b'{"a":{"$bytes":"AA=="}}'
    assert CONVERTER.from_payload(payload_of(None, "The result")) is None
    with pytest.raises(ValidationError, match=r"^The result of x cannot be stored: result\.a: the function len is no JSON"):
        payload_of({"a": len}, "The result of x", "result")
    with pytest.raises(ValidationError, match=r"^The result of x is too large: 52\.5 MB, and the limit is 50 MB"):
        payload_of("x" * 55_000_000, "The result of x", "result")
    with pytest.raises(ValidationError, match="A value is too large: "):
        CONVERTER.to_payload("x" * 55_000_000)


def test_there_is_one_converter(tmp_path: Path) -> None:
    """The SDK asks for a converter for the context of each payload, and gets the one that it asked, with a store of payloads too."""
    context = WorkflowSerializationContext(namespace="default", workflow_id="w")
    for converter in (DATA_CONVERTER, data_converter(str(tmp_path))):
        assert converter._with_contexts(context, StorageDriverStoreContext()) is converter
        for each in (converter.payload_codec, converter.failure_converter, *_ENCODINGS.values()):
            assert not isinstance(each, WithSerializationContext)  # for which a run answers that it knows none
        assert converter.payload_converter.with_context(context) is converter.payload_converter
