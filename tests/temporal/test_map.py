"""`context.map`: very many items, one call each."""

from __future__ import annotations

from typing import Any

import pytest

from bifrost.errors import ValidationError
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from bifrost.temporal.run import fan_out
from tests.temporal.conftest import House
from tests.waiting import until

SOURCE = """
    from bifrost import BaseIntegration, IntegrationError, ValidationError, activity, param, workflow

    class Tool(BaseIntegration):
        integration_name = "tool"
        under_way, most = 0, 0
        async def authenticate(self): ...
        async def double(self, n):
            if n % 10 == 7:
                raise IntegrationError("unlucky", status_code=409, n=n)
            return 2 * n

    async def double(context, item):
        context.save_checkpoint(f"item {item}") if item < 2 else None
        return await context.get_integration("tool").double(item)

    @activity
    def triple(item: int) -> int:
        return 3 * item

    def plus_one(item):
        return item + 1

    @workflow(name="one", requires_org=False)
    @param("n", "int")
    async def one(context, n: int):
        if n == 3:
            raise ValidationError("not three", field="n")
        return {"n": n, "org": context.org_id}

    @workflow(name="many")
    async def many(context, target: str, count: int, concurrency: int = 10):
        inner = lambda item: item
        functions = {"double": double, "triple": triple, "plus_one": plus_one, "lambda": inner, "number": 5, "workflow": one}
        items = [{"n": n} for n in range(count)] if target in ("one", "workflow") else range(count)
        done = await context.map(functions.get(target, target), items, concurrency=concurrency)
        return {"results": done.results, "failures": done.failures, "counts": [done.succeeded, done["failed"]]}
"""


@pytest.fixture
def cached() -> int:
    """Parts and items are executions of their own, many at once, and replayed at every step."""
    return 0


@pytest.fixture
def many(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house whose parts are small."""
    monkeypatch.setattr(fan_out, "PART", 25)
    house.write("workflows/many.py", SOURCE)
    return house


async def _map(house: House, target: str, count: int, concurrency: int = 10) -> Any:
    async with house.serving():
        return await house.run("many", {"target": target, "count": count, "concurrency": concurrency})


@pytest.mark.parametrize(("target", "expected"), [("triple", lambda n: 3 * n), ("plus_one", lambda n: n + 1)])
@pytest.mark.parametrize("count", [0, 20, 60])
async def test_items_come_back_in_order(many: House, target: str, expected: Any, count: int) -> None:
    """Whether the run makes them itself or in parts: an @activity, or a function that only computes."""
    answer = await _map(many, target, count)
    assert answer == {"results": [expected(n) for n in range(count)], "failures": [], "counts": [count, 0]}


@pytest.mark.parametrize("count", [20, 60])
async def test_failures_are_collected(many: House, count: int) -> None:
    """A function with the context makes durable calls; what fails is told with its index, its item and its error, and stops nothing."""
    answer = await _map(many, "double", count)
    unlucky = [n for n in range(count) if n % 10 == 7]
    assert answer["results"] == [None if n in unlucky else 2 * n for n in range(count)]
    assert [(one["index"], one["item"]) for one in answer["failures"]] == [(n, n) for n in unlucky]
    assert answer["failures"][0]["error"] == {"error": "IntegrationError", "message": "unlucky", "details": {"n": 7, "status_code": 409}}
    assert answer["counts"] == [count - len(unlucky), len(unlucky)]


@pytest.mark.parametrize("target", ["one", "workflow"])
async def test_a_workflow_for_each_item(many: House, target: str) -> None:
    """By its name or its function: an execution for each item, whose parameters the item is, for the same organization."""
    answer = await _map(many, target, 30)
    assert [one and one["n"] for one in answer["results"]] == [None if n == 3 else n for n in range(30)]
    assert answer["results"][0]["org"] == "acme"
    assert answer["failures"][0]["error"]["message"] == "not three"


async def test_parts_are_executions_that_can_be_looked_at(many: House) -> None:
    """Each part has an id of its own below the execution's; how far it has come is in its log; its history stays small."""
    async with many.serving():
        handle = await many.start("many", {"target": "double", "count": 60, "concurrency": 50})
        await executions.result(handle)
    execution = await read_execution(many.client, handle.id)
    progress = [line.message for line in execution.log]
    assert len(progress) == 3
    assert progress[-1] == "double: 60 of 60 items done, 6 failed"
    parts = [await read_execution(many.client, f"{handle.id}/map-1/{first}") for first in (0, 25, 50)]
    assert [len(part.calls) for part in parts] == [25, 25, 10]
    assert [point.name for point in parts[0].checkpoints] == ["item 0", "item 1"]
    assert len((await handle.fetch_history()).events) < 60
    assert parts[0].workflow == "many"


async def test_a_part_runs_the_code_of_its_execution(many: House) -> None:
    """Deployed over or deleted meanwhile, a workflow's parts are of the revision that it began with."""
    waits = SOURCE.replace("done = await", "await context.wait_for_event('go')\n        done = await")
    many.write("workflows/many.py", waits)
    async with many.serving():
        handle = await many.start("many", {"target": "plus_one", "count": 60})
        many.write("workflows/many.py", "")
        many.write("workflows/other.py", "from bifrost import workflow\n\n@workflow(name='other')\nasync def other(context): ...\n")
        await _until_begun(many, handle.id)
        assert many.workspace is not None
        assert many.workspace.refresh()
        await handle.signal("go")
        assert (await executions.result(handle))["results"] == list(range(1, 61))


async def _until_begun(house: House, execution_id: str) -> None:
    async def begun() -> bool:
        return (await read_execution(house.client, execution_id)).revision is not None

    await until(begun)


@pytest.mark.parametrize(("target", "said"), [
    ("lambda", "context.map takes the name of a workflow, or a function that stands at the top"), ("number", "not 5"), ("nobody", None)])
async def test_what_cannot_be_mapped_is_refused(many: House, target: str, said: str | None) -> None:
    """A function that a part could not find again is refused; an unknown workflow fails for each item."""
    if said is None:
        answer = await _map(many, target, 2)
        assert "Workflow 'nobody' not found" in answer["failures"][0]["error"]["message"]
        return
    with pytest.raises(ValidationError, match=said):
        await _map(many, target, 2)


async def test_concurrency_is_above_zero(many: House) -> None:
    """Nothing at once is refused."""
    with pytest.raises(ValidationError, match="concurrency must be above 0, not 0"):
        await _map(many, "triple", 2, concurrency=0)


async def test_a_part_that_fails_whole_fails_its_items(many: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item of it is told as failed, and the other parts go on."""
    async with many.serving():
        handle = await many.start("many", {"target": "double", "count": 60, "concurrency": 10})

        async def terminated() -> bool:
            try:
                await many.client.get_workflow_handle(f"{handle.id}/map-1/25").terminate("by hand")
            except Exception:  # noqa: BLE001 - not begun yet
                return False
            return True

        await until(terminated)
        answer = await executions.result(handle)
    assert [one["index"] for one in answer["failures"] if one["error"]["error"] != "IntegrationError"] == list(range(25, 50))
    assert answer["results"][50] == 100


async def test_nobody_else_starts_a_part(many: House) -> None:
    """A start argument cannot choose what is called, nor go round what the workflow asks for."""
    async with many.serving() as workspace:
        handle = await many.client.start_workflow(
            "many", {"org_id": "acme", "map": {"revision": workspace.catalog.revision, "path": "workflows/many.py", "items": [1],
                                               "concurrency": 1, "workflow": "one"}}, id=f"{many.task_queue}-part", task_queue=many.task_queue)
        with pytest.raises(ValidationError, match="is started by the execution that maps"):
            await executions.result(handle)
