"""The slots of a worker's tasks, which can be closed: so that a worker that is stopped has nothing left that would be lost.

When the SDK shuts a worker down, a task that Temporal hands to it in the same moment is lost, and repeated only after its whole
time-out: ten seconds for a step of an execution. So a worker that is to stop first polls no more. A poll that is under way
cannot be called back; it ends with the next task, which is done in order, or stays without one, where nothing happens anyway.

Nothing else does it. Left to wait for its last polls (`TEMPORAL_POLL_SHUTDOWN_INTERRUPT_WAIT_MS`), the SDK's native part drops what
they bring as soon as no execution has a step under way, or either of its two queues has no poll left (`shutdown_done` and
`WorkflowTaskPoller` in crates/sdk-core of https://github.com/temporalio/sdk-rust). Servers that end the polls themselves
(`frontend.enableCancelWorkerPollsOnShutdown`, 1.32) lose some too.

The SDK asks Python for each slot, and makes two tasks of each answer, which takes longer than all the rest. Its native part
therefore asks `Slots` directly, which only takes down what it is told: Python code that is called in a thread of the SDK's begins
with a thread state and a stack of its own, and that takes 20 microseconds each time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from temporalio.bridge import worker as bridge
from temporalio.bridge.worker import BridgeCustomSlotSupplier  # type: ignore[attr-defined]  # where the SDK has it from
from temporalio.worker import (
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
"""Of local activities, which belong to steps."""


class Slots:
    """So many slots, until they are closed; what asks for them is the SDK's native part, in any of its threads.

    Args:
        limit: How many tasks may be polled for, or worked on, at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._closed = False
        self._lock = threading.Lock()
        self._polling: set[SlotPermit] = set()
        self._working: set[SlotPermit] = set()
        self._used: deque[SlotMarkUsedContext] = deque()
        self._released: deque[SlotReleaseContext] = deque()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._last = 0.0
        self.mark_slot_used: Callable[[SlotMarkUsedContext], None] = self._used.append
        """A slot has a task now."""
        self.release_slot: Callable[[SlotReleaseContext], None] = self._released.append
        """A slot is given back."""

    def reserve_slot(self, ctx: SlotReserveContext, keep: Callable[[asyncio.Task[SlotPermit]], None]) -> Awaitable[SlotPermit]:
        """A slot, as soon as there is one; `keep` takes a task that is cancelled when nobody waits for it any more."""
        permit = self.try_reserve_slot(ctx)
        if permit is None:
            return self._wait(keep)
        given: asyncio.Future[SlotPermit] = self._loop.create_future()
        given.set_result(permit)
        return given

    async def _wait(self, keep: Callable[[asyncio.Task[SlotPermit]], None]) -> SlotPermit:
        keep(waiting := asyncio.create_task(self._next()))
        return await waiting

    async def _next(self) -> SlotPermit:
        # From now on, for whoever once waited for a slot will again; the SDK looks it up and calls it in one go.
        self.release_slot = self._release_and_tell
        while True:
            self._room.clear()
            with self._lock:
                if permit := self._taken():
                    return permit
            await self._room.wait()

    def _release_and_tell(self, ctx: SlotReleaseContext) -> None:
        self._released.append(ctx)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """A slot, if there is one."""
        del ctx
        with self._lock:
            return self._taken()

    def _taken(self) -> SlotPermit | None:
        self._note()
        if self._closed or len(self._polling) + len(self._working) >= self._limit:
            return None
        self._polling.add(permit := SlotPermit())
        return permit

    def _note(self) -> None:
        """Note what was taken down. What is released by now was used before, and is among those that are noted first."""
        released = len(self._released)
        while self._used:
            self._working.add(permit := self._used.popleft().permit)
            self._polling.discard(permit)
            self._last = time.monotonic()
        for _ in range(released):
            permit = self._released.popleft().permit
            self._working.discard(permit)
            self._polling.discard(permit)

    async def drained(self, *, idle: bool = True) -> None:
        """Close, and return when no poll is under way that could still bring something and, if `idle`, nothing is worked on."""
        with self._lock:
            self._closed = True
        self._last = began = time.monotonic()
        while (now := time.monotonic()) - began < LONGEST:
            with self._lock:
                self._note()
                polling, working = bool(self._polling), bool(self._working)
            if not (idle and working) and (not polling or now - self._last >= QUIET):
                return
            await asyncio.sleep(_LOOK)


class Tuner(WorkerTuner):
    """What a worker takes its slots from.

    It overrides what the SDK makes of a tuner, which would put two tasks between its native part and `Slots`.
    """

    def __init__(self, steps: Slots, calls: Slots) -> None:
        self._steps = steps
        self._calls = calls

    def _to_bridge_tuner(self) -> bridge.TunerHolder:
        others = bridge.FixedSizeSlotSupplier(_OTHERS.num_slots)
        return bridge.TunerHolder(BridgeCustomSlotSupplier(self._steps), BridgeCustomSlotSupplier(self._calls), others, others)

    def _get_workflow_task_slot_supplier(self) -> FixedSizeSlotSupplier:
        raise RuntimeError("This temporalio does not ask a WorkerTuner for _to_bridge_tuner, which bifrost.temporal.slots overrides: "
                           "install the version in constraints.txt")

    def _get_activity_task_slot_supplier(self) -> FixedSizeSlotSupplier:
        return _OTHERS

    def _get_local_activity_task_slot_supplier(self) -> FixedSizeSlotSupplier:
        return _OTHERS

    def _get_nexus_slot_supplier(self) -> FixedSizeSlotSupplier:
        return _OTHERS
