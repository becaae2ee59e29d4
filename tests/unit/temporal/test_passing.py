"""Messages of runs that pass untouched, and those that the SDK is to walk through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.bridge import worker as bridge
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import DataConverter
from temporalio.converter._extstore import StorageOperationMetrics

from bifrost import redaction
from bifrost.temporal.payloads import passing, store
from bifrost.temporal.payloads.converter import LARGE, Codec, data_converter
from bifrost.temporal.payloads.encryption import OWNER, DataKeys, Envelopes

CANARY = "canary-value-2"
PLAIN = data_converter(None)


class _Keys:
    async def new(self, name: str) -> tuple[bytes, str]:
        return b"k" * 32, name

    async def unwrap(self, name: str, wrapped: str) -> bytes:
        del name, wrapped
        return b"k" * 32


ENCRYPTING = data_converter(None, Envelopes(DataKeys(_Keys)), encrypting=True)


def _answered(payload: Payload) -> WorkflowActivation:
    """What a run is told of a call's result."""
    made = WorkflowActivation(run_id="run")
    made.jobs.add().resolve_activity.result.completed.result.CopyFrom(payload)
    return made


def _calling(*payloads: Payload) -> WorkflowActivationCompletion:
    """What a run says that makes a call."""
    made = WorkflowActivationCompletion(run_id="run")
    made.successful.commands.add().schedule_activity.arguments.extend(payloads)
    return made


def _codec(converter: DataConverter) -> Codec:
    assert isinstance(converter.payload_codec, Codec)
    return converter.payload_codec


async def test_what_was_encrypted_or_stored_is_seen_in_a_message(tmp_path: Path) -> None:
    """As the SDK makes it today: whatever is opened on its way in bears one of the signs that are looked for, and nothing else does."""
    storing = data_converter(str(tmp_path))
    for converter, value, opened in ((PLAIN, {"a": "text"}, False), (PLAIN, "x" * 300_000, False), (storing, "small", False),
                                     (storing, "x" * 300_000, True), (ENCRYPTING, "text", True)):
        [payload] = await converter.encode([value])
        assert passing.comes_open(_answered(payload), _codec(converter)) is not opened


@pytest.mark.parametrize("sign", passing._SEALED)
async def test_each_sign_is_looked_for(sign: bytes) -> None:
    """Also that of a reference as earlier and later versions of the SDK write it."""
    assert not passing.comes_open(_answered(Payload(metadata={"encoding": sign})), _codec(PLAIN))


def test_nothing_passes_that_the_codec_or_the_store_would_change() -> None:
    """What is secret, large, marked or to be encrypted does not go as it is; all else does."""
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')
    redaction.remember(CANARY)
    secret = Payload(data=f'{{"header": "Bearer {CANARY}"}}'.encode())
    assert passing.goes_as_it_is(_calling(plain, plain), _codec(PLAIN))
    for other in (secret, Payload(data=b"x" * LARGE), Payload(metadata={OWNER: b"acme"}), store.to_store(plain)):
        assert not passing.goes_as_it_is(_calling(plain, other), _codec(PLAIN))
    assert not passing.goes_as_it_is(_calling(plain), _codec(ENCRYPTING))


async def test_the_sdk_walks_through_the_others() -> None:
    """With what it was given; and through every message of a data converter that is not ours."""
    walked: list[tuple[Any, ...]] = []

    async def walk(message: Message, data_converter: DataConverter, *args: Any, **options: Any) -> StorageOperationMetrics:
        walked.append((message, data_converter, args, options))
        return StorageOperationMetrics(payload_count=1)

    looked_at = passing._unless(passing.comes_open, walk)
    clear, sealed = _answered(Payload(data=b"1")), _answered(Payload(metadata={"encoding": b"binary/encrypted"}))
    assert (await looked_at(clear, PLAIN, decode_headers=True)).payload_count == 0
    assert walked == []
    assert (await looked_at(sealed, PLAIN, 5, decode_headers=True)).payload_count == 1
    await looked_at(clear, DataConverter.default)
    assert walked == [(sealed, PLAIN, (5,), {"decode_headers": True}), (clear, DataConverter.default, (), {})]


async def test_the_sdks_own_functions_look_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they are installed, however often; what they are called with by its workers still has its secrets masked."""
    for name in ("decode_activation", "encode_completion"):
        monkeypatch.setattr(bridge, name, getattr(getattr(bridge, name), "__wrapped__", getattr(bridge, name)))
    passing.install()
    installed = bridge.decode_activation, bridge.encode_completion
    passing.install()
    assert (bridge.decode_activation, bridge.encode_completion) == installed
    redaction.remember(CANARY)
    message = _calling(Payload(data=CANARY.encode()), Payload(data=b"1"))
    await bridge.encode_completion(message, PLAIN, encode_headers=True, storage_concurrency_limit=1)
    assert [one.data for one in message.successful.commands[0].schedule_activity.arguments] == [b"********", b"1"]
    [sealed] = await ENCRYPTING.encode(["text"])
    answer = _answered(sealed)
    await bridge.decode_activation(answer, ENCRYPTING, decode_headers=True, storage_concurrency_limit=1)
    assert answer.jobs[0].resolve_activity.result.completed.result.data == b'"text"'
