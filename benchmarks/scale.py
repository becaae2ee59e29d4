"""Whether it matters how much there is: workflow files in the workspace, revisions that executions are pinned to, organizations.

Two workers stand on one server, one with little and one with much, and the same is asked of them in alternation.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from benchmarks.comparing import alternating, ratio
from benchmarks.figures import Figure
from benchmarks.startup import LAUNCH, seconds, started
from benchmarks.workers import Side, Stage, stage, until, write
from bifrost.logging import configure
from bifrost.settings import Settings

FILES, REVISIONS, ORGANIZATIONS = (10, 100, 1000), (10, 100), (1000, 10_000)
FEW_ORGANIZATIONS = 10
STARTS = 6
EXECUTIONS, CALLS, SAMPLES = 100, 5, 20
"""How many executions of how many calls a throughput is of, and how many executions one after the other a median is of."""

EXECUTION = f"an execution of {CALLS} calls, p50"
_Handle = WorkflowHandle[Any, Any]

INTEGRATION = """
from bifrost import BaseIntegration, register_integration

class Chores(BaseIntegration):
    integration_name = "chores"

    async def authenticate(self): ...

    async def step(self, number: int) -> int:
        return number + 1

register_integration("chores", Chores)
"""

WORKFLOW = """
from bifrost import OrganizationContext, param, workflow

@workflow(name="{name}", description="Counts, and waits if it is to.", category="many")
@param("count", "int", validation={{"min": 0}}, default_value=0)
@param("wait", "bool", default_value=False)
async def {name}(context: OrganizationContext, count: int, wait: bool):
    chores = context.get_integration("chores")
    number = 0
    while number < count:
        number = await chores.step(number)
    if wait:
        await context.wait_for_event("go")
    return "{version}"
"""


def _files(count: int, version: str = "") -> dict[str, str]:
    """A workspace of so many workflows, each in a file; the first one is called `steps`."""
    names = ["steps", *(f"steps_{number}" for number in range(1, count))]
    return {"integrations/chores.py": INTEGRATION,
            **{f"workflows/{name}.py": WORKFLOW.format(name=name, version=version) for name in names}}


async def _standing(*sides: Side) -> None:
    for side in sides:
        await side.serve()


async def _result(side: Side, workflow: str = "steps", org_id: str = "acme") -> Any:
    return await (await side.start(workflow, org_id, count=CALLS)).result()


async def _per_second(side: Side, workflows: Sequence[str]) -> float:
    """Throughput of executions of all these workflows, in turn."""
    return EXECUTIONS / await seconds(asyncio.gather(*(_result(side, workflows[number % len(workflows)]) for number in range(EXECUTIONS))))


async def _p50(side: Side, org_ids: Sequence[str] = ("acme",)) -> float:
    """The median of executions one after the other, for organizations from all over these, in milliseconds."""
    apart = max(1, len(org_ids) // SAMPLES)
    return statistics.median([await seconds(_result(side, org_id=org_ids[number * apart % len(org_ids)])) for number in range(SAMPLES)]) * 1000


async def _launches(much: Side, little: Side, org_id: str = "acme") -> tuple[list[float], list[float]]:
    async def done(side: Side) -> float:
        return (await started(side, org_id))[1]
    return await alternating(lambda: done(much), lambda: done(little), STARTS)


async def files() -> list[Figure]:
    """Executions a second, and seconds until a worker works, by how many workflow files there are."""
    configure(Settings(log_level="warning"))
    return [figure for count in FILES for figure in await _by_files(count)]


async def _by_files(count: int) -> list[Figure]:
    workspace = _files(count)
    names = [Path(path).stem for path in workspace if path.startswith("workflows/")]
    async with stage() as standing:
        many, one = standing.bifrost(f"{count:,} files", workspace), standing.bifrost("1 file", _files(1))
        launches = await _launches(many, one)
        await _standing(many, one)
        rates = await alternating(lambda: _per_second(many, names), lambda: _per_second(one, ["steps"]))
    return [*ratio(f"{EXECUTIONS} executions of {CALLS} calls", "/s", *rates, of=many.name, against=one.name, bound=0.95, at_least=True),
            *ratio(LAUNCH, "s", *launches, of=many.name, against=one.name)]


async def organizations() -> list[Figure]:
    """Milliseconds of an execution, and seconds until a worker works, by how many organizations there are in a file."""
    configure(Settings(log_level="warning"))
    return [figure for count in ORGANIZATIONS for figure in await _by_organizations(count)]


async def _by_organizations(count: int) -> list[Figure]:
    org_ids = [f"org-{number}" for number in range(count)]
    few = org_ids[:FEW_ORGANIZATIONS]
    async with stage() as standing:
        many = standing.bifrost(f"{count:,} organizations", _files(1), org_ids)
        some = standing.bifrost(f"{len(few)} organizations", _files(1), few)
        launches = await _launches(many, some, few[0])
        await _standing(many, some)
        medians = await alternating(lambda: _p50(many, org_ids), lambda: _p50(some, few))
    return [*ratio(EXECUTION, "ms", *medians, of=many.name, against=some.name), *ratio(LAUNCH, "s", *launches, of=many.name, against=some.name)]


async def revisions() -> list[Figure]:
    """Milliseconds of new executions, and of the rest of those that are pinned to a revision each, by how many revisions there are."""
    configure(Settings(log_level="warning"))
    return [figure for count in REVISIONS for figure in await _by_revisions(count)]


async def _by_revisions(count: int) -> list[Figure]:
    versions = ["", *(f"version {number}" for number in range(1, count))]
    async with stage() as standing:
        many, one = standing.bifrost(f"{count} revisions", _files(1), reload=True), standing.bifrost("1 revision", _files(1))
        await _standing(many, one)
        pinned = [await _deployed(standing, many, version) for version in versions]
        alike = [await one.start("steps", wait=True) for _ in versions]
        medians = await alternating(lambda: _p50(many), lambda: _p50(one))
        rest = [[await _rest(theirs, version), await _rest(other, "")] for version, theirs, other in zip(versions, pinned, alike, strict=True)]
    return [*ratio(EXECUTION, "ms", *medians, of=many.name, against=one.name),
            *ratio("event → result of an execution that waited", "ms", *zip(*rest, strict=True), of=f"{many.name}, each its own", against=one.name)]


async def _deployed(standing: Stage, side: Side, version: str) -> _Handle:
    """An execution that waits, and is pinned to a workspace of this version."""
    write(standing.workspace(side), _files(1, version))

    async def runs() -> bool:
        result: str = await (await side.start("steps")).result()
        return result == version
    await until(runs)
    return await side.start("steps", wait=True)


async def _rest(handle: _Handle, version: str) -> float:
    """Let an execution go on that waits; answers the milliseconds until its result."""
    async def went_on() -> None:
        await handle.signal("go", None)
        assert await handle.result() == version, "an execution runs the code that it began with"
    return await seconds(went_on()) * 1000
