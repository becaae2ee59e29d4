"""What a run would answer, without one: for tests of the workspace's modules alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from bifrost.workspace import determinism

NOW = datetime(2030, 7, 2, 3, 4, 5, 678000, tzinfo=UTC)


class StillRun(determinism.RunEnvironment):
    """A run whose clock stands still and whose dice are seeded; `waited` says how it was asked to wait."""

    def __init__(self, now: datetime = NOW) -> None:
        self.random = Random(7)
        self.replays = False
        self.waited: list[str] = []
        self._now = now

    def now(self) -> datetime:
        return self._now

    def replaying(self) -> bool:
        return self.replays

    async def wait(self, futures: Any, *, timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:  # noqa: ASYNC109
        self.waited.append("wait")
        return await asyncio.wait(futures, timeout=timeout, return_when=return_when)

    def as_completed(self, futures: Any, *, timeout: float | None = None) -> Iterator[Any]:
        self.waited.append("as_completed")
        return asyncio.as_completed(futures, timeout=timeout)
