"""The test kit's context: an execution in memory, without any server. What the code does is recorded.

A workflow may be called directly with it, `await create_user(context, email=…)`, as any function of the workspace that takes a
context. `await context.run(create_user, email=…)` does what an execution does around the function, too.

In neither does time pass by itself, and no call is made twice: sleeping, retries and replay are for `run_workflow`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from bifrost import calling, parameters
from bifrost.context import OrganizationContext, sanitize
from bifrost.decorators import WORKFLOW_ATTRIBUTE
from bifrost.errors import NotFoundError, TimeoutError, ValidationError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.integrations.registry import bind, unbind
from bifrost.models import GLOBAL, ActivityMetadata, Caller, OAuthCredentials, Organization, Secret, WorkflowMetadata
from bifrost.record import record
from bifrost.secrets.base import revealed
from bifrost.secrets.memory import MemorySecrets
from bifrost.temporal.payloads.converter import CONVERTER, payload_of
from bifrost.temporal.run import fan_out
from bifrost.temporal.run.durable_context import IntegrationProxy, Written
from bifrost.temporal.run.undo import Undo
from bifrost.testing import served
from bifrost.testing.fakes import FakeIntegration, Script
from bifrost.testing.recorded import Call, Checkpoint, LogEntry
from bifrost.workspace.catalog import Catalog

ORGANIZATION: Final = Organization("test-org", "Test Organization", "test-tenant")
CALLER: Final = Caller("test-user", "test.user@example.com", "Test User")
_LEVELS: Final = ("debug", "info", "warning", "warn", "error", "critical")


class InMemoryContext(OrganizationContext):
    """A context whose every answer the test gives, and which records what is done with it.

    Args:
        org: The organization; None for an execution without one.
        config: Its configuration, over what `org.config` has.
        global_config: The configuration of the GLOBAL scope.
        secrets: The organization's secrets, by name.
        global_secrets: Those of the GLOBAL scope.
        caller: Who started the execution.
        execution_id: The execution's id.
        scheduled_at: The time that a schedule started it for.

    Attributes:
        org_config, global_config, secrets, global_secrets: As given; plain dictionaries, which a test may fill in later.
        oauth_connections: What `get_oauth_connection` answers, by name.
        logs: The lines written, as `(level, message, data)`.
        events: What `send_event` sent and nobody has waited for yet, by name.
        undone: What became of each undo call, as `{"undo": name}`, with its `error` if it failed.
    """

    def __init__(self, org: Organization | None = ORGANIZATION, *, config: Mapping[str, Any] | None = None,
                 global_config: Mapping[str, Any] | None = None, secrets: Mapping[str, str] | None = None,
                 global_secrets: Mapping[str, str] | None = None, caller: Caller = CALLER,
                 execution_id: str = "test-execution", scheduled_at: datetime | None = None) -> None:
        self.org_config: dict[str, Any] = {**(org.config if org else {}), **(config or {})}
        self.global_config: dict[str, Any] = dict(global_config or {})
        super().__init__(org=replace(org, config=self.org_config) if org else None, global_config=self.global_config,
                         caller=caller, execution_id=execution_id, scheduled_at=scheduled_at)
        self.secrets: dict[str, str] = dict(secrets or {})
        self.global_secrets: dict[str, str] = dict(global_secrets or {})
        self.oauth_connections: dict[str, OAuthCredentials] = {}
        self.logs: list[LogEntry] = []
        self.undone: list[dict[str, Any]] = []
        self.events: dict[str, list[Any]] = {}
        self._story: list[Call | Checkpoint] = []
        self._fakes: dict[str, FakeIntegration] = {}
        self._workflows: dict[str, Script] = {}
        self._undo = Undo()

    # --- what a test writes ----------------------------------------------------------------------------------------------

    def integration(self, name: str) -> FakeIntegration:
        """The fake of an integration, whose answers the test scripts: `context.integration("msgraph").answers(…)`."""
        if name not in self._fakes:
            self._fakes[name] = FakeIntegration(name, self._catalog.integrations.get(name), self._story)
        return self._fakes[name]

    def workflow_answers(self, name: str, *answers: Any) -> None:
        """Script what `execute_workflow(name, …)` answers, as `FakeIntegration.answers` does for a method.

        Without a script the workspace's own workflow is run, in memory.

        Raises:
            TypeError: there is no answer.
        """
        self._workflows[name] = Script(answers)

    def send_event(self, name: str, payload: Any = None) -> None:
        """Send an event that the code will wait for, or waits for already."""
        self.events.setdefault(name, []).append(payload)

    # --- what a test reads -----------------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        """The calls made, as `(name, arguments)`."""
        return [one for one in self._story if isinstance(one, Call)]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints passed, as `(name, data)`."""
        return [one for one in self._story if isinstance(one, Checkpoint)]

    @property
    def steps(self) -> list[str]:
        """The names of calls and checkpoints in the order in which they came; a checkpoint is `checkpoint:<name>`."""
        return [one.name if isinstance(one, Call) else f"checkpoint:{one.name}" for one in self._story]

    @property
    def variables(self) -> dict[str, Any]:
        """What `set_variable` kept."""
        return dict(self._variables)

    @property
    def fakes(self) -> Mapping[str, FakeIntegration]:
        """The fakes made so far, by the integration's name."""
        return self._fakes

    # --- a run -----------------------------------------------------------------------------------------------------------

    async def run(self, workflow: Callable[..., Any], /, **params: Any) -> Any:
        """Run a workflow as an execution does, and answer its result as whoever started it would see it.

        Parameters are checked, and what is no parameter becomes a variable; secrets are handles in the workflow and values in
        calls; an `@activity`'s call is recorded; what goes in and out has to be JSON; if it fails, what was kept by
        `on_failure` is undone. A wait for approval is left out.

        Raises:
            ValidationError: it is no workflow, a parameter is refused, or the result is no JSON.
            Exception: whatever the workflow raises.
        """
        metadata = getattr(workflow, WORKFLOW_ATTRIBUTE, None)
        if not isinstance(metadata, WorkflowMetadata):
            raise ValidationError(f"{workflow!r} is no workflow: decorate it with @workflow", field="workflow")
        return await self._perform(metadata, _travelled(params, "What the workflow is given"))

    async def _perform(self, metadata: WorkflowMetadata, params: Mapping[str, Any]) -> Any:
        bound = parameters.take(metadata, params, self)
        with _durable(self._call_activity):
            try:
                return _travelled(await metadata.function(self, **bound), "The result", "result")
            except (Exception, asyncio.CancelledError) as error:
                await self.undo_all(error)
                raise

    async def undo_all(self, error: BaseException) -> None:
        """Make the undo calls that `on_failure` kept, because of `error`; `run` does so by itself."""
        if not self._undo:
            return
        self.save_checkpoint("undoing", {"because": str(error) or type(error).__name__})
        undone = await self._undo.run(self)
        self.undone += undone
        if isinstance(error, WorkflowException):
            error.details["undone"] = undone

    # --- what the code calls ---------------------------------------------------------------------------------------------

    def log(self, level: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        level = level.lower() if str(level).lower() in _LEVELS else "info"
        self.logs.append(LogEntry(level, sanitize(message), None if data is None else sanitize(data)))

    def save_checkpoint(self, name: str, data: Any = None) -> Written:
        self._story.append(Checkpoint(str(name), None if data is None else sanitize(data)))
        return Written()

    def get_integration(self, name: str) -> IntegrationProxy:
        known = {**self._fakes, **self._catalog.integrations}
        if name not in known:
            raise NotFoundError.of("Integration", name, known, hint=(
                f'In a test it need not exist: context.integration("{name}").answers("method", …) makes a fake'))
        return IntegrationProxy(self, name)  # type: ignore[arg-type]  # it makes its calls by `call`

    async def call(self, integration: str, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Have the fake answer a call, as far as what goes in and out is concerned in the way of a real one.

        Raises:
            Exception: what `FakeIntegration.call` raises.
        """
        fake, name = self.integration(integration), f"{integration}.{method}"
        sent = _travelled(bind(fake.real, method, args, kwargs), f"What is given to {name}")
        args_, kwargs_ = unbind(await revealed(sent, self._value_of))
        with _durable(None):
            result = await fake.call(method, args_, kwargs_)
        return record(_travelled(result, f"The result of {name}", "result"))

    async def _call_activity(self, activity: ActivityMetadata, arguments: dict[str, Any]) -> Any:
        own = {name: value for name, value in arguments.items() if value is self}
        others = {name: value for name, value in arguments.items() if value is not self}
        sent = await revealed(_travelled(others, f"What is given to {activity.name}"), self._value_of)
        self._story.append(Call(activity.name, copy.deepcopy(sent)))
        hints = calling.hints(activity.function)
        given = {name: calling.typed(hints.get(name, Any), record(value), name) for name, value in sent.items()}
        with _durable(None):
            result = await calling.call(activity.function, kwargs={**given, **own})
        result = record(_travelled(result, f"The result of {activity.name}", "result"))
        return calling.typed(hints.get("return", Any), result, f"The result of {activity.name}")

    async def get_secret(self, name: str) -> str | Secret:
        """In a workflow that `run` runs a handle, as in an execution; otherwise the value.

        Raises:
            KeyError: neither the organization nor GLOBAL has it.
        """
        scope = self.org_id or GLOBAL
        own = {scope: self.secrets} if self.org_id else {}
        value = await MemorySecrets({GLOBAL: self.global_secrets, **own}).get(self.org_id, name)
        return value if calling.durable_calls.get() is None else Secret(scope, name)

    async def _value_of(self, handle: Secret) -> str:
        with _durable(None):
            return str(await self.get_secret(handle.name))

    async def get_oauth_connection(self, name: str) -> OAuthCredentials:
        """What the test put into `oauth_connections`.

        Raises:
            NotFoundError: there is none; or it is asked for in a workflow that `run` runs, which may not see it.
        """
        if calling.durable_calls.get() is not None:
            raise NotFoundError(f"The OAuth connection '{name}' cannot be read in a workflow, whose every value is recorded: read "
                                "it in the integration that uses it", kind="oauth connection", name=name)
        if name not in self.oauth_connections:
            raise NotFoundError.of("OAuth connection", name, self.oauth_connections,
                                   f'Give the test one: context.oauth_connections["{name}"] = OAuthCredentials(…)')
        return self.oauth_connections[name]

    async def execute_workflow(self, name: str, params: Mapping[str, Any] | None = None) -> Any:
        sent = _travelled(dict(params or {}), f"What is given to workflow {name}")
        self._story.append(Call(f"workflow {name}", sent))
        if name in self._workflows:
            result = await self._workflows[name].answer((), sent)
        else:
            result = await self._child(name)._perform(self._workflow(name), sent)  # noqa: SLF001 - of this class
        return record(_travelled(result, f"The result of workflow {name}", "result"))

    def _workflow(self, name: str) -> WorkflowMetadata:
        try:
            return self._catalog.workflow(name).metadata
        except NotFoundError:
            raise NotFoundError.of("Workflow", name, self._catalog.workflows, hint=(
                f'In a test it need not exist: context.workflow_answers("{name}", …)')) from None

    def _child(self, name: str) -> InMemoryContext:
        """The context of another execution that this one starts: what it does is recorded here."""
        child = copy.copy(self)
        vars(child).update(execution_id=f"{self.execution_id}/{name}", _variables={}, _undo=Undo())
        return child

    async def map(self, target: str | Callable[..., Any], items: Iterable[Any], concurrency: int = 10) -> Any:
        if concurrency < 1:
            raise ValidationError(f"concurrency must be above 0, not {concurrency}", field="concurrency")
        return await fan_out.make(fan_out.call_of(self, target, ""), list(items), concurrency)

    def on_failure(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._undo.add(function, args, kwargs)

    async def wait_for_event(self, name: str, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109 - the guide's
        """The next event of that name which the test has sent.

        Raises:
            TimeoutError: there is none. Nobody waits for it: it comes at once, whatever the timeout.
        """
        await asyncio.sleep(0)  # whoever sends it may be a task of the test's
        if waiting := self.events.get(name):
            return waiting.pop(0)
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        late = "would never come" if seconds is None else f"did not come within {seconds:g} seconds"
        raise TimeoutError(f"The event '{name}' {late}. In a test it is sent beforehand: context.send_event(\"{name}\", …)",
                           timeout_seconds=seconds, event=name)

    @functools.cached_property
    def _catalog(self) -> Catalog:
        return served.catalog()


def _travelled(value: Any, what: str, root: str = "") -> Any:
    """`value` as it arrives on the other side: as JSON.

    Raises:
        ValidationError: something in it is no JSON, or it is too large; says where.
    """
    return CONVERTER.from_payload(payload_of(value, what, root))


@contextlib.contextmanager
def _durable(calls: calling.DurableCalls | None) -> Iterator[None]:
    """Inside, the call of an `@activity` is made so; with None it is the function that it is."""
    token = calling.durable_calls.set(calls)
    try:
        yield
    finally:
        calling.durable_calls.reset(token)
