"""What a worker takes up at once, and how it ends without losing any of it.

When the SDK shuts a worker down, a task that Temporal hands to it in the same moment is lost, and repeated only after its whole
time-out: ten seconds for a step of an execution. A poll that is under way cannot be called back; it ends with the next task. So
a worker that is to stop first polls no more, and still does what its last polls bring.

- **Calls**: the SDK's native part waits for the last polls itself, for as long as an environment variable says, until servers end
  polls (crates/sdk-core/src/pollers/poll_buffer.rs in https://github.com/temporalio/sdk-rust). For steps that does not do: once no
  execution is in its cache, it takes no more steps, and what the polls still bring is lost. Servers that end the polls themselves
  (`frontend.enableCancelWorkerPollsOnShutdown`, 1.32) lost some for the same reason.
- **Steps** therefore get their slots from Python, which can give out none. The SDK asks for each. Of what that costs, a third of a
  millisecond a step, most goes into the two tasks that it makes of each answer; so its native part asks `Slots` directly, and is
  answered without any.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Final

from temporalio.bridge.worker import BridgeCustomSlotSupplier, TunerHolder  # type: ignore[attr-defined]  # where the SDK has it from
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
LAST_CALLS: Final = 0.5
"""For how many seconds a worker that is shut down waits for the last polls for calls: under load each brings one at once."""
_VARIABLE: Final = "TEMPORAL_POLL_SHUTDOWN_INTERRUPT_WAIT_MS"
_OTHERS: Final = FixedSizeSlotSupplier(1000)


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
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._is_waited_for = False
        self._last = 0.0

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
        while True:
            with self._lock:
                if permit := self._taken():
                    return permit
                self._is_waited_for = True
                self._room.clear()
            await self._room.wait()

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """A slot, if there is one."""
        del ctx
        with self._lock:
            return self._taken()

    def _taken(self) -> SlotPermit | None:
        if self._closed or len(self._polling) + len(self._working) >= self._limit:
            return None
        self._polling.add(permit := SlotPermit())
        return permit

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """A slot has a task now."""
        with self._lock:
            self._working.add(ctx.permit)
            self._polling.discard(ctx.permit)
            self._last = time.monotonic()

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """A slot is given back."""
        with self._lock:
            self._working.discard(ctx.permit)
            self._polling.discard(ctx.permit)
            waited_for, self._is_waited_for = self._is_waited_for, False
        if waited_for and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)

    async def drained(self) -> None:
        """Close, and return when nothing is worked on, and no poll is under way that could still bring something."""
        self._closed = True
        self._last = began = time.monotonic()
        while (now := time.monotonic()) - began < LONGEST:
            if not self._working and (not self._polling or now - self._last >= QUIET):
                return
            await asyncio.sleep(_LOOK)


class Tuner(WorkerTuner):
    """What a worker takes its slots from: for steps of executions, and for calls."""

    def __init__(self, steps: Slots, calls_at_once: int) -> None:
        self._steps = steps
        self._calls = FixedSizeSlotSupplier(calls_at_once)

    def _to_bridge_tuner(self) -> TunerHolder:  # the SDK's own: it would put two tasks between its native part and `Slots`
        return replace(super()._to_bridge_tuner(), workflow_slot_supplier=BridgeCustomSlotSupplier(self._steps))

    def _get_workflow_task_slot_supplier(self) -> FixedSizeSlotSupplier:
        return _OTHERS

    def _get_activity_task_slot_supplier(self) -> FixedSizeSlotSupplier:
        return self._calls

    def _get_local_activity_task_slot_supplier(self) -> FixedSizeSlotSupplier:
        return _OTHERS

    def _get_nexus_slot_supplier(self) -> FixedSizeSlotSupplier:
        return _OTHERS


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
