"""One call of a run: an activity, what it waits for, and when it is made once more.

    the run's slots ─► the place's turn ─► an activity, with Temporal's attempts ─► its result
                                               ▲         │
                                               └─ timer ◄┘  "not now": the other system is down, or did not take the call

Temporal repeats attempts that failed. A "not now" is none: it uses up no attempt, and the activity ends with it. The run waits
and makes an activity of the same id again, which therefore has the same idempotency key and knows of the attempts before it.
A short call (`Operation.short`) is a local activity: made within the step, before the step is recorded. A checkpoint has to be
in history before the call that follows it, so right after one even a short call is an activity of its own.

Whether it is "not now" the activity decides, by today's integration, and its answer is recorded; here it is only followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import ActivityError, FailureError

from bifrost.errors import IntegrationError
from bifrost.integrations.base import SHORT_SECONDS, Operation
from bifrost.messages import NotNow
from bifrost.temporal import failures, retries
from bifrost.temporal.interceptors import attempts_before
from bifrost.temporal.limits import rates
from bifrost.temporal.limits.turnstile import Turns
from bifrost.temporal.payloads.converter import payload_of
from bifrost.temporal.run.progress import MAX_PENDING, Progress

_WAITED_WITHIN_A_STEP = timedelta(seconds=1)
"""Which waits before another attempt of a short call are made within its step, which lasts as long; longer ones are timers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call is limited by.

    Attributes:
        place: Where it needs a turn.
        concurrency: How many are there at once; None for no limit.
        budget: Whose rate it uses up.
    """

    place: str = ""
    concurrency: int | None = None
    budget: str = ""


class Calls:
    """The calls of one run.

    Args:
        progress: Written before each call.
        turns: The run's.
        say: Logs a warning with the execution.
    """

    def __init__(self, progress: Progress, turns: Turns, say: Callable[[str], None]) -> None:
        self._progress = progress
        self._turns = turns
        self._say = say
        self._slots = asyncio.Semaphore(MAX_PENDING)
        self._short = 0

    async def make(self, name: str, inputs: Sequence[Any], operation: Operation, limits: Limits = Limits()) -> Any:
        """Make a call and answer its result.

        Raises:
            WorkflowException: what the call raised, of the same class with the same fields.
        """
        async with self._slots, self._turns.turn(limits.place, limits.concurrency):
            sent = [RawValue(payload_of(inputs[0], f"What is given to {name}")), *inputs[1:]]
            activity_id, before, waited = None, 0, 0.0
            while True:
                await self._progress.written()
                local = operation.short and self._progress.committed()
                if local and activity_id is None:  # the SDK would give each attempt after a timer another, and so another key
                    self._short += 1
                    activity_id = f"short-{self._short}"
                try:
                    return await _activity(name, sent, operation, limits, activity_id, before, local=local)
                except FailureError as error:
                    failure = failures.of_call(error, name)
                    again = _not_now(failure, waited)
                    if again is None:
                        raise failure from error.cause
                    activity_id, before, waited = cast("ActivityError", error).activity_id, again.attempts, waited + again.after_seconds
                self._say(f"{name} waits {again.after_seconds:.0f} s: {again.reason}")
                self._progress.flush()
                await workflow.sleep(again.after_seconds, summary=again.reason)


def _activity(name: str, sent: Sequence[Any], operation: Operation, limits: Limits, activity_id: str | None, before: int, *,
              local: bool) -> Any:
    rules, per_second = operation.retry, operation.rate_per_second
    token = attempts_before.set(before)
    try:
        if local:
            return workflow.start_local_activity(
                name, args=sent, activity_id=activity_id, start_to_close_timeout=timedelta(seconds=min(operation.timeout_seconds, SHORT_SECONDS)),
                retry_policy=retries.declared(rules, max(rules.max_attempts - before, 1)), local_retry_threshold=_WAITED_WITHIN_A_STEP)
        return workflow.start_activity(
            name, args=sent, activity_id=activity_id, start_to_close_timeout=timedelta(seconds=operation.timeout_seconds),
            heartbeat_timeout=timedelta(seconds=operation.heartbeat_seconds),
            task_queue=rates.queue_of(workflow.info().task_queue) if per_second else None,
            priority=rates.priority(limits.budget, per_second) if per_second else Priority.default,
            retry_policy=retries.declared(rules, max(rules.max_attempts - before, 1) if operation.repeatable else 1))
    finally:
        attempts_before.reset(token)


def _not_now(failure: BaseException, waited: float) -> NotNow | None:
    """What the activity said, unless the call has waited long enough; it is no part of the error that user code sees."""
    if not isinstance(failure, IntegrationError) or (said := failure.details.pop(NotNow.KEY, None)) is None:
        return None
    again = NotNow.model_validate(said)
    return again if again.give_up_seconds is None or waited + again.after_seconds <= again.give_up_seconds else None
