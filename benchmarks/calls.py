"""What an integration call costs, against an activity with httpx that is written by hand: same server, same HTTP, same worker process."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from benchmarks.comparing import alternating
from benchmarks.figures import Figure
from benchmarks.workspaces import workspace
from bifrost.dev.ports import free_port
from bifrost.dev.simulators.base import Refusal, Simulator
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.temporal_server import TemporalServer
from bifrost.logging import configure
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.worker import serving

CALLS, ROUNDS = 200, 24
"""So many calls that what an execution takes by itself hardly counts: that is measured by `latency`, with 0 calls."""

SOURCE = """
from bifrost import BaseIntegration, OrganizationContext, register_integration, workflow

class Shop(BaseIntegration):
    integration_name = "shop"

    async def authenticate(self):
        self.http.base_url = self.get_config("url")

    async def sell(self, item: str) -> dict:
        return (await self.http.post("/sell", json={"item": item})).json()

register_integration("shop", Shop)

@workflow(name="sells", description="Sells.")
async def sells(context: OrganizationContext, count: int):
    shop = context.get_integration("shop")
    for number in range(count):
        await shop.sell(f"item {number}")
"""


class _Till(Simulator):
    name: ClassVar[str] = "till"

    def routes(self) -> Sequence[Route]:
        return [Route("/sell", self._sell, methods=["POST"])]

    def tenant_of(self, request: Request) -> str | None:
        del request
        return None

    def error(self, request: Request, refusal: Refusal) -> Response:
        del request
        return JSONResponse({}, status_code=refusal.status)

    async def _sell(self, request: Request) -> Response:
        return JSONResponse({"sold": (await request.json())["item"]})


class _ByHand:
    """What a careful author writes: one client, a key for every call, heartbeats left out."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @activity.defn(name="sell")
    async def sell(self, item: str) -> dict[str, Any]:
        info = activity.info()
        response = await self._http.post("/sell", json={"item": item}, headers={
            "Idempotency-Key": f"{info.workflow_run_id}/{info.activity_id}"})
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


@workflow.defn(name="sells", sandboxed=False)
class _Sells:
    @workflow.run
    async def run(self, count: int) -> None:
        for number in range(count):
            await workflow.execute_activity("sell", f"item {number}", start_to_close_timeout=timedelta(seconds=60),
                                            heartbeat_timeout=timedelta(seconds=3), retry_policy=RetryPolicy(maximum_attempts=5))


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Client]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        served = workspace(folder, "sells", SOURCE)
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(TemporalServer(folder, db_path=folder / "temporal.db", port=free_port()))
            till = await stack.enter_async_context(SimulatorServer(_Till()))
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=till.url))
            client = await executions.connect(server.address)
            await stack.enter_async_context(Worker(
                client, task_queue="sdk", workflows=[_Sells], activities=[_ByHand(http).sell], workflow_runner=UnsandboxedWorkflowRunner(),
                workflow_task_poller_behavior=PollerBehaviorAutoscaling(), activity_task_poller_behavior=PollerBehaviorAutoscaling()))
            organizations = MemoryOrganizations([Organization("acme", "Acme", config={"url": till.url})])
            await stack.enter_async_context(serving(client, served, organizations, MemorySecrets({}), task_queue="bifrost"))
            yield client


async def _by_hand(client: Client) -> float:
    began = time.perf_counter()
    await client.execute_workflow("sells", CALLS, id=f"by-hand-{began}", task_queue="sdk")
    return (time.perf_counter() - began) / CALLS * 1000


async def _ours(client: Client) -> float:
    began = time.perf_counter()
    await executions.result(await executions.start(client, "sells", task_queue="bifrost", org_id="acme", params={"count": CALLS}))
    return (time.perf_counter() - began) / CALLS * 1000


async def measure() -> list[Figure]:
    """Milliseconds for a call, in alternation, and the ratio within each round."""
    configure(Settings(log_level="warning"))
    async with _stage() as client:
        by_hand, ours = await alternating(lambda: _by_hand(client), lambda: _ours(client), ROUNDS)
    return [Figure("a call by hand: activity with httpx, unsandboxed", "ms", by_hand), Figure("an integration call", "ms", ours),
            Figure("an integration call over one by hand", "x", [a / b for a, b in zip(ours, by_hand, strict=True)], 1.10)]
