"""Operations that are short: calls made within the execution's step."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.errors import IntegrationError
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from tests.temporal.conftest import House
from tests.temporal.till import SHOP, keys, sold
from tests.waiting import until

SELLS = """
    import asyncio
    from bifrost import workflow

    @workflow(name="sells")
    async def sells(context, count: int = 1):
        shop = context.get_integration("shop")
        first = [await shop.sell(f"hat{number}") for number in range(count)]
        return first + await asyncio.gather(*(shop.sell(f"coat{number}") for number in range(count)))

    @workflow(name="passes")
    async def passes(context):
        shop = context.get_integration("shop")
        before = await shop.sell("hat")
        context.save_checkpoint("sold", {"what": before})
        return [before, await shop.sell("coat"), await shop.sell("tie")]

    @workflow(name="persists", retry_policy={"max_attempts": 3, "backoff_seconds": 1.2, "backoff": 1})
    async def persists(context):
        return await context.get_integration("shop").sell("hat")
"""


@pytest.fixture
def shop(shop: House, till: SimulatorControl) -> House:
    """A house whose till's one operation is short."""
    source = SHOP.format(url=till.url).replace("import BaseIntegration", "import BaseIntegration, operation")
    shop.write("integrations/shop.py", source.replace("async def sell", "@operation(short=True)\n        async def sell"))
    shop.write("workflows/sells.py", SELLS)
    return shop


async def _events(shop: House, execution_id: str) -> list[HistoryEvent]:
    return [event async for event in shop.client.get_workflow_handle(execution_id).fetch_history_events()]


async def _sold_one(till: SimulatorControl) -> bool:
    return await sold(till) == ["hat"]


async def test_short_calls_are_made_within_the_step(shop: House, till: SimulatorControl) -> None:
    """Ten of them, one after the other and at once, are one workflow task; what reads executions shows each."""
    async with shop.serving():
        handle = await shop.start("sells", {"count": 5})
        assert await executions.result(handle) == [*(f"hat{n}" for n in range(5)), *(f"coat{n}" for n in range(5))]
    events = await _events(shop, handle.id)
    assert sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for event in events) == 1
    shown = (await read_execution(shop.client, handle.id)).calls
    assert [(call.name, call.status, call.attempts) for call in shown] == [("shop.sell", "success", 1)] * 10
    assert len(await sold(till)) == len({key for item in await sold(till) for key in await keys(till, item)}) == 10


async def test_a_checkpoint_is_in_history_before_the_short_call_that_follows(shop: House, till: SimulatorControl) -> None:
    """That call is an activity of its own, scheduled with the checkpoint; the next one is made within the step again."""
    async with shop.serving():
        handle = await shop.start("passes")
        assert await executions.result(handle) == ["hat", "coat", "tie"]
    scheduled = [event.activity_task_scheduled_event_attributes for event in await _events(shop, handle.id)
                 if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    assert [one.activity_type.name for one in scheduled] == ["checkpoint", "shop.sell"]
    assert len({one.workflow_task_completed_event_id for one in scheduled}) == 1
    assert [call.name for call in (await read_execution(shop.client, handle.id)).calls] == ["shop.sell"] * 3
    assert await sold(till) == ["hat", "coat", "tie"]


async def test_attempts_of_a_short_call_have_one_key(shop: House, till: SimulatorControl) -> None:
    """Also where the wait between them is a timer, after which the SDK makes another local activity; the last failure is the call's."""
    await till.fail("POST", times=2, status=500)
    async with shop.serving():
        assert await shop.run("persists") == "hat"
        found = await keys(till, "hat")
        assert (len(found), len(set(found))) == (3, 1)
        await till.fail("POST", times=None, status=500)
        handle = await shop.start("persists")
        with pytest.raises(IntegrationError) as failure:
            await executions.result(handle)
    assert failure.value.status_code == 500
    [call] = (await read_execution(shop.client, handle.id)).calls
    assert (call.status, call.attempts) == ("failed", 3)
    assert call.error is not None
    assert "500" in call.error


async def test_an_execution_keeps_to_what_was_short_when_it_began(shop: House, till: SimulatorControl) -> None:
    """An operation that is no longer short is still made within the step by an execution that began before: its replay repeats that."""
    source = SELLS.replace("return [before, await", 'await context.wait_for_event("go")\n        return [before, await')
    shop.write("workflows/sells.py", source)
    async with shop.serving():
        handle = await shop.start("passes")
        await until(lambda: _sold_one(till))
    regular = (shop.root / "integrations/shop.py").read_text().replace("@operation(short=True)\n", "\n")
    (shop.root / "integrations/shop.py").write_text(regular)
    async with shop.serving():
        await handle.signal("go")
        assert await executions.result(handle) == ["hat", "coat", "tie"]
