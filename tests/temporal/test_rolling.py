"""Workers that are stopped and replaced one by one, as a deployment does it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.temporal import client as executions
from bifrost.temporal import slots
from tests.temporal.conftest import House
from tests.temporal.workers import Workers
from tests.waiting import until

COUNT = 50


@pytest.fixture
async def workers(tmp_path: Path, temporal_server: TemporalServer, sample_environment: dict[str, str]) -> AsyncIterator[Workers]:
    """Workers of the sample workspace, on the session's server."""
    spawned = Workers({
        **sample_environment, "TEMPORAL_ADDRESS": temporal_server.address, "BIFROST_TASK_QUEUE": f"rolling-{tmp_path.name}",
        "BIFROST_LOG_LEVEL": "info", "BIFROST_LOG_FORMAT": "json"}, tmp_path)
    yield spawned
    await spawned.stop()


async def test_a_rolling_restart_loses_and_repeats_nothing(
        workers: Workers, client: Client, graph: SimulatorControl, user_api: SimulatorControl, tmp_path: Path) -> None:
    """Three workers are replaced one by one while fifty executions begin and end: none fails, and no call is made twice."""
    queue = f"rolling-{tmp_path.name}"

    async def polls(process: asyncio.subprocess.Process) -> bool:
        described = await client.workflow_service.describe_task_queue(DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW))
        return any(poller.identity == f"{process.pid}@{socket.gethostname()}" for poller in described.pollers)

    serving = [await workers.spawn() for _ in range(3)]
    for worker in serving:
        await until(lambda worker=worker: polls(worker), seconds=60)
    handles = []

    async def load() -> None:
        for number in range(COUNT):
            handles.append(await executions.start(client, "create_user_sync", task_queue=queue, org_id="acme", params={
                "email": f"rolling-{number}@acme.example", "name": "Ada", "department": "IT", "license_sku": "FLOW_FREE"}))
            if number % 15 == 14:  # beneath each stop there are executions that have just begun, and some half-way
                loaded.set()
                await stopped.wait()
                stopped.clear()

    loaded, stopped = asyncio.Event(), asyncio.Event()
    loading = asyncio.create_task(load())
    for worker in serving:
        await loaded.wait()
        loaded.clear()
        worker.terminate()
        stopped.set()
        assert await asyncio.wait_for(worker.wait(), 60) == 0
        replacement = await workers.spawn()
        if worker is not serving[-1]:
            await until(lambda replacement=replacement: polls(replacement), seconds=60)
    await loading
    ends = await asyncio.wait_for(asyncio.gather(*map(executions.result, handles)), 120)
    assert [end["success"] for end in ends] == [True] * COUNT
    for control, path in ((graph, "/v1.0/users"), (user_api, "/users")):
        requests = await control.journal("POST", path, exact=True)
        assert len({one.headers["idempotency-key"] for one in requests}) == len(requests) == COUNT


@pytest.mark.parametrize("cached", [1000])
async def test_a_worker_that_stops_does_what_its_polls_bring(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Temporal hands to the polls that are under way when a worker is to stop is done, calls and executions."""
    monkeypatch.setattr(slots, "QUIET", 4.0)  # so that a slow machine, too, asks within it
    monkeypatch.setattr(slots, "LONGEST", 8.0)
    house.write("integrations/bell.py", """
        from bifrost import BaseIntegration, register_integration, workflow

        class Bell(BaseIntegration):
            integration_name = "bell"
            async def authenticate(self): ...
            async def ring(self): return "rung"

        register_integration("bell", Bell)

        @workflow(name="listens")
        async def listens(context): return "heard"
    """)
    ring = {"activity": "bell.ring", "task_queue": house.task_queue, "start_to_close_timeout": timedelta(seconds=20)}
    polled, stop = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with house.serving(drain=True):
            assert await house.client.execute_activity(id=f"{house.task_queue}-first", **ring) == "rung"
            polled.set()
            await stop.wait()

    serving = asyncio.create_task(serve())
    await asyncio.wait_for(polled.wait(), 30)
    stop.set()
    assert await asyncio.wait_for(house.client.execute_activity(id=f"{house.task_queue}-last", **ring), 20) == "rung"
    assert await asyncio.wait_for(house.run("listens"), 20) == "heard"
    assert not serving.done()
    await asyncio.wait_for(serving, 30)
