"""How long it takes until a worker works, and until the command line has said what it can do."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparing import ratio, say
from benchmarks.figures import Figure
from benchmarks.workers import BIFROST, BY_HAND, Side, stage
from bifrost.logging import configure
from bifrost.settings import Settings

ROUNDS, HELPS = 11, 15
LAUNCH = "worker's launch → result of an execution that waits"


async def seconds(work: Awaitable[Any]) -> float:
    """From now until it is done."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def started(side: Side, org_id: str = "acme") -> tuple[float, float]:
    """Seconds from a worker's launch until it says that it is ready, and until it has done an execution that waits already."""
    handle = await side.start("steps", org_id, count=1)
    began = time.perf_counter()
    worker = await side.launch()
    launched = time.perf_counter() - began
    ready, done = await asyncio.gather(seconds(worker.ready()), seconds(handle.result()))
    await worker.stop()
    return launched + ready, launched + done


async def _run(arguments: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


async def _help() -> list[Figure]:
    bare, ours = [], []
    program = str(Path(sys.executable).with_name("bifrost"))
    for _ in range(HELPS + 1):
        bare.append(await seconds(_run([sys.executable, "-c", "pass"])) * 1000)
        ours.append(await seconds(_run([program, "--help"])) * 1000)
    del bare[0], ours[0]  # the first one reads files from the disk
    return [Figure("`python -c pass`", "ms", bare), Figure("`bifrost --help`", "ms", ours),
            Figure("`bifrost --help` above `python -c pass`", "ms", [a - b for a, b in zip(ours, bare, strict=True)], 250)]


async def measure() -> list[Figure]:
    """Seconds of a worker, milliseconds of the command line; both in alternation."""
    configure(Settings(log_level="warning"))
    taken: list[list[tuple[float, float]]] = []
    async with stage() as standing:
        sides = standing.bifrost(), standing.by_hand()
        for number in range(ROUNDS + 1):
            say(f"starts: round {number} of {ROUNDS}")
            taken.append([await started(side) for side in sides])
    del taken[0]  # the first one reads files from the disk, and compiles them
    ready, done = ([[sample[number] for sample in samples] for samples in zip(*taken, strict=True)] for number in range(2))
    return [*ratio("worker's launch → ready", "s", *ready, of=BIFROST, against=BY_HAND),
            *ratio(LAUNCH, "s", *done, of=BIFROST, against=BY_HAND), *await _help()]
