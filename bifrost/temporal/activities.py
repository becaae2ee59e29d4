"""What happens outside of runs: `begin`, `checkpoint`, secrets located, and every integration call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.common import RawValue

from bifrost import calling, messages, metrics
from bifrost.errors import IntegrationError, NotFoundError, PermissionError, WorkflowException  # noqa: A004 - the guide's name
from bifrost.integrations.registry import ClientPool, short_methods, unbind
from bifrost.messages import BeginAnswer, BeginRequest, CheckpointMessage, CodeReference, LimitsMessage
from bifrost.models import GLOBAL, Secret
from bifrost.organizations.base import OrganizationStore
from bifrost.record import record
from bifrost.secrets.base import SecretStore, revealed
from bifrost.temporal import failures
from bifrost.temporal.interceptors import carried_context
from bifrost.temporal.limits.attempts import Attempts
from bifrost.temporal.operating import measures
from bifrost.temporal.payloads.converter import payload_of
from bifrost.temporal.payloads.encryption import owner
from bifrost.workspace.live import Workspace

_log = structlog.stdlib.get_logger("bifrost.activity")


class Activities:
    """The activities of one worker."""

    def __init__(self, workspace: Workspace, organizations: OrganizationStore, secrets: SecretStore,
                 pool: ClientPool) -> None:
        self._workspace = workspace
        self._organizations = organizations
        self._secrets = secrets
        self._pool = pool
        self._attempts = Attempts()

    def all(self) -> list[Callable[..., Any]]:
        """What the worker registers."""
        return [self.begin, self.checkpoint, self.locate_secret, self.call]

    @activity.defn(name=messages.BEGIN)
    async def begin(self, request: BeginRequest) -> BeginAnswer:
        """Answer what a new execution runs with, or refuse it.

        Raises:
            NotFoundError: no such workflow or organization.
            ConfigurationError: the workflow's file could not be loaded.
            PermissionError: the organization is inactive.
        """
        with carried():
            catalog = self._workspace.catalog
            answer = BeginAnswer(
                revision=request.revision or catalog.revision, path=request.path or catalog.workflow(request.workflow).path,
                global_config=dict(self._organizations.global_config()), integrations=sorted(catalog.integrations), hash_probe=messages.hash_probe(),
                max_concurrent={name: cls.max_concurrent for name, cls in catalog.integrations.items() if cls.max_concurrent},
                short=[f"{name}.{method}" for name, cls in catalog.integrations.items() for method in short_methods(cls)])
            if request.org_id is None:
                return answer
            organization = self._organizations.get(request.org_id)
            if not organization.active:
                raise PermissionError(f"Organization '{organization.id}' is inactive: it starts no executions",
                                      org_id=organization.id)
            owner.set(organization.id)
            limits = asdict(organization.limits)
            return answer.model_copy(update={
                "org_name": organization.name, "tenant_id": organization.tenant_id, "config": dict(organization.config),
                "limits": LimitsMessage(**limits) if any(limits.values()) else None})

    @activity.defn(name=messages.CHECKPOINT)
    async def checkpoint(self, checkpoint: CheckpointMessage) -> None:
        """Nothing: that it was scheduled is the point, because its input is then in history."""
        if checkpoint.name:
            measures.checkpoint(checkpoint.at)

    @activity.defn(name=messages.LOCATE_SECRET)
    async def locate_secret(self, name: str) -> None:
        """Refuse a secret that neither the organization nor GLOBAL has.

        Raises:
            KeyError: naming both places.
        """
        with carried():
            await self._secrets.get(_org_id(), name)

    @activity.defn(dynamic=True)
    async def call(self, arguments: Sequence[RawValue]) -> RawValue:
        """One attempt of an integration call, whose type is `<integration>.<method>`, or of an `@activity`'s."""
        integration, dot, method = activity.info().activity_type.partition(".")
        convert = activity.payload_converter().from_payload
        with carried(integration if dot else None):
            with heartbeats():
                given = await revealed(convert(arguments[0].payload) if arguments else {}, self._value_of)  # a store may wait out an outage
                result = await (self._integration(given, integration, method) if dot else self._perform(given, _code_of(arguments)))
            return RawValue(payload_of(result, f"The result of {activity.info().activity_type}", "result"))

    async def _integration(self, given: dict[str, Any], name: str, method: str) -> Any:
        """Call an integration's method."""
        args, kwargs = unbind(given)
        cls = self._pool.classes().get(name)
        with (measures.attempt(name if cls else "unknown", lambda: self._pool.context(_org_id()).get_config(metrics.CLASS_KEY)),
              self._attempts.one(_org_id(), name, method, cls)):
            return await self._pool.call(_org_id(), name, method, args, kwargs)

    async def _perform(self, given: dict[str, Any], code: CodeReference) -> Any:
        """Call an `@activity`, as its revision has it, with values of the types that it names."""
        found = await asyncio.to_thread(self._workspace.activity, code.revision, code.module, code.function)
        hints = calling.hints(found.function)
        values = {name: self._pool.context(_org_id()) if value == {messages.CONTEXT_ARGUMENT: True}
                  else calling.typed(hints.get(name, Any), record(value), name) for name, value in given.items()}
        return await calling.call(found.function, kwargs=values)

    async def _value_of(self, handle: Secret) -> str:
        if handle.org_id not in (_org_id(), GLOBAL):
            raise PermissionError(f"The secret '{handle.name}' belongs to another organization")
        return await self._secrets.get(_org_id(), handle.name)


def _code_of(arguments: Sequence[RawValue]) -> CodeReference:
    """Where an `@activity`'s code is, as the run that calls it says.

    Raises:
        NotFoundError: nobody says so: this is no call of a workflow.
    """
    if len(arguments) < 2:
        raise NotFoundError.of("Activity", activity.info().activity_type, messages.ENGINE_ACTIVITIES,
                               "An @activity is called by the workflow that it was written for")
    code: CodeReference = activity.payload_converter().from_payload(arguments[1].payload, CodeReference)
    return code


def _org_id() -> str | None:
    context = carried_context.get()
    return context.org_id if context else None


@contextlib.contextmanager
def carried(integration: str | None = None) -> Iterator[None]:
    """Send what goes wrong inside to the run, whole, and say whether it is worth another attempt."""
    try:
        yield
    except Exception as error:
        retry = failures.may_retry(error)
        info = activity.info()
        _log.warning("call failed", activity=info.activity_type, attempt=info.attempt, execution_id=info.workflow_id,
                     may_retry=retry, error=failures.as_dict(error))
        known = isinstance(error, WorkflowException) or type(error).__module__ == "builtins"
        if integration and not known:  # another library's error means nothing to the run, which cannot import it
            wrapped = IntegrationError(f"{type(error).__name__}: {error}", integration=integration,
                                       error_class=f"{type(error).__module__}.{type(error).__qualname__}")
            raise failures.application_error(wrapped.with_traceback(error.__traceback__), retry=retry, not_before=_backoff()) from error
        raise failures.application_error(error, retry=retry, not_before=_backoff()) from error.__cause__


def _backoff() -> timedelta:
    """How long Temporal would wait until the next attempt; nothing after the first one, where what the other side asks for is best."""
    info = activity.info()
    policy = info.retry_policy
    if policy is None or info.attempt == 1:
        return timedelta(0)
    waited = policy.initial_interval * policy.backoff_coefficient ** (info.attempt - 1)
    return min(waited, policy.maximum_interval) if policy.maximum_interval else waited


@contextlib.contextmanager
def heartbeats() -> Iterator[None]:
    """Signs of life while a call is under way, so that a lost worker is noticed within seconds."""
    timeout = activity.info().heartbeat_timeout
    if not timeout:
        yield
        return
    loop = asyncio.get_running_loop()
    next_beat: list[asyncio.TimerHandle] = []

    def beat_later() -> None:
        next_beat[:] = [loop.call_later(timeout.total_seconds() / 3, beat)]

    def beat() -> None:
        activity.heartbeat()
        beat_later()

    beat_later()  # and not at once: most calls have ended by then
    try:
        yield
    finally:
        next_beat[0].cancel()
