"""The last line: real I/O from inside a run is refused, and nobody else notices."""

from __future__ import annotations

import linecache
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

RUN = """
import sys, zoneinfo
from bifrost.workspace import audit, determinism
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision
from tests.still import StillRun

audit.install()
audit.install()
SOURCE = '''
from xml.etree import ElementTree
import csv, lib_that_is_safe, zoneinfo, traceback, inspect
from pydantic import BaseModel

def xml(): ElementTree.parse("/etc/hostname")
def library(): lib_that_is_safe.read("/etc/hostname")
def connect(): lib_that_is_safe.connect()
def run(): lib_that_is_safe.run()
def late():
    import lib_that_is_safe.deep
    return lib_that_is_safe.deep.X
def zone(): return str(zoneinfo.ZoneInfo("Europe/Paris"))
def source():
    try:
        1 / 0
    except ZeroDivisionError:
        return "1 / 0" in traceback.format_exc()
def where(): return inspect.getsource(lib_that_is_safe.read)[:8]
'''
module = Namespace(Revision({"a.py": SOURCE}), frozenset({"lib_that_is_safe"}))
with determinism.running(StillRun()):
    loaded = module.load("workspace.a")
    for name in sys.argv[1:]:
        try:
            print(name, getattr(loaded, name)())
        except Exception as error:
            print(name, type(error).__name__, str(error).split(" cannot")[0])
print("outside", len(loaded.lib_that_is_safe.read("/etc/hostname")) > 0)
"""
LIBRARY = """
import socket, subprocess
def read(path):
    return open(path).read()
def connect():
    socket.create_connection(("127.0.0.1", 9))
def run():
    subprocess.run(["true"])
"""


def _said(tmp_path: Path, *names: str) -> list[str]:
    """What a process of its own says of these functions: an audit hook cannot be taken out of this one."""
    package = tmp_path / "lib_that_is_safe"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(LIBRARY))
    (package / "deep.py").write_text("X = 'imported'")
    (tmp_path / "run.py").write_text(RUN)
    ran = subprocess.run([sys.executable, str(tmp_path / "run.py"), *names], capture_output=True, text=True, check=False, timeout=60,
                         cwd=Path(__file__).parents[3], env={"PYTHONPATH": f"{tmp_path}:.", "PATH": ""})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_io_of_any_library_is_refused(tmp_path: Path) -> None:
    """A file, a socket, a process, of the standard library or another: refused with the event, the file and the line in user code."""
    said = _said(tmp_path, "xml", "library", "connect", "run")
    assert said[0] == "xml DeterminismError workspace/a.py:6: open('/etc/hostname')"
    assert said[1] == "library DeterminismError workspace/a.py:7: open('/etc/hostname')"
    assert said[2].startswith("connect DeterminismError workspace/a.py:8: socket.")
    assert said[3].startswith("run DeterminismError workspace/a.py:9: ")
    assert said[4] == "outside True"


def test_the_interpreters_own_reading_passes(tmp_path: Path) -> None:
    """Imports, time zones and sources for tracebacks are read inside a run as elsewhere."""
    assert _said(tmp_path, "late", "zone", "source", "where") == [
        "late imported", "zone Europe/Paris", "source True", "where def read", "outside True"]


def test_nobody_else_notices(tmp_path: Path) -> None:
    """Without a run, and for code that is not the workspace's, the hook of this process lets everything pass."""
    from bifrost.workspace import audit, determinism
    from tests.still import StillRun
    audit.install()
    (tmp_path / "a").write_text("x")
    with determinism.running(StillRun()):
        assert (tmp_path / "a").read_text() == "x"
    assert linecache.getlines(str(tmp_path / "a")) == ["x\n"]


@pytest.mark.parametrize("event", ["open", "socket.connect", "subprocess.Popen", "sqlite3.connect"])
def test_the_usual_ways_out_are_listed(event: str) -> None:
    """What most I/O goes through is among the events."""
    from bifrost.workspace import audit
    assert event in audit.REFUSED
