"""The slots of a worker's tasks, which can be closed: so that a worker that is stopped has nothing left that would be lost.

When the SDK shuts a worker down, a task that Temporal hands to it in the same moment is lost, and repeated only after its whole
time-out: ten seconds for a step of an execution. So a worker that is to stop first polls no more. A poll that is under way
cannot be called back; it ends with the next task, which is done in order, or stays without one, where nothing happens anyway.

The SDK asks Python for each slot, which costs half a millisecond a step. A server that ends the polls itself
(`frontend.enableCancelWorkerPollsOnShutdown`, 1.32) does not replace it: it lost some steps of executions that a worker had cached.
"""

from __future__ import annotations

import asyncio
import time
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

    async def drained(self, *, idle: bool = True) -> None:
        """Close, and return when no poll is under way that could still bring something and, if `idle`, nothing is worked on."""
        self._closed = True
        self._last = began = time.monotonic()
        while (now := time.monotonic()) - began < LONGEST:
            if not (idle and self._working) and (not self._polling or now - self._last >= QUIET):
                return
            await asyncio.sleep(_LOOK)


def tuner(steps: Slots, calls: Slots) -> WorkerTuner:
    """What a worker takes its slots from: for steps of executions, and for calls."""
    return WorkerTuner.create_composite(
        workflow_supplier=steps, activity_supplier=calls, local_activity_supplier=_OTHERS, nexus_supplier=_OTHERS)
