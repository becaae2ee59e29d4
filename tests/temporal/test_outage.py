"""Worker and Temporal server lost in the middle of many executions, and in the middle of months."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from bifrost.dev.ports import free_port
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.messages import ApprovalMessage, CallerMessage
from bifrost.models import ExecutionStatus
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from tests.temporal.conftest import House
from tests.temporal.workers import Workers
from tests.waiting import until

COUNT = 50


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TemporalServer]:
    """A Temporal server of the test's own, which may be killed, and whose executions may skip time."""
    started = await TemporalServer(tmp_path, db_path=tmp_path / "temporal.db", port=free_port(),
                                   extra_dynamic_config={"frontend.WorkflowTimeSkippingEnabled": True}).start()
    yield started
    await started.stop()


@pytest.fixture
async def workers(tmp_path: Path, server: TemporalServer, sample_environment: dict[str, str]) -> AsyncIterator[Workers]:
    """Workers of the sample workspace, on that server."""
    spawned = Workers({**sample_environment, "TEMPORAL_ADDRESS": server.address, "BIFROST_LOG_LEVEL": "error"}, tmp_path)
    yield spawned
    await spawned.stop()


async def test_fifty_executions_survive_worker_and_server(
        server: TemporalServer, workers: Workers, graph: SimulatorControl, user_api: SimulatorControl) -> None:
    """Kill -9 of the worker, then of the server: none is lost, and no user is made twice.

    Only a call that was in flight is sent again, under the key that it was sent with.
    """
    client = await executions.connect(server.address)
    worker = await workers.spawn()
    handles = [await executions.start(client, "create_user_sync", task_queue="bifrost", org_id="acme", execution_id=f"outage-{number}", params={
        "email": f"outage-{number}@acme.example", "name": "Ada", "department": "IT", "license_sku": "FLOW_FREE"})
        for number in range(COUNT)]

    async def created(count: int) -> bool:
        return len(await graph.journal("POST", "/v1.0/users", exact=True)) >= count

    await until(lambda: created(5))
    await workers.kill(worker)
    await workers.spawn()
    await until(lambda: created(COUNT // 2), seconds=60)
    await server.kill()
    await server.start()
    client = await executions.connect(server.address)
    ends = await asyncio.wait_for(asyncio.gather(*(
        executions.result(client.get_workflow_handle(handle.id)) for handle in handles)), 180)
    assert [end["success"] for end in ends] == [True] * COUNT
    for control, path in ((graph, "/v1.0/users"), (user_api, "/users")):
        requests = [one for one in await control.journal("POST", path, exact=True) if one.status is not None]
        made = [one for one in requests if one.status == 201 and not one.replayed]
        assert len(made) == COUNT
        assert len({one.headers["idempotency-key"] for one in requests}) == COUNT
        assert max(Counter(one.headers["idempotency-key"] for one in requests).values()) <= 3


MONTHS = """
    import asyncio
    from datetime import datetime
    from bifrost import BaseIntegration, workflow

    class Tool(BaseIntegration):
        integration_name = "tool"
        async def authenticate(self): ...
        async def say(self, word):
            return word

    @workflow(name="months", requires_approval=True)
    async def months(context):
        tool = context.get_integration("tool")
        began = datetime.utcnow()
        said = [await tool.say("before")]
        context.save_checkpoint("sleeping")
        await asyncio.sleep(30 * 86_400)
        said.append(await tool.say("after"))
        return {"said": said, "days": (datetime.utcnow() - began).days}
"""


@pytest.fixture
def cached() -> int:
    """The cache is lost with every worker."""
    return 1000


async def test_months_of_waiting(server: TemporalServer, house: House) -> None:
    """Sixty days until somebody approves and thirty of sleep, with worker and server killed on the way, end Success within seconds."""
    house.write("workflows/months.py", MONTHS)
    house.client = await executions.connect(server.address)
    skipper = TimeSkipper(house.client, config=TimeSkippingConfig())
    async with house.serving():
        handle = await executions.start(skipper.client, "months", task_queue=house.task_queue, org_id="acme", params={}, execution_id="months")

        async def asked() -> bool:
            return bool((await read_execution(house.client, handle.id)).checkpoints)

        await until(asked)
        await skipper.fast_forward(handle, timedelta(days=60))
    await server.kill()
    await server.start()
    house.client = await executions.connect(server.address)
    async with house.serving():
        assert await executions.approve(house.client, handle.id, ApprovalMessage(by=CallerMessage(user_id="bo"))) == "approved"
        await TimeSkipper(house.client).fast_forward(house.client.get_workflow_handle(handle.id))
        result = await asyncio.wait_for(executions.result(house.client.get_workflow_handle(handle.id)), 60)
    assert result == {"said": ["before", "after"], "days": 30}
    execution = await read_execution(house.client, handle.id)
    assert execution.status is ExecutionStatus.SUCCESS
    assert [point.name for point in execution.checkpoints] == ["approval requested", "approved", "sleeping"]
    assert (execution.checkpoints[1].at - execution.checkpoints[0].at) >= timedelta(days=60)
