"""Waiting for something to become true, with a deadline, in place of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(check: Callable[[], Awaitable[T]], *, seconds: float = 30) -> T:
    """Ask again and again until the answer is true; a failed test after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{check.__qualname__} did not become true within {seconds} s"
        await asyncio.sleep(0.02)
