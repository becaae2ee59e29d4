"""Turns: so many at once, or so many a minute, over all workers.

For every place that is limited (an organization's executions, an organization's calls of one integration) there is one small
Temporal workflow, the turnstile. Who wants in sends it a signal, and waits, as a durable run, for the signal that lets it in; who
leaves says so. A place is nobody's for long: whoever ended without leaving is found out when somebody waits. With nobody inside
and nobody waiting the turnstile ends, and the next one to come starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from bifrost import messages
from bifrost.messages import TurnMessage, TurnstileState
from bifrost.temporal import failures, retries

ASK_AGAIN: Final = timedelta(minutes=5)
"""After how long whoever waits asks once more: a turnstile that was terminated has forgotten everybody."""
CHECK: Final = timedelta(seconds=10)
"""How often it is asked whether those inside still run, while others wait."""
IDLE: Final = timedelta(minutes=1)
"""How long a turnstile that nobody uses goes on; not less than the minute that a rate looks back."""
_MINUTE = timedelta(minutes=1)


@workflow.defn(name=messages.TURNSTILE, sandboxed=False)
class Turnstile:
    """One place's turnstile."""

    @workflow.init
    def __init__(self, state: TurnstileState) -> None:
        self._waiting = deque(state.waiting)
        self._inside = {turn.ticket: turn for turn in state.inside}
        self._admitted = deque(datetime.fromisoformat(at) for at in state.admitted)
        self._limits = state
        self._came = False

    @workflow.signal(name=messages.ENTER)
    def on_enter(self, turn: TurnMessage) -> None:
        """Somebody wants in; the limits that it names hold from now on. Told twice, it waits once."""
        self._limits = self._limits.model_copy(update={"concurrency": turn.concurrency, "per_minute": turn.per_minute})
        if turn.ticket in self._inside:  # whoever asks again did not hear that it was let in
            del self._inside[turn.ticket]
            self._waiting.appendleft(turn)
        elif turn.ticket not in [other.ticket for other in self._waiting]:
            self._waiting.append(turn)
        self._came = True

    @workflow.signal(name=messages.LEAVE)
    def on_leave(self, name: str) -> None:
        """Somebody leaves, or no longer wants in, by the ticket or by what the asker called it."""
        self._inside = {ticket: turn for ticket, turn in self._inside.items() if name not in (ticket, turn.asked)}
        self._waiting = deque(turn for turn in self._waiting if name not in (turn.ticket, turn.asked))
        self._came = True

    @workflow.run
    async def run(self, state: TurnstileState) -> None:
        """Let in until nobody comes any more."""
        del state  # `__init__` has it
        while True:
            self._came = False
            await self._let_in()
            try:
                await workflow.wait_condition(lambda: self._came, timeout=self._patience())
            except TimeoutError:
                if not self._waiting and not self._inside:
                    return
                await self._put_out_the_ended()
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(self._state())

    def _patience(self) -> timedelta | None:
        if not self._waiting:
            return None if self._inside else IDLE
        if self._has_room():  # and still somebody waits, so it is the rate
            return max(self._admitted[0] + _MINUTE - workflow.now(), timedelta(milliseconds=1))
        return CHECK

    def _has_room(self) -> bool:
        return self._limits.concurrency is None or len(self._inside) < self._limits.concurrency

    def _may_enter(self) -> bool:
        while self._admitted and self._admitted[0] + _MINUTE <= workflow.now():
            self._admitted.popleft()
        in_time = self._limits.per_minute is None or len(self._admitted) < self._limits.per_minute
        return bool(self._waiting) and in_time and self._has_room()

    async def _let_in(self) -> None:
        while self._may_enter() and not workflow.info().is_continue_as_new_suggested():
            turn = self._waiting.popleft()
            self._inside[turn.ticket] = turn
            if self._limits.per_minute is not None:
                self._admitted.append(workflow.now())
            try:
                await workflow.get_external_workflow_handle(turn.execution_id).signal(messages.ADMITTED, turn.ticket)
            except ApplicationError:  # it has ended
                self._inside.pop(turn.ticket, None)

    async def _put_out_the_ended(self) -> None:
        inside = sorted({turn.execution_id for turn in self._inside.values()})
        ended: list[str] = await workflow.execute_local_activity(
            messages.WHO_ENDED, inside, start_to_close_timeout=timedelta(seconds=30), retry_policy=retries.ENGINE)
        self._inside = {ticket: turn for ticket, turn in self._inside.items() if turn.execution_id not in ended}

    def _state(self) -> TurnstileState:
        return self._limits.model_copy(update={"waiting": list(self._waiting), "inside": list(self._inside.values()),
                                               "admitted": [at.isoformat() for at in self._admitted]})


class Turns:
    """The turns of one run."""

    def __init__(self) -> None:
        self._number = 0
        self._admitted: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def admit(self, ticket: str) -> None:
        """The turnstile has let this ticket in."""
        self._admitted.add(ticket)

    async def enter(self, place: str, *, concurrency: int | None, per_minute: int | None = None) -> TurnMessage:
        """Wait for a turn in a place; whoever has it must `leave`."""
        info = workflow.info()
        self._number += 1
        turn = TurnMessage(place=place, asked=f"{info.run_id}/{self._number}", execution_id=info.workflow_id,
                           concurrency=concurrency, per_minute=per_minute)
        try:
            while True:
                turn = turn.model_copy(update={"ticket": await self._ask(turn)})
                if await self._is_admitted(turn):
                    return turn
        except asyncio.CancelledError:
            await self.leave(turn)
            raise

    async def _is_admitted(self, turn: TurnMessage) -> bool:
        try:
            await workflow.wait_condition(lambda: turn.ticket in self._admitted, timeout=ASK_AGAIN, timeout_summary=f"turn: {turn.place}")
        except TimeoutError:
            return False
        return True

    async def _ask(self, turn: TurnMessage) -> str:
        try:
            ticket: str = await workflow.execute_local_activity(
                messages.TAKE_TURN, turn, result_type=str, start_to_close_timeout=timedelta(seconds=30), retry_policy=retries.ENGINE,
                summary=f"turn: {turn.place}")
        except FailureError as error:  # a cancellation comes as one, too
            raise failures.of_call(error, messages.TAKE_TURN) from None
        return ticket

    async def leave(self, turn: TurnMessage) -> None:
        """Give the place to others.

        In a task of its own: the SDK drops a cancellation that comes while it waits for a signal, and the signal with it.
        """
        task = asyncio.get_running_loop().create_task(_leave(turn))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        await asyncio.shield(task)

    @contextlib.asynccontextmanager
    async def turn(self, place: str, concurrency: int | None) -> AsyncIterator[None]:
        """A turn for what is inside; at once where there is no limit."""
        if concurrency is None:
            yield
            return
        turn = await self.enter(place, concurrency=concurrency)
        try:
            yield
        finally:
            await self.leave(turn)


async def _leave(turn: TurnMessage) -> None:
    gate = workflow.get_external_workflow_handle(messages.turnstile_id(workflow.info().task_queue, turn.place))
    with contextlib.suppress(ApplicationError):  # there is no turnstile any more
        await gate.signal(messages.LEAVE, turn.ticket or turn.asked)


class TurnstileActivities:
    """What turns need of the server."""

    def all(self) -> list[Any]:
        """What the worker registers."""
        return [self.take_turn, self.who_ended]

    @activity.defn(name=messages.TAKE_TURN)
    async def take_turn(self, turn: TurnMessage) -> str:
        """Ask a place's turnstile for a turn, and start it if there is none; answers the ticket."""
        info = activity.info()
        asking = turn if turn.ticket else turn.model_copy(update={"ticket": f"{info.workflow_run_id}/{info.activity_id}"})
        await activity.client().start_workflow(
            messages.TURNSTILE, TurnstileState(), id=messages.turnstile_id(info.task_queue, turn.place), task_queue=info.task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, start_signal=messages.ENTER, start_signal_args=[asking],
            static_summary=f"Turns: {turn.place}")
        return asking.ticket

    @activity.defn(name=messages.WHO_ENDED)
    async def who_ended(self, executions: list[str]) -> list[str]:
        """Which of these executions do not run any more, as far as that can be known."""
        at_once = asyncio.Semaphore(20)

        async def ended(execution_id: str) -> bool:
            async with at_once:
                return await _ended(execution_id)

        found = await asyncio.gather(*(ended(one) for one in executions))
        return [one for one, has_ended in zip(executions, found, strict=True) if has_ended]


async def _ended(execution_id: str) -> bool:
    try:
        description = await activity.client().get_workflow_handle(execution_id).describe()
    except RPCError as error:
        return error.status is RPCStatusCode.NOT_FOUND
    except ValueError:  # a status that the SDK does not know: paused
        return False
    return description.status is not WorkflowExecutionStatus.RUNNING
