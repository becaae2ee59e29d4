"""`context.map`: one call for each of very many items, without a history of very many events.

Items are made in parts of at most `PART`. Up to one part is made by the run itself; more of them by executions of the same
workflow, revision and organization, one for each part, which answer what came of it. What fails is collected, and stops
nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from temporalio import workflow

from bifrost.context import OrganizationContext
from bifrost.decorators import WORKFLOW_ATTRIBUTE
from bifrost.errors import ValidationError
from bifrost.messages import CodeReference, MapMessage
from bifrost.models import WorkflowMetadata
from bifrost.record import Record, record
from bifrost.temporal import failures
from bifrost.workspace.guard import PACKAGE

PART: Final = 200
"""How many items one execution makes: with N calls for each, its history has about 600 N events, of at most 51,200."""

Target = str | Callable[..., Any]
Call = Callable[[Any], Awaitable[Any]]
"""Makes one item."""


def reference(target: Target, revision: str) -> tuple[str | None, CodeReference | None]:
    """What is called, as a part's execution finds it again: a workflow's name, or a function's place.

    Raises:
        ValidationError: it is neither a workflow nor a function at the top of a file of the workspace.
    """
    metadata = getattr(target, WORKFLOW_ATTRIBUTE, None)
    if isinstance(target, str) or isinstance(metadata, WorkflowMetadata):
        return target if isinstance(target, str) else metadata.name if metadata else None, None
    module, name = getattr(target, "__module__", ""), getattr(target, "__qualname__", "")
    if not str(module).startswith(f"{PACKAGE}.") or not str(name).isidentifier():
        raise ValidationError(f"context.map takes the name of a workflow, or a function that stands at the top of a file of the workspace, "
                              f"not {name or target!r}", field="map")
    return None, CodeReference(revision=revision, module=module, function=name)


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether the function's first argument is the context, and the item its second."""
    names = list(inspect.signature(function).parameters)
    return bool(names) and names[0] == "context"


def call_of(context: OrganizationContext, target: Target, revision: str) -> Call:
    """How one item is made: by the workflow of that name, or by the function, which gets the context if it takes one."""
    name = reference(target, revision)[0]

    async def call(item: Any) -> Any:
        if name is not None:
            return await context.execute_workflow(name, item)
        assert callable(target), "a reference is a name or a function"
        result = target(context, item) if takes_context(target) else target(item)
        return await result if inspect.isawaitable(result) else result

    return call


async def make(call: Call, items: Sequence[Any], concurrency: int, first: int = 0) -> Record:
    """Make items, so many at once, and answer their results and failures; `first` is the number of the first one."""
    results: list[Any] = [None] * len(items)
    failed: list[dict[str, Any]] = []
    slots = asyncio.Semaphore(concurrency)

    async def one(number: int, item: Any) -> None:
        async with slots:
            try:
                results[number] = await call(item)
            except Exception as error:  # noqa: BLE001 - one item's failure is not the others'
                failed.append({"index": first + number, "item": item, "error": failures.as_dict(error)})

    async with asyncio.TaskGroup() as group:
        for number, item in enumerate(items):
            group.create_task(one(number, item))
    return summary(results, failed)


def summary(results: list[Any], failed: list[dict[str, Any]]) -> Record:
    """What `context.map` answers: results in the order of the items (None where one failed), failures by index, and counts."""
    ordered = sorted(failed, key=lambda one: one["index"])
    return Record(results=results, failures=record(ordered), succeeded=len(results) - len(failed), failed=len(failed))


def parts(items: Sequence[Any]) -> Iterator[tuple[int, Sequence[Any]]]:
    """The items in parts, each with the number of its first one."""
    return ((first, items[first:first + PART]) for first in range(0, len(items), PART))


async def make_in_parts(items: Sequence[Any], concurrency: int, start: Callable[[MapMessage, int], Awaitable[Any]], message: MapMessage,
                        progress: Callable[[int, int], None]) -> Record:
    """Have the items made by an execution for each part.

    Args:
        items: All of them.
        concurrency: How many items are made at once, in all parts together.
        start: Starts a part's execution and awaits its answer.
        message: What is the same in all parts.
        progress: Told how many are done, and how many of those failed.
    """
    results: list[Any] = [None] * len(items)
    failed: list[dict[str, Any]] = []
    done = 0
    slots = asyncio.Semaphore(max(concurrency // PART, 1))

    async def one(first: int, part: Sequence[Any]) -> None:
        nonlocal done
        async with slots:
            try:
                answer = await start(message.model_copy(update={"items": list(part), "concurrency": min(concurrency, PART)}), first)
            except Exception as error:  # noqa: BLE001 - one part's failure is not the others'
                answer = {"results": [None] * len(part), "failures": [
                    {"index": number, "item": item, "error": failures.as_dict(error)} for number, item in enumerate(part)]}
        results[first:first + len(part)] = answer["results"]
        failed.extend({**one, "index": first + one["index"]} for one in answer["failures"])
        done += len(part)
        progress(done, len(failed))

    async with asyncio.TaskGroup() as group:
        for first, part in parts(items):
            group.create_task(one(first, part))
    return summary(results, failed)


def show(name: str, done: int, total: int, failed: int) -> str:
    """A line on how far a map has come, also shown as the run's current details."""
    line = f"{name}: {done:,} of {total:,} items done" + (f", {failed:,} failed" if failed else "")
    workflow.set_current_details(line)
    return line
