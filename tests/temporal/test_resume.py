"""Executions that failed and go on: what was done is not done again, and what failed is done anew."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.errors import IntegrationError, NotFoundError, TimeoutError, ValidationError, WorkflowException  # noqa: A004 - the guide's
from bifrost.integrations.base import BaseIntegration
from bifrost.models import ExecutionStatus, Organization, RetryRules
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.temporal import client as executions
from bifrost.temporal import replay
from bifrost.temporal.history import read_execution
from bifrost.temporal.resuming import resume
from bifrost.temporal.resuming.resets import PATIENCE, FetchedResets
from bifrost.temporal.resuming.resume import Resumed
from bifrost.workspace.live import Workspace
from tests.temporal.conftest import House
from tests.temporal.till import SHOP, keys, sold
from tests.waiting import until

DELIVER = """
    import asyncio
    from bifrost import activity, workflow

    @workflow(name="deliver"{options})
    async def deliver(context):
        sell = context.get_integration("shop").sell
{lines}
"""
HAT_AND_COAT = """
await sell("hat")
context.save_checkpoint("hat sold")
await sell("coat")
context.save_checkpoint("coat sold")
return "done"
"""
BROKEN = HAT_AND_COAT.replace("return", "1 / 0\nreturn")


@pytest.fixture
def cached() -> int:
    """Whether a run is cached does not matter: one that was reset is replayed in any case."""
    return 1000


def _deliver(house: House, lines: str, options: str = "") -> None:
    """Write the workflow `deliver`."""
    house.write("workflows/deliver.py", DELIVER.format(
        options=options, lines="\n".join(f"        {line}" for line in lines.strip().splitlines())))


async def _failed(house: House, error: type[BaseException] = IntegrationError) -> WorkflowHandle[Any, Any]:
    """Run an execution that fails so."""
    handle = await house.start("deliver")
    with pytest.raises(error):
        await _result(house, handle.id)
    return handle


async def _resume(house: House, execution_id: str, **more: Any) -> Resumed:
    return await resume.resume(house.client, Workspace(house.root, house.revisions), execution_id, **more)


async def _result(house: House, execution_id: str) -> Any:
    """Serve the workspace as it is until the execution ends."""
    async with house.serving():
        return await asyncio.wait_for(executions.result(house.client.get_workflow_handle(execution_id)), 20)


async def _replayed(house: House, execution_id: str) -> str | None:
    """Replay the execution's last run; what it says if it comes another way."""
    async def last() -> AsyncIterator[Any]:
        yield await replay.history_of(house.client, execution_id)

    [one] = [one async for one in replay.replay(Workspace(None, house.revisions), last())]
    return one.failure


async def test_a_call_that_failed_for_good_is_made_anew(sample: House, graph: SimulatorControl, user_api: SimulatorControl,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """When the other system is mended, the execution goes on under its id; the user that was created is not created again."""
    monkeypatch.setattr(BaseIntegration, "retry", RetryRules(max_attempts=3, initial_seconds=0.05))
    await user_api.fail("POST", "/users", status=500, times=None)
    user = {"email": "resumed@acme.example", "name": "Ada", "department": "IT", "license_sku": "ENTERPRISEPACK"}
    handle = await sample.start("create_user_sync", user)
    async with sample.serving():
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(executions.result(handle), 60)
        failed = await user_api.journal("POST", "/users", exact=True)
        await user_api.clear()
        resumed = await _resume(sample, handle.id)
        assert (resumed.execution_id, resumed.at) == (handle.id, "user_management_api.create_user")
        result = await asyncio.wait_for(executions.result(sample.client.get_workflow_handle(handle.id)), 20)
    assert result["success"] is True
    read = await read_execution(sample.client, handle.id)
    assert (read.status, read.run_id) == (ExecutionStatus.SUCCESS, resumed.run_id)
    assert len(await graph.journal("POST", "/v1.0/users", exact=True)) == 1
    [made] = await user_api.journal("POST", "/users", exact=True)
    assert {entry.headers["idempotency-key"] for entry in failed} == {made.headers["idempotency-key"]}


@pytest.mark.parametrize("cached", [1000, 0])
async def test_mended_code_goes_on_where_it_was(shop: House, till: SimulatorControl) -> None:
    """An error in the code is mended in the workspace: no call is made again, and the index names the new revision."""
    _deliver(shop, BROKEN)
    handle = await _failed(shop, ZeroDivisionError)
    before = (await read_execution(shop.client, handle.id)).revision
    _deliver(shop, HAT_AND_COAT)
    resumed = await _resume(shop, handle.id)
    assert await _result(shop, handle.id) == "done"
    read = await read_execution(shop.client, handle.id)
    assert read.revision == resumed.revision != before
    assert await sold(till) == ["hat", "coat"]
    assert [one.name for one in read.checkpoints] == ["hat sold", "coat sold"]


async def test_the_original_revision_fails_again(shop: House, till: SimulatorControl) -> None:
    """With the revision that it began with an execution comes to the same error, whatever the workspace is now."""
    _deliver(shop, BROKEN)
    handle = await _failed(shop, ZeroDivisionError)
    _deliver(shop, HAT_AND_COAT)
    await _resume(shop, handle.id, revision=resume.ORIGINAL)
    with pytest.raises(ZeroDivisionError):
        await _result(shop, handle.id)
    assert await sold(till) == ["hat", "coat"]


async def test_from_a_checkpoint(shop: House, till: SimulatorControl) -> None:
    """From a checkpoint on everything is done again, with the same keys; an unknown name is answered with those there are."""
    _deliver(shop, HAT_AND_COAT)
    handle = await shop.start("deliver")
    await _result(shop, handle.id)
    with pytest.raises(ValidationError, match="It succeeded: say with --from-checkpoint"):
        await _resume(shop, handle.id)
    with pytest.raises(NotFoundError, match=r"Did you mean 'hat sold'.*It has passed: hat sold, coat sold"):
        await _resume(shop, handle.id, from_checkpoint="hat solt")
    resumed = await _resume(shop, handle.id, from_checkpoint="hat sold")
    assert resumed.at == "checkpoint hat sold"
    assert await _result(shop, handle.id) == "done"
    assert await sold(till) == ["hat", "coat", "coat"]
    assert len(set(await keys(till, "coat"))) == 1


async def test_code_that_comes_another_way_is_refused(shop: House, till: SimulatorControl) -> None:
    """Code that makes other calls before the point is refused with the first difference, and nothing is reset."""
    await till.fail("POST", "/sell/coat", status=409)
    _deliver(shop, HAT_AND_COAT)
    handle = await _failed(shop)
    _deliver(shop, 'context.save_checkpoint("begun")\n' + HAT_AND_COAT)
    said = r"does not come to shop\.sell the way .*: where the execution called shop\.sell, it passes checkpoint begun\. .*--revision original"
    with pytest.raises(ValidationError, match=said):
        await _resume(shop, handle.id)
    read = await read_execution(shop.client, handle.id)
    assert (read.status, read.run_id) == (ExecutionStatus.FAILED, handle.first_execution_run_id)
    await _resume(shop, handle.id, revision=resume.ORIGINAL)
    assert await _result(shop, handle.id) == "done"
    assert await sold(till) == ["hat", "coat", "coat"]


@pytest.mark.parametrize(("lines", "said"), [
    ('await context.get_integration("till").sell("hat")', r"where the execution called shop\.sell, it calls till\.sell"),
    ('await sell("hat")\nawait sell("coat")', r"where the execution passed checkpoint hat sold, it makes another call"),
    ('await sell("hat")\n1 / 0', r"where the execution passed checkpoint hat sold \(event \d+\), it does something else, or fails"),
    ('await sell("hat")\nawait asyncio.sleep(9)', r"where the execution passed checkpoint hat sold \(event \d+\), it does something else"),
    ('await context.get_secret("msgraph_client_secret")\n' + HAT_AND_COAT, r"where the execution called shop\.sell \(event \d+\), it does"),
    ("await asyncio.sleep(1)\n" + HAT_AND_COAT, r"where the execution called shop\.sell \(event \d+\), it does something else, or fails"),
    ('return "nothing"', r"where the execution called shop\.sell \(event \d+\), it does something else, or fails"),
    ("1 / 0", r"where the execution called shop\.sell \(event \d+\), it does something else, or fails"),
])
async def test_the_first_difference_is_told_in_words(shop: House, till: SimulatorControl, lines: str, said: str) -> None:
    """Whatever the code does otherwise, the refusal says where, and what the execution had done there."""
    shop.write("integrations/till.py", SHOP.format(url=till.url).replace("shop", "till").replace("Shop", "Till"))
    await till.fail("POST", "/sell/scarf", status=409)
    _deliver(shop, HAT_AND_COAT.replace("return", 'await sell("scarf")\nreturn'))
    handle = await _failed(shop)
    _deliver(shop, lines)
    with pytest.raises(ValidationError, match=said):
        await _resume(shop, handle.id)


async def test_a_gather_of_which_one_failed(shop: House, till: SimulatorControl) -> None:
    """Calls made together with the one that failed are answered as they were, not made again; the failed one keeps its key."""
    await till.fail("POST", "/sell/coat", hold=True, status=409)
    _deliver(shop, 'return await asyncio.gather(sell("hat"), sell("coat"), sell("scarf"))')
    handle = await shop.start("deliver")
    async with shop.serving():
        await _succeeded(shop, handle.id, 2)
        await till.release()
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(executions.result(handle), 20)
        await _resume(shop, handle.id)
        assert await asyncio.wait_for(executions.result(shop.client.get_workflow_handle(handle.id)), 20) == ["hat", "coat", "scarf"]
    assert sorted(await sold(till)) == ["coat", "coat", "hat", "scarf"]
    assert len(set(await keys(till, "coat"))) == 1
    calls = (await read_execution(shop.client, handle.id)).calls
    assert [(one.name, one.status) for one in calls] == [("shop.sell", "success")] * 3


async def test_a_branch_that_went_on_beside_the_failure_is_not_done_again(shop: House, till: SimulatorControl) -> None:
    """Calls of other branches that were under way at the point, or began after it, are answered as they were."""
    await till.fail("POST", "/sell/coat", hold=True, status=409)
    _deliver(shop, """
async def branch():
    await sell("hat")
    await sell("cap")
    return await sell("scarf")
results = await asyncio.gather(sell("coat"), branch(), return_exceptions=True)
if isinstance(results[0], Exception):
    raise results[0]
return results
""")
    handle = await shop.start("deliver")
    async with shop.serving():
        await _succeeded(shop, handle.id, 3)
        await till.release()
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(executions.result(handle), 20)
        resumed = await _resume(shop, handle.id)
        assert resumed.at == "shop.sell"
        assert await asyncio.wait_for(executions.result(shop.client.get_workflow_handle(handle.id)), 20) == ["coat", "scarf"]
    assert sorted(await sold(till)) == ["cap", "coat", "coat", "hat", "scarf"]


async def test_a_call_with_other_arguments_has_another_key(shop: House, till: SimulatorControl) -> None:
    """A mended call is another call: it gets a key of its own, which it keeps when it is resumed again."""
    await till.fail("POST", "/sell/coat", status=409, times=2)
    _deliver(shop, HAT_AND_COAT)
    handle = await _failed(shop)
    _deliver(shop, HAT_AND_COAT.replace('"coat")', '"coat", price=2)', 1))
    await _resume(shop, handle.id)
    with pytest.raises(IntegrationError):
        await _result(shop, handle.id)
    await _resume(shop, handle.id)
    assert await _result(shop, handle.id) == "done"
    first, second, third = await keys(till, "coat")
    assert first != second == third


async def test_a_resumed_execution_is_an_execution(shop: House, till: SimulatorControl) -> None:
    """It survives its worker, fails and is resumed again with another revision, and can be replayed at every stage."""
    await till.fail("POST", "/sell/coat", status=409)
    _deliver(shop, BROKEN)
    handle = await _failed(shop)
    assert await _replayed(shop, handle.id) is None
    _deliver(shop, "# mended once\n" + BROKEN.replace("1 / 0", 'context.save_checkpoint("asked")\nawait context.wait_for_event("go")\n1 / 0'))
    await _resume(shop, handle.id)
    async with shop.serving():
        async def asked() -> bool:
            return any(one.name == "asked" for one in (await read_execution(shop.client, handle.id)).checkpoints)

        await until(asked)
    assert await _replayed(shop, handle.id) is None
    current = shop.client.get_workflow_handle(handle.id)
    await current.signal("go")
    with pytest.raises(ZeroDivisionError):
        await _result(shop, handle.id)
    assert await _replayed(shop, handle.id) is None
    _deliver(shop, HAT_AND_COAT.replace("return", 'context.save_checkpoint("asked")\nawait context.wait_for_event("go")\nreturn'))
    again = await _resume(shop, handle.id)
    assert again.base_run_id != handle.first_execution_run_id
    assert await _result(shop, handle.id) == "done"
    assert await _replayed(shop, handle.id) is None
    assert await sold(till) == ["hat", "coat", "coat"]
    assert (await read_execution(shop.client, handle.id)).revision == again.revision


async def test_the_first_call_of_all(shop: House, till: SimulatorControl) -> None:
    """Where the very first call failed the execution begins anew, with the revision that was named all the same."""
    await till.fail("POST", "/sell/hat", status=409, times=2)
    _deliver(shop, HAT_AND_COAT, ", timeout_seconds=1.5")
    handle = await _failed(shop)
    _deliver(shop, 'return "another"')
    await asyncio.wait_for(_past(shop, handle.id, 1.5), 20)
    await _resume(shop, handle.id, revision=resume.ORIGINAL)
    with pytest.raises(IntegrationError):
        await _result(shop, handle.id)
    await _resume(shop, handle.id)
    assert await _result(shop, handle.id) == "another"
    assert await _replayed(shop, handle.id) is None


async def _succeeded(house: House, execution_id: str, number: int) -> None:
    """Wait until so many calls of an execution are recorded as done."""
    async def recorded() -> bool:
        calls = (await read_execution(house.client, execution_id)).calls
        return sum(call.status == "success" for call in calls) == number

    await until(recorded)


async def _past(house: House, execution_id: str, seconds: float) -> None:
    """Wait until an execution began so long ago."""
    read = await read_execution(house.client, execution_id)

    async def past() -> bool:
        return (datetime.now(UTC) - read.started_at).total_seconds() > seconds

    await until(past)


async def test_time_begins_anew(shop: House, till: SimulatorControl) -> None:
    """A resumed execution has its whole timeout again, whether it failed or ran out of time."""
    await till.fail("POST", "/sell/coat", hold=True)
    _deliver(shop, HAT_AND_COAT, ", timeout_seconds=1")
    handle = await _failed(shop, TimeoutError)
    await till.clear()
    resumed = await _resume(shop, handle.id)
    assert resumed.at == "the workflow's code"
    assert await _result(shop, handle.id) == "done"
    assert await _replayed(shop, handle.id) is None
    assert await sold(till) == ["coat"]  # the journal was cleared after the first


async def test_a_run_of_an_execution_that_is_well_is_refused(shop: House, till: SimulatorControl) -> None:
    """What still runs is resumed only from a checkpoint, and only if that is meant; what nobody has begun cannot be."""
    _deliver(shop, 'await sell("hat")\ncontext.save_checkpoint("asked")\nreturn await context.wait_for_event("go")')
    handle = await shop.start("deliver")
    await _refused(shop, handle.id, "It is still running: cancel or terminate it first")
    async with shop.serving():
        await _succeeded(shop, handle.id, 1)
        await _refused(shop, handle.id, "It is still running: cancel or terminate it first")
        await _refused(shop, handle.id, "It is still running, and the run would be terminated: give --yes", from_checkpoint="asked")
        await _resume(shop, handle.id, from_checkpoint="asked", sure=True)
        await shop.client.get_workflow_handle(handle.id).signal("go", 1)
        assert await asyncio.wait_for(executions.result(shop.client.get_workflow_handle(handle.id)), 20) == 1
    unborn = await shop.start("deliver")
    await unborn.terminate()
    await _refused(shop, unborn.id, "It has not begun: no worker has taken it up")
    with pytest.raises(NotFoundError, match="Execution 'nobody' not found"):
        await _resume(shop, "nobody")


async def _refused(house: House, execution_id: str, said: str, **more: Any) -> None:
    """Resuming is refused, and nothing has changed."""
    handle = house.client.get_workflow_handle(execution_id)
    before = await handle.describe()
    with pytest.raises(ValidationError, match=said):
        await _resume(house, execution_id, **more)
    after = await handle.describe()
    assert (before.run_id, before.status) == (after.run_id, after.status)


@pytest.mark.parametrize("end", ["cancel", "terminate"])
async def test_what_was_stopped_goes_on(shop: House, till: SimulatorControl, end: str) -> None:
    """A cancelled or terminated execution goes on with what was under way; what was asked of it then does not hold any more."""
    await till.fail("POST", "/sell/coat", hold=True)
    _deliver(shop, HAT_AND_COAT)
    handle = await shop.start("deliver")
    async with shop.serving():
        await till.wait_for(1, path="/sell/coat")
        await (handle.cancel() if end == "cancel" else handle.terminate())
        with pytest.raises(WorkflowException):
            await asyncio.wait_for(executions.result(handle), 20)
    await till.clear()
    await _resume(shop, handle.id)
    assert await _result(shop, handle.id) == "done"
    assert await sold(till) == ["coat"]  # the journal was cleared after the first


async def test_what_is_stuck_goes_on(shop: House, till: SimulatorControl) -> None:
    """An execution whose workflow task fails for ever, since its revision is lost, goes on with another one."""
    _deliver(shop, 'await sell("hat")\nreturn await context.wait_for_event("go")')
    handle = await shop.start("deliver")
    async with shop.serving() as workspace:
        await _succeeded(shop, handle.id, 1)
        lost = workspace.catalog.revision
    _deliver(shop, 'await sell("hat")\nreturn "late"')
    shop.revisions.remove(lost)
    async with shop.serving():
        await handle.signal("go")

        async def failing() -> bool:
            history = await handle.fetch_history()
            return any(event.HasField("workflow_task_failed_event_attributes") for event in history.events)

        await until(failing)
        with pytest.raises(NotFoundError, match=f"Revision '{lost}' not found"):
            await _resume(shop, handle.id, revision=resume.ORIGINAL)
        await _resume(shop, handle.id)
        assert await asyncio.wait_for(executions.result(shop.client.get_workflow_handle(handle.id)), 20) == "late"
    assert await sold(till) == ["hat"]


async def test_what_was_done_after_the_failure_is_thought_of(shop: House, till: SimulatorControl) -> None:
    """Where the code made calls after the failure, or undid what it had done, going on has to be meant."""
    await till.fail("POST", "/sell/coat", status=409)
    _deliver(shop, """
await sell("hat")
try:
    await sell("coat")
except Exception:
    await sell("apology")
    raise
""")
    told = await _failed(shop)
    await _refused(shop, told.id, "After the failure of shop.sell it went on to call shop.sell")
    await _resume(shop, told.id, sure=True)
    assert await _result(shop, told.id) is None
    assert await sold(till) == ["hat", "coat", "apology", "coat"]
    await till.fail("POST", "/sell/coat", status=409)
    _deliver(shop, 'context.on_failure(sell, "undo")\nawait sell("coat")')
    undone = await _failed(shop)
    await _refused(shop, undone.id, "It has undone what it had done.*rerun")


async def test_another_revision_by_name(shop: House, till: SimulatorControl) -> None:
    """Any revision that is kept can be named; it must have the workflow, in whichever file."""
    _deliver(shop, HAT_AND_COAT)
    (shop.root / "workflows" / "deliver.py").rename(shop.root / "workflows" / "moved.py")
    shop.write("workflows/broken.py", "raise RuntimeError('deliver')")
    good = Workspace(shop.root, shop.revisions).catalog.revision
    for name in ("moved", "broken"):
        (shop.root / "workflows" / f"{name}.py").unlink()
    _deliver(shop, BROKEN)
    handle = await _failed(shop, ZeroDivisionError)
    (shop.root / "workflows" / "deliver.py").unlink()
    empty = Workspace(shop.root, shop.revisions).catalog.revision
    with pytest.raises(NotFoundError, match="Workflow 'deliver' not found"):
        await _resume(shop, handle.id)
    with pytest.raises(NotFoundError, match=f"Revision {empty[:12]} has no workflow 'deliver'"):
        await _resume(shop, handle.id, revision=empty)
    with pytest.raises(NotFoundError, match="Revision 'abc' not found"):
        await _resume(shop, handle.id, revision="abc")
    await _resume(shop, handle.id, revision=good)
    assert await _result(shop, handle.id) == "done"
    assert await sold(till) == ["hat", "coat"]


@pytest.mark.parametrize("revision", [resume.CURRENT, resume.ORIGINAL])
async def test_what_was_refused_at_the_start_is_asked_again(shop: House, till: SimulatorControl, revision: str) -> None:
    """An execution that never came to have a revision begins anew, when what kept it from beginning is mended."""
    _deliver(shop, HAT_AND_COAT)
    handle = await shop.start("deliver", org_id="newcomer")
    with pytest.raises(NotFoundError, match="Organization 'newcomer' not found"):
        await _result(shop, handle.id)
    shop.organizations = MemoryOrganizations([Organization("newcomer", "Newcomer")])
    await _resume(shop, handle.id, revision=revision)
    assert await _result(shop, handle.id) == "done"


async def test_two_who_resume_at_once(shop: House, till: SimulatorControl) -> None:
    """However many try, the execution is resumed: the calls are made once, and whoever came too late is told."""
    _deliver(shop, BROKEN)
    handle = await _failed(shop, ZeroDivisionError)
    _deliver(shop, HAT_AND_COAT)
    answers = await asyncio.gather(*(_resume(shop, handle.id) for _ in range(3)), return_exceptions=True)
    assert any(isinstance(one, Resumed) for one in answers)
    assert all("went on meanwhile" in str(one) for one in answers if isinstance(one, BaseException))
    assert await _result(shop, handle.id) == "done"
    assert await sold(till) == ["hat", "coat"]


async def test_rerun(shop: House, till: SimulatorControl) -> None:
    """A rerun is a new execution with the same argument, for the same organization, with the code as it is now."""
    _deliver(shop, BROKEN)
    handle = await shop.start("deliver", {"extra": "kept"}, org_id="globex")
    with pytest.raises(ZeroDivisionError):
        await _result(shop, handle.id)
    _deliver(shop, 'return [context.org_id, context.get_variable("extra")]')
    again = await resume.rerun(shop.client, handle.id)
    assert await _result(shop, again.id) == ["globex", "kept"]
    assert again.id != handle.id
    assert (await read_execution(shop.client, handle.id)).status is ExecutionStatus.FAILED
    with pytest.raises(NotFoundError, match="Execution 'nobody' not found"):
        await resume.rerun(shop.client, "nobody")


CHILD = """
    from bifrost import workflow

    @workflow(name="child")
    async def child(context, item: str, wait: bool = False):
        await context.get_integration("shop").sell(item)
        context.save_checkpoint("sold")
        return await context.wait_for_event("go") if wait else item
"""


async def test_a_child_that_was_under_way_is_begun_anew(shop: House, till: SimulatorControl) -> None:
    """A failed execution takes its children with it: those that had not ended begin anew; calls beside them keep their results."""
    shop.write("workflows/child.py", CHILD)
    await till.fail("POST", "/sell/coat", hold=True, status=409)
    _deliver(shop, """
async def beside():
    await sell("hat")
    return await sell("coat")
return await asyncio.gather(context.execute_workflow("child", {"item": "cap", "wait": True}), beside())
""")
    handle = await shop.start("deliver")
    async with shop.serving():
        await till.wait_for(3)
        await till.release()
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(executions.result(handle), 20)
        resumed = await _resume(shop, handle.id)
        assert resumed.at == "workflow child"

        async def begun() -> Any:
            history = await shop.client.get_workflow_handle(handle.id).fetch_history()
            children = [event.child_workflow_execution_started_event_attributes.workflow_execution for event in history.events]
            return [child.workflow_id for child in children if child.workflow_id]

        [child] = await until(begun)
        await shop.client.get_workflow_handle(child).signal("go", "gone")
        assert await asyncio.wait_for(executions.result(shop.client.get_workflow_handle(handle.id)), 20) == ["gone", "coat"]
    assert sorted(await sold(till)) == ["cap", "cap", "coat", "coat", "hat"]


async def test_children_that_had_succeeded_are_not_begun_anew_by_accident(shop: House, till: SimulatorControl) -> None:
    """Where going on would begin a child anew that had succeeded, that has to be meant; a failed child alone is begun anew."""
    shop.write("workflows/child.py", CHILD)
    await till.fail("POST", "/sell/coat", hold=True, status=409)
    _deliver(shop, """
children = [context.execute_workflow("child", {"item": item}) for item in ("cap", "coat")]
return await asyncio.gather(*children)
""")
    handle = await shop.start("deliver")
    async with shop.serving():
        async def one_done() -> bool:
            history = await handle.fetch_history()
            return any(event.HasField("child_workflow_execution_completed_event_attributes") for event in history.events)

        await until(one_done)
        await till.release()
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(executions.result(handle), 20)
    await _refused(shop, handle.id, "To go on at workflow child would begin anew what had succeeded: workflow child. Give --yes")
    _deliver(shop, 'return await context.execute_workflow("child", {"item": "coat"})')
    await till.fail("POST", "/sell/coat", status=409)
    handle = await _failed(shop)
    await _resume(shop, handle.id)
    assert await _result(shop, handle.id) == "coat"


async def test_a_history_that_is_long_in_coming_is_waited_for_no_longer_than_a_task_may_take(house: House) -> None:
    """A run does not hold up its worker: it says that its history is still being read, and is tried again."""
    found, unknown = FetchedResets(house.client), str(uuid.uuid4())
    assert timedelta(seconds=2) > PATIENCE
    with pytest.raises(IntegrationError, match="is still being read"):
        found.of_run(SimpleNamespace(workflow_id="nobody", run_id=unknown, original_execution_run_id=""))  # on the very loop that would read
    assert await found.resets("nobody", unknown) == ()


async def test_an_event_that_came_after_the_point_comes_again(shop: House, till: SimulatorControl) -> None:
    """Nobody has to send an event twice because an execution was resumed."""
    await till.fail("POST", "/sell/coat", hold=True, status=409)
    _deliver(shop, 'return [await sell("coat"), await context.wait_for_event("go")]')
    handle = await shop.start("deliver")
    async with shop.serving():
        await till.wait_for(1)
        await handle.signal("go", "gone")
        await till.release()
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(executions.result(handle), 20)
    await _resume(shop, handle.id)
    assert await _result(shop, handle.id) == ["coat", "gone"]


async def test_a_reset_by_other_tools_keeps_the_revision(shop: House, till: SimulatorControl) -> None:
    """Without a resume's note a run that was reset goes on with the code it began with, and makes its calls with their keys."""
    _deliver(shop, HAT_AND_COAT)
    handle = await shop.start("deliver")
    await _result(shop, handle.id)
    _deliver(shop, "return 1")
    history = await handle.fetch_history()
    tasks = [event.event_id for event in history.events if event.HasField("workflow_task_completed_event_attributes")]
    await shop.client.workflow_service.reset_workflow_execution(ResetWorkflowExecutionRequest(
        namespace=shop.client.namespace, workflow_execution=WorkflowExecution(workflow_id=handle.id), reason='{"bifrost": 1}',
        workflow_task_finish_event_id=tasks[1], request_id=handle.id))
    assert await _result(shop, handle.id) == "done"
    assert await sold(till) == ["hat", "coat", "coat"]
    assert len(set(await keys(till, "coat"))) == 1
    assert await _replayed(shop, handle.id) is None
