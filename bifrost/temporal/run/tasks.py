"""Tasks that a run's sets keep in an order that repeats.

asyncio keeps tasks in sets (a `TaskGroup` cancels its tasks from one), and so does user code. Python orders a set by hash, and
a task's hash is its address, another one on every replay. The tasks of a run are hashed by the order they were made in.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Self

from temporalio.worker import WorkflowInstance


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number in its run."""

    _number: int

    def __new__(cls, coro: Any, number: int, **more: Any) -> Self:
        task = super().__new__(cls, coro, **more)  # type: ignore[call-arg]  # asyncio.Task takes them
        task._number = number  # before asyncio puts it into a set of its own
        return task

    def __init__(self, coro: Any, number: int, **more: Any) -> None:
        del number
        super().__init__(coro, **more)

    def __hash__(self) -> int:
        return self._number

    __eq__ = object.__eq__


def number_tasks(instance: WorkflowInstance) -> None:
    """Let a run make numbered tasks; its instance is its event loop."""
    loop: Any = instance
    numbers = itertools.count(1)

    def create_task(coro: Any, *, name: str | None = None, context: Any = None) -> NumberedTask:
        task = NumberedTask(coro, next(numbers), loop=loop, context=context)
        loop._register_task(task, name=name)  # noqa: SLF001 - as the loop's own `create_task` does
        return task

    loop.create_task = create_task
