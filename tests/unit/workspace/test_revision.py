"""Revisions: what a snapshot holds, and that a store gives back what was put."""

from __future__ import annotations

from pathlib import Path

import pytest

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.workspace.revision import FolderRevisions, MemoryRevisions, Revision, RevisionStore, snapshot


def test_a_snapshot_holds_the_source_and_nothing_else(tmp_path: Path) -> None:
    """Python files are in it, by path; tests, hidden files and other files are not."""
    for path in ("workflows/a/workflow.py", "utils/b.py", "workflows/a/tests/test_a.py", "test_c.py", "conftest.py", ".hidden/d.py",
                 "__pycache__/e.py", "notes.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x = 1")
    revision = snapshot(tmp_path)
    assert list(revision.files) == ["utils/b.py", "workflows/a/workflow.py"]
    assert revision.has_folder("workflows/a")
    assert revision.has_folder(".")
    assert not revision.has_folder("workflows/b")


def test_the_id_is_of_paths_and_contents() -> None:
    """The same source has the same id everywhere; moving text between files or names changes it."""
    assert Revision({"a.py": "1", "b.py": "2"}).id == Revision({"b.py": "2", "a.py": "1"}).id
    assert Revision({}).id == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert len({Revision(files).id for files in ({"a.py": "12"}, {"a.py1": "2"}, {"a.py": "1"}, {"b.py": "12"})}) == 4


def test_what_cannot_be_snapshotted_is_named(tmp_path: Path) -> None:
    """A folder that is not there, and a file that is not text."""
    with pytest.raises(ConfigurationError, match="BIFROST_WORKSPACE"):
        snapshot(tmp_path / "nowhere")
    (tmp_path / "a.py").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"a\.py is not UTF-8"):
        snapshot(tmp_path)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RevisionStore:
    """Each adapter of the port, empty."""
    return FolderRevisions(tmp_path / "revisions") if request.param == "folder" else MemoryRevisions()


def test_what_was_put_is_found(store: RevisionStore) -> None:
    """Putting twice is no harm; an unknown id is not found."""
    revision = Revision({"a.py": "x = 'ü'"})
    store.put(revision)
    store.put(revision)
    assert store.get(revision.id) is revision
    store._loaded.clear()
    assert store.get(revision.id).files == revision.files
    with pytest.raises(NotFoundError, match="Revision 'none' not found"):
        store.get("none")


def test_only_so_many_stay_loaded(store: RevisionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least used revision leaves the memory first, and is read again when it is asked for."""
    monkeypatch.setattr(RevisionStore, "CACHED", 2)
    revisions = [Revision({"a.py": str(number)}) for number in range(3)]
    for revision in revisions:
        store.put(revision)
    assert list(store._loaded) == [revision.id for revision in revisions[1:]]
    assert store.get(revisions[0].id).files == {"a.py": "0"}


def test_a_changed_revision_is_refused(tmp_path: Path) -> None:
    """What the store has must hash to its name, and must be readable."""
    store = FolderRevisions(tmp_path)
    revision = Revision({"a.py": "1"})
    store.put(revision)
    file = tmp_path / f"{revision.id}.json"
    assert list(tmp_path.iterdir()) == [file]
    store._loaded.clear()
    file.write_text('{"a.py": "2"}')
    with pytest.raises(ConfigurationError, match="was changed in the store"):
        store.get(revision.id)
    file.write_text("{")
    with pytest.raises(ConfigurationError, match="is damaged"):
        store.get(revision.id)
