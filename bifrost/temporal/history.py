"""What an execution did, read from Temporal alone: while it runs, after it ended, without its worker or its code.

Everything shown here is in the history itself. Log lines travel in the inputs of the `checkpoint` activities, and those
after the last one in the execution's memo, so no query has to replay anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowHandle
from temporalio.client import WorkflowExecutionStatus as Closed
from temporalio.common import SearchAttributeKey
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from bifrost import messages
from bifrost.errors import ConfigurationError, WorkflowException
from bifrost.messages import CheckpointMessage, LogLine
from bifrost.models import SYSTEM_CALLER, Caller, ExecutionStatus
from bifrost.temporal import client as executions
from bifrost.temporal import failures
from bifrost.temporal.markers import local_activity
from bifrost.temporal.payloads.converter import reveal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSummary:
    """An execution in a list. `caller` is the email address of who started it, or else the id.

    `begins_at` is when an execution begins or has begun whose start was put off.
    """

    execution_id: str
    run_id: str
    workflow: str
    org_id: str | None
    caller: str | None
    revision: str | None
    status: ExecutionStatus
    started_at: datetime
    closed_at: datetime | None
    begins_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A durable boundary that the execution passed."""

    name: str
    data: Any
    at: datetime


@dataclass(slots=True)
class Call:
    """An integration call, from when the run made it until its last attempt ended.

    Attributes:
        name: `<integration>.<method>`.
        started_at: When the run made the call; waiting for a worker and between attempts counts.
        attempts: How many were begun.
        status: scheduled, running, retrying, success, failed, timeout or cancelled.
        duration_ms: From `started_at` to the end; None while it is under way.
        error: What went wrong in the last attempt that failed.
    """

    name: str
    started_at: datetime
    attempts: int = 0
    status: str = "scheduled"
    duration_ms: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of the execution's log."""

    at: datetime
    level: str
    message: str
    data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """An execution, whole. `error` is `{"error", "message", "details"}`, where it failed; `begins_at` as `ExecutionSummary` has it."""

    execution_id: str
    run_id: str
    workflow: str
    org_id: str | None
    caller: Caller
    revision: str | None
    status: ExecutionStatus
    started_at: datetime
    closed_at: datetime | None
    params: Any
    result: Any
    error: dict[str, Any] | None
    checkpoints: Sequence[Checkpoint]
    calls: Sequence[Call]
    log: Sequence[LogEntry]
    begins_at: datetime | None = None


# --- status ----------------------------------------------------------------------------------------------------------

_OF_CLOSED = {Closed.CANCELED: ExecutionStatus.CANCELLED, Closed.TERMINATED: ExecutionStatus.TERMINATED,
              Closed.TIMED_OUT: ExecutionStatus.TIMEOUT, Closed.FAILED: ExecutionStatus.FAILED,
              Closed.COMPLETED: ExecutionStatus.SUCCESS, Closed.CONTINUED_AS_NEW: ExecutionStatus.RUNNING}
_OF_OUTCOME: Mapping[tuple[Closed | None, str | None], ExecutionStatus] = {
    (Closed.COMPLETED, ExecutionStatus.COMPLETED_WITH_ERRORS): ExecutionStatus.COMPLETED_WITH_ERRORS,
    (Closed.FAILED, ExecutionStatus.TIMEOUT): ExecutionStatus.TIMEOUT}

_OUTCOME = messages.OUTCOME_ATTRIBUTE
_QUERIES = {
    ExecutionStatus.SCHEDULED: f"ExecutionStatus = 'Running' AND {messages.REVISION_ATTRIBUTE} IS NULL AND ExecutionTime > '{{now}}'",
    ExecutionStatus.PENDING: f"ExecutionStatus = 'Running' AND {messages.REVISION_ATTRIBUTE} IS NULL AND ExecutionTime <= '{{now}}'",
    ExecutionStatus.RUNNING: f"ExecutionStatus = 'Running' AND {messages.REVISION_ATTRIBUTE} IS NOT NULL",
    ExecutionStatus.SUCCESS: f"ExecutionStatus = 'Completed' AND ({_OUTCOME} IS NULL OR "
                             f"{_OUTCOME} != '{ExecutionStatus.COMPLETED_WITH_ERRORS}')",
    ExecutionStatus.COMPLETED_WITH_ERRORS: "ExecutionStatus = 'Completed' AND "
                                           f"{_OUTCOME} = '{ExecutionStatus.COMPLETED_WITH_ERRORS}'",
    ExecutionStatus.FAILED: f"ExecutionStatus = 'Failed' AND ({_OUTCOME} IS NULL OR "
                            f"{_OUTCOME} != '{ExecutionStatus.TIMEOUT}')",
    ExecutionStatus.TIMEOUT: f"(ExecutionStatus = 'TimedOut' OR (ExecutionStatus = 'Failed' AND "
                             f"{_OUTCOME} = '{ExecutionStatus.TIMEOUT}'))",
    ExecutionStatus.CANCELLED: "ExecutionStatus = 'Canceled'",
    ExecutionStatus.TERMINATED: "ExecutionStatus = 'Terminated'",
}


def status_of(execution: WorkflowExecution, *, begun: bool) -> ExecutionStatus:
    """The status that Temporal's own and the outcome that the run recorded amount to.

    Args:
        execution: As Temporal lists or describes it.
        begun: Whether a worker has taken it up; a running one that none has is scheduled until its time, and then pending.
    """
    if execution.status in (None, Closed.RUNNING):
        if begun:
            return ExecutionStatus.RUNNING
        begins_at = _begins_at(execution)
        return ExecutionStatus.SCHEDULED if begins_at and begins_at > datetime.now(UTC) else ExecutionStatus.PENDING
    finer = _OF_OUTCOME.get((execution.status, _attribute(execution, _OUTCOME)))
    return finer or _OF_CLOSED[execution.status]


def _begins_at(execution: WorkflowExecution) -> datetime | None:
    """When it begins, where that is later than when it was started."""
    begins_at = execution.execution_time
    return begins_at if begins_at and begins_at > execution.start_time else None


def _attribute(execution: WorkflowExecution, name: str) -> str | None:
    return execution.typed_search_attributes.get(SearchAttributeKey.for_keyword(name))


# --- lists -----------------------------------------------------------------------------------------------------------


async def list_executions(client: Client, *, workflow: str | None = None, org_id: str | None = None,
                          status: ExecutionStatus | None = None, limit: int = 50) -> list[ExecutionSummary]:
    """Executions, those under way first, then the ones that ended last.

    Temporal's index follows an execution within a second or so; `read_execution` is exact.

    Args:
        client: Made by `client.connect`.
        workflow: Only those of this workflow.
        org_id: Only those of this organization.
        status: Only those of this status. A pending one is one that has not begun: no worker, or no organization yet.
        limit: How many, at most.

    Raises:
        ConfigurationError: there is no such namespace, or Temporal refuses, for example because Bifrost's search attributes are not registered.
    """
    conditions = ["ExecutionStatus != 'ContinuedAsNew'", *(f"WorkflowType != '{name}'" for name in messages.ENGINE_WORKFLOWS)]
    conditions += [f"WorkflowType = {_quoted(workflow)}"] if workflow else []
    conditions += [f"{messages.ORG_ATTRIBUTE} = {_quoted(org_id)}"] if org_id else []
    conditions += [_QUERIES[status].replace("{now}", datetime.now(UTC).isoformat())] if status else []
    found: dict[str, ExecutionSummary] = {}
    try:
        async for execution in client.list_workflows(" AND ".join(conditions), page_size=min(limit, 1000)):
            found.setdefault(execution.id, _summary(execution))  # a resumed one has several runs; the last comes first
            if len(found) >= limit:
                break
    except RPCError as error:
        raise refusal(error, client) from error
    return list(found.values())


def refusal(error: RPCError, client: Client, execution_id: str | None = None) -> Exception:
    """Temporal's refusal, renamed. A namespace that is not there is "not found" to Temporal, as an execution is."""
    namespace = f"namespace '{client.namespace}' at {client.service_client.config.target_host}"
    if error.status is RPCStatusCode.NOT_FOUND and "namespace" in error.message.lower():
        return ConfigurationError(f"There is no {namespace}: create it, or set TEMPORAL_NAMESPACE",
                                  config_key="TEMPORAL_NAMESPACE")
    if execution_id is None:
        return ConfigurationError(f"Temporal refuses to list executions of {namespace}: {error.message}")
    return executions.translate(error, execution_id)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _summary(execution: WorkflowExecution) -> ExecutionSummary:
    revision = _attribute(execution, messages.REVISION_ATTRIBUTE)
    return ExecutionSummary(
        execution_id=execution.id, run_id=execution.run_id, workflow=execution.workflow_type,
        org_id=_attribute(execution, messages.ORG_ATTRIBUTE), caller=_attribute(execution, messages.CALLER_ATTRIBUTE),
        revision=revision, status=status_of(execution, begun=revision is not None), started_at=execution.start_time,
        closed_at=execution.close_time, begins_at=_begins_at(execution))


# --- one execution ---------------------------------------------------------------------------------------------------


async def read_execution(client: Client, execution_id: str) -> Execution:
    """An execution as it is now, by its id.

    Raises:
        NotFoundError: Temporal knows none of this id.
        ConfigurationError: there is no such namespace, or Temporal refuses.
    """
    try:
        description = await client.get_workflow_handle(execution_id).describe()
        handle = client.get_workflow_handle(execution_id, run_id=description.run_id)
        story = await _read(handle.fetch_history_events(), description.data_converter)
        closed = description.status not in (None, Closed.RUNNING)
        result, error = await ending(handle) if closed else (None, None)
    except RPCError as refused:
        raise refusal(refused, client, execution_id) from refused
    await reveal(description.raw_description, description.data_converter)
    story.settle(description)
    last = await description.memo_value(messages.LOG_MEMO, [])
    start = story.argument if isinstance(story.argument, dict) else {}
    return Execution(
        execution_id=execution_id, run_id=description.run_id, workflow=description.workflow_type,
        org_id=_org_id(start, description), caller=_caller(start),
        revision=_attribute(description, messages.REVISION_ATTRIBUTE),
        status=status_of(description, begun=story.begun), started_at=description.start_time,
        closed_at=description.close_time, params=start.get("params") or {}, result=result, error=error,
        checkpoints=story.checkpoints, calls=list(story.calls.values()),
        log=[*story.log, *(_entry(LogLine.model_validate(line)) for line in last)], begins_at=_begins_at(description))


async def ending(handle: WorkflowHandle[Any, Any]) -> tuple[Any, dict[str, Any] | None]:
    """Wait for an execution's end; its result, and its error as `{"error", "message", "details"}`."""
    try:
        return await executions.result(handle), None
    except RPCError:
        raise
    except Exception as error:  # noqa: BLE001 - user code may fail with any exception, and it comes back as that
        return None, failures.as_dict(error)


def _org_id(start: dict[str, Any], execution: WorkflowExecution) -> str | None:
    org_id: str | None = start.get("org_id") or _attribute(execution, messages.ORG_ATTRIBUTE)
    return None if org_id == messages.GLOBAL_SCOPE else org_id


def _caller(start: dict[str, Any]) -> Caller:
    given = start.get("caller")
    if not isinstance(given, dict) or "user_id" not in given:
        return SYSTEM_CALLER
    return Caller(**{name: str(given.get(name) or "") for name in ("user_id", "email", "name")})


@dataclass(slots=True)
class _Story:
    """What the events tell."""

    argument: Any = None
    begun: bool = False
    calls: dict[int, Call] = field(default_factory=dict)
    activity_ids: dict[str, int] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)

    def close_call(self, event: HistoryEvent, scheduled_event_id: int, status: str, error: str | None) -> None:
        """Note how a call ended; one of the engine's own activities is none."""
        call = self.calls.get(scheduled_event_id)
        if call:
            call.status, call.error = status, error
            call.duration_ms = round((_time(event.event_time) - call.started_at).total_seconds() * 1000)

    def settle(self, description: WorkflowExecutionDescription) -> None:
        """Complete the calls that have no end in the history."""
        pending = {one.activity_id: one for one in description.raw_description.pending_activities}
        closed = description.status not in (None, Closed.RUNNING)
        for activity_id, event_id in self.activity_ids.items():
            call = self.calls[event_id]
            if call.duration_ms is not None:
                continue
            if activity_id in pending:
                _show_pending(call, pending[activity_id])
            if closed:  # the execution ended under it
                call.status = "cancelled"


async def _read(events: AsyncIterator[HistoryEvent], converter: DataConverter) -> _Story:
    story = _Story()
    async for event in events:
        await reveal(event, converter)
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                story.argument = await _argument(event, converter)
            case EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                story.begun = True
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                await _scheduled(story, event, converter)
            case _:
                _of_call(story, event)
    return story


async def _argument(event: HistoryEvent, converter: DataConverter) -> Any:
    """The start argument; one that cannot be read is no reason to show nothing."""
    try:
        return await _first(event.workflow_execution_started_event_attributes.input, converter)
    except WorkflowException as error:
        return {"params": {"…": str(error)}}


async def _scheduled(story: _Story, event: HistoryEvent, converter: DataConverter) -> None:
    scheduled = event.activity_task_scheduled_event_attributes
    if scheduled.activity_type.name == messages.CHECK_OPTIONS:
        return
    if scheduled.activity_type.name != messages.CHECKPOINT:
        story.calls[event.event_id] = Call(scheduled.activity_type.name, _time(event.event_time))
        story.activity_ids[scheduled.activity_id] = event.event_id
        return
    checkpoint = CheckpointMessage.model_validate(await _first(scheduled.input, converter))
    story.log.extend(_entry(line) for line in checkpoint.log)
    if checkpoint.name is not None:
        story.checkpoints.append(Checkpoint(checkpoint.name, checkpoint.data, datetime.fromisoformat(checkpoint.at)))


def _of_call(story: _Story, event: HistoryEvent) -> None:
    """Note what an event says about a call, if it is about one."""
    match event.event_type:
        case EventType.EVENT_TYPE_MARKER_RECORDED:
            made = local_activity(event)
            if made and not made.again and "." in made.name:  # and not one of the engine's own
                story.calls[event.event_id] = Call(made.name, made.started_at, made.attempts, "failed" if made.error else "success",
                                                   made.duration_ms, made.error)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:  # written when the attempt ends; it is the last one
            started = event.activity_task_started_event_attributes
            if started.scheduled_event_id in story.calls:
                story.calls[started.scheduled_event_id].attempts = started.attempt
        case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            completed = event.activity_task_completed_event_attributes
            story.close_call(event, completed.scheduled_event_id, "success", None)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            failed = event.activity_task_failed_event_attributes
            story.close_call(event, failed.scheduled_event_id, "failed", failed.failure.message)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            timed_out = event.activity_task_timed_out_event_attributes
            story.close_call(event, timed_out.scheduled_event_id, "timeout", timed_out.failure.message)
        case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
            cancelled = event.activity_task_canceled_event_attributes
            story.close_call(event, cancelled.scheduled_event_id, "cancelled", None)


_WAITING = (PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED, PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED)


def _show_pending(call: Call, pending: PendingActivityInfo) -> None:
    waiting = pending.state in _WAITING
    # While it waits, Temporal counts the attempt to come.
    call.attempts = pending.attempt - 1 if waiting else pending.attempt
    call.status = ("retrying" if call.attempts else "scheduled") if waiting else "running"
    call.error = pending.last_failure.message or None


async def _first(payloads: Payloads, converter: DataConverter) -> Any:
    """The first of some stored values, or None."""
    values = await converter.decode(payloads.payloads)
    return values[0] if values else None


def _entry(line: LogLine) -> LogEntry:
    return LogEntry(datetime.fromisoformat(line.at), line.level, line.message, line.data)


def _time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
