"""The context inside activities and data providers: it looks things up now, where a workflow's context has them recorded.

One context serves one organization in one worker, and with it the organization's integration clients. What belongs to a
single call it takes from `current_call`; organization and configuration it takes from the store each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NoReturn

import structlog

from bifrost.context import OrganizationContext, sanitize
from bifrost.errors import WorkflowException
from bifrost.integrations.call import NO_CALL, Call, current_call
from bifrost.integrations.oauth import ClientCredentials, referenced_secret, required
from bifrost.integrations.registry import Classes, ClientPool, LiveIntegration
from bifrost.models import Caller, OAuthCredentials, Organization
from bifrost.organizations.base import OrganizationStore
from bifrost.secrets.base import SecretStore

__all__ = ["Call", "LiveContext", "current_call", "live_pool"]

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "warn": "warning", "error": "error",
           "critical": "critical"}
_log = structlog.stdlib.get_logger("bifrost.workflow")


class LiveContext(OrganizationContext):
    """The context of one organization (or, with None, of none), shared by all its calls in a worker.

    Raises:
        NotFoundError: from whatever needs the organization, when the store no longer has it.
    """

    def __init__(self, org_id: str | None, organizations: OrganizationStore, secrets: SecretStore,
                 pool: ClientPool) -> None:
        # Not the base's: what that keeps on the object comes from the store and from the current call here.
        self._org_id = org_id
        self._organizations = organizations
        self._secrets = secrets
        self._pool = pool
        self._connections: dict[str, tuple[tuple[str, ...], ClientCredentials]] = {}
        self._variables_outside_calls: dict[str, Any] = {}

    @property
    def org(self) -> Organization | None:  # type: ignore[override]  # read-only here, looked up each time
        """The organization as the store has it now."""
        return self._organizations.get(self._org_id) if self._org_id is not None else None

    @property
    def org_id(self) -> str | None:
        return self._org_id

    @property
    def caller(self) -> Caller:  # type: ignore[override]  # the same
        """Who started the execution that makes the current call."""
        return current_call.get().caller

    @property
    def execution_id(self) -> str:  # type: ignore[override]  # the same
        """The execution that makes the current call; empty outside a call."""
        return current_call.get().execution_id

    @property
    def _scopes(self) -> list[Mapping[str, Any]]:  # type: ignore[override]  # the same
        org = self.org
        return [org.config if org else {}, self._organizations.global_config()]

    @property
    def _variables(self) -> dict[str, Any]:  # type: ignore[override]  # the same
        call = current_call.get()
        return call.variables if call is not NO_CALL else self._variables_outside_calls

    def log(self, level: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        call = current_call.get()
        facts: dict[str, Any] = {"execution_id": call.execution_id, "org_id": self._org_id, "workflow": call.workflow,
                                 "activity": call.activity}
        if data is not None:
            facts["data"] = sanitize(data)
        write = getattr(_log, _LEVELS.get(str(level).lower(), "info"))
        write(str(message), **{name: value for name, value in facts.items() if value})

    def save_checkpoint(self, name: str, data: Any = None) -> NoReturn:  # noqa: ARG002 - the port's arguments
        raise _belongs_to_the_workflow("save_checkpoint", "A checkpoint lies between calls, and this is inside one")

    def get_integration(self, name: str) -> LiveIntegration:
        return self._pool.of(self._org_id, name)

    async def get_secret(self, name: str) -> str:
        return await self._secrets.get(self._org_id, name)

    async def get_oauth_connection(self, name: str) -> OAuthCredentials:
        """A token for the configuration entry `name`: `{token_url, client_id, client_secret: {secret_ref}, scope}`.

        Raises:
            ConfigurationError: the entry or its secret is missing or incomplete.
            IntegrationError: the token endpoint refused or could not be reached.
        """
        entry = required(self, name, ("token_url", "client_id", "client_secret"))
        secret = await referenced_secret(self, name, entry)
        identity = (str(entry["token_url"]), str(entry["client_id"]), secret, str(entry.get("scope") or ""))
        known = self._connections.get(name)
        if known is None or known[0] != identity:
            known = self._connections[name] = (identity, ClientCredentials(*identity, name=name))
        return await known[1].credentials()

    async def execute_workflow(self, name: str, params: Mapping[str, Any] | None = None) -> NoReturn:  # noqa: ARG002 - the port's arguments
        raise _belongs_to_the_workflow("execute_workflow", "A call that started executions would, when it is retried, "
                                       "start them again")

    async def map(self, target: Any, items: Any, concurrency: int = 10) -> NoReturn:  # noqa: ARG002 - the port's arguments
        raise _belongs_to_the_workflow("map", "A call is made in one piece, and made again in one piece")

    def on_failure(self, function: Any, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002 - the port's arguments
        raise _belongs_to_the_workflow("on_failure", "What is to be undone is known where the call was made")

    async def wait_for_event(self, name: str, timeout: float | timedelta | None = None) -> NoReturn:  # noqa: ARG002, ASYNC109 - the port's arguments
        raise _belongs_to_the_workflow("wait_for_event", "Events are sent to an execution, and a call cannot outlast "
                                       "its timeout")


def _belongs_to_the_workflow(member: str, reason: str) -> WorkflowException:
    activity = current_call.get().activity
    place = f" (in {activity})" if activity else ""
    return WorkflowException(f"context.{member} belongs to the workflow and cannot be used in an integration or data "
                             f"provider{place}. {reason}: move it into the workflow function.", member=member)


def live_pool(classes: Classes, organizations: OrganizationStore, secrets: SecretStore) -> ClientPool:
    """The clients of one worker, with live contexts."""
    return ClientPool(classes, lambda org_id, pool: LiveContext(org_id, organizations, secrets, pool))
