"""The durable context, member by member, in real runs."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest
from temporalio.client import Client

from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import IntegrationError, NotFoundError, PermissionError, TimeoutError, WorkflowException  # noqa: A004
from bifrost.messages import SEARCH_ATTRIBUTES
from bifrost.temporal import client as executions
from bifrost.temporal import worker
from bifrost.temporal.history import read_execution
from bifrost.temporal.run import progress
from tests.temporal.conftest import House

TOOL = """
    import asyncio
    from bifrost import BaseIntegration

    class VendorError(Exception):
        pass

    class Tool(BaseIntegration):
        integration_name = "tool"

        async def authenticate(self):
            pass

        async def fail(self):
            raise VendorError("odd")

        async def say(self, value):
            return value

    class Mill(BaseIntegration):
        integration_name = "mill"
        timeout_seconds = 0.3

        async def authenticate(self):
            pass

        async def hang(self):
            await asyncio.sleep(60)
"""


def _workflow(body: str) -> str:
    indented = "\n".join(f"    {line}" if line.strip() else "" for line in body.strip("\n").splitlines())
    return f"import asyncio\nfrom bifrost import *\n\n@workflow(name='it', retry_policy={{'max_attempts': 1}})\nasync def it(context, **p):\n{indented}\n"


async def _run(house: House, body: str, tool: str = TOOL) -> Any:
    house.write("integrations/tool.py", tool)
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(_workflow(body))
    async with house.serving():
        return await house.run("it")


async def test_a_vendors_exception_is_an_integration_error(house: House) -> None:
    """An exception of a class that the run cannot know comes as IntegrationError, with its name."""
    with pytest.raises(IntegrationError, match="VendorError: odd") as failure:
        await _run(house, "await context.get_integration('tool').fail()")
    assert failure.value.integration == "tool"
    assert failure.value.details["error_class"].endswith("VendorError")


async def test_a_call_that_takes_too_long_is_a_timeout(house: House) -> None:
    """A call that exceeds its integration's timeout in every attempt raises TimeoutError in the run."""
    with pytest.raises(TimeoutError, match=r"mill\.hang did not end in time"):
        await _run(house, "await context.get_integration('mill').hang()")


async def test_a_handle_of_another_organization_is_refused(house: House) -> None:
    """A secret handle is no way into another organization's secrets, wherever it comes from."""
    with pytest.raises(PermissionError, match="belongs to another organization"):
        await _run(house, "await context.get_integration('tool').say([Secret('globex', 'user_management_api_key')])")


async def test_many_log_lines_are_kept_without_checkpoints(house: House) -> None:
    """Lines that no checkpoint carries are written in batches and with the end; none is lost, and the order stays."""
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(_workflow("""
for number in range(450):
    context.log("info", f"line {number}", {"number": number})
context.log("LOUD", "of an unknown level")
"""))
    async with house.serving():
        handle = await house.start("it")
        await handle.result()
    log = (await read_execution(house.client, handle.id)).log
    assert [line.message for line in log] == [*(f"line {number}" for number in range(450)), "of an unknown level"]
    assert (log[7].data, log[-1].level) == ({"number": 7}, "info")
    history = await handle.fetch_history()
    assert sum(event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED for event in history.events) == 2


async def test_more_checkpoints_than_may_be_under_way(house: House) -> None:
    """A loop that passes hundreds of checkpoints without waiting writes them all, in order, before the call that follows."""
    house.write("integrations/tool.py", TOOL)
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(_workflow("""
for number in range(450):
    context.save_checkpoint(f"step {number}")
return await context.get_integration("tool").say("done")
"""))
    async with house.serving():
        handle = await house.start("it")
        assert await handle.result() == "done"
    read = await read_execution(house.client, handle.id)
    assert [one.name for one in read.checkpoints] == [f"step {number}" for number in range(450)]
    assert read.calls[0].started_at >= read.checkpoints[-1].at
    history = await handle.fetch_history()
    scheduled = [event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events
                 if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    assert scheduled[-1] == "tool.say"


async def test_what_is_too_large_to_write_down_is_counted(house: House) -> None:
    """A checkpoint or log line with more data than a history should hold says how much was left out."""
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(_workflow("""
large = {str(n): "x" * 1000 for n in range(99)}
context.save_checkpoint("large", large)
for number in range(9):
    context.log("info", "much", {str(n): "x" * 1000 for n in range(50)})
"""))
    async with house.serving():
        handle = await house.start("it")
        await handle.result()
    read = await read_execution(house.client, handle.id)
    assert "bytes of data were left out" in read.checkpoints[0].data["…"]
    assert len(read.log) == 9


async def test_checkpoints_may_be_awaited_and_repeat(house: House) -> None:
    """Awaiting does no harm; one name may be passed twice; what is sensitive is hidden."""
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(_workflow("""
await context.save_checkpoint("round", {"password": "p", "n": 1})
context.save_checkpoint("round", {"n": 2})
await asyncio.sleep(0.01)
"""))
    async with house.serving():
        handle = await house.start("it")
        await handle.result()
    passed = (await read_execution(house.client, handle.id)).checkpoints
    assert [(one.name, one.data) for one in passed] == [
        ("round", {"password": "***REDACTED***", "n": 1}), ("round", {"n": 2})]
    history = await handle.fetch_history()
    assert [event.activity_task_scheduled_event_attributes.activity_id for event in history.events
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED] == ["checkpoint:round", "checkpoint:round-2"]


async def test_waiting_for_the_first_of_several_repeats(house: House) -> None:
    """`asyncio.wait` and `as_completed` work in a run, with timers that are durable; one is due a second after the other, so that no step has both."""
    assert await _run(house, """
async def nap(n):
    await asyncio.sleep(n / 100)
    return n
done, pending = await asyncio.wait([asyncio.create_task(nap(n)) for n in (100, 1)], return_when=asyncio.FIRST_COMPLETED)
first = [task.result() for task in done]
rest = [await task for task in pending]
return [first, rest, [await task for task in asyncio.as_completed([nap(100), nap(1)])]]
""") == [[1], [100], [1, 100]]


async def test_many_calls_at_once(house: House) -> None:
    """More calls than may be under way at once wait their turn inside the run."""
    assert await _run(house, """
tool = context.get_integration("tool")
return sum(await asyncio.gather(*(tool.say(n) for n in range(230))))
""") == sum(range(230))


async def test_what_a_run_cannot_have_is_refused(house: House) -> None:
    """Tokens are no part of a run; a proxy has no private attributes and says what it is."""
    assert await _run(house, """
said = []
try:
    await context.get_oauth_connection("graph")
except NotFoundError as error:
    said.append(error.message)
tool = context.get_integration("tool")
return [*said, hasattr(tool, "_secret"), repr(tool), tool is context.get_integration("tool")]
""") == ["The OAuth connection 'graph' cannot be read in a workflow, whose every value is recorded: read it in the "  # noqa: ISC004
         "integration that uses it", False, "<integration tool>", True]


async def test_a_result_that_failed_says_so(house: House) -> None:
    """`success: False` in a result is CompletedWithErrors, in the status that everybody reads."""
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(_workflow("return {'success': False, 'error': 'half'}"))
    async with house.serving():
        handle = await house.start("it")
        assert (await handle.result())["success"] is False
    assert (await read_execution(house.client, handle.id)).status == "CompletedWithErrors"


async def test_an_empty_start_argument_is_enough(house: House) -> None:
    """The dynamic fallback takes a start without an argument, too."""
    house.write("workflows/one.py", "from bifrost import workflow\n")
    async with house.serving() as workspace:
        house.write("workflows/it.py", _workflow("return 1").replace("retry_policy", "requires_org=False, retry_policy"))
        assert workspace.refresh()
        assert await house.client.execute_workflow("it", id=f"empty-{house.task_queue}", task_queue=house.task_queue) == 1


async def test_the_end_of_an_execution_is_told(house: House) -> None:
    """A terminated execution raises what it was; one that timed out on the server is a TimeoutError."""
    handle = await house.start("nothing")
    await handle.terminate(reason="enough")
    with pytest.raises(WorkflowException, match="was terminated: enough"):
        await executions.result(handle)


async def test_a_worker_registers_what_it_needs(tmp_path: Any) -> None:
    """In a namespace without Bifrost's search attributes a worker registers them, and a second time changes nothing."""
    async with TemporalServer(tmp_path, db_path=None, port=free_port()) as server:
        client: Client = await executions.connect(server.address)
        await client.operator_service.remove_search_attributes(RemoveSearchAttributesRequest(
            namespace=client.namespace, search_attributes=list(SEARCH_ATTRIBUTES[:2])))
        for _ in range(2):
            await worker.ensure_search_attributes(client)
        from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
        listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace))
    assert set(SEARCH_ATTRIBUTES) <= set(listed.custom_attributes)


async def test_a_connection_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A configuration that cannot be read, and an address where nobody answers, are errors to mend."""
    from bifrost.errors import ConfigurationError
    with pytest.raises(ConfigurationError, match=r"Temporal does not answer at 127\.0\.0\.1:1"):
        await executions.connect("127.0.0.1:1")
    (tmp_path / "bad.toml").write_text("= nonsense")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "bad.toml"))
    with pytest.raises(ConfigurationError, match="Temporal's configuration cannot be read"):
        await executions.connect()


async def test_an_unknown_execution_is_not_found(client: Client) -> None:
    """What Temporal does not know is refused by name when it is asked for."""
    with pytest.raises(NotFoundError, match="Execution 'nobody' not found"):
        await read_execution(client, "nobody")


async def test_ten_thousand_log_lines(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take few events of the history; what is more than an execution keeps is counted, not lost in silence."""
    monkeypatch.setattr(progress, "MAX_LOG_TOTAL", 600_000)
    (house.root / "workflows").mkdir(exist_ok=True)
    (house.root / "workflows" / "it.py").write_text(_workflow("""
for number in range(10_000):
    context.log("info", f"line {number}")
"""))
    async with house.serving():
        handle = await house.start("it")
        await handle.result()
    log = (await read_execution(house.client, handle.id)).log
    kept = len(log) - 1
    assert [line.message for line in log[:kept]] == [f"line {number}" for number in range(kept)]
    assert 5_000 < kept < 10_000
    assert (log[-1].level, log[-1].message) == ("warning", f"{10_000 - kept:,} more log lines were left out")
    assert len((await handle.fetch_history()).events) < 200
