"""What peers are made of is installed once, and where it cannot be, a benchmark is told why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.contenders import UnavailableError, installing
from benchmarks.contenders.installing import node_modules_with

NPM = """#!/bin/sh
[ -e "$NPM_FAILS" ] && { echo "no answer from https://packages.example"; exit 1; }
mkdir node_modules && echo "$@" >> "$NPM_CALLS"
"""


async def test_packages_are_installed_once_for_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation is used again, replaced by another version's, and not taken for one when it failed; the reason names no host."""
    monkeypatch.setattr(installing, "ROOT", tmp_path)
    monkeypatch.setattr(installing, "FOLDER", tmp_path / "apart")
    calls, fails, programs = tmp_path / "calls", tmp_path / "fails", tmp_path / "bin"
    programs.mkdir()
    (programs / "npm").write_text(NPM)
    (programs / "npm").chmod(0o755)
    for name, value in (("PATH", f"{programs}:{os.environ['PATH']}"), ("NPM_CALLS", str(calls)), ("NPM_FAILS", str(fails))):
        monkeypatch.setenv(name, value)

    for _ in range(2):
        assert await node_modules_with("server", {"peer": "1.0"}) == tmp_path / "apart" / "server" / "node_modules"
    await node_modules_with("server", {"peer": "2.0"})
    assert [line.split()[-1] for line in calls.read_text().splitlines()] == ["peer@1.0", "peer@2.0"]

    fails.touch()
    with pytest.raises(UnavailableError) as refused:
        await node_modules_with("server", {"peer": "3.0"})
    assert str(refused.value) == "server could not be installed, see apart/server.log"
    assert "packages.example" in (tmp_path / "apart" / "server.log").read_text()
    fails.unlink()
    await node_modules_with("server", {"peer": "3.0"})

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="by npm, which is not installed"):
        await node_modules_with("server", {"peer": "3.0"})
