"""What makes simulators belong to organizations: URLs that lead to them, secrets made up for them, accounts that know these.

Redirected are `msgraph.base_url`, `msgraph.login_url` and `user_management_api_url`, for organizations that have them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from bifrost import redaction
from bifrost.models import Organization
from bifrost.organizations.base import OrganizationStore
from bifrost.secrets.base import SecretStore

USER_API_URL: Final = "user_management_api_url"
USER_API_KEY: Final = "user_management_api_key"

SampleSecrets = dict[tuple[str, str], str]
"""Values by organization and name of the secret."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who may use the simulators.

    Attributes:
        graph: The client secret of each tenant.
        user_api: The organization of each API key.
    """

    graph: Mapping[str, str]
    user_api: Mapping[str, str]


async def seed(organizations: OrganizationStore, store: SecretStore) -> SampleSecrets:
    """Every secret that active organizations need, made up where there is none.

    A secret is needed where the configuration refers to it, and where there is a user API.
    """
    found: SampleSecrets = {}
    for organization in organizations.all():
        for name in _needed(organization, organizations.global_config()) if organization.active else ():
            try:
                found[organization.id, name] = await store.get(organization.id, name)
            except KeyError:
                value = found[organization.id, name] = f"simulated-{secrets.token_urlsafe(24)}"
                redaction.remember(value)
                await store.write(organization.id, name, value)
    return found


def accounts(organizations: OrganizationStore, known: SampleSecrets) -> Accounts:
    """The accounts that go with these secrets."""
    graph, user_api = {}, {}
    for organization in organizations.all():
        entry = organization.config.get("msgraph")
        if isinstance(entry, Mapping) and isinstance(secret := entry.get("client_secret"), Mapping):
            value = known.get((organization.id, str(secret.get("secret_ref"))))
            tenant = entry.get("tenant_id") or organization.tenant_id
            if value and tenant:
                graph[str(tenant)] = value
        if value := known.get((organization.id, USER_API_KEY)):
            user_api[value] = organization.id
    return Accounts(graph, user_api)


def redirected(organizations: OrganizationStore, *, graph: str, user_api: str) -> str:
    """The organizations as YAML, with the URLs of simulators in place of their own."""
    def with_simulators(config: Mapping[str, Any]) -> dict[str, Any]:
        changed = dict(config)
        if isinstance(entry := config.get("msgraph"), Mapping):
            changed["msgraph"] = {**entry, "base_url": graph, "login_url": graph}
        if USER_API_URL in config:
            changed[USER_API_URL] = user_api
        return changed

    document = {
        "global": {"config": with_simulators(organizations.global_config())},
        "organizations": [
            {"id": one.id, "name": one.name, "tenant_id": one.tenant_id, "active": one.active,
             "config": with_simulators(one.config)} for one in organizations.all()]}
    heading = "# Written by `bifrost dev`, which leads these organizations to simulators. Change their own file instead.\n"
    return heading + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _needed(organization: Organization, global_config: Mapping[str, Any]) -> Iterator[str]:
    yield from _references(organization.config)
    if USER_API_URL in {**global_config, **organization.config}:
        yield USER_API_KEY


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "secret_ref" in value:
            yield str(value["secret_ref"])
        elif value.get("type") == "secret_ref":
            yield str(value.get("value"))
        else:
            for item in value.values():
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
