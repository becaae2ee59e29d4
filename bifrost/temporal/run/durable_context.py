"""What user code calls inside a run. Every call becomes a command in Temporal's history, or touches nothing outside.

Three rules hold here:

* **Order.** A checkpoint is scheduled in the same workflow task as the call that follows it, and before it: see `progress`.
* **Nothing by accident.** What user code can do wrong (an unknown method, wrong arguments) is refused by the activity, not
  here: integrations are not pinned to a revision, and a refusal that depends on today's code would differ on replay.
* **Inert when evicted.** When the SDK drops a cached run, user `finally` blocks still execute; then the SDK refuses every
  command, and nothing here reaches the outside otherwise.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import FailureError

from bifrost import calling, messages
from bifrost.context import OrganizationContext
from bifrost.errors import NotFoundError, TimeoutError, ValidationError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.integrations.base import BaseIntegration, Operation
from bifrost.integrations.registry import bind
from bifrost.messages import BeginAnswer, CallContext, CodeReference, MapMessage, StartMessage
from bifrost.models import ActivityMetadata, Caller, OAuthCredentials, Organization, RetryRules, Secret
from bifrost.record import record
from bifrost.temporal import failures
from bifrost.temporal.limits.turnstile import Turns
from bifrost.temporal.payloads.converter import payload_of
from bifrost.temporal.run import fan_out
from bifrost.temporal.run.calls import Calls, Limits
from bifrost.temporal.run.progress import Progress
from bifrost.temporal.run.undo import Undo

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}
_log = structlog.stdlib.get_logger("bifrost.workflow")


class Written:
    """What `save_checkpoint` answers: it is written already, so awaiting it does nothing."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield  # makes this a generator, as __await__ must be


class DurableContext(OrganizationContext):
    """The context of one run."""

    def __init__(self, *, begun: BeginAnswer, call_context: CallContext, retry_policy: Mapping[str, Any],
                 classes: Callable[[], Mapping[str, type[BaseIntegration]]], turns: Turns) -> None:
        org = None if call_context.org_id is None else Organization(
            call_context.org_id, begun.org_name or call_context.org_id, begun.tenant_id, config=begun.config)
        super().__init__(org=org, global_config=begun.global_config, execution_id=call_context.execution_id,
                         caller=Caller(**call_context.caller.model_dump()), scheduled_at=call_context.scheduled_at)
        self._call_context = call_context
        self._integrations = begun.integrations
        self._revision = begun.revision
        self._path = begun.path
        self._maps = 0
        self.undo = Undo()
        self._rules = RetryRules.of(retry_policy) if retry_policy else None
        self._classes = classes
        self._max_concurrent = begun.max_concurrent
        self._short = frozenset(begun.short)
        self.progress = Progress()
        self._calls = Calls(self.progress, turns, lambda message: self.log("warning", message))
        self._proxies: dict[str, IntegrationProxy] = {}
        self.events: dict[str, list[Any]] = {}

    # --- progress ------------------------------------------------------------------------------------------------

    def log(self, level: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        level = level.lower() if str(level).lower() in _LEVELS else "info"
        line = self.progress.log(level, str(message), None if data is None else dict(data))
        if not workflow.unsafe.is_replaying():
            facts = {"execution_id": self.execution_id, "org_id": self.org_id, "workflow": self._call_context.workflow}
            _log.log(_LEVELS[level], line.message, **facts, **({"data": line.data} if line.data else {}))

    def save_checkpoint(self, name: str, data: Any = None) -> Written:
        self.progress.checkpoint(str(name), data)
        return Written()

    # --- calls ---------------------------------------------------------------------------------------------------

    def get_integration(self, name: str) -> IntegrationProxy:
        if name not in self._integrations:  # as recorded at the start: the same answer on replay
            raise NotFoundError.of("Integration", name, self._integrations)
        if name not in self._proxies:
            self._proxies[name] = IntegrationProxy(self, name)
        return self._proxies[name]

    async def call(self, integration: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Make one integration call, as one activity, and answer its result.

        Raises:
            WorkflowException: what the call raised, of the same class with the same fields.
        """
        cls = self._classes().get(integration)
        operation, short = Operation.of(cls, method), f"{integration}.{method}" in self._short  # as recorded at the start
        if operation.short != short:
            operation = replace(operation, short=short)
        if self._rules:
            operation = replace(operation, retry=self._rules)
        place = f"{self.org_id or messages.GLOBAL_SCOPE}/{integration}"
        budget = place if cls is None or operation.rate_per_second == cls.rate_per_second else f"{place}.{method}"
        limits = Limits(place, self._max_concurrent.get(integration), budget)
        return record(await self._calls.make(f"{integration}.{method}", [bind(cls, method, args, kwargs)], operation, limits))

    async def call_activity(self, activity: ActivityMetadata, arguments: dict[str, Any]) -> Any:
        """Make the call of an `@activity`, with the code of this run's revision, and answer its result.

        Raises:
            WorkflowException: what the activity raised, of the same class with the same fields.
        """
        function = activity.function
        sent = {name: {messages.CONTEXT_ARGUMENT: True} if value is self else value for name, value in arguments.items()}
        code = CodeReference(revision=self._revision, module=function.__module__, function=function.__qualname__)
        rules = RetryRules.of(activity.retry_policy) if activity.retry_policy else (self._rules or RetryRules())
        result = await self._calls.make(activity.name, [sent, code], Operation(timeout_seconds=activity.timeout_seconds, retry=rules))
        return calling.typed(calling.hints(function).get("return", Any), record(result), f"The result of {activity.name}")

    async def get_secret(self, name: str) -> Secret:
        """A handle of the secret; that it exists is checked now, its value is read by the call that uses it.

        Raises:
            KeyError: neither the organization nor GLOBAL has it.
        """
        await self.progress.written()
        try:
            await workflow.execute_local_activity(
                messages.LOCATE_SECRET, name, start_to_close_timeout=timedelta(seconds=30), summary=name,
                retry_policy=RetryPolicy(maximum_attempts=5))
        except FailureError as error:
            raise failures.of_call(error, messages.LOCATE_SECRET) from None
        return Secret(self.org_id or messages.GLOBAL_SCOPE, name)

    async def get_oauth_connection(self, name: str) -> OAuthCredentials:
        raise NotFoundError(f"The OAuth connection '{name}' cannot be read in a workflow, whose every value is recorded: "
                            "read it in the integration that uses it", kind="oauth connection", name=name)

    async def execute_workflow(self, name: str, params: Mapping[str, Any] | None = None) -> Any:
        self.progress.flush()
        await self.progress.written()
        start = StartMessage(org_id=self.org_id, params=dict(params or {}), caller=self._call_context.caller, via="workflow")
        try:
            return record(await workflow.execute_child_workflow(name, _start_payload(start, name)))
        except FailureError as error:
            raise failures.of_call(error, f"workflow {name}") from error.cause

    async def map(self, target: str | Callable[..., Any], items: Iterable[Any], concurrency: int = 10) -> Any:
        if concurrency < 1:
            raise ValidationError(f"concurrency must be above 0, not {concurrency}", field="concurrency")
        name, code = fan_out.reference(target, self._revision)
        wanted = list(items)
        if len(wanted) <= fan_out.PART:
            return await fan_out.make(fan_out.call_of(self, target, self._revision), wanted, concurrency)
        self._maps += 1
        shown, number = name or (code.function if code else ""), self._maps
        message = MapMessage(revision=self._revision, path=self._path, items=[], concurrency=concurrency, workflow=name, code=code)

        async def start(part: MapMessage, first: int) -> Any:
            await self.progress.written()
            argument = StartMessage(org_id=self.org_id, caller=self._call_context.caller, begin_at=self.scheduled_at, map=part)
            try:
                return await workflow.execute_child_workflow(
                    self._call_context.workflow, argument, id=f"{self.execution_id}/map-{number}/{first}",
                    static_summary=f"{shown}: items {first:,} to {first + len(part.items) - 1:,} of {len(wanted):,}")
            except FailureError as error:
                raise failures.of_call(error, f"a part of {shown}") from error.cause

        def progress(done: int, failed: int) -> None:
            self.log("info", fan_out.show(shown, done, len(wanted), failed))

        return await fan_out.make_in_parts(wanted, concurrency, start, message, progress)

    def on_failure(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.undo.add(function, args, kwargs)

    async def undo_all(self, error: BaseException) -> None:
        """Undo what `on_failure` kept, because of `error`, which is told what became of it."""
        if not self.undo:
            return
        self.save_checkpoint("undoing", {"because": str(error) or type(error).__name__})
        await self.progress.written()  # a command: a run that is evicted, which looks like a cancellation, is stopped here
        undone = await self.undo.run(self)
        reason = getattr(error, "reason", error)
        if isinstance(reason, WorkflowException):
            reason.details["undone"] = undone

    # --- waiting -------------------------------------------------------------------------------------------------

    async def wait_for_event(self, name: str, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109 - the guide's
        if not self.events.get(name):
            self.progress.flush()
        bound = timeout if isinstance(timeout, timedelta) or timeout is None else timedelta(seconds=timeout)
        try:
            await workflow.wait_condition(lambda: bool(self.events.get(name)), timeout=bound,
                                          timeout_summary=f"event {name}")
        except builtins.TimeoutError:
            seconds = bound.total_seconds() if bound else 0
            raise TimeoutError(f"The event '{name}' did not come within {seconds:g} seconds", timeout_seconds=seconds,
                               event=name) from None
        return self.events[name].pop(0)


def _start_payload(start: StartMessage, name: str) -> RawValue:
    return RawValue(payload_of(start.model_dump(exclude_none=True), f"What is given to {name}"))


class IntegrationProxy:
    """An integration inside a run: every public attribute is a method, and calling it is a durable call."""

    def __init__(self, context: DurableContext, name: str) -> None:
        self._context = context
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._context.call(self._name, method, args, kwargs)

        call.__name__, call.__qualname__ = method, f"{self._name}.{method}"
        return call

    def __repr__(self) -> str:
        return f"<integration {self._name}>"
