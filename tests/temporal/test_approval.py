"""`requires_approval=True`: nobody's code runs before somebody other than its caller has said so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bifrost.errors import NotFoundError, PermissionError, ValidationError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.messages import ApprovalMessage, CallerMessage
from bifrost.models import Caller, ExecutionStatus
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from tests.temporal.conftest import House
from tests.waiting import until

PAY = """
    import asyncio
    from bifrost import param, workflow

    @workflow(name="pay", requires_approval=True, timeout_seconds=0.6)
    @param("amount", "int", validation={"max": 100})
    async def pay(context, amount: int):
        context.save_checkpoint("paid", {"amount": amount})
        if amount == 99:
            await asyncio.sleep(60)
        return amount
"""
ADA, BO = Caller("ada", "ada@acme.example", "Ada"), CallerMessage(user_id="bo", email="bo@acme.example", name="Bo")


async def _asked(house: House, amount: int = 5, caller: Caller | None = ADA) -> str:
    """An execution that waits for approval."""
    house.write("workflows/pay.py", PAY)
    handle = await house.start("pay", {"amount": amount}, caller=caller)

    async def waiting() -> bool:
        if not (await read_execution(house.client, handle.id)).checkpoints:
            return False
        described = (await handle.describe()).raw_description
        # A task that is handed to a worker that is being stopped is lost for ten seconds.
        return not described.HasField("pending_workflow_task") and not described.pending_activities

    async with house.serving():
        await until(waiting)
    return handle.id


async def _decide(house: House, execution_id: str, decision: ApprovalMessage) -> str:
    return await asyncio.wait_for(executions.approve(house.client, execution_id, decision), 30)


async def test_an_approved_run_goes_on(house: House) -> None:
    """It waits, visibly, also while no worker is there; who approved it, and when, is written down; the wait takes none of its time."""
    execution_id = await _asked(house)
    waiting = await read_execution(house.client, execution_id)
    assert (waiting.status, [point.name for point in waiting.checkpoints]) == (ExecutionStatus.RUNNING, ["approval requested"])
    assert waiting.checkpoints[0].data == {"by": "Ada"}
    await asyncio.sleep(0.7)  # longer than its timeout, which does not count yet
    async with house.serving():
        assert await _decide(house, execution_id, ApprovalMessage(by=BO, note="fine")) == "approved"
        assert await executions.result(house.client.get_workflow_handle(execution_id)) == 5
    execution = await read_execution(house.client, execution_id)
    assert [point.name for point in execution.checkpoints] == ["approval requested", "approved", "paid"]
    assert execution.checkpoints[1].data == {"by": "Bo", "user_id": "bo", "note": "fine"}


async def test_its_time_begins_with_the_approval(house: House) -> None:
    """`timeout_seconds` counts from then on."""
    execution_id = await _asked(house, 99)
    async with house.serving():
        await _decide(house, execution_id, ApprovalMessage(by=BO))
        with pytest.raises(WorkflowException, match="exceeded timeout"):
            await executions.result(house.client.get_workflow_handle(execution_id))


async def test_a_rejected_run_fails_before_its_code(house: House) -> None:
    """With who rejected it, and why."""
    execution_id = await _asked(house)
    async with house.serving():
        assert await _decide(house, execution_id, ApprovalMessage(by=BO, approved=False, note="too much")) == "rejected"
        with pytest.raises(PermissionError, match="Rejected by Bo: too much"):
            await executions.result(house.client.get_workflow_handle(execution_id))
        with pytest.raises(NotFoundError):
            await _decide(house, execution_id, ApprovalMessage(by=BO))
    assert [point.name for point in (await read_execution(house.client, execution_id)).checkpoints] == ["approval requested", "rejected"]


@pytest.mark.parametrize("by", [CallerMessage(user_id="ada"), CallerMessage(user_id="x", email="ADA@acme.example")])
async def test_the_caller_cannot_approve(house: House, by: CallerMessage) -> None:
    """Whoever started it is told so, by id or by address, and nothing is recorded."""
    execution_id = await _asked(house)
    async with house.serving():
        with pytest.raises(PermissionError, match="Whoever started an execution cannot approve it"):
            await _decide(house, execution_id, ApprovalMessage(by=by))
        assert len((await read_execution(house.client, execution_id)).checkpoints) == 1
        await _decide(house, execution_id, ApprovalMessage(by=BO))
        assert await executions.result(house.client.get_workflow_handle(execution_id)) == 5


@pytest.mark.parametrize(("argument", "said"), [
    (None, "the argument: Input should be"), ({"approved": True}, "by: Field required"), ({"by": {"user_id": "bo"}, "yes": 1}, "yes: Extra inputs")])
async def test_what_is_no_decision_is_refused(house: House, argument: Any, said: str) -> None:
    """Also when it comes from another tool: the answer shows the form it must have."""
    execution_id = await _asked(house)
    async with house.serving():
        with pytest.raises(Exception) as refusal:
            await house.client.get_workflow_handle(execution_id).execute_update("approve", argument)
        assert said in str(refusal.value.__cause__)
        assert '{"by": {"user_id": "u1"}, "approved": true}' in str(refusal.value.__cause__)
        await house.client.get_workflow_handle(execution_id).terminate()


async def test_parameters_are_checked_before_anybody_is_asked(house: House) -> None:
    """A run that cannot begin asks for no approval."""
    house.write("workflows/pay.py", PAY)
    async with house.serving():
        with pytest.raises(ValidationError, match="must be at most 100"):
            await house.run("pay", {"amount": 101})


async def test_a_run_that_needs_no_approval_takes_none(house: House) -> None:
    """An approval that nobody asked for is refused."""
    house.write("workflows/wait.py", "from bifrost import workflow\n\n@workflow(name='wait')\nasync def wait(context):\n    await context.wait_for_event('go')\n")
    async with house.serving():
        handle = await house.start("wait")
        with pytest.raises(ValidationError, match="waits for no approval"):
            await _decide(house, handle.id, ApprovalMessage(by=BO))
        await handle.signal("go")
        await handle.result()
