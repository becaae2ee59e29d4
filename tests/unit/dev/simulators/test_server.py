"""Running simulators, inside an event loop and as a process."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import httpx
import pytest

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.server import SimulatorServer, serve
from bifrost.dev.simulators.user_api import UserAPISimulator
from bifrost.errors import ConfigurationError, NotFoundError


async def status_of(url):
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return (await client.get(f"{url}/health", headers={"Authorization": "Bearer x"})).status_code


async def test_it_answers_as_soon_as_it_has_started():
    """`start` returns the URL of a free port that answers already; `stop` may be called twice."""
    server = SimulatorServer(UserAPISimulator())
    url = await server.start()
    assert url == server.url
    assert await status_of(url) == 200
    await server.stop()
    await server.stop()
    with pytest.raises(httpx.ConnectError):
        await status_of(url)


async def test_it_comes_back_where_it_was():
    """A stopped server starts again on its port with what it knew, as a vendor does after an outage."""
    server = SimulatorServer(UserAPISimulator({"x": "acme"}))
    url = await server.start()
    await status_of(url)
    await server.stop()
    assert await server.start() == url
    assert await status_of(url) == 200
    assert len(server.simulator.journal.entries(tenant="acme")) == 2
    await server.stop()


async def test_a_port_that_is_taken_is_refused(users_server):
    """A taken port is an operator's error that names the address and the cure."""
    port = int(users_server.url.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=rf"'user-api' cannot listen on 127.0.0.1:{port}: .* Choose another port"):
        await SimulatorServer(UserAPISimulator(), port=port).start()


async def test_stopping_does_not_wait_for_held_or_slow_calls():
    """Calls that are held, before or after their effect, or slow, are cut off when the server stops."""
    server = SimulatorServer(UserAPISimulator())
    await server.start()
    async with SimulatorControl(server.url) as control, httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client:
        await control.fail(path="/one", hold=True)
        await control.fail(path="/two", hold=True, after=True)
        await control.fail(path="/three", delay_seconds=3600)
        calls = [asyncio.create_task(client.get(path)) for path in ("/one", "/two", "/three")]
        await control.wait_for(3)
        async with asyncio.timeout(5):
            await server.stop()
            ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, httpx.TransportError) for one in ended)
    assert {entry.state for entry in server.simulator.journal.entries()} == {"abandoned"}


async def test_it_is_quiet(caplog):
    """Starting, answering and stopping writes no log line."""
    with caplog.at_level(logging.INFO):
        async with SimulatorServer(UserAPISimulator()) as server:
            await status_of(server.url)
    assert [record for record in caplog.records if not record.name.startswith("httpx")] == []


async def test_it_leaves_signals_alone():
    """A server in a program's own event loop does not take the program's signals."""
    before = signal.getsignal(signal.SIGTERM)
    async with SimulatorServer(UserAPISimulator()):
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal(number):
    """`serve` says its URL once, answers, and ends with status 0 and no other word on SIGTERM and SIGINT."""
    program = ("from functools import partial; from bifrost.dev.simulators.server import serve; "
               "serve('user-api', 0, on_ready=partial(print, flush=True), api_keys={'x': 'acme'})")
    process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", program,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
            assert await status_of(url) == 200
            async with SimulatorControl(url) as control:
                assert [entry.tenant for entry in await control.journal()] == ["acme"]
                process.send_signal(number)
                out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, out, err) == (0, b"", b"")


def test_an_unknown_simulator_is_refused():
    """A name that no simulator has is refused with those that there are."""
    with pytest.raises(NotFoundError, match=r"Simulator 'msgraf' not found. Did you mean 'msgraph'\? There are: halopsa, msgraph"):
        serve("msgraf", 0)
