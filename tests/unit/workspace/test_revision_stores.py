"""Where revisions are kept: which store a location is, and what only one of them has to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from structlog.testing import capture_logs

from bifrost import places
from bifrost.dev.ports import free_port
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.workspace import revision_stores
from bifrost.workspace.revision import Revision
from bifrost.workspace.revision_stores import FolderRevisions, FsspecRevisions, open_store

ONE, TWO = Revision({"a.py": "x = 1"}), Revision({"a.py": "x = 2"})


def _fail(*_: Any, **__: Any) -> None:
    raise OSError("no space")


# --- which store -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["revisions", "/absolute/revisions", "s3:/bucket", "../up"])
def test_a_location_without_a_scheme_is_a_folder(location: str) -> None:
    """Only `://` makes a URL; no folder is made before something is put."""
    store = open_store(location)
    assert isinstance(store, FolderRevisions)
    assert store.place("x") == str(Path(location) / "x.json")


@pytest.mark.parametrize("location", ["memory://a/b", "memory://a/b/", "file:///nowhere/at/all"])
def test_a_location_with_a_scheme_is_a_url(location: str) -> None:
    """It is a store of fsspec's; a slash at the end says nothing."""
    store = open_store(location)
    assert isinstance(store, FsspecRevisions)
    assert store.place("x") == f"{location.rstrip('/')}/x.json"
    assert store.times() == {}


def test_fsspec_is_imported_for_a_url_only() -> None:
    """The command line with a folder does not pay for it."""
    code = ("import sys; import bifrost.cli.revisions, bifrost.cli.worker; from bifrost.workspace.revision_stores import open_store; "
            "open_store('.bifrost/revisions').times(); print('fsspec' in sys.modules); open_store('memory://x'); print('fsspec' in sys.modules)")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]


def _url_of_nobody() -> str:
    return f"ftp://ada:hunter2@127.0.0.1:{free_port()}/revisions"


@pytest.mark.parametrize(("location", "sentence"), [
    (lambda: "s3://bucket/revisions", "package for its protocol is missing: Install s3fs"),
    (lambda: "carrier-pigeon://loft", "Protocol not known: carrier-pigeon. Set it to a folder"),
    (_url_of_nobody, "cannot be reached .*Check the address"),
], ids=["package", "protocol", "nobody"])
def test_a_place_that_cannot_be_opened_is_refused_with_the_cure(location: Callable[[], str], sentence: str) -> None:
    """The error names the variable, the place without its password, and what to do."""
    with pytest.raises(ConfigurationError, match=f"BIFROST_REVISIONS is '.*{sentence}") as caught:
        open_store(location())
    assert caught.value.config_key == "BIFROST_REVISIONS"
    assert "hunter2" not in str(caught.value)


def test_without_fsspec_a_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, a URL is refused with the cure, and a folder works."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ConfigurationError, match="BIFROST_REVISIONS is 'memory://x', and fsspec is not installed"):
        open_store("memory://x")
    open_store("x")


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Neither half a revision under its name, nor, behind a URL, the file that was to become it."""
    store = open_store(f"{scheme}{tmp_path / 'deep'}")
    with monkeypatch.context() as patch:
        patch.setattr(places.os, "fsync", _fail)
        patch.setattr(LocalFileSystem, "mv", _fail)
        with pytest.raises((OSError, ConfigurationError), match="no space"):
            store.put(ONE)
    assert store.times() == {}
    assert not scheme or not list((tmp_path / "deep").iterdir())
    store.put(ONE)
    assert [file.name for file in (tmp_path / "deep").glob("*.json")] == [f"{ONE.id}.json"]


def test_a_revision_that_is_kept_in_a_folder_is_not_written_again(tmp_path: Path) -> None:
    """Putting it again renews its time and nothing else: two workers do not write over each other."""
    FolderRevisions(tmp_path).put(ONE)
    written = (tmp_path / f"{ONE.id}.json").stat()
    FolderRevisions(tmp_path).put(ONE)
    assert (tmp_path / f"{ONE.id}.json").stat().st_ino == written.st_ino
    assert [file.name for file in tmp_path.iterdir()] == [f"{ONE.id}.json"]


def test_behind_a_url_a_fresh_revision_is_not_put_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet that starts at once uploads a revision once; later it is uploaded again, whole, for its time."""
    store, file = open_store(f"file://{tmp_path}"), tmp_path / f"{ONE.id}.json"
    store.put(ONE)
    first = file.stat().st_mtime_ns
    store.put(ONE)
    assert file.stat().st_mtime_ns == first
    file.write_bytes(b"damaged")
    monkeypatch.setattr(revision_stores, "FRESH", timedelta(0))
    store.put(ONE)
    assert open_store(f"file://{tmp_path}").get(ONE.id).files == ONE.files


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_worker_that_may_only_read_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Where the revision is kept already and cannot be renewed, a warning says what that means."""
    store = open_store(f"{scheme}{tmp_path}")
    store.put(ONE)
    monkeypatch.setattr(revision_stores, "FRESH", timedelta(0))
    monkeypatch.setattr(places.os, "utime", _fail)
    monkeypatch.setattr(LocalFileSystem, "mv", _fail)
    with capture_logs() as logs:
        open_store(f"{scheme}{tmp_path}").put(ONE)
    assert [(log["log_level"], log["revision"]) for log in logs] == [("warning", ONE.id[:12])]
    assert "prune may take it for unused" in logs[0]["event"]
    assert [file.name for file in tmp_path.iterdir()] == [f"{ONE.id}.json"]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_cannot_be_kept_is_refused(tmp_path: Path, scheme: str) -> None:
    """A worker whose revision nobody keeps does not begin to serve it."""
    (tmp_path / "file").touch()
    with pytest.raises((OSError, ConfigurationError), match="file"):
        open_store(f"{scheme}{tmp_path / 'file'}").put(ONE)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_other_files_are_no_revisions(tmp_path: Path, scheme: str) -> None:
    """What lies beside them, such as half of one that a crash left, is not listed."""
    for name in ("notes.json", f"{ONE.id}.json.1.tmp", ONE.id, f"{ONE.id[:-1]}.json", f"{ONE.id.upper()}.json"):
        (tmp_path / name).write_text("{}")
    assert open_store(f"{scheme}{tmp_path}").times() == {}


# --- objects ---------------------------------------------------------------------------------------------------------


class Objects(MemoryFileSystem):
    """A store of objects that answers when it is let, remembers what it listed, and can break."""

    protocol = "objects"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fetched: ClassVar[list[str]] = []
    may_answer: ClassVar[threading.Event] = threading.Event()
    broken: ClassVar[bool] = False
    entries: ClassVar[dict[str, Any]] = {}
    listings: ClassVar[dict[str, Any]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("objects://", "memory://"))

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        self.fetched.append(path)
        assert self.may_answer.wait(30)
        if self.broken:
            raise ConnectionResetError(f"objects://ada:hunter2@host{path} has gone")
        return super().cat_file(path, *arguments, **options)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        if path not in self.listings:
            self.listings[path] = [{**entry, **self.entries} for entry in super().ls(path, detail, **options)]
        return self.listings[path]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.listings.clear()

    def modified(self, path: str) -> Any:
        if self.broken:
            raise NotImplementedError
        return super().modified(path)


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place in a store of objects, which answers."""
    fsspec.register_implementation("objects", Objects, clobber=True)
    for name, value in (("fetched", []), ("may_answer", threading.Event()), ("broken", False), ("entries", {}), ("listings", {})):
        monkeypatch.setattr(Objects, name, value)
    Objects.may_answer.set()
    return f"objects://{uuid.uuid4().hex}"


def test_runs_that_need_one_revision_share_a_fetch(objects: str) -> None:
    """A worker that starts again fetches each revision once, however many runs ask for it."""
    open_store(objects).put(ONE)
    store, answers = open_store(objects), []
    Objects.may_answer.clear()
    threads = [threading.Thread(target=lambda: answers.append(store.get(ONE.id).files)) for _ in range(10)]
    for thread in threads:
        thread.start()
    Objects.may_answer.set()
    for thread in threads:
        thread.join()
    assert answers == [ONE.files] * 10
    assert len(Objects.fetched) == 1


async def test_a_fetch_outlives_who_asked(objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event loop is not held up: who asks from one is told to try again, and finds what was fetched meanwhile."""
    monkeypatch.setattr(revision_stores, "PATIENCE", timedelta(milliseconds=10))
    open_store(objects).put(ONE)
    store = open_store(objects)
    Objects.may_answer.clear()
    for _ in range(2):
        with pytest.raises(IntegrationError, match=f"Revision {ONE.id[:12]} is still being fetched from {objects}"):
            store.get(ONE.id)
    Objects.may_answer.set()
    await asyncio.to_thread(store.get, ONE.id)
    assert store.get(ONE.id).files == ONE.files
    assert len(Objects.fetched) == 1


def test_what_was_listed_is_asked_again(objects: str) -> None:
    """Some of fsspec's stores remember listings for good; what other workers put and remove is seen all the same."""
    store = open_store(objects)
    store.put(ONE)
    assert list(store.times()) == [ONE.id]
    file = f"{Objects._strip_protocol(objects)}/{{}}.json"
    Objects.store[file.format(TWO.id)] = Objects.store[file.format(ONE.id)]
    assert set(store.times()) == {ONE.id, TWO.id}


def test_what_is_removed_while_it_is_listed_is_left_out(objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are listed; where the listing tells no times, each is asked for, and one may have gone by then."""
    store = open_store(objects)
    for revision in (ONE, TWO):
        store.put(revision)
    monkeypatch.setattr(Objects, "modified", lambda self, path: datetime.now(UTC) if ONE.id in path else self.info("nothing"))
    assert list(store.times()) == [ONE.id]


def test_an_outage_is_told_and_not_remembered(objects: str) -> None:
    """A store that breaks is a configuration error that shows no password; when it is back, so are the revisions."""
    open_store(objects).put(ONE)
    store = open_store(objects)
    Objects.broken = True
    with pytest.raises(ConfigurationError, match=f"BIFROST_REVISIONS is '{objects}', and that cannot be reached.*has gone") as caught:
        store.get(ONE.id)
    assert "hunter2" not in str(caught.value)
    Objects.broken = False
    assert store.get(ONE.id).files == ONE.files


@pytest.mark.parametrize(("entry", "expected"), [
    ({"LastModified": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ({"last_modified": datetime(2026, 1, 2, 3, 4, 5)}, datetime(2026, 1, 2, 3, 4, 5).astimezone(UTC)),  # noqa: DTZ001
    ({"mtime": 1767323045.5}, datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
])
def test_the_time_is_what_the_listing_says(objects: str, entry: dict[str, Any], expected: datetime) -> None:
    """Each protocol has its own word for it; no further request is made where the listing has one of them."""
    open_store(objects).put(ONE)
    Objects.entries, Objects.broken = entry, True
    assert open_store(objects).times() == {ONE.id: expected}


def test_a_place_that_knows_no_times_is_refused(objects: str) -> None:
    """Without times nothing could be pruned safely."""
    open_store(objects).put(ONE)
    Objects.broken = True
    with pytest.raises(ConfigurationError, match="NotImplementedError"):
        open_store(objects).times()


def test_a_bucket_that_is_not_there_is_refused_when_something_is_put(objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the operator's to make; a revision that is not in it is simply not found."""
    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    monkeypatch.setattr(Objects, "pipe_file", missing)
    with pytest.raises(ConfigurationError, match="bucket does not exist"):
        open_store(objects).put(ONE)
