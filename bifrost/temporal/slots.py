"""What a worker takes up at once, and how it ends without losing any of it.

When the SDK shuts a worker down, a task that Temporal hands to it in the same moment is lost, and repeated only after its whole
time-out: ten seconds for a step of an execution. A poll that is under way cannot be called back; it ends with the next task. So
a worker that is to stop first polls no more, and still does what its last polls bring.

- **Calls**: the SDK's native part waits for the last polls itself, for as long as an environment variable says, until servers end
  polls (crates/sdk-core/src/pollers/poll_buffer.rs in https://github.com/temporalio/sdk-rust). For steps that does not do: once no
  execution is in its cache, it takes no more steps, and what the polls still bring is lost. Servers that end the polls themselves
  (`frontend.enableCancelWorkerPollsOnShutdown`, 1.32) lost some for the same reason.
- **Steps** therefore get their slots from Python, which can give out none. The SDK asks for each, which costs a third of a
  millisecond a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from temporalio.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    WorkerTuner,
)

QUIET: Final = 1.0
"""After how many seconds without a new task the polls that are still under way count as idle: longer than `worker.STICKY_TIMEOUT`, after
which steps of the runs that the worker has cached come back to any worker that polls."""
LONGEST: Final = 3.0
"""For how many seconds, at most, a worker goes on before it is shut down whatever it polls."""
_LOOK: Final = 0.02
LAST_CALLS: Final = 0.5
"""For how many seconds a worker that is shut down waits for the last polls for calls: under load each brings one at once."""
_VARIABLE: Final = "TEMPORAL_POLL_SHUTDOWN_INTERRUPT_WAIT_MS"
_OTHERS: Final = FixedSizeSlotSupplier(1000)


class Slots(CustomSlotSupplier):
    """So many slots, until they are closed.

    Args:
        limit: How many tasks may be polled for, or worked on, at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._closed = False
        self._polling: set[SlotPermit] = set()
        self._working: set[SlotPermit] = set()
        self._room = asyncio.Event()
        self._waited_for: asyncio.AbstractEventLoop | None = None
        self._last = 0.0

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        while (permit := self.try_reserve_slot(ctx)) is None:
            self._room.clear()
            self._waited_for = asyncio.get_running_loop()
            if not self._is_room():  # what was given back before told nobody
                await self._room.wait()
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        del ctx
        if not self._is_room():
            return None
        self._polling.add(permit := SlotPermit())
        return permit

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        self._working.add(ctx.permit)
        self._polling.discard(ctx.permit)
        self._last = time.monotonic()

    def release_slot(self, ctx: SlotReleaseContext) -> None:  # by any thread of the SDK's
        self._working.discard(ctx.permit)
        self._polling.discard(ctx.permit)
        loop, self._waited_for = self._waited_for, None
        if loop and not loop.is_closed():
            loop.call_soon_threadsafe(self._room.set)

    def _is_room(self) -> bool:
        return not self._closed and len(self._polling) + len(self._working) < self._limit

    async def drained(self) -> None:
        """Close, and return when nothing is worked on, and no poll is under way that could still bring something."""
        self._closed = True
        self._last = began = time.monotonic()
        while (now := time.monotonic()) - began < LONGEST:
            if not self._working and (not self._polling or now - self._last >= QUIET):
                return
            await asyncio.sleep(_LOOK)


def tuner(steps: Slots, calls_at_once: int) -> WorkerTuner:
    """What a worker takes its slots from: for steps of executions, and for calls."""
    return WorkerTuner.create_composite(workflow_supplier=steps, activity_supplier=FixedSizeSlotSupplier(calls_at_once),
                                        local_activity_supplier=_OTHERS, nexus_supplier=_OTHERS)


@contextlib.contextmanager
def waiting_for_last_calls() -> Iterator[None]:
    """Inside, workers start to serve that wait for their last calls when they are shut down; or as the environment already says."""
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = f"{LAST_CALLS * 1000:.0f}"
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
