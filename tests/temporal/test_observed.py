"""A worker process from outside: its metrics, its health, its log lines, and the files of deploy/observability."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
)
from temporalio.common import RawValue

from bifrost import metrics
from bifrost.dev.ports import free_port
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import NotFoundError, ValidationError
from bifrost.temporal import client as executions
from tests.temporal.workers import Workers
from tests.waiting import until

OBSERVABILITY = Path(__file__).parents[2] / "deploy" / "observability"
PARAMS = {"name": "Ada", "department": "IT", "license_sku": "FLOW_FREE"}


class Watched:
    """A worker that answers metrics and health."""

    def __init__(self, client: Client, workers: Workers, queue: str, metrics_port: int, health_port: int) -> None:
        self.client, self.workers, self.queue = client, workers, queue
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.health_url = f"http://127.0.0.1:{health_port}"

    async def get(self, url: str) -> httpx.Response | None:
        """The answer; None where nothing listens."""
        async with httpx.AsyncClient() as http:
            try:
                return await http.get(url)
            except httpx.TransportError:
                return None

    async def ready(self) -> bool:
        """Whether it says so."""
        answer = await self.get(f"{self.health_url}/readyz")
        return answer is not None and answer.status_code == 200

    async def exposed(self) -> dict[str, float]:
        """Every sample of `/metrics`, by name and labels."""
        answer = await self.get(self.metrics_url)
        assert answer is not None
        return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{[^\n]*\})?) (\S+)$", answer.text, re.MULTILINE)}


@pytest.fixture
async def watched(tmp_path: Path, client: Client, temporal_server: TemporalServer, sample_environment: dict[str, str]) -> AsyncIterator[Watched]:
    """A worker of the sample workspace, which is starting."""
    queue, ports = f"watched-{tmp_path.name}", (free_port(), free_port())
    workers = Workers({
        **sample_environment, "TEMPORAL_ADDRESS": temporal_server.address, "BIFROST_TASK_QUEUE": queue, "BIFROST_LOG_LEVEL": "debug",
        "BIFROST_LOG_FORMAT": "json", "BIFROST_METRICS_ADDRESS": f"localhost:{ports[0]}", "BIFROST_HEALTH_ADDRESS": f"127.0.0.1:{ports[1]}"},
        tmp_path)
    yield Watched(client, workers, queue, *ports)
    await workers.stop()


def _named() -> set[str]:
    """Every metric that the dashboard and the alert rules name."""
    dashboard = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    rules = yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return {name for expression in asked for name in re.findall(r"\b(?:bifrost|temporal)_[a-z_]+", expression)}


async def test_a_worker_is_watched(watched: Watched, graph: SimulatorControl) -> None:
    """Health follows the worker's life; `/metrics` has every metric of the table, the dashboard and the alerts, with bounded labels; every
    log line of a run and its calls says whose it is.
    """
    worker = await watched.workers.spawn()
    await until(watched.ready)
    alive = await watched.get(f"{watched.health_url}/livez")
    assert alive is not None
    assert (alive.status_code, alive.text) == (200, "alive\n")

    await graph.fail("POST", "/v1.0/users", status=429, times=1)
    execution = await executions.start(watched.client, "create_user_sync", task_queue=watched.queue, org_id="acme",
                                       params={**PARAMS, "email": "watched@acme.example"})
    assert (await executions.result(execution))["success"] is True
    by_schedule = await watched.client.create_schedule(watched.queue, Schedule(
        action=ScheduleActionStartWorkflow("create_user_sync", {"org_id": "globex", "params": {**PARAMS, "email": "by-schedule@globex.example"}},
                                           id=f"{watched.queue}-scheduled", task_queue=watched.queue),
        spec=ScheduleSpec()), trigger_immediately=True)

    for workflow, error in (("create_user_sync", ValidationError), ("of_nobody", NotFoundError)):
        with pytest.raises(error):
            await executions.result(await executions.start(watched.client, workflow, task_queue=watched.queue, org_id="acme", params={}))
    unreadable = await watched.client.start_workflow("create_user_sync", RawValue(Payload(metadata={"encoding": b"none"})),
                                                     id=f"{watched.queue}-unreadable", task_queue=watched.queue)

    async def counted() -> bool:
        return (await watched.exposed()).get('bifrost_executions_total{outcome="Success",workflow="create_user_sync"}') == 2 and any(
            sample.startswith("temporal_workflow_task_execution_failed_total") for sample in await watched.exposed())

    await until(counted)
    await by_schedule.delete()
    await unreadable.terminate()
    samples = await watched.exposed()
    found = {re.sub(r"\{.*", "", sample) for sample in samples}
    families = found | {re.sub("_(bucket|sum|count)$", "", name) for name in found}
    assert _named() - families == set()
    assert {metric.exposed for metric in metrics.TABLE} - families == set()
    assert samples['bifrost_calls_total{integration="msgraph",organization_class="default",outcome="throttled"}'] == 1
    assert samples['bifrost_call_retries_total{integration="msgraph"}'] == samples['bifrost_call_throttles_total{integration="msgraph"}'] == 1
    assert [samples[f'bifrost_executions_total{{outcome="Failed",workflow="{name}"}}']
            for name in ("create_user_sync", "other", "weekly_license_audit")] == [1, 1, 0]
    assert samples["bifrost_schedule_lag_seconds_count"] == samples["bifrost_revisions"] == 1
    assert not [sample for sample in samples if "acme" in sample or "globex" in sample]

    worker.terminate()
    await worker.wait()
    assert worker.returncode == 0
    lines = [json.loads(line) for line in watched.workers.output().splitlines()]
    failed = next(line for line in lines if line["event"] == "call failed")
    assert failed.items() >= {"execution_id": execution.id, "org_id": "acme", "workflow": "create_user_sync",
                              "activity": "msgraph.create_user", "attempt": 1}.items()
    assert failed["call_id"]
    of_run = [line for line in lines if line["logger"] == "bifrost.workflow"]
    assert of_run
    assert all({"execution_id", "org_id", "workflow"} <= line.keys() for line in of_run)
