"""How long a run's code may take, and how long it may clean up when it is to stop.

Code that is to stop gets `asyncio.CancelledError` where it waits. Its `finally` and `except CancelledError` blocks may make
calls; after `CLEAN_UP` the run ends without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import workflow

from bifrost.errors import TimeoutError  # noqa: A004 - the name is the guide's

CLEAN_UP: Final = timedelta(minutes=10)
"""How long the code of a run that is to stop may go on."""


class RunTimeout(BaseException):
    """The run's deadline passed. Not an Exception, so that no user code swallows it."""

    def __init__(self, reason: TimeoutError) -> None:
        self.reason = reason


async def bounded(work: Coroutine[Any, Any, Any], timeout_seconds: float, since: Callable[[], datetime]) -> Any:
    """Await `work`, and stop it `timeout_seconds` after `since`, or when the run is cancelled.

    Not an async context manager made of a generator: when a worker ends, the SDK may leave an unfinished run to the garbage
    collector, which closes the generator before the run that is inside it, and then complains.

    Args:
        work: The run's code.
        timeout_seconds: 0 means for ever.
        since: When the time began to run; asked again when it is over, since a resumed run's time begins anew.

    Raises:
        RunTimeout: the time has passed, whatever the code made of it.
        asyncio.CancelledError: the run was cancelled, and the code let that through, or did not end in time.
    """
    def left() -> float:
        return max(timeout_seconds - (workflow.now() - since()).total_seconds(), 0)

    task = asyncio.ensure_future(work)
    try:
        began = None
        done: set[asyncio.Task[Any]] = set()
        while not done and began != since():
            began = since()
            done, _ = await workflow.wait([task], timeout=left() if timeout_seconds else None)
    except asyncio.CancelledError:
        task.cancel()
        done, _ = await workflow.wait([task], timeout=CLEAN_UP.total_seconds())
        if not done:
            raise
        return task.result()
    if not done:
        task.cancel()
        await workflow.wait([task], timeout=CLEAN_UP.total_seconds())
        raise RunTimeout(TimeoutError(timeout_seconds))
    return task.result()
