"""Limits of an organization and of an integration, a system that is down, and calls that may not be repeated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow as temporal_workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from bifrost import messages
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import IntegrationError
from bifrost.messages import TurnMessage, TurnstileState
from bifrost.models import ExecutionStatus, OrganizationLimits
from bifrost.temporal import client as executions
from bifrost.temporal.history import list_executions, read_execution
from bifrost.temporal.limits import rates, turnstile
from tests.temporal.conftest import House
from tests.temporal.till import SHOP, keys, sold
from tests.waiting import until

ONE_SALE = """
    from bifrost import workflow

    @workflow(name="one_sale")
    async def one_sale(context, item: str = "hat"):
        return await context.get_integration("shop").sell(item)

    @workflow(name="outer")
    async def outer(context):
        return await context.execute_workflow("one_sale", {"item": "inner"})
"""


def _shop(house: House, till: SimulatorControl, *attributes: str, operation: str = "") -> None:
    source = SHOP.format(url=till.url).replace("import BaseIntegration", "import BaseIntegration, CircuitRules, RetryRules, operation")
    source = source.replace('integration_name = "shop"', "\n        ".join(['integration_name = "shop"', *attributes]))
    if operation:
        source = source.replace("        async def sell", f"        @operation({operation})\n        async def sell")
    house.write("integrations/shop.py", source)
    house.write("workflows/one_sale.py", ONE_SALE)


def _limit(house: House, **limits: int) -> None:
    """Give acme these limits."""
    organizations = house.organizations._organizations
    organizations[:] = [replace(one, limits=OrganizationLimits(**limits)) if one.id == "acme" else one for one in organizations]


async def _signals(house: House, place: str) -> list[str]:
    """The names of the signals that a place's turnstile got; none while there is no turnstile."""
    try:
        history = await house.client.get_workflow_handle(messages.turnstile_id(house.task_queue, place)).fetch_history()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return []
    return [event.workflow_execution_signaled_event_attributes.signal_name for event in history.events
            if event.HasField("workflow_execution_signaled_event_attributes")]


async def _until_entered(house: House, place: str, count: int) -> None:
    async def entered() -> bool:
        return (await _signals(house, place)).count(messages.ENTER) == count

    await until(entered)


@contextlib.asynccontextmanager
async def _one_inside_one_started(house: House, till: SimulatorControl) -> AsyncIterator[tuple[WorkflowHandle[Any, Any], WorkflowHandle[Any, Any]]]:
    """Two executions of an organization that may have one at once: the till holds the first one, and the second has been started."""
    _shop(house, till)
    _limit(house, executions=1)
    await till.fail("POST", times=1, hold=True)
    async with house.serving():
        first = await house.start("one_sale", {"item": "first"})
        await till.wait_for(state="held")
        second = await house.start("one_sale", {"item": "second"})
        yield first, second


@pytest.fixture
def cached() -> int:
    """Turns, waits and calls made once more are replayed at every step."""
    return 0


@pytest.fixture(autouse=True)
async def _own_turnstiles(house: House) -> AsyncIterator[None]:
    """Turnstiles of one test let nobody of another one wait: they live as long as somebody may come."""
    yield
    for place in ("acme", "acme/shop", "globex/shop"):
        with contextlib.suppress(Exception):
            await house.client.get_workflow_handle(messages.turnstile_id(house.task_queue, place)).terminate("the test is over")


# --- turns --------------------------------------------------------------------------------------------------------------


async def test_so_many_calls_of_an_organization_at_once_over_all_workers(house: House, till: SimulatorControl,
                                                                         temporal_server: TemporalServer) -> None:
    """Two workers, five calls, room for two: two are under way, the others follow; another organization has its own room."""
    _shop(house, till, "max_concurrent = 2")
    await till.fail("POST", times=6, hold=True)
    beside = replace(house, client=await executions.connect(temporal_server.address))  # one client has one worker of a queue
    async with house.serving(), beside.serving():
        handles = [await house.start("one_sale", {"item": f"hat{number}"}) for number in range(5)]
        await _until_entered(house, "acme/shop", 5)
        other = await house.start("one_sale", {"item": "coat"}, org_id="globex")
        held = await till.wait_for(3, state="held")
        assert len(held) == 3
        assert "/sell/coat" in [entry.path for entry in held]
        await till.release()
        await till.wait_for(2, state="held")
        await till.release()
        await till.wait_for(1, state="held")
        assert len(await sold(till)) == 6
        await till.release()
        assert sorted([await handle.result() for handle in handles]) == [f"hat{number}" for number in range(5)]
        assert await other.result() == "coat"


async def test_so_many_executions_of_an_organization_at_once(house: House, till: SimulatorControl) -> None:
    """One runs, the others wait and say so; a child waits for no turn; who is cancelled while waiting takes none."""
    _shop(house, till)
    _limit(house, executions=1)
    await till.fail("POST", times=1, hold=True)
    async with house.serving():
        first = await house.start("outer")
        await till.wait_for(state="held")
        second, third = await house.start("one_sale", {"item": "second"}), await house.start("one_sale", {"item": "third"})
        await _until_entered(house, "acme", 3)
        await second.cancel()
        with pytest.raises(Exception, match="cancelled"):
            await executions.result(second)
        assert await sold(till) == ["inner"]
        await till.release()
        assert [await first.result(), await third.result()] == ["inner", "third"]
        assert await sold(till) == ["inner", "third"]
        assert (await read_execution(house.client, second.id)).status is ExecutionStatus.CANCELLED
        listed = [one.workflow for one in await list_executions(house.client)]
    assert messages.TURNSTILE not in listed


async def test_a_place_whose_holder_ended_without_leaving_is_free_again(house: House, till: SimulatorControl,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was terminated does not say that it leaves: while somebody waits, that is found out."""
    monkeypatch.setattr(turnstile, "CHECK", timedelta(seconds=0.2))
    async with _one_inside_one_started(house, till) as (first, second):
        await _until_entered(house, "acme", 2)
        await first.terminate("gone")
        assert await asyncio.wait_for(second.result(), 20) == "second"
        await till.release()


async def test_a_cancellation_while_a_turn_is_given_back_is_not_lost(house: House, till: SimulatorControl) -> None:
    """Whenever it comes, in a call or while the turnstile is told of its end, the run is cancelled and makes no next call."""
    _shop(house, till, "max_concurrent = 1")
    house.write("workflows/after.py", """
        import asyncio
        from bifrost import workflow

        @workflow(name="after")
        async def after(context):
            shop = context.get_integration("shop")
            for number in range(50):
                await shop.sell(f"next{number}")
    """)
    async with house.serving():
        handle = await house.start("after")
        await till.wait_for(3)
        await handle.cancel()
        with pytest.raises(Exception, match="cancelled"):
            await asyncio.wait_for(executions.result(handle), 20)
    assert len(await sold(till)) < 50


async def test_a_turnstile_that_was_terminated_is_asked_again(house: House, till: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited in it asks once more after a while, and nobody hangs."""
    monkeypatch.setattr(turnstile, "ASK_AGAIN", timedelta(seconds=0.5))
    async with _one_inside_one_started(house, till) as (first, second):
        await _until_entered(house, "acme", 2)
        await house.client.get_workflow_handle(messages.turnstile_id(house.task_queue, "acme")).terminate("gone")
        assert await asyncio.wait_for(second.result(), 20) == "second"
        await till.release()
        assert await first.result() == "first"


async def test_so_many_executions_begin_in_a_minute(house: House, till: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third of three waits until the first is a minute ago, though nobody is inside any more; with nobody left it ends."""
    monkeypatch.setattr(turnstile, "_MINUTE", timedelta(seconds=1))
    monkeypatch.setattr(turnstile, "IDLE", timedelta(seconds=1))
    _shop(house, till)
    _limit(house, executions_per_minute=2)
    async with house.serving():
        handles = [await house.start("one_sale") for _ in range(3)]
        assert [await handle.result() for handle in handles] == ["hat"] * 3
        gate = house.client.get_workflow_handle(messages.turnstile_id(house.task_queue, "acme"))
        step, let_in = None, []  # by the gate's own clock: the time that its step began, not the one at which the server wrote down
        for event in (await gate.fetch_history()).events:
            if event.HasField("workflow_task_started_event_attributes"):
                step = event.event_time.ToDatetime()
            if event.HasField("signal_external_workflow_execution_initiated_event_attributes"):
                let_in.append(step)
        assert len(let_in) == 3
        assert let_in[2] - let_in[0] >= timedelta(seconds=1)

        async def closed() -> bool:
            return (await gate.describe()).status is WorkflowExecutionStatus.COMPLETED

        await until(closed)


async def test_a_turnstile_goes_on_from_a_long_history(house: House, till: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state crosses into a new run: who is inside, who waits; a ticket asked for twice waits once."""
    monkeypatch.setattr(temporal_workflow.Info, "is_continue_as_new_suggested", lambda info: info.get_current_history_length() > 10)
    async with _one_inside_one_started(house, till) as (first, second):
        gate = house.client.get_workflow_handle(messages.turnstile_id(house.task_queue, "acme"))

        async def moved() -> bool:
            history = await gate.fetch_history()
            attributes = history.events[0].workflow_execution_started_event_attributes
            [state] = await house.client.data_converter.decode(attributes.input.payloads, [TurnstileState])
            return [turn.execution_id for turn in (*state.inside, *state.waiting)] == [first.id, second.id]

        await until(moved)
        again = TurnMessage(place="acme", asked="none", ticket="none", execution_id="nobody-runs-under-this-id", concurrency=1)
        for _ in range(2):
            await gate.signal(messages.ENTER, again)
        await till.release()
        assert [await first.result(), await second.result()] == ["first", "second"]


# --- rates --------------------------------------------------------------------------------------------------------------


async def test_a_rate_is_kept_by_the_server(house: House, till: SimulatorControl) -> None:
    """Calls go through the queue with rates, each with its organization's budget; a method's own rate is a budget of its own."""
    _shop(house, till, "rate_per_second = 20")
    house.write("workflows/many.py", """
        import asyncio
        from bifrost import workflow

        @workflow(name="many")
        async def many(context, count: int):
            await asyncio.gather(*(context.get_integration("shop").sell(f"hat{n}") for n in range(count)))
    """)
    async with house.serving() as workspace:
        handle = await house.start("many", {"count": 40})
        await handle.result()
        _shop(house, till, "rate_per_second = 20", operation="rate_per_second=500")
        assert workspace.refresh()
        other = await house.start("many", {"count": 1}, org_id="globex")
        await other.result()
    events = (await handle.fetch_history()).events
    asked = [event.activity_task_scheduled_event_attributes for event in events if event.HasField("activity_task_scheduled_event_attributes")]
    assert {(one.task_queue.name, one.priority.fairness_key, one.priority.fairness_weight) for one in asked} == {
        (rates.queue_of(house.task_queue), "acme/shop", 20.0)}
    first_asked = min(event.event_time.ToDatetime() for event in events if event.HasField("activity_task_scheduled_event_attributes"))
    last_taken = max(event.event_time.ToDatetime() for event in events if event.HasField("activity_task_started_event_attributes"))
    # A second's worth may come at once; what is more than that cannot have come faster than the rate. Counted from when they were
    # asked for: when the first was taken is written down late by whatever the machine was doing then.
    assert last_taken - first_asked >= timedelta(seconds=(40 - 20 - 1) / 20 * 0.9)
    [own] = [event.activity_task_scheduled_event_attributes for event in (await other.fetch_history()).events
             if event.HasField("activity_task_scheduled_event_attributes")]
    assert (own.priority.fairness_key, own.priority.fairness_weight) == ("globex/shop.sell", 500.0)


async def test_a_server_that_keeps_no_rates_is_warned_of(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that may not say so to the server, or whose server cannot, serves all the same."""
    class Refusing:
        namespace, identity = "no-such-namespace", "test"
        workflow_service = house.client.workflow_service

    await rates.enforce(Refusing(), "queue")  # type: ignore[arg-type]  # what it uses of a client
    assert "the server keeps no rates" in capsys.readouterr().out


# --- a system that is down ----------------------------------------------------------------------------------------------

DOWN = ("retry = RetryRules(max_attempts=4, initial_seconds=0.05, factor=1)",
        "circuit = CircuitRules(failures=2, open_seconds=0.2, give_up_seconds={give_up})")


async def test_calls_wait_for_a_system_that_is_down(house: House, till: SimulatorControl) -> None:
    """After two failures nothing is tried for a while, which uses up no attempt; the call goes on with its key and says why."""
    _shop(house, till, *(line.format(give_up=60) for line in DOWN))
    await till.fail("POST", times=3, status=503)
    async with house.serving():
        handle = await house.start("one_sale")
        assert await asyncio.wait_for(handle.result(), 30) == "hat"
        again = await house.start("one_sale", {"item": "coat"})
        assert await again.result() == "coat"
    assert len(set(await keys(till, "hat"))) == 1
    assert len(await keys(till, "hat")) == 4
    read = await read_execution(house.client, handle.id)
    assert [line.message for line in read.log if "shop.sell waits" in line.message]
    assert "shop is down: 2 or more attempts in a row" in next(line.message for line in read.log)
    timers = [event for event in (await handle.fetch_history()).events if event.HasField("timer_started_event_attributes")]
    assert timers


async def test_a_call_gives_up_waiting(house: House, till: SimulatorControl) -> None:
    """A system that stays down ends in a typed error, after the time that the integration allows."""
    _shop(house, till, *(line.format(give_up=0.5) for line in DOWN))
    await till.fail("POST", times=None, status=503)
    async with house.serving():
        with pytest.raises(IntegrationError, match="shop is down") as failure:
            await asyncio.wait_for(house.run("one_sale"), 30)
    assert failure.value.details == {"integration": "shop"}


async def test_attempts_in_all_stay_within_what_is_declared(house: House, till: SimulatorControl) -> None:
    """Attempts before a wait count: there are no more of them than the retry rules allow."""
    _shop(house, till, *(line.format(give_up=60) for line in DOWN))
    await till.fail("POST", times=None, status=503)
    async with house.serving():
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(house.run("one_sale"), 30)
    assert len(await keys(till, "hat")) == 4


# --- operations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "requests"), [(500, 1), (429, 3)])
async def test_what_may_not_be_repeated(house: House, till: SimulatorControl, status: int, requests: int) -> None:
    """A call that is not repeatable is made once, and again only where the answer says that it was not taken."""
    _shop(house, till, operation="repeatable=False, retry=RetryRules(max_attempts=3, initial_seconds=0.05), timeout_seconds=7, heartbeat_seconds=2")
    await till.fail("POST", times=5, status=status)
    async with house.serving():
        handle = await house.start("one_sale")
        with pytest.raises(IntegrationError) as failure:
            await asyncio.wait_for(executions.result(handle), 30)
    assert (failure.value.status_code, "again" in failure.value.details) == (status, False)
    found: list[Any] = await keys(till, "hat")
    assert (len(found), len(set(found))) == (requests, 1)
    [asked, *_] = [event.activity_task_scheduled_event_attributes for event in (await handle.fetch_history()).events
                   if event.HasField("activity_task_scheduled_event_attributes")]
    assert (asked.retry_policy.maximum_attempts, asked.start_to_close_timeout.seconds, asked.heartbeat_timeout.seconds) == (1, 7, 2)


async def test_a_rate_that_comes_while_a_run_is_under_way_changes_nothing_of_it(house: House, till: SimulatorControl) -> None:
    """An integration is not pinned: a rate, or another timeout, that it got since is no difference to a run's history."""
    _shop(house, till)
    house.write("workflows/two.py", """
        from bifrost import workflow

        @workflow(name="two")
        async def two(context):
            await context.get_integration("shop").sell("first")
            await context.wait_for_event("go")
            return await context.get_integration("shop").sell("second")
    """)
    async with house.serving() as workspace:
        handle = await house.start("two")
        await till.wait_for(path="/sell/first")
        _shop(house, till, "rate_per_second = 50", "max_concurrent = 1", "timeout_seconds = 5")
        assert workspace.refresh()
    async with house.serving():
        await handle.signal("go")
        assert await asyncio.wait_for(handle.result(), 20) == "second"
