"""What a worker process and Temporal's server hold in memory, before the first execution and under load; see `memory` for cached ones."""

from __future__ import annotations

import asyncio

from benchmarks.comparing import ratio, say
from benchmarks.figures import Figure
from benchmarks.workers import BIFROST, BY_HAND, Side, Stage, peak_memory, pss, resident, stage
from bifrost.logging import configure
from bifrost.settings import Settings

ROUNDS, LOADED = 5, 3
"""How many rounds there are, and how many of them have load."""
EXECUTIONS, CALLS = 200, 5
SETTLED_SECONDS = 2.0


async def _idle(side: Side) -> tuple[float, float]:
    """Its proportional set size, and what is resident whoever has it too."""
    worker = await side.serve()
    await asyncio.sleep(SETTLED_SECONDS)  # nothing tells when a process has done what it does first
    found = pss(worker.pid), resident(worker.pid)
    await worker.stop()
    return found


async def _peak(side: Side) -> float:
    """The most that a fresh worker has had while the executions ran."""
    worker = await side.serve()
    handles = await asyncio.gather(*(side.start("steps", count=CALLS) for _ in range(EXECUTIONS)))
    await asyncio.gather(*(handle.result() for handle in handles))
    peak = peak_memory(worker.pid)
    await worker.stop()
    return peak


async def _server_idle(standing: Stage) -> float:
    await asyncio.sleep(SETTLED_SECONDS)
    return pss(standing.server_pid)


async def measure() -> list[Figure]:
    """MB, in alternation, each round on a server of its own."""
    configure(Settings(log_level="warning"))
    servers, idle, loaded, served = [], [], [], []
    for number in range(ROUNDS):
        say(f"memory: round {number + 1} of {ROUNDS}")
        async with stage() as standing:
            sides = standing.bifrost(), standing.by_hand()
            servers.append(await _server_idle(standing))
            idle.append([await _idle(side) for side in sides])
            if number < LOADED:
                loaded.append([await _peak(side) for side in sides])
                served.append(peak_memory(standing.server_pid))
    proportional, whole = ([[sample[number] for sample in samples] for samples in zip(*idle, strict=True)] for number in range(2))
    load = f"resident at most, {EXECUTIONS} executions of {CALLS} calls"
    return [Figure("Temporal's server, idle", "MB", servers), Figure(f"Temporal's server, {load}", "MB", served),
            *ratio("worker, idle", "MB", *proportional, of=BIFROST, against=BY_HAND, bound=1.6),
            *ratio("worker, idle, resident", "MB", *whole, of=BIFROST, against=BY_HAND),
            *ratio(f"worker, {load}", "MB", *zip(*loaded, strict=True), of=BIFROST, against=BY_HAND)]
