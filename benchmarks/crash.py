"""What a worker that is killed costs an execution that is under way: its replacement is launched at once, and does the rest.

The SDK's worker leaves everything to Temporal's defaults: no heartbeats, ten seconds for a call, ten for the worker that has the
execution cached. Both are killed by SIGKILL, on one server, in alternation.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.client import WorkflowHandle

from benchmarks.comparing import ROUNDS, ratio, say
from benchmarks.figures import Figure
from benchmarks.workers import BIFROST, BY_HAND, Side, WorkerProcess, stage, until
from bifrost.logging import configure
from bifrost.settings import Settings

CALL, SLEEP = 1.0, 3.0
"""How long the call and the sleep take in which they are killed, in seconds."""

_Handle = WorkflowHandle[Any, Any]


async def _in_call(handle: _Handle) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    return any(one.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for one in pending)


async def _events(handle: _Handle) -> list[int]:
    return [event.event_type async for event in handle.fetch_history_events()]


async def _in_sleep(handle: _Handle) -> bool:
    return EventType.EVENT_TYPE_TIMER_STARTED in await _events(handle)


async def _before_checkpoint(handle: _Handle) -> bool:
    events = await _events(handle)
    return EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED in events and events[-1] == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED


@dataclass(frozen=True)
class _Case:
    """Where an execution is when its worker is killed.

    Attributes:
        what: The same in words.
        workflow: What is started.
        reached: Whether it has come there.
        params: What it is started with.
        repeated: Seconds that it takes after the crash whatever becomes of it: a call is made again whole.
        remaining: Seconds that it takes from there on, if it is not killed: what has passed of them at the end has not been lost.
        bound: What the ratio should not exceed.
    """

    what: str
    workflow: str
    reached: Callable[[_Handle], Awaitable[bool]]
    params: Mapping[str, Any] = field(default_factory=dict)
    repeated: float = 0.0
    remaining: float = 0.0
    bound: float | None = None


CASES = (_Case("SIGKILL in a call → result, less the call's own time", "holds", _in_call, {"seconds": CALL}, repeated=CALL, bound=0.30),
         _Case("SIGKILL in a sleep → result, less what was left of it", "sleeps", _in_sleep, {"seconds": SLEEP}, remaining=SLEEP),
         _Case("SIGKILL after a call, before the checkpoint → result", "computes", _before_checkpoint))


class _Victim:
    """A side with a worker that is killed and replaced."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._worker: WorkerProcess | None = None

    async def lost(self, case: _Case) -> float:
        """Seconds that an execution lost by it."""
        if self._worker is None:
            self._worker = await self._side.launch()
        await self._worker.ready()
        await (await self._side.start("steps", count=1)).result()  # whatever is loaded once is loaded now
        handle = await self._side.start(case.workflow, **case.params)
        await until(lambda: case.reached(handle))
        reached = time.perf_counter()
        await self._worker.kill()
        killed = time.perf_counter()
        self._worker = await self._side.launch()
        await handle.result()
        ended = time.perf_counter()
        return ended - max(killed, reached + case.remaining) - case.repeated


async def measure() -> list[Figure]:
    """Seconds, and the ratio within each round."""
    configure(Settings(log_level="warning"))
    figures = []
    async with stage() as standing:
        ours, by_hand = _Victim(standing.bifrost()), _Victim(standing.by_hand())
        for case in CASES:
            own, theirs = [], []
            for number in range(ROUNDS):
                say(f"{case.what}: round {number + 1} of {ROUNDS}")
                own.append(await ours.lost(case))
                theirs.append(await by_hand.lost(case))
            figures += ratio(case.what, "s", own, theirs, of=BIFROST, against=BY_HAND, bound=case.bound)
    return figures
