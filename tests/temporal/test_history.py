"""What an execution did, read from Temporal alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.workflow.v1 import PendingActivityInfo

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.models import SYSTEM_CALLER, Caller, ExecutionStatus
from bifrost.temporal import client as executions
from bifrost.temporal import history
from bifrost.temporal.history import Execution, list_executions, read_execution
from tests.temporal.conftest import House
from tests.waiting import until

WORKFLOWS = """
    import asyncio
    from bifrost import BaseIntegration, IntegrationError, ValidationError, param, workflow

    class Shop(BaseIntegration):
        integration_name = "shop"
        tries = 0

        async def authenticate(self):
            pass

        async def sell(self, item):
            return {"sold": item}

        async def sell_at_last(self):
            type(self).tries += 1
            if type(self).tries < 2:
                raise IntegrationError("busy", status_code=503)

        async def refuse(self):
            raise IntegrationError("sold out", status_code=409)

        async def break_down(self):
            raise IntegrationError("down", status_code=503)

    class Mill(BaseIntegration):
        integration_name = "mill"
        timeout_seconds = 0.5

        async def authenticate(self):
            pass

        async def hang(self):
            await asyncio.Event().wait()

    @workflow(name="sell")
    async def sell(context, item: str, token: str = ""):
        context.log("info", "Selling", {"item": item})
        await context.get_integration("shop").sell(item)
        context.save_checkpoint("sold", {"item": item, "token": token})
        context.log("WARNING", "Stock is low")
        return {"success": item != "nothing", "item": item}

    @workflow(name="sell_all", retry_policy={"max_attempts": 2, "backoff_seconds": 0.01})
    async def sell_all(context):
        shop, mill = context.get_integration("shop"), context.get_integration("mill")
        await shop.sell_at_last()
        for call in (shop.refuse, mill.hang):
            try:
                await call()
            except Exception:
                pass
        try:
            async with asyncio.timeout(0.1):
                await mill.hang()
        except TimeoutError:
            pass

    @workflow(name="wait")
    async def wait(context):
        context.save_checkpoint("asked")
        await context.wait_for_event("approved")

    @workflow(name="refuse")
    async def refuse(context):
        context.log("error", "About to fail")
        raise ValidationError("No such item", field="item")

    @workflow(name="late", timeout_seconds=0.3)
    async def late(context):
        await asyncio.sleep(60)

    @workflow(name="stuck", retry_policy={"max_attempts": 9, "backoff_seconds": 300, "max_backoff_seconds": 300})
    async def stuck(context):
        await context.get_integration("shop").break_down()

    @workflow(name="hang")
    async def hang(context):
        await context.get_integration("mill").hang()
"""


@pytest.fixture
def cached() -> int:
    """What is read does not depend on the worker's cache."""
    return 1000


@pytest.fixture
def shop(house: House) -> House:
    """A house with one integration and a workflow for each end that an execution can have."""
    house.write("workflows/shop.py", WORKFLOWS)
    return house


async def _until(read: Callable[[], Awaitable[Any]], satisfied: Callable[[Any], Any]) -> Any:
    """What `read` answers, as soon as it is as wanted."""
    async def check() -> list[Any]:
        value = await read()
        return [value] if satisfied(value) else []

    [value] = await until(check)
    return value


async def _ended(house: House, workflow: str, params: dict[str, Any] | None = None, **more: Any) -> Execution:
    """Start an execution, wait for its end and read it."""
    handle = await house.start(workflow, params, **more)
    async with house.serving():
        with_deadline = asyncio.wait_for(handle.result(), 20)
        await asyncio.gather(with_deadline, return_exceptions=True)
    return await read_execution(house.client, handle.id)


async def test_an_execution_is_read_whole_without_its_worker(shop: House) -> None:
    """Who, what, when, result, checkpoints, calls and log are in Temporal when the worker is gone."""
    caller = Caller("u1", "ada@msp.example", "Ada")
    read = await _ended(shop, "sell", {"item": "hat", "token": "abc"}, caller=caller)
    assert (read.workflow, read.org_id, read.caller, read.status) == ("sell", "acme", caller, ExecutionStatus.SUCCESS)
    assert (read.params, read.result, read.error) == ({"item": "hat", "token": "abc"}, {"success": True, "item": "hat"}, None)
    assert read.revision == shop.workspace.catalog.revision
    assert [(one.name, one.data) for one in read.checkpoints] == [("sold", {"item": "hat", "token": "***REDACTED***"})]
    assert [(one.level, one.message, one.data) for one in read.log] == [
        ("info", "Selling", {"item": "hat"}), ("warning", "Stock is low", None)]
    [call] = read.calls
    assert (call.name, call.attempts, call.status, call.error) == ("shop.sell", 1, "success", None)
    assert call.duration_ms >= 0
    moments = [read.started_at, read.log[0].at, call.started_at, read.checkpoints[0].at, read.log[1].at, read.closed_at]
    assert moments == sorted(moments)


async def test_how_each_call_ended_is_shown(shop: House) -> None:
    """A call counts its attempts and says how it ended; what the run itself gave up is cancelled."""
    read = await _ended(shop, "sell_all")
    assert [(one.name, one.attempts, one.status, one.error) for one in read.calls] == [
        ("shop.sell_at_last", 2, "success", None), ("shop.refuse", 1, "failed", "sold out"),
        ("mill.hang", 2, "timeout", "activity StartToClose timeout"), ("mill.hang", 1, "cancelled", None)]
    assert read.calls[2].duration_ms >= 1000


@pytest.mark.parametrize(("workflow", "params", "status", "error"), [
    ("sell", {"item": "nothing"}, ExecutionStatus.COMPLETED_WITH_ERRORS, None),
    ("refuse", {}, ExecutionStatus.FAILED,
     {"error": "ValidationError", "message": "No such item", "details": {"field": "item"}}),
    ("late", {}, ExecutionStatus.TIMEOUT,
     {"error": "TimeoutError", "message": "Workflow exceeded timeout of 0.3 seconds", "details": {"timeout_seconds": 0.3}}),
])
async def test_the_status_tells_how_an_execution_ended(shop: House, workflow: str, params: dict[str, Any],
                                                       status: ExecutionStatus, error: dict[str, Any] | None) -> None:
    """A result that says it is no success, an error, and the workflow's own timeout have a status each."""
    read = await _ended(shop, workflow, params)
    assert (read.status, read.error) == (status, error)
    assert read.closed_at is not None


async def test_the_log_of_a_failed_execution_is_kept(shop: House) -> None:
    """Lines after the last checkpoint are written when the run ends, also when it fails."""
    read = await _ended(shop, "refuse")
    assert [(one.level, one.message) for one in read.log] == [("error", "About to fail")]


async def test_an_execution_is_pending_until_a_worker_takes_it_up(shop: House) -> None:
    """Without a worker an execution is pending; terminated, it says so with the reason."""
    handle = await shop.start("sell", {"item": "hat"}, org_id=None)
    read = await read_execution(shop.client, handle.id)
    assert (read.status, read.org_id, read.caller, read.closed_at, read.error) == (
        ExecutionStatus.PENDING, None, SYSTEM_CALLER, None, None)
    await handle.terminate(reason="not wanted")
    read = await read_execution(shop.client, handle.id)
    assert (read.status, read.error["error"]) == (ExecutionStatus.TERMINATED, "Terminated")
    assert "not wanted" in read.error["message"]


async def test_the_servers_own_timeout_is_a_timeout(shop: House) -> None:
    """An execution that the server gives up is one that exceeded its time."""
    handle = await shop.client.start_workflow("sell", {}, id=f"{shop.task_queue}-expired", task_queue=shop.task_queue,
                                              run_timeout=timedelta(seconds=1))
    read = await _until(lambda: read_execution(shop.client, handle.id), lambda one: one.closed_at)
    assert (read.status, read.error["error"]) == (ExecutionStatus.TIMEOUT, "TimeoutError")


async def test_a_waiting_execution_shows_what_it_did(shop: House) -> None:
    """Checkpoints are readable while the execution runs; cancelled, it is."""
    handle = await shop.start("wait")
    async with shop.serving():
        read = await _until(lambda: read_execution(shop.client, handle.id), lambda one: one.checkpoints)
        assert (read.status, read.checkpoints[0].name) == (ExecutionStatus.RUNNING, "asked")
        await handle.cancel()
        await asyncio.gather(handle.result(), return_exceptions=True)
    read = await read_execution(shop.client, handle.id)
    assert (read.status, read.error["error"]) == (ExecutionStatus.CANCELLED, "Cancelled")


@pytest.mark.parametrize(("workflow", "status", "attempts", "error"), [
    ("stuck", "retrying", 1, "down"), ("hang", "running", 1, None)])
async def test_a_call_under_way_is_shown(shop: House, workflow: str, status: str, attempts: int, error: str | None) -> None:
    """A call that waits for its next attempt says what went wrong; when its execution is terminated it is cancelled."""
    handle = await shop.start(workflow)
    async with shop.serving():
        read = await _until(lambda: read_execution(shop.client, handle.id),
                            lambda one: one.calls and one.calls[0].status == status)
        assert (read.calls[0].attempts, read.calls[0].error, read.calls[0].duration_ms) == (attempts, error, None)
        await handle.terminate()
    read = await read_execution(shop.client, handle.id)
    assert (read.status, read.calls[0].status) == (ExecutionStatus.TERMINATED, "cancelled")


@pytest.mark.parametrize(("state", "attempt", "status", "attempts"), [
    ("SCHEDULED", 1, "scheduled", 0), ("SCHEDULED", 3, "retrying", 2), ("PAUSED", 1, "scheduled", 0),
    ("STARTED", 1, "running", 1), ("CANCEL_REQUESTED", 2, "running", 2)])
def test_a_call_that_waits_counts_the_attempts_it_had(state: str, attempt: int, status: str, attempts: int) -> None:
    """Temporal counts the attempt that a waiting call will have next; what is shown is how many were begun."""
    call = history.Call("shop.sell", datetime.now(UTC))
    history._show_pending(call, PendingActivityInfo(state=f"PENDING_ACTIVITY_STATE_{state}", attempt=attempt))
    assert (call.status, call.attempts, call.error) == (status, attempts, None)


async def test_an_argument_of_another_shape_is_no_obstacle(shop: House) -> None:
    """An execution that was started wrongly can still be read."""
    ended = []
    for number, arguments in enumerate(([], ["text"], [{"org_id": "GLOBAL", "caller": "nobody"}])):
        handle = await shop.client.start_workflow("sell", args=arguments, id=f"{shop.task_queue}-odd-{number}",
                                                  task_queue=shop.task_queue)
        await handle.terminate()
        ended.append(await read_execution(shop.client, handle.id))
    assert [(one.org_id, one.caller, one.params) for one in ended] == [(None, SYSTEM_CALLER, {})] * 3


async def test_an_unknown_id_is_not_found(shop: House) -> None:
    """What Temporal does not know is refused by name."""
    with pytest.raises(NotFoundError, match="Execution 'nobody' not found"):
        await read_execution(shop.client, "nobody")


async def test_executions_are_listed_by_workflow_organization_and_status(shop: House) -> None:
    """Each filter narrows the list; one execution is one line, the ones under way first."""
    caller = Caller("u1", "ada@msp.example")
    ids = {}
    async with shop.serving():
        for name, workflow, params, org_id in (("sold", "sell", {"item": "hat"}, "acme"), ("odd", "sell", {"item": "nothing"},
                                               "globex"), ("refused", "refuse", {}, "acme"), ("late", "late", {}, "acme")):
            handle = await shop.start(workflow, params, org_id=org_id, caller=caller)
            ids[handle.id] = name
            await asyncio.gather(handle.result(), return_exceptions=True)
        waiting = await shop.start("wait")
        ids[waiting.id] = "waiting"
        await _until(lambda: read_execution(shop.client, waiting.id), lambda one: one.checkpoints)
    pending = await shop.start("wait")
    ids[pending.id] = "pending"

    async def names(**filters: Any) -> list[str]:
        return [ids[one.execution_id] for one in await list_executions(shop.client, **filters) if one.execution_id in ids]

    for status, expected in {ExecutionStatus.SUCCESS: ["sold"], ExecutionStatus.COMPLETED_WITH_ERRORS: ["odd"],
                             ExecutionStatus.FAILED: ["refused"], ExecutionStatus.TIMEOUT: ["late"],
                             ExecutionStatus.RUNNING: ["waiting"], ExecutionStatus.PENDING: ["pending"],
                             ExecutionStatus.CANCELLED: [], ExecutionStatus.TERMINATED: []}.items():
        assert await _until(lambda status=status: names(status=status, limit=1000), lambda found, e=expected: found == e)\
            == expected
    assert await names(workflow="sell", limit=1000) == ["odd", "sold"]
    assert await names(org_id="globex", workflow="sell", limit=1000) == ["odd"]
    listed = await list_executions(shop.client, limit=1000)
    assert {ids.get(one.execution_id) for one in listed if one.closed_at is None} >= {"waiting", "pending"}
    [sold] = [one for one in listed if ids.get(one.execution_id) == "sold"]
    assert (sold.workflow, sold.org_id, sold.caller, sold.status) == ("sell", "acme", caller.email, ExecutionStatus.SUCCESS)
    assert sold.revision == shop.workspace.catalog.revision
    assert len(await list_executions(shop.client, limit=2)) == 2
    for handle in (waiting, pending):
        await handle.terminate()


async def test_a_filter_with_quotes_finds_nothing(shop: House) -> None:
    """A name is a value in the query, never a part of it."""
    assert await list_executions(shop.client, workflow="x' OR WorkflowType != '\\") == []


async def test_a_namespace_that_is_not_there_is_refused(shop: House) -> None:
    """A wrong namespace is named as what has to be mended; it is neither an empty list nor a missing execution."""
    elsewhere = await executions.connect(shop.client.service_client.config.target_host, "nowhere")
    with pytest.raises(ConfigurationError, match=r"There is no namespace 'nowhere' at .*set TEMPORAL_NAMESPACE"):
        await list_executions(elsewhere)
    with pytest.raises(ConfigurationError, match="There is no namespace 'nowhere' at"):
        await read_execution(elsewhere, "anything")


async def test_a_list_that_temporal_refuses_is_an_error(shop: House) -> None:
    """What Temporal says against a query is passed on, here that the message is too large."""
    with pytest.raises(ConfigurationError, match=r"Temporal refuses to list executions of namespace 'default' at [^:]+:\d+: ."):
        await list_executions(shop.client, workflow="x" * 5_000_000)
