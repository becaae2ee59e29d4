"""Chores as an SDK worker that is written by hand does them, and as a workspace's: `python -m benchmarks.by_hand ADDRESS TASK_QUEUE`.

It imports temporalio and nothing else, runs workflows unsandboxed, and leaves to Temporal's defaults what becomes of a worker
that is killed: calls without heartbeats, and ten seconds for whichever worker has an execution cached.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import GrpcCompression
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

READY = "ready"
"""The line on standard output of a worker that has begun to poll."""
TURNS = 5_000_000
"""How often `computes` goes round its loop: some tenths of a second, and far from the two seconds after which the SDK interrupts it."""
_TEN_SECONDS = timedelta(seconds=10)

SOURCE = f"""
import asyncio
from bifrost import BaseIntegration, OrganizationContext, register_integration, workflow

class Chores(BaseIntegration):
    integration_name = "chores"

    async def authenticate(self): ...

    async def step(self, number: int) -> int:
        return number + 1

    async def hold(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

register_integration("chores", Chores)

@workflow(name="steps")
async def steps(context: OrganizationContext, count: int):
    chores = context.get_integration("chores")
    number = 0
    while number < count:
        number = await chores.step(number)
    return number

@workflow(name="holds")
async def holds(context: OrganizationContext, seconds: float):
    await context.get_integration("chores").hold(seconds)

@workflow(name="sleeps")
async def sleeps(context: OrganizationContext, seconds: float):
    await asyncio.sleep(seconds)

@workflow(name="computes")
async def computes(context: OrganizationContext):
    chores = context.get_integration("chores")
    number = await chores.step(0)
    for _ in range({TURNS}):
        number += 1
    context.save_checkpoint("counted", {{"number": number}})
    return await chores.step(number)
"""
"""The same as a workspace's file."""


@activity.defn
async def step(number: int) -> int:
    """A call that costs nothing."""
    return number + 1


@activity.defn
async def hold(seconds: float) -> None:
    """A call that takes a while."""
    await asyncio.sleep(seconds)


@activity.defn
async def checkpoint(name: str, number: int) -> None:
    """Nothing: its arguments are in history."""


@workflow.defn(name="steps", sandboxed=False)
class Steps:
    """Call after call."""

    @workflow.run
    async def run(self, given: dict[str, int]) -> int:
        """Count."""
        number = 0
        while number < given["count"]:
            number = await workflow.execute_activity(step, number, start_to_close_timeout=_TEN_SECONDS)
        return number


@workflow.defn(name="holds", sandboxed=False)
class Holds:
    """One long call."""

    @workflow.run
    async def run(self, given: dict[str, float]) -> None:
        """Wait for it."""
        await workflow.execute_activity(hold, given["seconds"], start_to_close_timeout=_TEN_SECONDS)


@workflow.defn(name="sleeps", sandboxed=False)
class Sleeps:
    """A timer."""

    @workflow.run
    async def run(self, given: dict[str, float]) -> None:
        """Wait for it."""
        await asyncio.sleep(given["seconds"])


@workflow.defn(name="computes", sandboxed=False)
class Computes:
    """A call, then work of its own, then a checkpoint."""

    @workflow.run
    async def run(self, _given: dict[str, int]) -> int:
        """Count to far."""
        number = await workflow.execute_activity(step, 0, start_to_close_timeout=_TEN_SECONDS)
        for _ in range(TURNS):
            number += 1
        await workflow.execute_activity(checkpoint, args=["counted", number], start_to_close_timeout=_TEN_SECONDS)
        return await workflow.execute_activity(step, number, start_to_close_timeout=_TEN_SECONDS)


async def _main(address: str, task_queue: str) -> None:
    client = await Client.connect(address, grpc_compression=GrpcCompression.NONE)
    async with Worker(client, task_queue=task_queue, workflows=[Steps, Holds, Sleeps, Computes], activities=[step, hold, checkpoint],
                      workflow_runner=UnsandboxedWorkflowRunner(), max_concurrent_activities=1000,
                      workflow_task_poller_behavior=PollerBehaviorAutoscaling(), activity_task_poller_behavior=PollerBehaviorAutoscaling()):
        print(READY, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
