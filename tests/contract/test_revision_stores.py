"""Every store of revisions keeps the same promises: in a folder, in memory, behind the URLs of a disk and of objects."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.workspace.revision import Revision, RevisionStore
from bifrost.workspace.revision_stores import MemoryRevisions, open_store

ONE = Revision({"workflows/a.py": "x = 'ü'", "utils/b.py": "y = 1\n"})
TWO = Revision({"workflows/a.py": "x = 2"})


@dataclass
class Place:
    """Where revisions are kept, and what the store does not do itself.

    Attributes:
        open: Answers a store over the place; nothing is loaded in it.
        spoil: Puts other content under a revision's id.
        age: Makes a revision one that was put so long ago.
    """

    open: Callable[[], RevisionStore]
    spoil: Callable[[str, bytes], None]
    age: Callable[[str, timedelta], None]


def _folder(folder: Path, location: str) -> Place:
    def age(revision_id: str, by: timedelta) -> None:
        then = (datetime.now(UTC) - by).timestamp()
        os.utime(folder / f"{revision_id}.json", (then, then))

    def spoil(revision_id: str, content: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{revision_id}.json").write_bytes(content)

    return Place(lambda: open_store(location), spoil, age)


def _objects() -> Place:
    root, memory = f"/{uuid.uuid4().hex}/revisions", fsspec.filesystem("memory")

    def age(revision_id: str, by: timedelta) -> None:
        memory.store[f"{root}/{revision_id}.json"].modified = datetime.now(UTC) - by

    return Place(lambda: open_store(f"memory:/{root}"),
                 lambda revision_id, content: memory.pipe_file(f"{root}/{revision_id}.json", content), age)


def _memory() -> Place:
    store = MemoryRevisions()

    def again() -> RevisionStore:
        store._loaded.clear()
        return store

    def age(revision_id: str, by: timedelta) -> None:
        store._kept[revision_id] = (store._kept[revision_id][0], datetime.now(UTC) - by)

    def spoil(revision_id: str, content: bytes) -> None:
        store._kept[revision_id] = (content, datetime.now(UTC))

    return Place(again, spoil, age)


@pytest.fixture(params=["folder", "memory", "disk", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """One place after the other, empty."""
    folder = tmp_path / "deep" / "er"
    return {"folder": lambda: _folder(folder, str(folder)), "disk": lambda: _folder(folder, f"file://{folder}"),
            "objects": _objects, "memory": _memory}[request.param]()


@pytest.mark.parametrize("revision", [ONE, Revision({})], ids=["full", "empty"])
def test_what_was_put_is_found(place: Place, revision: Revision) -> None:
    """A revision comes back whole, and is not read again by a process that has it."""
    store = place.open()
    store.put(revision)
    assert store.get(revision.id) is revision
    again = place.open()
    assert again.get(revision.id).files == revision.files
    assert again.get(revision.id) is again.get(revision.id)


def test_an_unknown_revision_is_refused(place: Place) -> None:
    """It is not found, in an empty store and beside others; the sentence says where to look."""
    for _ in range(2):
        with pytest.raises(NotFoundError, match=r"Revision 'none' not found\..*BIFROST_REVISIONS"):
            place.open().get("none")
        place.open().put(ONE)


@pytest.mark.parametrize("content", [b'{"a.py": "2"}', b"[]", b'"text"', b'{"a.py": 5}', b"null", b"", b"{", b"\xff\xfe"])
def test_damaged_content_is_refused_with_the_id(place: Place, content: bytes) -> None:
    """Whatever lies under a revision's id, the answer is that revision, or an error that names it."""
    place.open().put(ONE)
    place.spoil(ONE.id, content)
    with pytest.raises(ConfigurationError, match=ONE.id):
        place.open().get(ONE.id)
    [listed] = place.open().listed()
    assert (listed.id, listed.files, listed.size) == (ONE.id, None, None)


def test_a_revision_that_is_put_again_is_renewed(place: Place) -> None:
    """Putting twice is one revision, whose time is that of the last."""
    place.open().put(ONE)
    place.age(ONE.id, timedelta(days=2))
    before = datetime.now(UTC) - timedelta(minutes=1)
    assert place.open().times()[ONE.id] < before
    place.open().put(ONE)
    assert list(place.open().times()) == [ONE.id]
    assert place.open().times()[ONE.id] > before
    assert place.open().get(ONE.id).files == ONE.files


def test_revisions_are_listed_the_newest_first(place: Place) -> None:
    """Each with its time in UTC, how many files it has, and how large they are."""
    assert place.open().listed() == []
    assert place.open().times() == {}
    began = datetime.now(UTC) - timedelta(seconds=1)
    for revision in (ONE, TWO, Revision({})):
        place.open().put(revision)
    place.age(ONE.id, timedelta(hours=1))
    place.age(TWO.id, timedelta(days=1))
    listed = place.open().listed()
    assert [(one.id, one.files, one.size) for one in listed] == [(Revision({}).id, 0, 0), (ONE.id, 2, 14), (TWO.id, 1, 5)]
    assert {one.id: one.put_at for one in listed} == place.open().times()
    assert list(place.open().times()) == [one.id for one in listed]
    assert all(one.put_at.tzinfo is UTC for one in listed)
    assert began < listed[0].put_at <= datetime.now(UTC)


def test_a_removed_revision_is_gone(place: Place) -> None:
    """It is not found and not listed, by the store that had it loaded either; the others stay; nothing is removed twice."""
    store = place.open()
    for revision in (ONE, TWO):
        store.put(revision)
    store.remove(ONE.id)
    for removed in (ONE.id, "none", "../conftest", ""):
        store.remove(removed)
    with pytest.raises(NotFoundError, match=ONE.id):
        store.get(ONE.id)
    assert [one.id for one in store.listed()] == [TWO.id]
    store.put(ONE)
    assert place.open().get(ONE.id).files == ONE.files


def test_two_stores_over_one_place_see_each_others_revisions(place: Place) -> None:
    """What one worker puts or removes, another finds or misses, whatever it asked before."""
    first, second = place.open(), place.open()
    assert second.listed() == []
    first.put(ONE)
    assert second.get(ONE.id).files == ONE.files
    second.put(TWO)
    assert {one.id for one in first.listed()} == {one.id for one in second.listed()} == {ONE.id, TWO.id}
    first.remove(TWO.id)
    assert list(second.times()) == [ONE.id]


def test_a_reader_never_meets_half_a_revision(place: Place) -> None:
    """While one worker puts and removes, another reads the whole of it, or nothing."""
    large = Revision({f"utils/{number}.py": "x" * 50_000 for number in range(20)})
    writing, reading, over, written = place.open(), place.open(), threading.Event(), []

    def write() -> None:
        while not over.is_set():
            writing.put(large)
            written.append(writing.listed())
            writing.remove(large.id)

    writer, deadline, found = threading.Thread(target=write), time.monotonic() + 60, 0
    writer.start()
    try:
        while min(found, len(written)) < 20 and time.monotonic() < deadline:
            content = reading._read(large.id)
            found += content is not None
            assert content is None or reading._verified(large.id, content).files == large.files
    finally:
        over.set()
        writer.join()
    assert min(found, len(written)) >= 20
    assert writing.times() == {}


def test_many_threads_may_use_one_store(place: Place) -> None:
    """The runs of a worker ask for revisions at once, and each gets its own."""
    revisions = [Revision({"a.py": str(number)}) for number in range(5)]
    for revision in revisions:
        place.open().put(revision)
    store, answers = place.open(), []
    threads = [threading.Thread(target=lambda wanted=revision.id: answers.append((wanted, store.get(wanted).id)))
               for revision in revisions * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    assert all(wanted == got for wanted, got in answers)


def test_only_so_many_stay_loaded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least used revision leaves the memory first, and is read again when it is asked for."""
    monkeypatch.setattr(RevisionStore, "CACHED", 2)
    store, revisions = place.open(), [Revision({"a.py": str(number)}) for number in range(3)]
    for revision in revisions:
        store.put(revision)
    assert list(store._loaded) == [revision.id for revision in revisions[1:]]
    assert store.get(revisions[0].id).files == {"a.py": "0"}
