"""What a cached execution costs a worker's memory, against a hand-written SDK workflow that does the same."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from benchmarks.figures import Figure
from benchmarks.waiting import ARRIVED
from benchmarks.workers import pss
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.temporal import client as executions

EXECUTIONS, AT_ONCE, ROUNDS = 1000, 50, 5
KINDS = ("sdk", "bifrost")


@dataclass
class _Worker:
    """A worker process of one kind, and how many executions have come to wait in it."""

    kind: str
    client: Client
    folder: Path
    pid: int

    def memory(self) -> float:
        """Its proportional set size, in MB."""
        return pss(self.pid)

    async def fill(self, count: int) -> None:
        """Start so many more executions, and return when all of them wait."""
        arrived = self.folder / ARRIVED
        begun = arrived.stat().st_size if arrived.exists() else 0
        for first in range(0, count, AT_ONCE):
            batch = range(first, min(first + AT_ONCE, count))
            await asyncio.gather(*(self.client.start_workflow(
                "waits", {"org_id": "acme", "params": {}}, id=f"{self.kind}-{begun + n}", task_queue=self.kind) for n in batch))
            await _until_size(arrived, begun + batch[-1] + 1)


async def _until_size(file: Path, size: int) -> None:
    while not file.exists() or file.stat().st_size < size:  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _worker(kind: str) -> AsyncIterator[_Worker]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = await TemporalServer(folder, db_path=folder / "temporal.db", port=free_port()).start()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.waiting", kind, server.address, scratch, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            yield _Worker(kind, await executions.connect(server.address), folder, process.pid)
        finally:
            process.terminate()
            await process.communicate()
            await server.stop()


async def measure() -> list[Figure]:
    """MB, in alternation."""
    idle: dict[str, list[float]] = {kind: [] for kind in KINDS}
    grown: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _, kind in itertools.product(range(ROUNDS), KINDS):
        async with _worker(kind) as worker:
            await worker.fill(20)  # whatever is loaded once is loaded now
            idle[kind].append(worker.memory())
            await worker.fill(EXECUTIONS)
            grown[kind].append(worker.memory() - idle[kind][-1])
    difference = [ours - theirs for ours, theirs in zip(grown["bifrost"], grown["sdk"], strict=True)]
    return [Figure("worker with 20 waiting executions, SDK by hand, unsandboxed", "MB", idle["sdk"]),
            Figure("worker with 20 waiting executions, Bifrost", "MB", idle["bifrost"]),
            Figure("1,000 cached executions more, SDK by hand, unsandboxed", "MB", grown["sdk"]),
            Figure("1,000 cached executions more, Bifrost", "MB", grown["bifrost"]),
            Figure("1,000 cached executions: Bifrost above SDK by hand", "MB", difference, 100),
            Figure("1,000 cached executions: Bifrost over SDK by hand", "x",
                   [ours / theirs for ours, theirs in zip(grown["bifrost"], grown["sdk"], strict=True)], 1.5)]
