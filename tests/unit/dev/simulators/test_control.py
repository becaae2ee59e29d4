"""The client of a simulator's own endpoints."""

from __future__ import annotations

import pytest

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.simulators.user_api import UserAPISimulator
from bifrost.errors import IntegrationError, TimeoutError  # noqa: A004 - the name is the guide's


async def test_it_waits_for_requests_in_vain(control, tenant):
    """Waiting for a request that never comes ends after its time, and says what was waited for."""
    with pytest.raises(TimeoutError) as caught:
        await control.wait_for(2, method="POST", path="/v1.0/users", tenant=tenant, timeout_seconds=0.05)
    assert f"received 0 of 2 requests (POST /v1.0/users {tenant})" in str(caught.value)


async def test_a_fault_that_is_none_is_refused_before_it_is_sent(control):
    """A misspelt fault is an error where it is written."""
    with pytest.raises(ValueError, match="stauts"):
        await control.fail("GET", stauts=500)


async def test_a_refusal_is_an_integration_error(users_server):
    """What a simulator refuses is raised with its status and words."""
    async with SimulatorControl(users_server.url) as control:
        with pytest.raises(IntegrationError, match=r"refused POST /_faults: .*would do nothing") as caught:
            await control._ask("POST", "/_faults", json={})
    assert caught.value.status_code == 400


async def test_nobody_there_is_an_integration_error():
    """Where no simulator answers, the error names the URL."""
    server = SimulatorServer(UserAPISimulator())
    await server.start()
    await server.stop()
    async with SimulatorControl(server.url) as control:
        with pytest.raises(IntegrationError, match=f"No simulator answers at {server.url}") as caught:
            await control.journal()
    assert caught.value.status_code is None
