"""A worker whose executions make one call and then wait: `python -m benchmarks.waiting sdk|bifrost ADDRESS FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.workspaces import workspace
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.temporal import client as executions
from bifrost.temporal.worker import serving

ARRIVED = "arrived"
"""The file that gets a byte from every execution that comes to wait."""

SOURCE = f"""
from datetime import datetime, timedelta
from bifrost import BaseIntegration, OrganizationContext, ValidationError, workflow

class Counter(BaseIntegration):
    integration_name = "counter"

    async def authenticate(self): ...

    async def arrive(self):
        with open("{{folder}}/{ARRIVED}", "ab") as file:
            file.write(b".")

@workflow(name="waits", description="Waits.")
async def waits(context: OrganizationContext):
    await context.get_integration("counter").arrive()
    await context.wait_for_event("go")
"""


@activity.defn(name="arrive")
async def arrive(folder: str) -> None:
    """Add a byte."""
    with Path(folder, ARRIVED).open("ab") as file:  # noqa: ASYNC230 - one byte
        file.write(b".")


@workflow.defn(name="waits", sandboxed=False)
class Waits:
    """The same by hand."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @workflow.signal
    def go(self, event: str) -> None:
        """What it waits for."""
        self.events.append(event)

    @workflow.run
    async def run(self, _start: dict[str, object]) -> str:
        """Call, then wait."""
        await workflow.execute_activity(arrive, sys.argv[3], start_to_close_timeout=timedelta(seconds=60))
        await workflow.wait_condition(lambda: bool(self.events))
        return self.events[0]


async def _sdk(client: Client) -> None:
    async with Worker(client, task_queue="sdk", workflows=[Waits], activities=[arrive], workflow_runner=UnsandboxedWorkflowRunner(),
                      max_cached_workflows=2000):
        print("ready", flush=True)
        await asyncio.Event().wait()


async def _bifrost(client: Client, folder: Path) -> None:
    served = workspace(folder, "waits", SOURCE.replace("{folder}", str(folder)))
    async with serving(client, served, MemoryOrganizations([Organization("acme", "Acme")], {}), MemorySecrets({}), task_queue="bifrost",
                       max_cached_workflows=2000):
        print("ready", flush=True)
        await asyncio.Event().wait()


async def _main(kind: str, address: str, folder: Path) -> None:
    client = await executions.connect(address)
    await (_sdk(client) if kind == "sdk" else _bifrost(client, folder))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
