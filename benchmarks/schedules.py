"""Schedules of a thousand organizations: made, and compared when nothing has changed."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

from benchmarks.figures import Figure
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.logging import configure
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.schedules import scheduler
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import MemoryRevisions

ORGANIZATIONS, ROUNDS, TICKS = 1000, 5, 20

SOURCE = """
from bifrost import OrganizationContext, workflow

@workflow(name="{name}", description="Runs on Mondays.", schedule="0 9 * * 1")
async def {name}(context: OrganizationContext): ...
"""


async def measure() -> list[Figure]:
    """Seconds to make 3,000 schedules, to find that nothing has changed, to change all and to delete all; and how late one comes."""
    configure(Settings(log_level="warning"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("audit", "report", "tidy"):
            file = folder / "workspace" / "workflows" / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(SOURCE.format(name=name))
        catalog = Workspace(folder / "workspace", MemoryRevisions()).catalog
        organizations = MemoryOrganizations([Organization(f"org-{number}", f"Organization {number}") for number in range(ORGANIZATIONS)])
        async with TemporalServer(folder, db_path=folder / "temporal.db", port=free_port()) as server:
            client = await executions.connect(server.address)
            late = await _lateness(client)
            made = await _sync(client, catalog, organizations, "create")
            idle = [await _sync(client, catalog, organizations, None) for _ in range(ROUNDS)]
            for file in (folder / "workspace" / "workflows").iterdir():
                file.write_text(file.read_text().replace("0 9", "0 6"))
            changed = await _sync(client, Workspace(folder / "workspace", MemoryRevisions()).catalog, organizations, "update")
            gone = await _sync(client, catalog, MemoryOrganizations([]), "delete")
    return [Figure("3,000 schedules made", "s", [made], 120), Figure("3,000 schedules compared, nothing to do", "s", idle, 10),
            Figure("3,000 schedules changed", "s", [changed], 120), Figure("3,000 schedules deleted", "s", [gone], 120),
            Figure("a scheduled execution starts after its time", "s", late, 1)]


async def _sync(client: Client, catalog: Catalog, organizations: MemoryOrganizations, kind: str | None) -> float:
    expected = {(kind, 3 * ORGANIZATIONS)} if kind else set()
    began = time.perf_counter()
    while True:
        changes = await scheduler.proposed(client, catalog, organizations, "bifrost")
        if {(kind, len(changes)) for _ in changes[:1]} == expected:
            break  # the index has followed what was done before
        began = time.perf_counter()
    await scheduler.apply(client, changes, "bifrost")
    return time.perf_counter() - began


async def _lateness(client: Client) -> list[float]:
    """How long after its time each execution of a schedule starts that comes every second."""
    handle = await client.create_schedule("every-second", Schedule(
        ScheduleActionStartWorkflow("nobody", id="every-second", task_queue="nobody"), policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1))])))
    deadline = datetime.now(UTC) + timedelta(seconds=5 * TICKS)
    while (await handle.describe()).info.num_actions < TICKS and datetime.now(UTC) < deadline:  # noqa: ASYNC110 - only the server knows
        await asyncio.sleep(0.5)
    await handle.delete()
    return [(one.start_time - datetime.fromisoformat(one.id.removeprefix("every-second-"))).total_seconds()
            async for one in client.list_workflows("WorkflowType = 'nobody'")]
