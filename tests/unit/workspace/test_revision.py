"""Revisions: what a snapshot holds, and what its id is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from bifrost.errors import ConfigurationError
from bifrost.workspace.revision import Revision, snapshot


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
