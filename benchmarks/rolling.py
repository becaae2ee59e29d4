"""What a rolling restart costs: three workers are stopped and replaced one by one under load, and calls are timed by Temporal's history."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from typing import Any

from temporalio.client import Client, WorkflowHandle

from benchmarks.figures import Figure
from benchmarks.workers import Side, WorkerProcess, stage
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution

EXECUTIONS, WORKERS, ROUNDS = 50, 3, 3

SOURCE = """
import asyncio
from bifrost import BaseIntegration, OrganizationContext, register_integration, workflow

class Shop(BaseIntegration):
    integration_name = "shop"

    async def authenticate(self): ...

    async def sell(self, item: int) -> int:
        await asyncio.sleep(0.1)
        return item

register_integration("shop", Shop)

@workflow(name="sells")
async def sells(context: OrganizationContext, count: int):
    shop = context.get_integration("shop")
    for number in range(count):
        await shop.sell(number)
        await asyncio.sleep(0.2)
"""


async def _slowest(client: Client, handles: list[WorkflowHandle[Any, Any]]) -> list[float]:
    """How long every gap between two events of each history was at most: a task that was lost shows as one of seconds."""
    worst = []
    for handle in handles:
        times = [event.event_time.ToDatetime() async for event in handle.fetch_history_events()]
        worst.append(max((later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)))
        assert (await read_execution(client, handle.id)).status == "Success"
    return worst


async def _round(client: Client, side: Side, serving: list[WorkerProcess], *, restart: bool) -> list[float]:
    handles = [await side.start("sells", count=40) for _ in range(EXECUTIONS)]
    if restart:
        for number, old in enumerate(serving):
            assert await old.stop() == 0
            serving[number] = await side.serve()
    await asyncio.gather(*map(executions.result, handles))
    return await _slowest(client, handles)


async def measure() -> list[Figure]:
    """Seconds, of the worst step of an execution: the 99th percentile of fifty."""
    calm: list[float] = []
    rolling: list[float] = []
    async with stage() as standing:
        side = standing.bifrost(files={"workflows/sells.py": SOURCE})
        serving = list(await asyncio.gather(*(side.serve() for _ in range(WORKERS))))
        for _ in range(ROUNDS):
            for seconds, restart in ((calm, False), (rolling, True)):
                seconds.append(statistics.quantiles(await _round(standing.client, side, serving, restart=restart), n=100)[98])
    return [Figure("worst step of an execution, p99 of 50, undisturbed", "s", calm),
            Figure("worst step of an execution, p99 of 50, three workers restarted one by one", "s", rolling),
            Figure("rolling restart above undisturbed", "s", [b - a for a, b in zip(calm, rolling, strict=True)], 2)]
