"""Whether a worker stays as it is: minutes of mixed load, its memory and open files sampled, and how much they grow after warm-up.

`BENCHMARK_SOAK_MINUTES` says how many minutes; 20 by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time

from benchmarks.figures import Figure
from benchmarks.workers import Side, resident, stage
from bifrost.errors import WorkflowException
from bifrost.temporal import client as executions

AT_ONCE, EVERY_SECONDS, WARM_UP = 20, 1.0, 0.3
"""How many executions are under way, how often the worker is looked at, and which part of the time does not count."""

MIXED = """
import asyncio
from bifrost import BaseIntegration, IntegrationError, OrganizationContext, register_integration, workflow

class Depot(BaseIntegration):
    integration_name = "depot"

    async def authenticate(self): ...

    async def load(self, number: int, size: int) -> dict:
        if number % 17 == 0:
            raise IntegrationError("full", status_code=409)
        return {"number": number, "filler": "x" * size}

register_integration("depot", Depot)

@workflow(name="mixed")
async def mixed(context: OrganizationContext, number: int):
    depot = context.get_integration("depot")
    context.save_checkpoint("begun", {"number": number})
    await asyncio.gather(*(depot.load(number + part * 17 + 1, 200) for part in range(4)))
    context.log("info", "loaded in parallel", {"number": number})
    await asyncio.sleep(0.2)
    await depot.load(number, 2_000)  # some of them fail here
    context.save_checkpoint("loaded")
    await depot.load(1, 300_000 if number % 50 == 1 else 100)  # and some carry what is stored outside
    return {"number": number}
"""


async def _load(side: Side, until: float, counts: list[int]) -> None:
    while time.monotonic() < until:
        counts[0] += 1
        with contextlib.suppress(WorkflowException):
            await executions.result(await side.start("mixed", number=counts[0]))


def _sample(pid: int) -> tuple[float, float]:
    """Resident memory in MB, and open files."""
    return resident(pid), float(len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - names are enough


async def measure() -> list[Figure]:
    """Growth an hour, by a straight line through what was sampled after warm-up."""
    seconds = float(os.environ.get("BENCHMARK_SOAK_MINUTES", "20")) * 60
    async with stage() as standing:
        side = standing.bifrost(files={"workflows/mixed.py": MIXED}, environment={"BIFROST_CACHED_EXECUTIONS": "100"})
        worker = await side.serve()
        began, counts = time.monotonic(), [0]
        load = asyncio.gather(*(_load(side, began + seconds, counts) for _ in range(AT_ONCE)))
        samples = []
        while not load.done():
            samples.append((time.monotonic() - began, *_sample(worker.pid)))
            await asyncio.sleep(EVERY_SECONDS)
        await load
    warm = [sample for sample in samples if sample[0] > WARM_UP * seconds]
    times, memory, files = zip(*warm, strict=True)
    return [Figure(f"memory of a worker after warm-up, {counts[0]} executions in {seconds / 60:g} minutes", "MB", memory),
            Figure("open files of a worker after warm-up", "", files),
            Figure("growth of memory in an hour", "MB", [statistics.linear_regression(times, memory).slope * 3600]),
            Figure("growth of open files in an hour", "", [statistics.linear_regression(times, files).slope * 3600])]
