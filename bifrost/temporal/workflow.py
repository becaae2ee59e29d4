"""The generated workflow: one run of user code, from its start argument to its result.

    start argument ─► begin (local activity, recorded once) ─► parameters checked ─► the revision's function ─► result

**Replay.** Temporal repeats this code whenever a run is not in a worker's cache. It therefore depends on nothing but the
history: `begin`'s recorded answer names the revision, and the user's function is loaded from that revision into a fresh
namespace (`workspace.loader`), where clock, dice and waiting are the run's own.

**Failure.** An exception of user code fails the run, with its type, message and traceback. An error of the engine (a
revision that is not in this worker's store, non-determinism) fails the workflow task, which Temporal repeats: a bad deploy
must not fail runs. `_user_code` is the line between the two.

**Cancellation** reaches user code as `asyncio.CancelledError`, which `except Exception` does not swallow. The timeout is a
durable timer that does the same and then turns the cancellation into a `TimeoutError`.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import Coroutine, Iterator, Sequence
from datetime import timedelta
from typing import Any, cast

from pydantic import ValidationError as InvalidMessage
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ApplicationError, FailureError

from bifrost import calling, messages, parameters
from bifrost.errors import TimeoutError, ValidationError  # noqa: A004 - the name is the guide's
from bifrost.messages import BeginAnswer, BeginRequest, CallContext, CallerMessage, StartMessage
from bifrost.models import SYSTEM_CALLER, ExecutionStatus, WorkflowMetadata
from bifrost.temporal import failures
from bifrost.temporal.durable_context import DurableContext
from bifrost.temporal.environment import TemporalEnvironment
from bifrost.temporal.progress import CHECKPOINT_KEY
from bifrost.workspace import determinism
from bifrost.workspace.live import Workspace

_ORG = SearchAttributeKey.for_keyword(messages.ORG_ATTRIBUTE)
_CALLER = SearchAttributeKey.for_keyword(messages.CALLER_ATTRIBUTE)
_REVISION = SearchAttributeKey.for_keyword(messages.REVISION_ATTRIBUTE)
_OUTCOME = SearchAttributeKey.for_keyword(messages.OUTCOME_ATTRIBUTE)


class Run:
    """One run of one workflow; Temporal makes an object of a generated subclass for each."""

    workspace: Workspace
    """What the worker serves; set on the generated class."""

    def __init__(self) -> None:
        self.call_context: CallContext | None = None  # read by the interceptor, for the activities' header
        self._context: DurableContext | None = None
        self._events: dict[str, list[Any]] = {}

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Keep an event until the code asks for it."""
        values = [_value(argument) for argument in arguments]
        self._events.setdefault(name, []).append(values[0] if len(values) == 1 else values or None)

    async def execute(self, argument: Any) -> RawValue:
        """The run, whole.

        Raises:
            ApplicationError: the run failed; carries the error as `failures.application_error` does.
        """
        encoded: Any = None
        failure: BaseException | None = None
        try:
            with _user_code():
                start = _parse(argument)
            begun = await self._begin(start)
            namespace = self.workspace.namespace(begun.revision)
            with _user_code(), determinism.running(TemporalEnvironment()):
                metadata = namespace.workflow(begun.path, workflow.info().workflow_type)
                self._context = self._context_of(begun, metadata)
                calling.durable_calls.set(self._context.call_activity)
                result = await _bounded(_call(metadata, self._context, start), metadata.timeout_seconds)
                encoded = workflow.payload_converter().to_payload(result)
                outcome = _outcome_of(result)
        except ApplicationError as error:
            outcome, failure = ExecutionStatus.FAILED, error
        except _RunTimeout as error:
            outcome, failure = ExecutionStatus.TIMEOUT, failures.application_error(error.reason, retry=False)
        except asyncio.CancelledError as error:
            outcome, failure = ExecutionStatus.CANCELLED, error
        # Not in a `finally`: an engine error repeats the task, and must close nothing.
        await self._close(outcome)
        if failure:
            raise failure
        return RawValue(encoded)

    async def _begin(self, start: StartMessage) -> BeginAnswer:
        info = workflow.info()
        org_id = None if start.org_id == messages.GLOBAL_SCOPE else start.org_id
        caller = start.caller or CallerMessage(user_id=SYSTEM_CALLER.user_id, name=SYSTEM_CALLER.name)
        self.call_context = CallContext(
            execution_id=info.workflow_id, origin_run_id=info.original_execution_run_id or info.run_id,
            workflow=info.workflow_type, org_id=org_id, caller=caller)
        try:
            begun: BeginAnswer = await workflow.execute_local_activity(
                messages.BEGIN, BeginRequest(workflow=info.workflow_type, org_id=org_id), result_type=BeginAnswer,
                start_to_close_timeout=timedelta(seconds=30), retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5)))
        except FailureError as error:
            refusal = failures.of_call(error, messages.BEGIN)
            if isinstance(refusal, asyncio.CancelledError):
                raise refusal from None
            raise failures.application_error(refusal, retry=False) from None
        _check_hash_seed(begun)
        workflow.upsert_search_attributes([
            _REVISION.value_set(begun.revision), _CALLER.value_set(caller.email or caller.user_id),
            *([_ORG.value_set(org_id)] if org_id else [])])
        return begun

    def _context_of(self, begun: BeginAnswer, metadata: WorkflowMetadata) -> DurableContext:
        assert self.call_context is not None, "begin comes first"
        context = DurableContext(begun=begun, call_context=self.call_context, retry_policy=metadata.retry_policy,
                                 classes=lambda: self.workspace.catalog.integrations)
        context.events = self._events
        return context

    async def _close(self, outcome: ExecutionStatus) -> None:
        """The last flush: what a reader finds when the run has ended, in history before its end.

        The first line is a command on purpose: a run that is being evicted (which looks like a cancellation) is stopped by
        the SDK there, before it waits for anything.
        """
        progress = self._context.progress if self._context else None
        attributes = [_OUTCOME.value_set(outcome)]
        if progress and progress.last_checkpoint:
            attributes.append(CHECKPOINT_KEY.value_set(progress.last_checkpoint))
        workflow.upsert_search_attributes(attributes)
        if progress:
            await progress.finished()
            if lines := progress.take_log():
                workflow.upsert_memo({messages.LOG_MEMO: [line.model_dump(exclude_none=True) for line in lines]})


def _value(raw: RawValue) -> Any:
    return workflow.payload_converter().from_payload(raw.payload)


def _parse(argument: Any) -> StartMessage:
    try:
        return StartMessage.model_validate({} if argument is None else argument)
    except InvalidMessage as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the argument"
        raise ValidationError(
            f"The start argument is not as it must be: {where}: {first['msg']}. It has the form "
            '{"org_id": "acme", "params": {"name": "value"}, "caller": {"user_id": "u1"}}', field=where) from None


def _check_hash_seed(begun: BeginAnswer) -> None:
    """Refuse, as an engine error, to go on where sets of strings have another order than where the run began.

    Raises:
        RuntimeError: this worker runs under another hash seed.
    """
    if begun.hash_probe not in (None, messages.hash_probe()):
        raise RuntimeError("This worker runs under another hash seed than the one that began this execution, so sets of strings "
                           "have another order here: start workers with `bifrost worker`, or with PYTHONHASHSEED=0")


async def _call(metadata: WorkflowMetadata, context: DurableContext, start: StartMessage) -> Any:
    if metadata.requires_org and context.org is None:
        raise ValidationError(f"Workflow '{metadata.name}' needs an organization: give an org_id", field="org_id")
    bound = parameters.bind(metadata.parameters, start.params)
    for name, value in start.params.items():
        if name not in bound:
            context.set_variable(name, value)
    return await metadata.function(context, **bound)


def _outcome_of(result: Any) -> ExecutionStatus:
    failed = isinstance(result, dict) and result.get("success") is False
    return ExecutionStatus.COMPLETED_WITH_ERRORS if failed else ExecutionStatus.SUCCESS


class _RunTimeout(BaseException):
    """The run's deadline passed. Not an Exception, so that no user code swallows it."""

    def __init__(self, reason: TimeoutError) -> None:
        self.reason = reason


async def _bounded(work: Coroutine[Any, Any, Any], timeout_seconds: float) -> Any:
    """Await `work`, and cancel it `timeout_seconds` after the execution's start; 0 means never.

    Not an async context manager made of a generator: when a worker ends, the SDK may leave an unfinished run to the garbage
    collector, which closes the generator before the run that is inside it, and then complains.
    """
    if not timeout_seconds:
        return await work
    left = timeout_seconds - (workflow.now() - workflow.info().workflow_start_time).total_seconds()
    bound = asyncio.timeout(max(left, 0))
    try:
        async with bound:
            return await work
    except builtins.TimeoutError:
        if bound.expired():
            raise _RunTimeout(TimeoutError(timeout_seconds)) from None
        raise


@contextlib.contextmanager
def _user_code() -> Iterator[None]:
    """The line between user code, whose exceptions fail the run, and the engine, whose exceptions repeat the task."""
    try:
        yield
    except (ApplicationError, workflow.NondeterminismError):
        raise
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        raise failures.application_error(error, retry=False) from error.__cause__


def generate(name: str, workspace: Workspace) -> type[Run]:
    """The Temporal workflow class of one workflow in the catalog."""
    async def run(self, argument: Any = None) -> RawValue:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as the SDK wants it
        return cast("RawValue", await self.execute(argument))

    return _define(name, workspace, run)


def fallback(workspace: Workspace) -> type[Run]:
    """The class for every other type: workflows that came with a reload, were since renamed, or do not exist."""
    async def run(self, arguments: Sequence[RawValue]) -> RawValue:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the same
        return cast("RawValue", await self.execute(_value(arguments[0]) if arguments else None))

    return _define(None, workspace, run)


def _define(name: str | None, workspace: Workspace, run: Any) -> type[Run]:
    shown = name or "AnyWorkflow"
    run.__name__, run.__qualname__ = "run", f"{shown}.run"  # the SDK refuses a function with <locals> in its name
    cls = type(shown, (Run,), {"__module__": __name__, "__qualname__": shown, "workspace": workspace,
                               "run": workflow.run(run)})
    return workflow.defn(sandboxed=False, **{"dynamic": True} if name is None else {"name": name})(cls)
