"""What a rolling restart costs: three workers are stopped and replaced one by one under load, and calls are timed by Temporal's history."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from temporalio.client import Client, WorkflowHandle

from benchmarks.figures import Figure
from benchmarks.workers import answers, until
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution

EXECUTIONS, WORKERS, ROUNDS = 50, 3, 3
QUEUE = "rolling"

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


class Fleet:
    """Worker processes of one workspace."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self) -> asyncio.subprocess.Process:
        """Start one; returns when it is ready."""
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bifrost", "worker", stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **self._environment, "BIFROST_HEALTH_ADDRESS": f"127.0.0.1:{port}"})
        self.running.append(process)
        await until(lambda: answers(port))
        return process

    async def stop(self) -> None:
        """Stop all that run."""
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*(process.wait() for process in self.running))


@contextlib.asynccontextmanager
async def stage(folder: Path, vault: dict[str, str], **server_config: Any) -> AsyncIterator[tuple[Client, Fleet]]:
    """A server of its own, and what a worker of the workspace needs."""
    (folder / "workspace" / "workflows").mkdir(parents=True)
    (folder / "workspace" / "workflows" / "sells.py").write_text(SOURCE)
    (folder / "organizations.yaml").write_text(yaml.safe_dump({"organizations": [{"id": "acme", "name": "Acme"}]}))
    async with TemporalServer(folder, db_path=folder / "temporal.db", port=free_port(), extra_dynamic_config=server_config) as server:
        fleet = Fleet({
            **vault, "TEMPORAL_ADDRESS": server.address, "BIFROST_WORKSPACE": str(folder / "workspace"), "BIFROST_TASK_QUEUE": QUEUE,
            "BIFROST_ORGANIZATIONS": str(folder / "organizations.yaml"), "BIFROST_REVISIONS": str(folder / "revisions"),
            "BIFROST_PAYLOADS": str(folder / "payloads"), "BIFROST_LOG_LEVEL": "error"})
        try:
            yield await executions.connect(server.address), fleet
        finally:
            await fleet.stop()


async def _slowest(client: Client, handles: list[WorkflowHandle[Any, Any]]) -> list[float]:
    """How long every gap between two events of each history was at most: a task that was lost shows as one of seconds."""
    worst = []
    for handle in handles:
        times = [event.event_time.ToDatetime() async for event in handle.fetch_history_events()]
        worst.append(max((later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)))
        assert (await read_execution(client, handle.id)).status == "Success"
    return worst


async def _round(client: Client, fleet: Fleet, *, restart: bool) -> list[float]:
    handles = [await executions.start(client, "sells", task_queue=QUEUE, org_id="acme", params={"count": 40}) for _ in range(EXECUTIONS)]
    if restart:
        for old in list(fleet.running):
            old.terminate()
            assert await old.wait() == 0
            fleet.running.remove(old)
            await fleet.start()
    await asyncio.gather(*map(executions.result, handles))
    return await _slowest(client, handles)


async def measure() -> list[Figure]:
    """Seconds, of the worst step of an execution: the 99th percentile of fifty."""
    from bifrost.dev.vault_server import VaultServer  # noqa: PLC0415 - only this benchmark needs one

    calm: list[float] = []
    rolling: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with (VaultServer(folder / "vault", port=free_port()) as vault,
                    stage(folder, {"VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.token}) as (client, fleet)):
            await asyncio.gather(*(fleet.start() for _ in range(WORKERS)))
            for _ in range(ROUNDS):
                calm.append(statistics.quantiles(await _round(client, fleet, restart=False), n=100)[98])
                rolling.append(statistics.quantiles(await _round(client, fleet, restart=True), n=100)[98])
    return [Figure("worst step of an execution, p99 of 50, undisturbed", "s", calm),
            Figure("worst step of an execution, p99 of 50, three workers restarted one by one", "s", rolling),
            Figure("rolling restart above undisturbed", "s", [b - a for a, b in zip(calm, rolling, strict=True)], 2)]
