"""Where an execution is resumed: a workflow task of its history, found by what the events say.

A reset keeps the events up to the start of a workflow task and has the code go on from there. So the point is the task that
decided what is to be decided anew: the one that made the call whose failure ended the run, or the one in which the code
raised. Everything that came before it is kept, with its results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.exceptions import TimeoutType

from bifrost import messages
from bifrost.errors import NotFoundError, ValidationError
from bifrost.temporal import failures

UNDOING: Final = "checkpoint:undoing"
"""The id of the activity that says that a run begins to undo what it has done."""

_FINISHED: Final = (EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
                    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
_PASSING: Final = (WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
                   WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND)
"""Why a workflow task fails that nothing is wrong with."""


@dataclass(frozen=True, slots=True)
class Point:
    """A workflow task from which an execution can go on.

    Attributes:
        event_id: The event that ended the task, by which Temporal is told.
        what: What is done anew, for people.
        later: Calls that the code made after what ended the run: clean-up, messages to people.
        undone: Whether the run has undone what `on_failure` kept.
        again: Child workflows that had succeeded and are begun anew.
    """

    event_id: int
    what: str
    later: tuple[str, ...] = ()
    undone: bool = False
    again: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that failed, or a child workflow that did."""

    name: str
    task: int
    ended: int
    said: str


def last_good(events: Sequence[HistoryEvent]) -> Point:
    """The last point before what ended an execution, or holds it up.

    A reset run never hears how a child workflow ended that was under way at its point. So the point lies before its start.

    Raises:
        ValidationError: it has not begun, or it succeeded.
    """
    point = _last_good(events)
    children = list(_children(events))
    while lost := _lost(children, point):
        point = replace(point, event_id=lost.task, what=lost.name)
    return replace(point, again=_again(children, point))


def _last_good(events: Sequence[HistoryEvent]) -> Point:
    last = events[-1]
    match last.event_type:
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            raise ValidationError("It succeeded: say with --from-checkpoint from where it is to be done again", field="from_checkpoint")
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
            raise ValidationError("It went on as a new run, which is the one to resume", field="execution_id")
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            return _before_failure(events)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
            asked = next((event.event_id for event in events
                          if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED), last.event_id)
            task = _last_task(event for event in events if event.event_id < asked)
            return Point(task, "what was cancelled", _calls_between(events, asked, last.event_id), _undoing(events) is not None)
    return Point(_last_task(events), "what was under way")


def at_checkpoint(events: Sequence[HistoryEvent], names: Mapping[int, str], name: str) -> Point:
    """The point just before a checkpoint; before the last of its name.

    Args:
        events: The history.
        names: The name of each checkpoint, by the event that scheduled it.
        name: The checkpoint's.

    Raises:
        NotFoundError: the execution has passed none of this name.
        ValidationError: a child workflow was under way there.
    """
    found = [event for event in events if names.get(event.event_id) == name]
    if not found:
        passed = list(dict.fromkeys(names.values()))
        hint = f"It has passed: {', '.join(passed)}" if passed else "It has passed none"
        raise NotFoundError.of("Checkpoint", name, passed, hint)
    point = Point(found[-1].activity_task_scheduled_event_attributes.workflow_task_completed_event_id, f"checkpoint {name}")
    children = list(_children(events))
    if lost := _lost(children, point):
        raise ValidationError(f"At checkpoint {name} {lost.name} was under way, whose end would never be heard of: choose an earlier one",
                              field="from_checkpoint")
    return replace(point, again=_again(children, point))


def is_stuck(events: Sequence[HistoryEvent]) -> bool:
    """Whether an open execution's workflow task fails, which Temporal repeats for ever."""
    ended = [event for event in events if event.event_type in _FINISHED]
    return bool(ended) and (ended[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
                            and ended[-1].workflow_task_failed_event_attributes.cause not in _PASSING)


def prefix(events: Sequence[HistoryEvent], point: Point) -> list[HistoryEvent]:
    """The events that a reset to this point keeps and that the code has to come to again; none if the code begins anew."""
    kept = [event for event in events if event.event_id < point.event_id]
    while kept and kept[-1].event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
        kept.pop()
    decided = any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for event in kept)
    return kept[:-1] if decided else []


def _before_failure(events: Sequence[HistoryEvent]) -> Point:
    """The task that made the call whose failure ended the run; without one, the task in which the code raised."""
    ended = events[-1].workflow_execution_failed_event_attributes
    undoing = _undoing(events)
    raised = undoing or _closing(events) or ended.workflow_task_completed_event_id
    said = set(_chain(ended.failure))
    failed = list(_failed(events, raised))
    guilty = [call for call in failed if call.said in said][-1:] or [call for call in failed if call.ended > _began(events, raised)]
    if not guilty:
        return Point(raised, "the workflow's code", undone=undoing is not None)
    call = min(guilty, key=lambda one: one.task)
    return Point(call.task, call.name, _calls_between(events, call.ended, raised), undoing is not None)


def _failed(events: Iterable[HistoryEvent], before: int) -> Iterator[_Call]:
    """The calls whose failure the code could know when it raised."""
    made: dict[int, tuple[str, int]] = {}
    for event in events:
        if event.event_id >= before:
            return
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                scheduled = event.activity_task_scheduled_event_attributes
                made[event.event_id] = scheduled.activity_type.name, scheduled.workflow_task_completed_event_id
            case EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
                child = event.start_child_workflow_execution_initiated_event_attributes
                made[event.event_id] = f"workflow {child.workflow_type.name}", child.workflow_task_completed_event_id
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
                yield from _call(made, event, event.activity_task_failed_event_attributes.scheduled_event_id,
                                 event.activity_task_failed_event_attributes.failure)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
                yield from _call(made, event, event.activity_task_timed_out_event_attributes.scheduled_event_id,
                                 event.activity_task_timed_out_event_attributes.failure)
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
                yield from _call(made, event, event.child_workflow_execution_failed_event_attributes.initiated_event_id,
                                 event.child_workflow_execution_failed_event_attributes.failure)
            case EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED:
                yield from _call(made, event, event.child_workflow_execution_terminated_event_attributes.initiated_event_id, Failure())


def _call(made: Mapping[int, tuple[str, int]], event: HistoryEvent, scheduled: int, failure: Failure) -> Iterator[_Call]:
    name, task = made.get(scheduled, ("", 0))
    if name and name != messages.CHECKPOINT:
        yield _Call(name, task, event.event_id, _said(failure, name))


def _said(failure: Failure, name: str) -> str:
    """What user code is told of a call's failure, as `failures.of_call` words it."""
    if failure.HasField("timeout_failure_info"):
        kind = TimeoutType(failure.timeout_failure_info.timeout_type or TimeoutType.START_TO_CLOSE)
        return str(failures.of_call(TemporalTimeoutError("", type=kind, last_heartbeat_details=[]), name))
    return failure.message


def _chain(failure: Failure) -> Iterator[str]:
    yield failure.message
    if failure.HasField("cause"):
        yield from _chain(failure.cause)


@dataclass(frozen=True, slots=True)
class _Child:
    """A child workflow; `ended` is 0 where the history has no end of it."""

    name: str
    task: int
    ended: int
    succeeded: bool


_CHILD_ENDED: Final = (EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED,
                       EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT,
                       EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED,
                       EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED)


def _children(events: Iterable[HistoryEvent]) -> Iterator[_Child]:
    events = list(events)
    ended = {getattr(event, event.WhichOneof("attributes") or "").initiated_event_id: event
             for event in events if event.event_type in _CHILD_ENDED}
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            child, end = event.start_child_workflow_execution_initiated_event_attributes, ended.get(event.event_id)
            yield _Child(f"workflow {child.workflow_type.name}", child.workflow_task_completed_event_id, end.event_id if end else 0,
                         end is not None and end.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED)


def _lost(children: Sequence[_Child], point: Point) -> _Child | None:
    """The first child that is under way at a point."""
    under_way = [child for child in children if child.task < point.event_id and not 0 < child.ended < point.event_id]
    return min(under_way, key=lambda child: child.task, default=None)


def _again(children: Sequence[_Child], point: Point) -> tuple[str, ...]:
    return tuple(child.name for child in children if child.succeeded and child.task >= point.event_id)


def _undoing(events: Iterable[HistoryEvent]) -> int | None:
    """The task in which the run began to undo."""
    tasks = [scheduled.workflow_task_completed_event_id for event in events
             if (scheduled := event.activity_task_scheduled_event_attributes).activity_id == UNDOING]
    return tasks[0] if tasks else None


def _closing(events: Iterable[HistoryEvent]) -> int | None:
    """The task in which the code had ended, and the run wrote down how."""
    tasks = [written.workflow_task_completed_event_id for event in events
             if messages.OUTCOME_ATTRIBUTE in (written := event.upsert_workflow_search_attributes_event_attributes)
             .search_attributes.indexed_fields]
    return tasks[-1] if tasks else None


def _began(events: Iterable[HistoryEvent], task: int) -> int:
    """Where the task before this one ended: what came after it is news to this one."""
    return max((event.event_id for event in events
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED and event.event_id < task), default=0)


def _calls_between(events: Iterable[HistoryEvent], event_id: int, task: int) -> tuple[str, ...]:
    """The calls that were made after an event, and before a task."""
    calls = [(event.event_id, event.activity_task_scheduled_event_attributes) for event in events]
    return tuple(call.activity_type.name for made, call in calls if made > event_id and call.activity_type.name != messages.CHECKPOINT
                 and 0 < call.workflow_task_completed_event_id < task)


def _last_task(events: Iterable[HistoryEvent]) -> int:
    """The event that ended the last workflow task.

    Raises:
        ValidationError: there was none.
    """
    ended = [event.event_id for event in events if event.event_type in _FINISHED]
    if not ended:
        raise ValidationError("It has not begun: no worker has taken it up", field="execution_id")
    return ended[-1]
