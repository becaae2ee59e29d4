"""What a run that Temporal reset knows of the runs that it came from.

A resume writes down in the reset's own reason which code the run goes on with. The reason is an event of the new run's
history, written with the reset or not at all, so there is no record beside Temporal that could be missing, stale or left over:
whoever has the history can replay it. A reset run's wrapper has to know the code before it comes to that event, so the worker
reads the history of such runs, and of no others, ahead.

A reset makes calls again that had been made since its point. Their activities ask here what became of them before: one that
had succeeded is answered as it was then, and one that is another call now gets another idempotency key.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError as InvalidMessage
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.common import RawValue, SearchAttributeUpdate
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from temporalio.workflow import Info

from bifrost.errors import IntegrationError
from bifrost.integrations.call import current_call
from bifrost.messages import ENGINE_ACTIVITIES, BeginAnswer, ResumeMessage
from bifrost.temporal import attributes
from bifrost.temporal.interceptors import carried_context, idempotency_key
from bifrost.temporal.payloads.converter import CONVERTER

PATIENCE: Final = timedelta(seconds=1)
"""How long a run waits for its history; the SDK's bound for a workflow task is two seconds."""
_KEPT, _KEPT_WHOLE = 1000, 16
_KEY: Final = "bifrost"
_NOTHING: Final = CONVERTER.to_payload(None)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reset:
    """A reset in a run's history.

    Attributes:
        base_run_id: The run that was reset.
        event_id: The event that says so; up to there the two histories are one.
        note: What a resume wrote down; None where somebody reset the run without Bifrost.
    """

    base_run_id: str
    event_id: int
    note: ResumeMessage | None


def reason(text: str, note: ResumeMessage) -> str:
    """The reason of a reset: a sentence for people, and the note in its last line."""
    return f"{text}\n{json.dumps({_KEY: note.model_dump(exclude_none=True)}, ensure_ascii=False)}"


def _note(text: str) -> ResumeMessage | None:
    try:
        return ResumeMessage.model_validate(json.loads(text.rpartition("\n")[2])[_KEY])
    except (ValueError, KeyError, TypeError, InvalidMessage):
        return None


def resets_in(events: Iterable[HistoryEvent]) -> tuple[Reset, ...]:
    """The resets that a run comes from, the first one first."""
    found = []
    for event in events:
        failed = event.workflow_task_failed_event_attributes
        if failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW:
            found.append(Reset(failed.base_run_id, event.event_id, _note(failed.failure.message)))
    return tuple(found)


class Passage:
    """Where a run stands among the resets that it comes from."""

    def __init__(self) -> None:
        self._resets: Sequence[Reset] = ()
        self._passed = 0
        self._since: datetime | None = None
        self._closed = False

    def begin(self, resets: Sequence[Reset]) -> None:
        """Take note of the resets at the run's start, and of each when the run comes to it."""
        if not resets:
            return
        self._resets = resets
        self._passed = sum(reset.event_id < workflow.info().get_current_history_length() for reset in resets)
        if self._passed:  # reset to its very beginning
            self._since = workflow.now()
        self._loop = asyncio.get_running_loop()
        workflow.register_random_seed_callback(self._reseeded)

    def resumed(self, begun: BeginAnswer) -> BeginAnswer:
        """What `begin` answered, with the code that the last resume named."""
        notes = [reset.note for reset in self._resets if reset.note]
        if not notes:
            return begun
        return begun.model_copy(update=notes[-1].model_dump(include={"revision", "path", "integrations"}, exclude_none=True))

    def since(self, moment: datetime) -> datetime:
        """When the time began to run: at that moment, or when the run was reset after it."""
        return max(moment, self._since or moment)

    def close(self) -> list[SearchAttributeUpdate[str]]:
        """What the index is to be told, as the run ends in the very task that comes after a reset."""
        self._closed = True
        pending = [reset.note.revision for reset in self._resets[self._passed:] if reset.note and reset.note.revision]
        return [attributes.REVISION.value_set(pending[-1])] if pending else []

    def _reseeded(self, _seed: int) -> None:
        """A reset: the SDK says so before the run's loop runs, in which alone the run may do something."""
        self._loop.call_soon(self._pass)

    def _pass(self) -> None:
        reset, self._passed, self._since = self._resets[self._passed], self._passed + 1, workflow.now()
        if reset.note and reset.note.revision and not self._closed:
            workflow.upsert_search_attributes([attributes.REVISION.value_set(reset.note.revision)])


class Resets:
    """The port by which a run asks for its resets; this adapter knows of none."""

    def of_run(self, info: Info) -> tuple[Reset, ...]:
        """The resets that the run comes from. Called inside the run, at its start.

        Raises:
            IntegrationError: they are still being read; a later try finds them.
        """
        del info
        return ()


class KnownResets(Resets):
    """For replays, whose histories are at hand.

    Args:
        note: What the run that is replayed would be resumed with; None to replay it as it came.
    """

    def __init__(self, note: ResumeMessage | None = None) -> None:
        self._added = note
        self._current: tuple[Reset, ...] = ()

    def of_run(self, info: Info) -> tuple[Reset, ...]:
        del info  # under a replay a run does not know its own id
        return self._current

    async def following(self, histories: AsyncIterator[WorkflowHistory]) -> AsyncIterator[WorkflowHistory]:
        """The histories as they come; whoever takes one replays it before the next."""
        async for history in histories:
            found = resets_in(history.events)
            self._current = (*found, Reset("", history.events[-1].event_id, self._added)) if self._added else found
            yield history


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an earlier run says of a call that is to be made.

    Attributes:
        answer: What the same call answered, if it succeeded.
        key_run_id: Which run its idempotency key is derived from; None for the execution's first.
    """

    answer: Payload | None = None
    key_run_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Made:
    """A call in a run's history."""

    name: str
    given: Payloads
    answer: Payloads | None


class FetchedResets(Resets):
    """For workers: histories are read from Temporal, once a process for each run that was reset.

    Args:
        client: Made by `client.connect`. The event loop that is running now is the one that it is used in.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._resets: OrderedDict[str, asyncio.Task[tuple[Reset, ...]]] = OrderedDict()
        self._made: OrderedDict[str, asyncio.Task[Mapping[str, _Made]]] = OrderedDict()

    def of_run(self, info: Info) -> tuple[Reset, ...]:
        if info.run_id == info.original_execution_run_id:
            return ()
        reading = asyncio.run_coroutine_threadsafe(self.resets(info.workflow_id, info.run_id), self._loop)
        try:
            return reading.result(PATIENCE.total_seconds())
        except TimeoutError:  # the SDK would take it for its own, and report a deadlock
            raise IntegrationError(f"The history of run {info.run_id}, which was reset, is still being read: it is to be tried again",
                                   integration="temporal") from None

    async def resets(self, execution_id: str, run_id: str) -> tuple[Reset, ...]:
        """The resets that a run comes from."""
        async def read() -> tuple[Reset, ...]:
            return resets_in(await self._events(execution_id, run_id))

        return await _shared(self._resets, run_id, read, _KEPT)

    async def judge(self, execution_id: str, run_id: str, activity_id: str, name: str, given: Payload | None) -> Verdict:
        """What the runs that this one comes from say of a call. The same call has the same number, name and arguments."""
        keep = True
        while found := await self.resets(execution_id, run_id):
            last = found[-1]
            keep = keep and last.note is not None and last.note.keep
            before = (await self._made_in(execution_id, last.base_run_id)).get(activity_id)
            if before and (before.name != name or await self._first(before.given) != given):
                return Verdict(key_run_id=run_id)
            if before and keep and before.answer is not None:
                return Verdict(await self._first(before.answer) or _NOTHING)
            run_id = last.base_run_id
        return Verdict()

    async def _made_in(self, execution_id: str, run_id: str) -> Mapping[str, _Made]:
        async def read() -> Mapping[str, _Made]:
            return _made(await self._events(execution_id, run_id))

        return await _shared(self._made, run_id, read, _KEPT_WHOLE)

    async def _first(self, payloads: Payloads) -> Payload | None:
        """The first of some stored values, as the codec leaves it."""
        if not payloads.payloads:
            return None
        [value] = await self._client.data_converter.decode(payloads.payloads[:1], [RawValue])
        answer: Payload = value.payload
        return answer

    async def _events(self, execution_id: str, run_id: str) -> Sequence[HistoryEvent]:
        """A run's events; none where Temporal does not keep them any more."""
        try:
            return (await self._client.get_workflow_handle(execution_id, run_id=run_id).fetch_history()).events
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return ()
            raise


async def _shared(tasks: OrderedDict[str, asyncio.Task[T]], key: str, read: Callable[[], Coroutine[Any, Any, T]], most: int) -> T:
    """What `read` answers, once for all who ask; after an error it is tried again."""
    task = tasks.get(key)
    if task is None or (task.done() and (task.cancelled() or task.exception())):
        task = tasks[key] = asyncio.create_task(read())
    tasks.move_to_end(key)
    while len(tasks) > most:
        tasks.popitem(last=False)
    return await asyncio.shield(task)


def _made(events: Sequence[HistoryEvent]) -> Mapping[str, _Made]:
    completed = [event.activity_task_completed_event_attributes for event in events]
    answers = {one.scheduled_event_id: one.result for one in completed if one.scheduled_event_id}
    return {scheduled.activity_id: _Made(scheduled.activity_type.name, scheduled.input, answers.get(event.event_id))
            for event in events if (scheduled := event.activity_task_scheduled_event_attributes).activity_id}


class ResetInterceptor(Interceptor):
    """Answers a call that a reset has made again, and that had succeeded, as it was answered then.

    It stands behind `ContextInterceptor`, whose context it reads.
    """

    def __init__(self, resets: FetchedResets) -> None:
        self._resets = resets

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the port's name
        return _ActivityInbound(next, self._resets)


class _ActivityInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, resets: FetchedResets) -> None:  # noqa: A002 - the port's name
        super().__init__(next)
        self._resets = resets

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the port's name
        info, context = activity.info(), carried_context.get()
        if (context is None or info.activity_type in ENGINE_ACTIVITIES or info.workflow_id is None or info.workflow_run_id is None
                or info.workflow_run_id == context.origin_run_id):
            return await super().execute_activity(input)
        given = next((value.payload for value in input.args[0] if isinstance(value, RawValue)), None) if input.args else None
        verdict = await self._resets.judge(info.workflow_id, info.workflow_run_id, info.activity_id, info.activity_type, given)
        if verdict.answer is not None:
            return RawValue(verdict.answer)
        if verdict.key_run_id is None:
            return await super().execute_activity(input)
        own = context.model_copy(update={"origin_run_id": verdict.key_run_id})
        current_call.set(replace(current_call.get(), idempotency_key=idempotency_key(own, info.activity_id)))  # for good: see `interceptors`
        return await super().execute_activity(input)
