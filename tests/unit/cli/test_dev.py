"""What `bifrost dev` and `bifrost demo` print for people to copy."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bifrost.cli import dev
from bifrost.settings import Settings


def _stack(directory: Path, organizations: str) -> SimpleNamespace:
    (directory / "orgs.yaml").write_text(organizations)
    return SimpleNamespace(settings=Settings(workspace=directory, organizations=directory / "orgs.yaml"))


@pytest.mark.parametrize(("organizations", "sample", "example"), [
    ("organizations: [{id: acme, name: A}, {id: aaa, name: B}]", True, "run create_user_sync --org acme -p email="),
    ("organizations: [{id: aaa, name: B}]", True, "run create_user_sync --org aaa -p email="),
    ("organizations: [{id: acme, name: A, active: false}]", True, "workflows list"),
    ("organizations: [{id: acme, name: A}]", False, "workflows list"),
])
def test_the_example_fits_the_workspace(tmp_path: Path, organizations: str, sample: bool, example: str) -> None:
    """It runs the sample workflow for an active organization, where there are both."""
    stack = _stack(tmp_path, organizations)
    if sample:
        file = tmp_path / "workflows" / "user_management" / "create_user_sync" / "workflow.py"
        file.parent.mkdir(parents=True)
        file.touch()
    assert dev._example(stack).startswith(example)


def test_commands_are_printed_as_this_shell_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bifrost` where it is on the PATH, else this Python; paths from here; a file to source never without a slash."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "the venv" / "python"))
    assert dev._program() == "'the venv/python' -m bifrost"
    shutil.copy("/bin/true", tmp_path / "bifrost")
    assert dev._program() == "bifrost"
    assert dev._dotted(tmp_path / "env") == "./env"
    assert dev._dotted(tmp_path / "kept" / "env") == "kept/env"
    assert dev._dotted(tmp_path.parent / "env") == str(tmp_path.parent / "env")
