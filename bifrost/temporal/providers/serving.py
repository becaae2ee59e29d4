"""Data providers: how a worker runs one, and how a run is held to the options that it offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.exceptions import FailureError
from temporalio.service import RPCError

from bifrost import calling, messages, parameters
from bifrost.errors import PermissionError, ValidationError  # noqa: A004 - the guide's name
from bifrost.integrations.base import Operation
from bifrost.integrations.call import current_call
from bifrost.integrations.registry import ClientPool
from bifrost.messages import OptionCheck, ProviderMessage, ProviderRules
from bifrost.models import DataProviderMetadata, ParameterMetadata, RetryRules
from bifrost.organizations.base import OrganizationStore
from bifrost.temporal import failures, retries
from bifrost.temporal.activities import carried, heartbeats
from bifrost.temporal.interceptors import carried_context
from bifrost.temporal.providers import choices
from bifrost.temporal.providers.options import options
from bifrost.workspace.live import Workspace

CHECK_TIMEOUT: Final = timedelta(minutes=10)
"""How long a run waits for the lists that its parameters are held against."""
_HEARTBEAT: Final = timedelta(seconds=Operation().heartbeat_seconds)


class ProviderActivities:
    """What a worker does for data providers: always with its newest code, as with integrations."""

    def __init__(self, workspace: Workspace, organizations: OrganizationStore, pool: ClientPool) -> None:
        self._workspace = workspace
        self._organizations = organizations
        self._pool = pool

    def all(self) -> list[Callable[..., Any]]:
        """What the worker registers."""
        return [self.describe, self.fetch, self.check]

    @activity.defn(name=messages.DESCRIBE_PROVIDER)
    async def describe(self, asked: ProviderMessage) -> ProviderRules:
        """Answer how a data provider is called, or refuse to call it.

        Raises:
            NotFoundError: no such data provider or organization.
            PermissionError: the organization is inactive.
            ValidationError: the inputs are not as they must be.
        """
        with carried():
            provider, _ = self._bound(asked)
            if asked.org_id is not None and not self._organizations.get(asked.org_id).active:
                raise PermissionError(f"Organization '{asked.org_id}' is inactive: it is offered no options", org_id=asked.org_id)
            rules = RetryRules.of(provider.retry_policy)
            return ProviderRules(
                timeout_seconds=provider.timeout_seconds, heartbeat_seconds=_HEARTBEAT.total_seconds(), max_attempts=rules.max_attempts,
                initial_seconds=rules.initial_seconds, factor=rules.factor, max_seconds=rules.max_seconds,
                cache_ttl_seconds=provider.cache_ttl_seconds, stale_seconds=provider.stale_seconds)

    @activity.defn(name=messages.FETCH_OPTIONS)
    async def fetch(self, asked: ProviderMessage) -> list[dict[str, Any]]:
        """Call a data provider once, and answer its list.

        Raises:
            ValidationError: it is no list of options.
            Exception: what the data provider raises.
        """
        with carried():
            provider, inputs = self._bound(asked)
            token = current_call.set(replace(current_call.get(), activity=asked.provider))
            try:
                with heartbeats():
                    answer = await calling.call(provider.function, (self._pool.context(asked.org_id),), inputs)
            finally:
                current_call.reset(token)
            return choices.options_of(answer, asked.provider)

    def _bound(self, asked: ProviderMessage) -> tuple[DataProviderMetadata, dict[str, Any]]:
        provider = self._workspace.catalog.data_provider(asked.provider)
        try:
            return provider, parameters.bind(provider.parameters, asked.inputs)
        except ValidationError as error:
            raise ValidationError(f"Data provider '{asked.provider}': {error}", details=error.details) from None

    @activity.defn(name=messages.CHECK_OPTIONS)
    async def check(self, checks: list[OptionCheck]) -> None:
        """Refuse values that are none of the options that they have to be among.

        Raises:
            ValidationError: with every refusal in `details["errors"]`, each with its field.
            Exception: why there is no list.
        """
        try:
            with heartbeats():
                refusals = [(one.parameter, why) for one in checks if (why := await self._refusal(one))]
        except Exception as error:  # noqa: BLE001 - a data provider may raise anything
            if isinstance(error.__cause__, RPCError):  # Temporal itself: the next attempt may do better
                raise error.__cause__ from None
            raise failures.application_error(error, retry=False) from error.__cause__  # who fetched the list has tried often enough
        if refusals:
            errors = [{"field": name, "message": why} for name, why in refusals]
            refused = ValidationError("; ".join(why for _, why in refusals), field=refusals[0][0], details={"errors": errors})
            raise failures.application_error(refused, retry=False)

    async def _refusal(self, check: OptionCheck) -> str | None:
        context = carried_context.get()
        assert context is not None, "a run asks"
        offered = await options(activity.client(), check.provider, task_queue=activity.info().task_queue, org_id=context.org_id,
                                inputs=check.inputs, wait_seconds=None)
        return choices.refusal(check, offered.options)


async def hold_to_options(described: Sequence[ParameterMetadata], given: Mapping[str, Any]) -> None:
    """In a run: refuse values that are none of their data provider's options, where the parameters say so.

    The lists are asked for in an activity, whose end is in history: a replay does not ask again.

    Raises:
        ValidationError: a value is none of the options; names the parameter and similar options.
        WorkflowException: there is no list: what the data provider raised.
    """
    checks = [check for one in described if one.validate_options and (check := _check_of(one, given))]
    if not checks:
        return
    try:
        await workflow.execute_activity(
            messages.CHECK_OPTIONS, checks, start_to_close_timeout=CHECK_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT, summary=", ".join(one.parameter for one in checks),
            retry_policy=retries.ENGINE)
    except FailureError as error:
        raise failures.of_call(error, "The check of the parameters against their options") from error.cause


def _check_of(described: ParameterMetadata, given: Mapping[str, Any]) -> OptionCheck | None:
    """What is to be held against the options; None where nothing was given."""
    value = given.get(described.name)
    if value is None or (isinstance(value, str) and not value):
        return None
    inputs = {name: given[other] for name, other in described.data_provider_inputs.items() if given.get(other) is not None}
    return OptionCheck(parameter=described.name, provider=str(described.data_provider), inputs=inputs,
                       values=value if isinstance(value, list) else [value])
