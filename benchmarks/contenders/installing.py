"""What peers are made of, kept apart from the project's own Python: in `.benchmarks/`, put there when it is first asked for."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.contenders import UnavailableError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".benchmarks"


async def python_with(name: str, packages: Mapping[str, str]) -> Path:
    """The interpreter of a virtual environment with these packages.

    Args:
        name: Of its folder.
        packages: What pip installs, with its version.

    Raises:
        UnavailableError: they cannot be installed; names the log that says why.
    """
    return await asyncio.to_thread(_python_with, FOLDER / name, [f"{package}=={number}" for package, number in packages.items()])


async def node_modules_with(name: str, packages: Mapping[str, str]) -> Path:
    """The folder `node_modules` in which npm has installed these packages.

    Args:
        name: Of the folder that it is in.
        packages: What npm installs, with its version.

    Raises:
        UnavailableError: there is no npm, or they cannot be installed; names the log that says why.
    """
    return await asyncio.to_thread(_node_modules_with, FOLDER / name, [f"{package}@{number}" for package, number in packages.items()])


def _python_with(folder: Path, packages: Sequence[str]) -> Path:
    python = folder / "bin" / "python"
    with _absent(folder, [f"Python {platform.python_version()}", *packages]) as absent:
        if absent:
            _run(folder, sys.executable, "-m", "venv", str(folder))
            _run(folder, str(python), "-m", "pip", "install", "--disable-pip-version-check", *packages)
    return python


def _node_modules_with(folder: Path, packages: Sequence[str]) -> Path:
    if not (npm := shutil.which("npm")):
        raise UnavailableError(f"{', '.join(packages)} comes by npm, which is not installed: install Node.js")
    with _absent(folder, packages) as absent:
        if absent:
            _run(folder, npm, "install", "--no-audit", "--no-fund", "--no-update-notifier", "--prefix", str(folder), *packages)
    return folder / "node_modules"


@contextlib.contextmanager
def _absent(folder: Path, content: Sequence[str]) -> Iterator[bool]:
    """Whether the content has yet to be put into the folder, which is empty then. The block does it, in one process at a time."""
    FOLDER.mkdir(exist_ok=True)
    record = folder / "installed.txt"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if absent := not record.exists() or record.read_text().splitlines() != list(content):
            print(f"installing {', '.join(content)} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield absent
        if absent:
            record.write_text("\n".join(content))


def _run(folder: Path, *arguments: str) -> None:
    """Run it to its end. What it says may name hosts and paths of this machine, so it goes into a log and not into the error."""
    log = folder.with_suffix(".log")
    with log.open("ab") as output:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder, check=False)
    if done.returncode:
        raise UnavailableError(f"{folder.name} could not be installed, see {log.relative_to(ROOT)}")
