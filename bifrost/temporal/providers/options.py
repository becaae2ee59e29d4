"""A data provider's list: fetched once for everybody who waits for it, and kept for those who come later, over all workers.

For every organization, data provider and inputs there is one Temporal workflow id, under which runs follow each other. The first
fetches the list. Each later one keeps the list that the one before it has fetched, until somebody wants it anew, when it fetches
it again, or until its time is over:

    a run without a list ── fetches ──► one that keeps the list ── is asked for a new one, fetches ──► one that keeps that ── ends

Whoever wants the list starts that id, and gets the run that is there if there is one; as a run goes over into the next by
continue-as-new, the id is never free in between. The list is in the argument that a run was started with, so a cached list is
read from the server alone, however many read it and whether or not a worker is there. Whoever has to wait waits for the end of
the run, and finds the list in the next one. It takes no update and no query: of updates a run takes ten at once, and 2,000 in all.

https://docs.temporal.io/self-hosted-guide/defaults
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from bifrost import errors, messages
from bifrost.errors import ConfigurationError, WorkflowException
from bifrost.messages import CallContext, CallerMessage, KeptOptions, OptionsState, ProviderMessage, ProviderRules
from bifrost.models import SYSTEM_CALLER
from bifrost.temporal import failures, retries
from bifrost.temporal.payloads.encryption import owned_by
from bifrost.temporal.payloads.values import encode

WAIT_SECONDS: Final = 120.0
"""How long whoever asks for a list waits for it."""


@workflow.defn(name=messages.OPTIONS, sandboxed=False)
class OptionsRun:
    """One run: it keeps the list that it is given, if it is, and fetches a new one."""

    @workflow.init
    def __init__(self, state: OptionsState) -> None:
        info, asked = workflow.info(), state.asked
        self._state = state
        self._refresh = False
        # Read by the codec: whose key encrypts what the run sends. Before a list there is nobody who says that they exist.
        self.owner = asked.org_id if state.kept else None
        self.call_context = CallContext(  # read by the interceptor, for the activities' header
            execution_id=info.workflow_id, origin_run_id=info.run_id, workflow=info.workflow_type, org_id=asked.org_id,
            caller=CallerMessage(user_id=SYSTEM_CALLER.user_id, name=SYSTEM_CALLER.name))

    @workflow.signal(name=messages.REFRESH)
    def on_refresh(self) -> None:
        """Somebody wants the list anew."""
        self._refresh = True

    @workflow.run
    async def run(self, state: OptionsState) -> KeptOptions | None:
        """Keep the list until it is wanted anew, then fetch it; the result is a list that is not to be kept.

        Raises:
            ApplicationError: it cannot be fetched, and the last one is of no use any more.
        """
        if state.kept and not await self._wanted_anew(state.kept.ends_at):
            return None
        try:
            rules = await self._rules()
        except FailureError as error:  # whoever may have no list loses the one that is kept, too
            raise failures.application_error(self._renamed(error), retry=False) from None
        self.owner = state.asked.org_id
        try:
            kept = await self._fetch(rules)
        except FailureError as error:
            failure = self._renamed(error)
            if state.kept is None or state.kept.ends_at <= workflow.now():
                raise failures.application_error(failure, retry=False) from None
            workflow.continue_as_new(OptionsState(asked=state.asked, kept=state.kept, failure=failures.as_dict(failure)))
        if kept.ends_at > workflow.now():
            workflow.continue_as_new(OptionsState(asked=state.asked, kept=kept))
        return kept

    def _renamed(self, error: FailureError) -> BaseException:
        failure = failures.of_call(error, f"The data provider '{self._state.asked.provider}'")
        if isinstance(failure, asyncio.CancelledError):
            raise failure from None
        return failure

    async def _wanted_anew(self, ends_at: datetime) -> bool:
        patience = max(ends_at - workflow.now(), timedelta(milliseconds=1))
        try:
            await workflow.wait_condition(lambda: self._refresh, timeout=patience)
        except TimeoutError:
            return False
        return True

    async def _rules(self) -> ProviderRules:
        rules: ProviderRules = await workflow.execute_local_activity(
            messages.DESCRIBE_PROVIDER, self._state.asked, result_type=ProviderRules, start_to_close_timeout=timedelta(seconds=30),
            retry_policy=retries.ENGINE)
        return rules

    async def _fetch(self, rules: ProviderRules) -> KeptOptions:
        options: list[dict[str, Any]] = await workflow.execute_activity(
            messages.FETCH_OPTIONS, self._state.asked, summary=self._state.asked.provider,
            start_to_close_timeout=timedelta(seconds=rules.timeout_seconds), heartbeat_timeout=timedelta(seconds=rules.heartbeat_seconds),
            retry_policy=retries.declared(rules, rules.max_attempts))
        expires_at = workflow.now() + timedelta(seconds=rules.cache_ttl_seconds)
        return KeptOptions(options=options, expires_at=expires_at, ends_at=expires_at + timedelta(seconds=rules.stale_seconds))


@dataclass(frozen=True, slots=True)
class Offered:
    """What a form may offer.

    Attributes:
        provider: The data provider's name.
        options: `{"label", "value", "metadata"?}` each, in the data provider's order.
        cached: Whether it was fetched before it was asked for.
        cache_expires_at: Until when it is used, or was, in UTC; None where it is not kept.
        stale: Whether its time is over and there is no new one, because the data provider fails.
    """

    provider: str
    options: list[dict[str, Any]]
    cached: bool
    cache_expires_at: datetime | None
    stale: bool


async def options(client: Client, provider: str, *, task_queue: str, org_id: str | None, inputs: Mapping[str, Any] | None = None,
                  fresh: bool = False, wait_seconds: float | None = WAIT_SECONDS) -> Offered:
    """A data provider's options for an organization.

    Whoever asks while the list is being fetched gets that one, `fresh` or not.

    Args:
        client: Made by `client.connect`.
        provider: Its name.
        task_queue: Where workers serve it.
        org_id: The organization; None for none.
        inputs: The data provider's parameters.
        fresh: Whether a list that was fetched before will not do. The new one takes its place.
        wait_seconds: How long to wait; None for as long as it takes.

    Raises:
        NotFoundError: no such data provider or organization; names similar ones.
        PermissionError: the organization is inactive.
        ValidationError: the inputs are not as they must be, or what the data provider answers.
        TimeoutError: there is no list in time.
        ConfigurationError: Temporal refuses.
        Exception: what the data provider raised.
    """
    given: dict[str, Any] = json.loads(encode(dict(inputs or {}), f"What is given to '{provider}'"))
    org_id = None if org_id == messages.GLOBAL_SCOPE else org_id
    asked = _Asked(client, task_queue, ProviderMessage(org_id=org_id, provider=provider, inputs=given), fresh=fresh)
    try:
        with owned_by(org_id):
            async with asyncio.timeout(wait_seconds) as limit:
                return await asked.answer()
    except TimeoutError:
        if not limit.expired():  # it is the data provider's own
            raise
        raise errors.TimeoutError(
            f"Data provider '{provider}' gave no list within {wait_seconds:g} seconds. Either no worker serves the task queue "
            f"'{task_queue}', or it takes longer: ask again, it goes on", timeout_seconds=wait_seconds) from None
    except RPCError as error:
        raise ConfigurationError(f"Temporal refused: {error}") from error


class _Asked:
    """One question for a list."""

    def __init__(self, client: Client, task_queue: str, asked: ProviderMessage, *, fresh: bool) -> None:
        self._client = client
        self._task_queue = task_queue
        self._asked = asked
        self._id = messages.options_id(task_queue, asked)
        self._fresh = fresh

    async def answer(self) -> Offered:
        """Find the list, or wait for one."""
        while True:
            run_id = await self._start()
            state = await self._state_of(run_id)
            if state.kept and not self._fresh and datetime.now(UTC) < state.kept.expires_at:
                return self._offered(state.kept, cached=True)
            if state.kept and not await self._ask_anew(run_id):
                continue  # its time was just over, or there is a newer one
            try:
                kept = await self._client.get_workflow_handle(self._id, run_id=run_id, result_type=KeptOptions).result(follow_runs=False)
            except WorkflowContinuedAsNewError as error:
                return self._outcome(await self._state_of(error.new_execution_run_id))
            except WorkflowFailureError as error:
                raise self._failure(error) from error.cause
            if kept is not None:
                return Offered(self._asked.provider, kept.options, cached=False, cache_expires_at=None, stale=False)

    async def _start(self) -> str:
        """The run that is under way, or a new one."""
        handle = await self._client.start_workflow(
            messages.OPTIONS, OptionsState(asked=self._asked), id=self._id, task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=f"Options: {self._asked.provider} for {self._asked.org_id or 'no organization'}")
        assert handle.result_run_id is not None, "a start has a run"
        return handle.result_run_id

    async def _state_of(self, run_id: str) -> OptionsState:
        """What a run was started with."""
        handle = self._client.get_workflow_handle(self._id, run_id=run_id)
        first = await anext(handle.fetch_history_events(page_size=1))
        payloads = first.workflow_execution_started_event_attributes.input.payloads
        [state] = await self._client.data_converter.decode(payloads, [OptionsState])
        return state  # type: ignore[no-any-return]  # of that type, as it was asked for

    def _outcome(self, state: OptionsState) -> Offered:
        """What came of a fetch, by the run after it.

        Raises:
            Exception: it failed, and the last list may not be served instead.
        """
        assert state.kept is not None, "or there would be no such run"
        if state.failure is None:
            return self._offered(state.kept, cached=False)
        if state.kept.expires_at < state.kept.ends_at:
            return self._offered(state.kept, cached=True, stale=True)
        raise failures.from_application_error(ApplicationError(state.failure["message"], state.failure))

    async def _ask_anew(self, run_id: str) -> bool:
        """Have a run that keeps a list fetch a new one; whether it was still there to be asked."""
        try:
            await self._client.get_workflow_handle(self._id, run_id=run_id).signal(messages.REFRESH)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    def _offered(self, kept: KeptOptions, *, cached: bool, stale: bool = False) -> Offered:
        return Offered(self._asked.provider, kept.options, cached, kept.expires_at, stale)

    def _failure(self, error: WorkflowFailureError) -> Exception:
        if isinstance(error.cause, ApplicationError):
            return failures.from_application_error(error.cause)
        return WorkflowException(f"The options of '{self._asked.provider}' were not fetched: {error.cause}", provider=self._asked.provider)
