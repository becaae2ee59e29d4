"""Going on with an execution that ended, or is held up: Temporal's reset, with the code that it is to go on with.

What was done before the point (`points`) is in the history and stays. Calls that had succeeded since are made again by the
code, and answered as they were (`resets`). Whether the code of another revision comes to the point in the same way is tried
before anything is reset.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResetReapplyExcludeType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowHistory,
)
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.service import RPCError

from bifrost import messages
from bifrost.errors import NotFoundError, ValidationError
from bifrost.messages import BeginAnswer, CheckpointMessage, ResumeMessage
from bifrost.temporal import client as executions
from bifrost.temporal import replay
from bifrost.temporal.history import refusal
from bifrost.temporal.markers import local_activity
from bifrost.temporal.payloads.converter import envelopes_of, reveal
from bifrost.temporal.payloads.encryption import Envelopes, owned_by
from bifrost.temporal.resuming import points, resets
from bifrost.temporal.resuming.differences import difference
from bifrost.temporal.resuming.points import Point
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision import SHORT

CURRENT: Final = "current"
ORIGINAL: Final = "original"
_OPEN: Final = (None, WorkflowExecutionStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """An execution that goes on.

    Attributes:
        execution_id: Its id, which it keeps.
        run_id: The run that goes on.
        base_run_id: The run that was reset.
        at: What is done anew.
        event_id: The event of the base run that it was reset to.
        revision: The code that it goes on with; None where it has not begun with any, and `begin` decides.
    """

    execution_id: str
    run_id: str
    base_run_id: str
    at: str
    event_id: int
    revision: str | None


async def resume(client: Client, workspace: Workspace, execution_id: str, *, revision: str = CURRENT,
                 from_checkpoint: str | None = None, reason: str = "resumed by bifrost", sure: bool = False,
                 payloads: str | None = None) -> Resumed:
    """Reset an execution to the last good point, or to a checkpoint, and let it go on.

    Its timeout counts from now on. Signals that it got since the point are sent to it again; a cancellation is not.

    Args:
        client: Made by `client.connect`.
        workspace: The code as it is now, and the store of revisions.
        execution_id: Which one.
        revision: `current`, `original` (the one that it began with), or the id of a revision.
        from_checkpoint: Go on just before the last checkpoint of this name; everything after it is done again.
        reason: Recorded with the reset.
        sure: Go on although it still runs, or has made calls after its failure.
        payloads: Where large payloads are, as `BIFROST_PAYLOADS` says it; None where there are none.

    Raises:
        NotFoundError: there is no such execution, checkpoint, workflow or revision.
        ValidationError: it runs, has succeeded, has not begun, or its code does not come to the point the same way.
        ConfigurationError: Temporal refuses, or the workflow's file cannot be loaded.
    """
    try:
        description = await client.get_workflow_handle(execution_id).describe()
        handle = client.get_workflow_handle(execution_id, run_id=description.run_id)
        history = await handle.fetch_history()
    except RPCError as error:
        raise refusal(error, client, execution_id) from error
    converter = client.data_converter
    for event in history.events:
        await reveal(event, converter)
    if from_checkpoint is None:
        _check_resumable(description, history.events)
        point = points.last_good(history.events)
        _check_consequences(point, sure=sure)
    else:
        _check_open(description, sure=sure)
        point = points.at_checkpoint(history.events, await _checkpoints(history.events, converter), from_checkpoint)
    note = _note(workspace, description.workflow_type, await _begun(history.events, converter), revision,
                 keep=from_checkpoint is None)
    await _check_prefix(workspace, history, point, note, payloads, envelopes_of(converter))
    try:
        run_id = await _reset(client, handle, description, point, resets.reason(reason, note))
    except RPCError as error:
        raise refusal(error, client, execution_id) from error
    return Resumed(execution_id=execution_id, run_id=run_id, base_run_id=description.run_id, at=point.what,
                   event_id=point.event_id, revision=note.revision)


async def find(client: Client, query: str) -> list[str]:
    """The executions that a query of Temporal's finds. A run that has been resumed since does not count.

    Raises:
        ConfigurationError: Temporal refuses the query.
    """
    try:
        runs = [(run.id, run.run_id) async for run in client.list_workflows(query)]
        last = {one: (await client.get_workflow_handle(one).describe()).run_id for one in dict.fromkeys(one for one, _ in runs)}
    except RPCError as error:
        raise refusal(error, client) from error
    return [one for one, run in last.items() if (one, run) in runs]


async def rerun(client: Client, execution_id: str) -> WorkflowHandle[object, object]:
    """Start a new execution of the same workflow with the same argument, on the same task queue.

    Raises:
        NotFoundError: there is no such execution.
        ConfigurationError: Temporal refuses.
    """
    try:
        async for event in client.get_workflow_handle(execution_id).fetch_history_events(page_size=1):
            started = event.workflow_execution_started_event_attributes
            break
        name = started.workflow_type.name
        given = await client.data_converter.decode(started.input.payloads, [RawValue] * len(started.input.payloads))
        with owned_by(await executions.organization_of(client, execution_id)):
            return await client.start_workflow(
                name, args=given, id=executions.new_execution_id(name), task_queue=started.task_queue.name,
                static_summary=f"{name}, as {execution_id}", static_details="Started through Bifrost")
    except RPCError as error:
        raise refusal(error, client, execution_id) from error


# --- whether it may ---------------------------------------------------------------------------------------------------


def _check_resumable(description: WorkflowExecutionDescription, events: Sequence[HistoryEvent]) -> None:
    if description.status in _OPEN and not points.is_stuck(events):
        raise ValidationError("It is still running: cancel or terminate it first, or give --from-checkpoint with --yes",
                              field="execution_id")


def _check_open(description: WorkflowExecutionDescription, *, sure: bool) -> None:
    if description.status in _OPEN and not sure:
        raise ValidationError("It is still running, and the run would be terminated: give --yes if that is meant", field="yes")


def _check_consequences(point: Point, *, sure: bool) -> None:
    """Refuse to go on as if nothing had been done since, where something was."""
    if point.undone and not sure:
        raise ValidationError("It has undone what it had done, so there is nothing to go on from: `bifrost executions rerun` does it "
                              "anew. With --yes it goes on all the same, as if nothing had been undone", field="yes", later=point.later)
    if point.again and not sure:
        raise ValidationError(f"To go on at {point.what} would begin anew what had succeeded: {', '.join(dict.fromkeys(point.again))}. Give "
                              "--yes if that is meant", field="yes", again=point.again)
    if point.later and not sure:
        raise ValidationError(f"After the failure of {point.what} it went on to call {', '.join(dict.fromkeys(point.later))}. If that took "
                              "back what was done before, give --from-checkpoint; if not, --yes", field="yes", later=point.later)


async def _check_prefix(workspace: Workspace, history: WorkflowHistory, point: Point, note: ResumeMessage,
                        payloads: str | None, envelopes: Envelopes | None) -> None:
    """Replay what the reset keeps with the code that is to go on.

    Raises:
        ValidationError: it comes another way.
    """
    kept = points.prefix(history.events, point)
    if not kept:
        return

    async def one() -> AsyncIterator[WorkflowHistory]:
        yield WorkflowHistory(history.workflow_id, kept)

    async for replayed in replay.replay(workspace, one(), payloads, note, envelopes):
        if replayed.failure is not None:
            chosen = f"Revision {note.revision[:SHORT]}" if note.revision else "The code"
            raise ValidationError(
                f"{chosen} does not come to {point.what} the way this execution came: {difference(kept, replayed.failure)}. Nothing "
                "was reset. Give --revision original, or --from-checkpoint with an earlier checkpoint", field="revision",
                difference=replayed.failure)


# --- with which code --------------------------------------------------------------------------------------------------


def _note(workspace: Workspace, workflow: str, begun: BeginAnswer | None, revision: str, *, keep: bool) -> ResumeMessage:
    """What the run is to go on with.

    Raises:
        NotFoundError: the revision is not kept, or does not have the workflow.
        ConfigurationError: the workflow's file cannot be loaded.
    """
    if revision == CURRENT:
        entry = workspace.catalog.workflow(workflow)
        workspace.renew()  # so that it is not pruned before Temporal's index knows that it is needed
        return ResumeMessage(revision=workspace.catalog.revision, path=entry.path, integrations=sorted(workspace.catalog.integrations),
                             keep=keep)
    if revision != ORIGINAL:
        path = _path(workspace, revision, workflow, begun)
        workspace.revisions.put(workspace.revisions.get(revision))
        return ResumeMessage(revision=revision, path=path, keep=keep)
    if begun is None:
        return ResumeMessage(keep=keep)
    workspace.revisions.put(workspace.revisions.get(begun.revision))
    return ResumeMessage(revision=begun.revision, path=begun.path, keep=keep)


def _path(workspace: Workspace, revision: str, workflow: str, begun: BeginAnswer | None) -> str:
    """The file of a revision that defines a workflow."""
    files = workspace.revisions.get(revision).files
    likely = [begun.path] if begun and begun.path in files else []
    namespace = workspace.namespace(revision)
    for path in [*likely, *(path for path in sorted(files) if path.startswith("workflows/") and workflow in files[path])]:
        try:
            namespace.workflow(path, workflow)
        except Exception:  # noqa: BLE001, S112 - another file may define it
            continue
        return path
    raise NotFoundError(f"Revision {revision[:SHORT]} has no workflow '{workflow}'", kind="workflow", name=workflow, near=[])


async def _begun(events: Sequence[HistoryEvent], converter: DataConverter) -> BeginAnswer | None:
    """What `begin` answered; None if it refused the execution, or never came to answer."""
    for event in events:
        made = local_activity(event)
        if made and made.name == messages.BEGIN and "result" in (details := event.marker_recorded_event_attributes.details):
            [answer] = await converter.decode(details["result"].payloads, [BeginAnswer])
            return answer  # type: ignore[no-any-return]  # it was asked for
    return None


async def _checkpoints(events: Sequence[HistoryEvent], converter: DataConverter) -> dict[int, str]:
    found = {}
    for event in events:
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == messages.CHECKPOINT:
            [message] = await converter.decode(scheduled.input.payloads, [CheckpointMessage])
            if message.name is not None:
                found[event.event_id] = message.name
    return found


# --- the reset --------------------------------------------------------------------------------------------------------


async def _reset(client: Client, handle: WorkflowHandle[object, object], description: WorkflowExecutionDescription, point: Point,
                 reason: str) -> str:
    now = await client.get_workflow_handle(handle.id).describe()
    if (now.run_id, now.status) != (description.run_id, description.status):
        raise ValidationError("It went on meanwhile; nothing was reset", field="execution_id")
    answer = await client.workflow_service.reset_workflow_execution(ResetWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=description.run_id),
        reason=reason, workflow_task_finish_event_id=point.event_id, request_id=str(uuid.uuid4()), identity=client.identity,
        reset_reapply_exclude_types=[ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST]), retry=True)
    return answer.run_id
