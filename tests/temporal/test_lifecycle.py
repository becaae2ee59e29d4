"""How a run ends when it does not come to its end: time, cancellation, code that never yields, and what is undone then."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bifrost.errors import IntegrationError, TimeoutError, ValidationError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.models import ExecutionStatus
from bifrost.temporal import client as executions
from bifrost.temporal.history import Execution, read_execution
from bifrost.temporal.run import deadline
from tests.temporal.conftest import House
from tests.waiting import until

TOOL = """
    from bifrost import BaseIntegration, IntegrationError

    class Tool(BaseIntegration):
        integration_name = "tool"
        async def authenticate(self): ...
        async def make(self, what):
            return {"made": what}
        async def unmake(self, what, hard=False):
            if what == "stuck":
                raise IntegrationError("cannot be unmade", status_code=409)
        async def fail(self):
            raise IntegrationError("no", status_code=409)
"""


async def _run(house: House, body: str, *, options: str = "", before: str = "") -> Any:
    """The handle of a run of a workflow with this body, while it is served."""
    house.write("integrations/tool.py", TOOL)
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    source = f"import asyncio\nfrom bifrost import *\n\n{before}\n@workflow(name='it'{options})\nasync def it(context, **p):\n{lines}\n"
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(source)
    return await house.start("it")


def _calls(execution: Execution) -> list[str]:
    return [call.name for call in execution.calls]


async def _until_checkpoint(house: House, execution_id: str, name: str) -> None:
    async def passed() -> bool:
        return name in [point.name for point in (await read_execution(house.client, execution_id)).checkpoints]

    await until(passed)


# --- cancellation and time ----------------------------------------------------------------------------------------------


async def test_a_pending_run_that_is_cancelled_never_begins(house: House) -> None:
    """Cancelled before any worker has taken it up, none of its code is executed."""
    handle = await _run(house, "context.save_checkpoint('must not be passed')\nawait context.get_integration('tool').make('x')")
    await handle.cancel()
    async with house.serving():
        with pytest.raises(WorkflowException) as end:
            await executions.result(handle)
    assert end.value.error_type == "Cancelled"
    execution = await read_execution(house.client, handle.id)
    assert (execution.status, execution.checkpoints, execution.calls) == (ExecutionStatus.CANCELLED, [], [])


CANCELLED = {
    "awaiting": ("await asyncio.sleep(3600)", None), "an event": ("await context.wait_for_event('never')", None),
    "in parallel": ("await asyncio.gather(*(asyncio.sleep(3600) for _ in range(3)))", None),
    "in a child": ("await context.execute_workflow('long')", "long"),
}


@pytest.mark.parametrize("cached", [0])
@pytest.mark.parametrize("where", CANCELLED)
async def test_cancelled_wherever_it_is(house: House, where: str) -> None:
    """`finally` and `except CancelledError` run, with calls; `except Exception` does not see it; a child is cancelled too."""
    house.write("workflows/long.py", "import asyncio\nfrom bifrost import workflow\n\n@workflow(name='long')\nasync def long(context):\n"
                                     "    context.save_checkpoint('child')\n    await asyncio.sleep(3600)\n")
    waiting, child = CANCELLED[where]
    handle = await _run(house, f"context.save_checkpoint('waiting')\ntry:\n    {waiting}\nexcept Exception:\n    return 'swallowed'\n"
                               "except asyncio.CancelledError:\n    await context.get_integration('tool').make('rest')\n    raise\n"
                               "finally:\n    context.save_checkpoint('cleaned')")
    async with house.serving():
        await _until_checkpoint(house, handle.id, "waiting")
        if child:
            found: list[str] = []

            async def has_child() -> bool:
                found[:] = [event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
                            for event in (await handle.fetch_history()).events
                            if event.HasField("child_workflow_execution_started_event_attributes")]
                return bool(found)

            await until(has_child)
            await _until_checkpoint(house, found[0], "child")
        await handle.cancel()
        with pytest.raises(WorkflowException) as end:
            await executions.result(handle)
        if child:
            assert (await read_execution(house.client, found[0])).status is ExecutionStatus.CANCELLED
    execution = await read_execution(house.client, handle.id)
    assert (end.value.error_type, execution.status) == ("Cancelled", ExecutionStatus.CANCELLED)
    assert ([point.name for point in execution.checkpoints], _calls(execution)) == (["waiting", "cleaned"], ["tool.make"])


async def test_code_may_answer_a_cancellation(house: House) -> None:
    """A body that catches the cancellation and returns has come to its end."""
    handle = await _run(house, "context.save_checkpoint('waiting')\ntry:\n    await asyncio.sleep(3600)\nexcept asyncio.CancelledError:\n    return 'enough'")
    async with house.serving():
        await _until_checkpoint(house, handle.id, "waiting")
        await handle.cancel()
        assert await executions.result(handle) == "enough"


@pytest.mark.parametrize("options", ["", ", timeout_seconds=0.3"])
async def test_clean_up_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    """A body that does not end after it was told to is left behind after a while."""
    monkeypatch.setattr(deadline, "CLEAN_UP", timedelta(seconds=0.5))
    handle = await _run(house, "context.save_checkpoint('waiting')\ntry:\n    await asyncio.sleep(3600)\nfinally:\n    await asyncio.sleep(3600)",
                        options=options)
    async with house.serving():
        if not options:
            await _until_checkpoint(house, handle.id, "waiting")
            await handle.cancel()
        with pytest.raises(TimeoutError if options else WorkflowException):
            await asyncio.wait_for(executions.result(handle), 30)


async def test_time_passes_whatever_the_body_catches(house: House) -> None:
    """A body that swallows even the cancellation has exceeded its time all the same."""
    handle = await _run(house, "try:\n    await asyncio.sleep(3600)\nexcept BaseException:\n    return 'swallowed'", options=", timeout_seconds=0.3")
    async with house.serving():
        with pytest.raises(TimeoutError, match=r"exceeded timeout of 0\.3 seconds"):
            await executions.result(handle)
    assert (await read_execution(house.client, handle.id)).status is ExecutionStatus.TIMEOUT


# --- code that does not yield -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [0])
async def test_an_endless_loop_fails_the_run(house: House) -> None:
    """Code that never yields is not tried for ever: the run fails with the line, and the worker serves the others."""
    handle = await _run(house, "await context.get_integration('tool').make('x')\nwhile True:\n    pass")
    house.write("workflows/other.py", "from bifrost import workflow\n\n@workflow(name='other')\nasync def other(context):\n    return 'served'\n")
    async with house.serving():
        with pytest.raises(TimeoutError, match=r"^workspace/workflows/it\.py:\d+: the workflow did not yield for 2 seconds") as failure:
            await asyncio.wait_for(executions.result(handle), 60)
        assert await house.run("other") == "served"
    assert failure.value.details["line"].startswith("workspace/workflows/it.py:")
    execution = await read_execution(house.client, handle.id)
    assert execution.status is ExecutionStatus.FAILED
    assert [call.status for call in execution.calls] == ["success"]


@pytest.mark.parametrize("cached", [0])
@pytest.mark.parametrize("body", ["raise SystemExit('enough')", "await asyncio.gather(stop(), stop())"])
async def test_exit_ends_the_run_and_not_the_worker(house: House, body: str) -> None:
    """A workflow that exits fails; the worker that runs it goes on."""
    handle = await _run(house, body, before="async def stop():\n    await asyncio.sleep(0.001)\n    raise SystemExit('enough')\n")
    house.write("workflows/other.py", "from bifrost import workflow\n\n@workflow(name='other')\nasync def other(context):\n    return 'served'\n")
    async with house.serving():
        with pytest.raises(RuntimeError, match="The workflow raised SystemExit: enough"):
            await executions.result(handle)
        assert await house.run("other") == "served"


@pytest.mark.parametrize("cached", [0])
async def test_a_long_computation_that_yields_is_fine(house: House) -> None:
    """A timer in a loop is enough."""
    handle = await _run(house, "total = 0\nfor n in range(30):\n    total += sum(range(200_000))\n    await asyncio.sleep(0.001)\nreturn total > 0")
    async with house.serving():
        assert await executions.result(handle) is True


# --- undo ---------------------------------------------------------------------------------------------------------------

UNDO = """
tool = context.get_integration("tool")
made = await tool.make("a")
context.on_failure(tool.unmake, made["made"], hard=True)
await tool.make("b")
context.on_failure(shout, "b")
context.on_failure(mine, context, "c")
context.on_failure(tool.unmake, "stuck")
"""
BEFORE = """
@activity
def shout(word):
    return word.upper()

async def mine(context, word):
    await context.get_integration("tool").unmake(word)
"""
UNDONE = ["tool.make", "tool.make", "tool.unmake", "tool.unmake", "shout", "tool.unmake"]


@pytest.mark.parametrize("cached", [0])
@pytest.mark.parametrize(("end", "options"), [
    ("await tool.fail()", ""), ("raise ValidationError('no such item')", ""), ("1 / 0", ""), ("await asyncio.sleep(3600)", ", timeout_seconds=1.5"),
    ("return object()", ""), ("context.save_checkpoint('waiting')\nawait asyncio.sleep(3600)", "")])
async def test_what_was_done_is_undone_in_reverse(house: House, end: str, options: str) -> None:
    """If a run fails, runs out of time or is cancelled, undo calls are made, the last first; one that fails keeps none from being made."""
    handle = await _run(house, UNDO + end, options=options, before=BEFORE)
    async with house.serving():
        if "waiting" in end:
            await _until_checkpoint(house, handle.id, "waiting")
            await handle.cancel()
        with pytest.raises(Exception) as failure:
            await executions.result(handle)
    execution = await read_execution(house.client, handle.id)
    assert [name for name in _calls(execution) if name != "tool.fail"] == UNDONE
    assert execution.checkpoints[-1].name == "undoing"
    assert [line.message for line in execution.log if "undone" in line.message][-3:] == ["undone: mine", "undone: shout", "undone: tool.unmake"]
    if isinstance(failure.value, IntegrationError | ValidationError | TimeoutError):
        assert [one["undo"] for one in failure.value.details["undone"]] == ["tool.unmake", "mine", "shout", "tool.unmake"]
        assert failure.value.details["undone"][0]["error"] == "cannot be unmade"


async def test_nothing_is_undone_at_a_good_end(house: House) -> None:
    """A run that comes to its end keeps what it did, also when it says that it was not successful."""
    handle = await _run(house, UNDO + "return {'success': False}", before=BEFORE)
    async with house.serving():
        await executions.result(handle)
    assert _calls(await read_execution(house.client, handle.id)) == ["tool.make", "tool.make"]


@pytest.mark.parametrize("wrong", ["tool.unmake('a')", "'tool.unmake'"])
async def test_what_is_no_undo_is_refused(house: House, wrong: str) -> None:
    """A call in place of a function, and what is no function, are refused when they are given."""
    handle = await _run(house, f"tool = context.get_integration('tool')\ncontext.on_failure({wrong})")
    async with house.serving():
        with pytest.raises(ValidationError, match="on_failure takes a function and its arguments, not"):
            await executions.result(handle)
