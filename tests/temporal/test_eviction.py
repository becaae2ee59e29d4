"""What a run does when the SDK drops it from its cache: nothing to the outside."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from temporalio import workflow

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.temporal.run import blocked
from bifrost.temporal.workflow import _user_code
from tests.temporal.conftest import House
from tests.waiting import until


async def test_clean_up_code_of_an_evicted_run_reaches_nothing(house: House, graph: SimulatorControl) -> None:
    """A waiting run that loses its place in the cache runs its `finally` blocks then; no call and no checkpoint comes of it."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="tidy")
        async def tidy(context):
            try:
                return await context.wait_for_event("go")
            finally:
                context.log("info", "tidying")
                context.save_checkpoint("tidied")
                await context.get_integration("msgraph").get_subscribed_skus()
    """)
    async with house.serving(cached=1):
        waiting = [await house.start("tidy") for _ in range(4)]  # each of them evicts another one

        async def all_wait() -> bool:
            found = [await handle.describe() for handle in waiting]
            return all("BifrostRevision" in one.search_attributes for one in found)

        await until(all_wait)
        assert await graph.journal("GET", "/v1.0/subscribedSkus") == []
        for handle in waiting:
            await handle.signal("go", "went")
        assert [await handle.result() for handle in waiting] == ["went"] * 4
    assert len(await graph.journal("GET", "/v1.0/subscribedSkus")) == 4


async def test_a_run_that_the_engine_cannot_serve_is_repeated_not_failed(house: House) -> None:
    """A worker that lacks a run's revision does not fail the run: another worker, or the mended one, goes on with it."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="steady")
        async def steady(context):
            return await context.wait_for_event("go")
    """)
    async with house.serving():
        handle = await house.client.start_workflow("steady", {"org_id": "acme"}, id=f"{house.task_queue}-steady", task_queue=house.task_queue,
                                                   task_timeout=timedelta(seconds=2))

        async def begun() -> bool:
            return "BifrostRevision" in (await handle.describe()).search_attributes

        await until(begun)
    kept = house.revisions
    house.revisions = type(kept)(house.root.parent / "elsewhere")
    house.write("utils/other.py", "")  # so that this worker has another revision only
    async with house.serving():
        await handle.signal("go", "went")

        async def task_failed() -> bool:
            history = await handle.fetch_history()
            return any(event.HasField("workflow_task_failed_event_attributes") for event in history.events)

        await until(task_failed)
    house.revisions = kept
    async with house.serving():
        assert await handle.result() == "went"


def test_a_run_that_is_left_to_the_garbage_collector_speaks_of_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be collected while its thread is in another run, at the very beginning of that: nothing is asked or noted of it."""
    noted: list[str] = []
    monkeypatch.setattr(workflow, "in_workflow", lambda: True)
    monkeypatch.setattr(workflow, "info", lambda: SimpleNamespace(run_id="another"))
    monkeypatch.setattr(blocked, "note", lambda run_id, _error: noted.append(run_id))
    with pytest.raises(GeneratorExit), _user_code():
        raise GeneratorExit
    assert noted == []
    with pytest.raises(SystemExit), _user_code():
        raise SystemExit
    assert noted == ["another"]
