"""The context inside activities and data providers: it looks things up now, where a workflow's context has them recorded.

One context serves one organization in one worker, and with it the organization's integration clients. What belongs to a
single call it takes from `current_call`; organization and configuration it takes from the store each time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NoReturn
from urllib.parse import quote

import structlog

from bifrost.context import OrganizationContext, sanitize
from bifrost.errors import ConfigurationError, WorkflowException
from bifrost.integrations.call import NO_CALL, Call, current_call
from bifrost.integrations.oauth import (
    ClientCredentials,
    RefreshToken,
    TokenEndpoint,
    reference,
    referenced_secret,
    required,
)
from bifrost.integrations.registry import Classes, ClientPool, LiveIntegration
from bifrost.models import Caller, OAuthCredentials, Organization
from bifrost.organizations.base import OrganizationStore
from bifrost.secrets.base import SecretStore
from bifrost.secrets.rotating import RotatingSecrets

__all__ = ["Call", "LiveContext", "current_call", "live_pool"]

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "warn": "warning", "error": "error",
           "critical": "critical"}
_log = structlog.stdlib.get_logger("bifrost.workflow")


class LiveContext(OrganizationContext):
    """The context of one organization (or, with None, of none), shared by all its calls in a worker.

    Raises:
        NotFoundError: from whatever needs the organization, when the store no longer has it.
    """

    def __init__(self, org_id: str | None, organizations: OrganizationStore, secrets: SecretStore, rotating: RotatingSecrets,
                 pool: ClientPool) -> None:
        # Not the base's: what that keeps on the object comes from the store and from the current call here.
        self._org_id = org_id
        self._organizations = organizations
        self._secrets = secrets
        self._rotating = rotating
        self._pool = pool
        self._connections: dict[str, tuple[tuple[str | None, ...], TokenEndpoint]] = {}
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
    def scheduled_at(self) -> datetime | None:  # type: ignore[override]  # the same
        """The time that the execution that makes the current call was started for."""
        return current_call.get().scheduled_at

    @property
    def _scopes(self) -> list[Mapping[str, Any]]:  # type: ignore[override]  # the same
        org = self.org
        return [org.config if org else {}, self._organizations.global_config()]

    @property
    def _variables(self) -> dict[str, Any]:  # type: ignore[override]  # the same
        call = current_call.get()
        return call.variables if call is not NO_CALL else self._variables_outside_calls

    def log(self, level: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        level = _LEVELS.get(str(level).lower(), "info")
        enabled = getattr(_log, "isEnabledFor", None)  # a structlog that nobody has configured writes everything
        if enabled and not enabled(getattr(logging, level.upper())):  # every HTTP request comes here
            return
        call = current_call.get()
        facts: dict[str, Any] = {"execution_id": call.execution_id, "org_id": self._org_id, "workflow": call.workflow,
                                 "activity": call.activity}
        if data is not None:
            facts["data"] = sanitize(data)
        getattr(_log, level)(str(message), **{name: value for name, value in facts.items() if value})

    def save_checkpoint(self, name: str, data: Any = None) -> NoReturn:  # noqa: ARG002 - the port's arguments
        raise _belongs_to_the_workflow("save_checkpoint", "A checkpoint lies between calls, and this is inside one")

    def get_integration(self, name: str) -> LiveIntegration:
        return self._pool.of(self._org_id, name)

    async def get_secret(self, name: str) -> str:
        return await self._secrets.get(self._org_id, name)

    async def get_oauth_connection(self, name: str) -> OAuthCredentials:
        """A token for the configuration entry `name`: `{token_url, client_id, client_secret: {secret_ref}, scope}`.

        With `refresh_token: {secret_ref}` it is one on behalf of whoever authorised that, and a public client may have no
        `client_secret`. `{tenant_id}` in the `token_url` is the organization's, so that one entry in the GLOBAL scope serves
        every tenant, each with a token of its own.

        Raises:
            ConfigurationError: the entry or its secret is missing or incomplete.
            IntegrationError: the token endpoint refused or could not be reached, or a new refresh token could not be stored.
        """
        written = self.get_config(name)
        refreshed = isinstance(written, Mapping) and "refresh_token" in written
        entry = required(self, name, ("token_url", "client_id", "refresh_token" if refreshed else "client_secret"))
        stored = reference(name, entry, "refresh_token") if refreshed else None
        secret = await referenced_secret(self, name, entry) if "client_secret" in entry else None
        client = self._token_url(name, str(entry["token_url"])), str(entry["client_id"]), secret, str(entry.get("scope") or "")
        known = self._connections.get(name)
        if known is None or known[0] != (*client, stored):
            source = (RefreshToken(partial(self._rotating.find, self._org_id, stored), *client, name=name) if stored else
                      ClientCredentials(*client, name=name))
            known = self._connections[name] = ((*client, stored), source)
        return await known[1].credentials()

    def _token_url(self, name: str, url: str) -> str:
        if "{tenant_id}" not in url:
            return url
        if not self.tenant_id:
            raise ConfigurationError(f"The token_url of the configuration '{name}' takes the organization's tenant_id, and "
                                     f"{f'{self._org_id!r} has none' if self._org_id else 'there is no organization here'}",
                                     config_key=f"{name}.token_url", org_id=self._org_id)
        return url.replace("{tenant_id}", quote(self.tenant_id, safe=""))

    def _token_refused(self, access_token: str) -> None:
        """Told by `self.http` of a token that was answered with 401: the next look at its connection fetches another."""
        for _, source in self._connections.values():
            source.forget(access_token)

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
    rotating = RotatingSecrets(secrets)
    return ClientPool(classes, lambda org_id, pool: LiveContext(org_id, organizations, secrets, rotating, pool))
