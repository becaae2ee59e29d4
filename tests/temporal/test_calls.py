"""What becomes of an integration call: which failures are repeated, when, and what others have to do with it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from bifrost.dev.ports import free_port
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.errors import IntegrationError
from bifrost.temporal import client as executions
from tests.temporal.conftest import House
from tests.temporal.till import SHOP, TillSimulator, keys, sold
from tests.waiting import until

SELLS = """
    import asyncio
    from bifrost import workflow

    @workflow(name="sells", retry_policy={"max_attempts": 3, "backoff_seconds": 0.2, "backoff": 2})
    async def sells(context, count: int = 1):
        shop = context.get_integration("shop")
        return await asyncio.gather(*(shop.sell(f"hat{number}") for number in range(count)))

    @workflow(name="persists", retry_policy={"max_attempts": 100, "backoff_seconds": 0.1, "backoff": 1})
    async def persists(context):
        return await context.get_integration("shop").sell("hat")
"""


@pytest.fixture
def cached() -> int:
    """What Temporal repeats it repeats whether or not runs are cached."""
    return 1000


@pytest.fixture
def shop(shop: House) -> House:
    """A house that sells by the till, one thing or several."""
    shop.write("workflows/sells.py", SELLS)
    return shop


async def test_attempts_are_spaced_as_declared(shop: House, till: SimulatorControl) -> None:
    """Two answers of 500, then success: three attempts with one key, the second wait twice as long as the first."""
    await till.fail("POST", times=2, status=500)
    async with shop.serving():
        assert await shop.run("sells") == ["hat0"]
    journal = await till.journal("POST")
    assert [entry.status for entry in journal] == [500, 500, 200]
    first, second = [(after.at - before.at).total_seconds() for before, after in pairwise(journal)]
    assert first >= 0.2
    assert second >= 0.4
    assert len(set(await keys(till, "hat0"))) == 1


@pytest.mark.parametrize(("status", "requests"), [(400, 1), (401, 2), (403, 1), (404, 1), (409, 1), (422, 1)])
async def test_a_refusal_is_not_repeated(shop: House, till: SimulatorControl, status: int, requests: int) -> None:
    """The same request would be refused again; only after a 401 it is made once more, with a new login and the same key."""
    await till.fail("POST", times=None, status=status)
    async with shop.serving():
        with pytest.raises(IntegrationError) as failure:
            await shop.run("sells")
    assert failure.value.status_code == status
    found = await keys(till, "hat0")
    assert (len(found), len(set(found))) == (requests, 1)


async def test_a_system_that_is_not_there_yet(shop: House) -> None:
    """While nothing listens at its address a call is tried again and again; when it does, the execution goes on."""
    port = free_port()
    shop.write("integrations/shop.py", SHOP.format(url=f"http://127.0.0.1:{port}"))
    async with shop.serving():
        handle = await shop.start("persists")

        async def tried() -> bool:
            return any(pending.attempt > 3 for pending in (await handle.describe()).raw_description.pending_activities)

        await until(tried)
        async with SimulatorServer(TillSimulator(), port=port) as server, SimulatorControl(server.url) as till:
            assert await asyncio.wait_for(handle.result(), 20) == "hat"
            assert await sold(till) == ["hat"]


async def test_a_noisy_organization_holds_up_no_other(shop: House, till: SimulatorControl) -> None:
    """While a hundred calls of one organization hang, another's single call comes through."""
    await till.fail("POST", times=100, hold=True)
    async with shop.serving():
        noisy = await shop.start("sells", {"count": 100})
        await till.wait_for(100, state="held")
        assert await asyncio.wait_for(shop.run("sells", org_id="globex"), 20) == ["hat0"]
        await till.release()
        assert len(await executions.result(noisy)) == 100
