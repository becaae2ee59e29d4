"""The loop of a driver process: requests on its standard input, what was measured on its standard output, JSON lines both.

    ◄─ {"ready": true}
    ─► {"calls": 5, "executions": 1, "shape": "sequence", "wait": true}
    ◄─ {"seconds": 0.041, "each": [0.041]}        or        {"error": "…"}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Result = Callable[[], Awaitable[Any]]
Start = Callable[[int, str], Awaitable[Result]]
"""Starts one execution with so many calls of that shape; what it answers awaits the execution's result."""


async def drive(start: Start) -> None:
    """Answer requests until the input ends."""
    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            say(await _measured(start, **json.loads(line)))
        except Exception as error:  # noqa: BLE001 - whoever asked says what it means
            say({"error": f"{type(error).__name__}: {error}"})


def say(line: dict[str, Any]) -> None:
    """One line to whoever asks."""
    print(json.dumps(line), flush=True)


async def _measured(start: Start, *, calls: int, executions: int, shape: str, wait: bool) -> dict[str, Any]:
    async def one() -> tuple[float, Result]:
        began = time.perf_counter()
        result = await start(calls, shape)
        if wait:
            await result()
        return time.perf_counter() - began, result

    began = time.perf_counter()
    done = await asyncio.gather(*(one() for _ in range(executions)))
    seconds = time.perf_counter() - began
    if not wait:
        await asyncio.gather(*(result() for _, result in done))
    return {"seconds": seconds, "each": [taken for taken, _ in done]}
