"""`kill -9` of the worker at every boundary of the onboarding: nothing is lost, and nothing recorded is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.temporal_server import TemporalServer
from bifrost.models import ExecutionStatus
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from tests.temporal.conftest import API_KEYS, GRAPH_SECRETS
from tests.temporal.workers import Workers


@pytest.fixture
async def workers(tmp_path: Path, temporal_server: TemporalServer, sample_environment: dict[str, str]) -> AsyncIterator[Workers]:
    """Workers of the sample workspace, on the session's server."""
    spawned = Workers({
        **sample_environment, "TEMPORAL_ADDRESS": temporal_server.address, "BIFROST_TASK_QUEUE": f"kill-{tmp_path.name}",
        "BIFROST_LOG_LEVEL": "debug", "BIFROST_LOG_FORMAT": "json"}, tmp_path)
    yield spawned
    await spawned.stop()


BOUNDARIES = {
    "before the user is created": ("graph", "POST", "/v1.0/users", False),
    "after the user is created, before it is recorded": ("graph", "POST", "/v1.0/users", True),
    "before the licence is assigned": ("graph", "POST", "/v1.0/users/*/assignLicense", False),
    "after the licence is assigned, before it is recorded": ("graph", "POST", "/v1.0/users/*/assignLicense", True),
    "between the checkpoint and the internal call": ("user_api", "POST", "/users", False),
    "after the internal call, before it is recorded": ("user_api", "POST", "/users", True),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_killed_worker_loses_nothing_and_repeats_nothing(
        workers: Workers, client: Client, graph: SimulatorControl, user_api: SimulatorControl, tmp_path: Path,
        temporal_server: TemporalServer, graph_server: SimulatorServer, boundary: str) -> None:
    """Whenever the worker is killed, the run ends Success with one user in each system and each checkpoint once.

    A call that was recorded as done is never made again, and the one that was in flight is repeated with its key. No
    secret reaches Temporal's database or the workers' logs.
    """
    system, method, path, after = BOUNDARIES[boundary]
    control = graph if system == "graph" else user_api
    await control.fail(method, path, exact="*" not in path, hold=True, after=after, times=1)
    first = await workers.spawn()
    email = f"killed-{list(BOUNDARIES).index(boundary)}@acme.example"
    handle = await executions.start(client, "create_user_sync", task_queue=f"kill-{tmp_path.name}", org_id="acme", params={
        "email": email, "name": "Ada", "department": "IT", "license_sku": "ENTERPRISEPACK"})
    await control.wait_for(1, state="held", timeout_seconds=30)
    before = await read_execution(client, handle.id)
    done_before = {call.name for call in before.calls if call.status == "success"}
    created_before = await graph.journal("POST", "/v1.0/users", exact=True)
    await workers.kill(first)
    await workers.spawn()
    result = await asyncio.wait_for(executions.result(handle), 60)

    assert result["success"] is True
    execution = await read_execution(client, handle.id)
    assert execution.status is ExecutionStatus.SUCCESS
    assert [checkpoint.name for checkpoint in execution.checkpoints] == ["m365_user_created", "internal_user_created"]
    created = await graph.journal("POST", "/v1.0/users", exact=True)
    if "msgraph.create_user" in done_before:
        assert len(created) == len(created_before)
    _assert_one_effect(created)
    _assert_one_effect(await user_api.journal("POST", "/users", exact=True))
    assert not await graph.journal(tenant="globex")
    written = workers.output() + b"".join(
        file.read_bytes() for file in temporal_server.db_path.parent.glob(f"{temporal_server.db_path.name}*"))
    assert email.encode() in written  # so the search can find
    tokens = graph_server.simulator._tokens  # type: ignore[attr-defined]
    assert tokens
    for secret in (*GRAPH_SECRETS.values(), *API_KEYS.values(), *tokens):
        assert secret.encode() not in written


def _assert_one_effect(requests: list[Any]) -> None:
    """However often it was sent, it was one request (one key), and it took effect once."""
    assert len({request.headers["idempotency-key"] for request in requests}) == 1
    assert len([request for request in requests if request.status == 201 and not request.replayed]) <= 1
