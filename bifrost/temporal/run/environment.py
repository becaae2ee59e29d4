"""A run's clock, dice and waiting, on Temporal: the adapter of `workspace.determinism.RunEnvironment`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import datetime
from random import Random
from typing import Any, Final

from temporalio import workflow

from bifrost.workspace.determinism import RunEnvironment

A_WHILE: Final = 1.0
"""Seconds of sleep after which somebody may want to know how far a run has come."""


class TemporalEnvironment(RunEnvironment):
    """The environment of the workflow that is being executed.

    User code's random numbers are a stream of their own: one draw more never shifts an id that the engine draws.
    """

    def __init__(self) -> None:
        self.before_pause: Callable[[], None] | None = None
        """Called before the run sleeps for a while, so that what it has said until then can be read."""

    @functools.cached_property
    def random(self) -> Random:  # type: ignore[override]  # with the first number: its state takes 2.5 kB of every cached run
        return workflow.new_random("bifrost.user")

    def now(self) -> datetime:
        return workflow.now()

    def replaying(self) -> bool:
        return workflow.unsafe.is_replaying()

    def pausing(self, seconds: float) -> None:
        if seconds >= A_WHILE and self.before_pause:
            self.before_pause()

    async def wait(self, futures: Any, *, timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:  # noqa: ASYNC109 - asyncio's own
        return await workflow.wait(futures, timeout=timeout, return_when=return_when)

    def as_completed(self, futures: Any, *, timeout: float | None = None) -> Iterator[Any]:
        return workflow.as_completed(futures, timeout=timeout)
