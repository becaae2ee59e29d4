"""How many events and bytes an execution leaves in Temporal's history."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.comparing import ROUNDS, named
from benchmarks.contenders import Request
from benchmarks.contenders.programs.sdk_workflow import Steps, step
from benchmarks.figures import Figure
from benchmarks.workspaces import workspace
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.logging import configure
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.worker import serving

SHAPES = ((0, 0), (1, 0), (5, 0), (3, 2), (5, 2), (10, 5))
"""Calls and checkpoints of each execution."""
PER_CALL = PER_CHECKPOINT = 3
BESIDES = 12
OURS, BY_HAND = "bifrost", "sdk-tuned"

SOURCE = """
from bifrost import BaseIntegration, OrganizationContext, register_integration, workflow

class Counter(BaseIntegration):
    integration_name = "counter"

    async def authenticate(self): ...

    async def step(self, number: int) -> int:
        return number + 1

register_integration("counter", Counter)

@workflow(name="marks", description="Calls, and as many checkpoints as are asked for, after as many of them.")
async def marks(context: OrganizationContext, calls: int, checkpoints: int):
    counter = context.get_integration("counter")
    for number in range(calls):
        await counter.step(number)
        if number < checkpoints:
            context.save_checkpoint("stepped", {"number": number})
    return calls
"""


async def measure() -> list[Figure]:
    """Events and bytes; how many events there are depends on what happens to end within one step of an execution."""
    configure(Settings(log_level="warning"))
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        served = workspace(folder, "marks", SOURCE)
        async with TemporalServer(folder, db_path=folder / "temporal.db", port=free_port()) as server:
            client = await executions.connect(server.address)
            organizations = MemoryOrganizations([Organization("acme", "Acme")])
            async with (serving(client, served, organizations, MemorySecrets({}), task_queue=OURS),
                        Worker(client, task_queue=BY_HAND, workflows=[Steps], activities=[step], workflow_runner=UnsandboxedWorkflowRunner())):
                for calls, checkpoints in SHAPES:
                    figures += await _left_by(client, calls, checkpoints)
    return figures


async def _left_by(client: Client, calls: int, checkpoints: int) -> list[Figure]:
    what = f"history, {named(Request(calls))}, {checkpoints} checkpoints"
    ours = [await _sizes(await executions.start(client, "marks", task_queue=OURS, org_id="acme", params={
        "calls": calls, "checkpoints": checkpoints})) for _ in range(ROUNDS)]
    figures = [Figure(f"{what}: events", "", [len(sizes) for sizes in ours], PER_CALL * calls + PER_CHECKPOINT * checkpoints + BESIDES, of=OURS),
               Figure(f"{what}: bytes", "B", [sum(sizes) for sizes in ours], of=OURS)]
    if checkpoints:  # of which there are none by hand
        return figures
    by_hand = [await _sizes(await client.start_workflow(Steps.run, args=[calls, "sequence"], id=f"by-hand-{calls}-{number}", task_queue=BY_HAND))
               for number in range(ROUNDS)]
    return [*figures, Figure(f"{what}: events", "", [len(sizes) for sizes in by_hand], of=BY_HAND),
            Figure(f"{what}: bytes", "B", [sum(sizes) for sizes in by_hand], of=BY_HAND)]


async def _sizes(handle: WorkflowHandle[Any, Any]) -> list[int]:
    """The bytes of each event, once the execution has ended."""
    await executions.result(handle)
    return [event.ByteSize() async for event in handle.fetch_history_events()]
