"""Every store of large payloads keeps the same promises: in a folder, behind the URL of a disk, and behind that of objects."""

from __future__ import annotations

import hashlib
import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from temporalio.api.common.v1 import Payload

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.places import Place, open_place
from bifrost.temporal.payloads import store as payloads
from bifrost.temporal.payloads.converter import data_converter
from bifrost.temporal.payloads.store import PayloadStore, to_store


@pytest.fixture(params=["folder", "disk", "objects"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that does not exist yet."""
    return {"folder": str(tmp_path / "deep" / "payloads"), "disk": f"file://{tmp_path}/deep/payloads",
            "objects": f"memory://{uuid.uuid4().hex}/payloads"}[request.param]


@pytest.fixture
def place(location: str) -> Place:
    """The files of that place."""
    return open_place(location, "BIFROST_PAYLOADS")


def _name(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}.payload"


def test_what_was_put_is_answered_by_its_digest(location: str) -> None:
    """In another process, too, and once for the same content."""
    digests = [PayloadStore(location).put(content) for content in (b"one", b"two", b"one")]
    assert digests[0] == digests[2] == hashlib.sha256(b"one").hexdigest()
    assert [PayloadStore(location).get(digest) for digest in digests] == [b"one", b"two", b"one"]
    assert PayloadStore(location).times().keys() == set(digests)


def test_what_is_not_there_or_damaged_is_refused(location: str, place: Place) -> None:
    """The error says where it should be, and the setting; a claim that is no digest leads nowhere."""
    store = PayloadStore(location)
    assert store.times() == {}
    digest = store.put(b"one")
    place.write(_name(b"one"), b"other")
    with pytest.raises(ConfigurationError, match=rf"Payload {digest[:12]} is damaged: .*{digest}\.payload holds something else"):
        store.get(digest)
    store.remove(digest)
    store.remove(digest)
    for missing in (digest, "../secret"):
        with pytest.raises(NotFoundError, match=r"payload does not exist\. .*BIFROST_PAYLOADS is not what it was"):
            store.get(missing)


def test_what_is_put_again_is_as_new(location: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that pruning leaves what is needed again; but not with every put, since behind a URL that is an upload."""
    digest = PayloadStore(location).put(b"one")
    before = place.written_at(_name(b"one"))
    PayloadStore(location).put(b"one")
    assert place.written_at(_name(b"one")) == before
    monkeypatch.setattr(payloads, "FRESH", timedelta(0))
    PayloadStore(location).put(b"one")
    assert place.written_at(_name(b"one")) > before
    assert datetime.now(UTC) - PayloadStore(location).times()[digest] < timedelta(minutes=1)


def test_other_files_are_no_payloads(location: str, place: Place) -> None:
    """What lies beside them is not listed, and so never pruned."""
    for name in ("notes.txt", "x.payload", f"{_name(b'')}.tmp"):
        place.write(name, b"")
    assert PayloadStore(location).times() == {}


@pytest.mark.parametrize("failing", [os, "fs"])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Any) -> None:
    """Neither half a payload under its name nor half a file beside it; the error names the setting."""
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space")

    if failing is os:
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(fsspec.get_filesystem_class("file"), "mv", fail)
    with pytest.raises(ConfigurationError, match="no space") as refusal:
        PayloadStore(str(tmp_path) if failing is os else f"file://{tmp_path}").put(b"one")
    assert refusal.value.config_key == "BIFROST_PAYLOADS"
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder where a file should be is neither missing nor damaged."""
    digest = PayloadStore(str(tmp_path)).put(b"one")
    (tmp_path / _name(b"one")).unlink()
    (tmp_path / _name(b"one")).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read: "):
        PayloadStore(str(tmp_path)).get(digest)


# --- the converter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stored"), [(1000, 0), (256 * 1024, 1)])
async def test_only_large_payloads_are_stored(location: str, size: int, stored: int) -> None:
    """From 256 KiB on; what comes back is what was given, by any converter of that place."""
    [payload] = await data_converter(location).encode(["x" * size])
    assert len(PayloadStore(location).times()) == stored
    assert await data_converter(location).decode([payload]) == ["x" * size]


async def test_what_is_marked_is_stored_however_small(location: str) -> None:
    """The mark itself is not kept."""
    converter = data_converter(location)
    [given] = converter.payload_converter.to_payloads([b"small"])
    marked = await converter._transform_outbound_payload(to_store(given))
    assert payloads.references(marked) == {hashlib.sha256(b"small").hexdigest()}
    assert await converter._transform_inbound_payload(marked) == given


async def test_a_process_without_a_store_says_so(location: str) -> None:
    """It has no place to look in."""
    [payload] = await data_converter(location).encode(["x" * 300_000])
    with pytest.raises(RuntimeError, match="external storage is not configured"):
        await data_converter(None).decode([payload])


def test_what_is_no_reference_refers_to_nothing() -> None:
    """A plain payload, and a reference of somebody else's."""
    assert payloads.references(Payload(data=b"x")) == set()
    somebodys = Payload(metadata={"encoding": b"json/protobuf", "messageType": b"temporal.api.sdk.v1.ExternalStorageReference"},
                        data=b'{"driverName":"other","claimData":{"sha256":"x"}}')
    assert payloads.references(somebodys) == set()
