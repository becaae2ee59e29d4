"""The generated workflow: one run of user code, from its start argument to its result.

    start argument ─► begin (local activity, recorded once) ─► parameters checked ─► the revision's function ─► result

**Replay.** Temporal repeats this code whenever a run is not in a worker's cache. It therefore depends on nothing but the
history: `begin`'s recorded answer names the revision (in a run that was reset, a resume may have named another: `resets`),
and the user's function is loaded from that revision into a fresh namespace (`workspace.loader`), where clock, dice and
waiting are the run's own.

**Failure.** An exception of user code fails the run, with its type, message and traceback. An error of the engine (a
revision that is not in this worker's store, non-determinism) fails the workflow task, which Temporal repeats: a bad deploy
must not fail runs. `_user_code` is the line between the two.

**Cancellation** reaches user code as `asyncio.CancelledError`, which `except Exception` does not swallow. The timeout is a
durable timer that does the same, and then fails the run with a `TimeoutError` (`deadline`). What the code asked to be undone
is undone before the run ends (`undo`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pydantic import ValidationError as InvalidMessage
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, FailureError

from bifrost import calling, messages, parameters
from bifrost.errors import PermissionError, ValidationError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.messages import (
    BeginAnswer,
    BeginRequest,
    CallContext,
    CallerMessage,
    LimitsMessage,
    MapMessage,
    StartMessage,
    TurnMessage,
)
from bifrost.models import SYSTEM_CALLER, ExecutionStatus, WorkflowMetadata
from bifrost.record import record
from bifrost.temporal import attributes, failures, retries
from bifrost.temporal.limits.turnstile import Turns
from bifrost.temporal.payloads.converter import payload_of, without_handles
from bifrost.temporal.payloads.values import revived
from bifrost.temporal.providers.serving import hold_to_options
from bifrost.temporal.resuming.resets import Passage, Resets
from bifrost.temporal.run import blocked, fan_out
from bifrost.temporal.run.approval import Approval
from bifrost.temporal.run.deadline import RunTimeout, bounded
from bifrost.temporal.run.durable_context import DurableContext
from bifrost.temporal.run.environment import TemporalEnvironment
from bifrost.workspace import determinism
from bifrost.workspace.live import Workspace
from bifrost.workspace.loader import Namespace

_EPOCH = datetime.fromtimestamp(0, UTC)


class Run:
    """One run of one workflow; Temporal makes an object of a generated subclass for each."""

    workspace: Workspace
    """What the worker serves; set on the generated class."""
    resets: Resets
    """Where the run asks what it was reset from; set on the generated class."""

    def __init__(self) -> None:
        self.call_context: CallContext | None = None  # read by the interceptor, for the activities' header
        self.owner: str | None = None  # read by the codec: whose key encrypts what the run sends
        self._context: DurableContext | None = None
        self._passage = Passage()
        self._approval = Approval()
        self._events: dict[str, list[Any]] = {}
        self._turns = Turns()
        self._turn: TurnMessage | None = None

    @workflow.signal(name=messages.ADMITTED)
    def on_admitted(self, ticket: str) -> None:
        """Go on: a turnstile has let the run in."""
        self._turns.admit(ticket)

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Keep an event until the code asks for it."""
        values = [_value(argument) for argument in arguments]
        self._events.setdefault(name, []).append(values[0] if len(values) == 1 else values or None)

    @workflow.update(name=messages.APPROVE)
    def on_approve(self, argument: Any) -> str:
        """Take the decision of whoever may approve this run."""
        self._approval.decide(decision := self._approval.check(argument))
        return "approved" if decision.approved else "rejected"

    @on_approve.validator
    def check_approval(self, argument: Any) -> None:
        """Refuse what is no decision, before it is recorded.

        Raises:
            ApplicationError: why.
        """
        try:
            self._approval.check(argument)
        except WorkflowException as error:
            raise failures.application_error(error, retry=False) from None

    async def execute(self, argument: Any) -> RawValue:
        """The run, whole.

        Raises:
            ApplicationError: the run failed; carries the error as `failures.application_error` does.
        """
        encoded = Payload()
        failure: BaseException | None = None
        try:
            with _user_code():
                start = _parse(argument)
            begun = await self._begin(start)
            namespace = self.workspace.namespace(begun.revision)
            with _user_code(), determinism.running(environment := TemporalEnvironment()):
                outcome, encoded = await self._perform(namespace, begun, start, environment)
        except ApplicationError as error:
            outcome, failure = ExecutionStatus.FAILED, error
        except RunTimeout as error:
            outcome, failure = ExecutionStatus.TIMEOUT, failures.application_error(error.reason, retry=False)
        except asyncio.CancelledError as error:
            outcome, failure = ExecutionStatus.CANCELLED, error
        # Not in a `finally`: an engine error repeats the task, and must close nothing.
        if self._turn:
            await self._turns.leave(self._turn)
        await self._close(outcome)
        if failure:
            raise failure
        return RawValue(encoded)

    async def _perform(self, namespace: Namespace, begun: BeginAnswer, start: StartMessage,
                       environment: TemporalEnvironment) -> tuple[ExecutionStatus, Payload]:
        """User code, within its time; what it would undo is undone if it does not come to its end."""
        metadata = namespace.workflow(begun.path, workflow.info().workflow_type)
        context = self._context = self._context_of(begun, metadata)
        environment.before_pause = context.progress.flush
        calling.durable_calls.set(context.call_activity)
        if start.map is not None:
            return ExecutionStatus.SUCCESS, payload_of(await _part(namespace, context, start.map), "The result", "result")
        _check_door(metadata, start)
        params = start.params if workflow.info().parent is None else revived(start.params)
        given = parameters.take(metadata, params, context)
        if start.begin_at and workflow.now() < start.begin_at:  # something, such as an approval, woke it up before its time
            await workflow.sleep(start.begin_at - workflow.now(), summary="until it is to begin")
        await hold_to_options(metadata.parameters, given)
        since = max(workflow.info().workflow_start_time, start.begin_at or _EPOCH)
        if metadata.requires_approval:
            assert self.call_context is not None, "begin comes first"
            await self._approval.wait(context, self.call_context.caller)
            since = workflow.now()
        if begun.limits and workflow.info().parent is None:  # a child that waited for its parent's turn would wait for ever
            await self._take_turn(begun.limits)
            since = workflow.now()
        try:
            result = await bounded(metadata.function(context, **given), metadata.timeout_seconds, lambda: self._passage.since(since))
            return _outcome_of(result), without_handles(payload_of(result, "The result", "result"))
        except (Exception, RunTimeout, asyncio.CancelledError) as error:
            await context.undo_all(error)
            raise

    async def _begin(self, start: StartMessage) -> BeginAnswer:
        info = workflow.info()
        self._passage.begin(self.resets.of_run(info))
        org_id = None if start.org_id == messages.GLOBAL_SCOPE else start.org_id
        caller = start.caller or CallerMessage(user_id=SYSTEM_CALLER.user_id, name=SYSTEM_CALLER.name)
        self.call_context = CallContext(
            execution_id=info.workflow_id, origin_run_id=info.original_execution_run_id or info.run_id,
            workflow=info.workflow_type, org_id=org_id, caller=caller,
            scheduled_at=info.typed_search_attributes.get(attributes.SCHEDULED_TIME) or start.begin_at)
        try:
            begun: BeginAnswer = await workflow.execute_local_activity(
                messages.BEGIN, BeginRequest(
                    workflow=info.workflow_type, org_id=org_id, revision=start.map.revision if start.map else None,
                    path=start.map.path if start.map else None), result_type=BeginAnswer,
                start_to_close_timeout=timedelta(seconds=30), retry_policy=retries.ENGINE)
        except FailureError as error:
            refusal = failures.of_call(error, messages.BEGIN)
            if isinstance(refusal, asyncio.CancelledError):
                raise refusal from None
            raise failures.application_error(refusal, retry=False) from None
        self.owner = org_id
        _check_hash_seed(begun)
        begun = self._passage.resumed(begun)
        workflow.upsert_search_attributes([
            attributes.REVISION.value_set(begun.revision), attributes.CALLER.value_set(caller.email or caller.user_id),
            *([attributes.ORG.value_set(org_id)] if org_id else [])])
        return begun

    async def _take_turn(self, limits: LimitsMessage) -> None:
        assert self.call_context is not None, "begin comes first"
        workflow.set_current_details(f"Waits for its turn among the executions of {self.call_context.org_id}")
        self._turn = await self._turns.enter(str(self.call_context.org_id), concurrency=limits.executions,
                                             per_minute=limits.executions_per_minute)
        workflow.set_current_details("")

    def _context_of(self, begun: BeginAnswer, metadata: WorkflowMetadata) -> DurableContext:
        assert self.call_context is not None, "begin comes first"
        context = DurableContext(begun=begun, call_context=self.call_context, retry_policy=metadata.retry_policy,
                                 classes=lambda: self.workspace.catalog.integrations, turns=self._turns)
        context.events = self._events
        return context

    async def _close(self, outcome: ExecutionStatus) -> None:
        """The last flush: what a reader finds when the run has ended, in history before its end.

        The first line is a command on purpose: a run that is being evicted (which looks like a cancellation) is stopped by
        the SDK there, before it waits for anything.
        """
        progress = self._context.progress if self._context else None
        ended = [attributes.OUTCOME.value_set(outcome), *self._passage.close()]
        if progress and progress.last_checkpoint:
            ended.append(attributes.CHECKPOINT.value_set(progress.last_checkpoint))
        workflow.upsert_search_attributes(ended)
        if progress:
            await progress.finished()
            if lines := progress.last_log():
                workflow.upsert_memo({messages.LOG_MEMO: [line.model_dump(exclude_none=True) for line in lines]})


def _value(raw: RawValue) -> Any:
    return workflow.payload_converter().from_payload(raw.payload)


def _parse(argument: Any) -> StartMessage:
    try:
        start = StartMessage.model_validate({} if argument is None else argument)
    except InvalidMessage as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the argument"
        raise ValidationError(
            f"The start argument is not as it must be: {where}: {first['msg']}. It has the form "
            '{"org_id": "acme", "params": {"name": "value"}, "caller": {"user_id": "u1"}}', field=where) from None
    if start.map is not None and workflow.info().parent is None:
        raise ValidationError("A part of a map is started by the execution that maps, and by nobody else", field="map")
    return start


async def _part(namespace: Namespace, context: DurableContext, part: MapMessage) -> Any:
    """A part of another execution's `context.map`."""
    target: Any = part.workflow
    if part.code is not None:
        target = getattr(namespace.load(part.code.module), part.code.function)
    return await fan_out.make(fan_out.call_of(context, target, part.revision), record(revived(part.items)), part.concurrency)


def _check_hash_seed(begun: BeginAnswer) -> None:
    """Refuse, as an engine error, to go on where sets of strings have another order than where the run began.

    Raises:
        RuntimeError: this worker runs under another hash seed.
    """
    if begun.hash_probe not in (None, messages.hash_probe()):
        raise RuntimeError("This worker runs under another hash seed than the one that began this execution, so sets of strings "
                           "have another order here: start workers with `bifrost worker`, or with PYTHONHASHSEED=0")


def _check_door(metadata: WorkflowMetadata, start: StartMessage) -> None:
    """Keep out who may not start this workflow. Whoever may start Temporal workflows may start any: an operator.

    Raises:
        PermissionError: it runs by its schedule, or is not offered as a form.
    """
    if start.via in ("form", "api") and metadata.execution_mode == "scheduled":
        raise PermissionError(f"Workflow '{metadata.name}' runs by its schedule and cannot be started by a caller. An operator can: "
                              f"bifrost schedules trigger --workflow {metadata.name}", workflow=metadata.name, via=start.via)
    if start.via == "form" and not metadata.expose_in_forms:
        raise PermissionError(f"Workflow '{metadata.name}' is not offered as a form (expose_in_forms=False)", workflow=metadata.name,
                              via=start.via)


def _outcome_of(result: Any) -> ExecutionStatus:
    failed = isinstance(result, dict) and result.get("success") is False
    return ExecutionStatus.COMPLETED_WITH_ERRORS if failed else ExecutionStatus.SUCCESS


@contextlib.contextmanager
def _user_code() -> Iterator[None]:
    """The line between user code, whose exceptions fail the run, and the engine, whose exceptions repeat the task."""
    try:
        yield
    except (ApplicationError, workflow.NondeterminismError, asyncio.CancelledError):
        raise
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        raise failures.application_error(error, retry=False) from error.__cause__
    except GeneratorExit:  # left to the garbage collector, which comes when it likes: perhaps while this thread is in another run
        raise
    except BaseException as error:  # the SDK interrupts code that does not yield
        blocked.note(workflow.info().run_id, error)
        raise


def generate(name: str, workspace: Workspace, resets: Resets) -> type[Run]:
    """The Temporal workflow class of one workflow in the catalog."""
    async def run(self, argument: Any = None) -> RawValue:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as the SDK wants it
        return cast("RawValue", await self.execute(argument))

    return _define(name, workspace, resets, run)


def fallback(workspace: Workspace, resets: Resets) -> type[Run]:
    """The class for every other type: workflows that came with a reload, were since renamed, or do not exist."""
    async def run(self, arguments: Sequence[RawValue]) -> RawValue:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the same
        return cast("RawValue", await self.execute(_value(arguments[0]) if arguments else None))

    return _define(None, workspace, resets, run)


def _define(name: str | None, workspace: Workspace, resets: Resets, run: Any) -> type[Run]:
    shown = name or "AnyWorkflow"
    run.__name__, run.__qualname__ = "run", f"{shown}.run"  # the SDK refuses a function with <locals> in its name
    cls = type(shown, (Run,), {"__module__": __name__, "__qualname__": shown, "workspace": workspace,
                               "resets": resets, "run": workflow.run(run)})
    return workflow.defn(sandboxed=False, **{"dynamic": True} if name is None else {"name": name})(cls)
