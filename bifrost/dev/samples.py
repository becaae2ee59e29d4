"""What makes simulators belong to organizations: URLs that lead to them, secrets made up for them, accounts that know these.

Redirected are `msgraph.base_url`, `msgraph.login_url`, `halopsa.base_url` and `user_management_api_url`, for organizations
that have them. Where Halo is told apart by its address, its simulator is by a `tenant` of the organization's own name.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import yaml

from bifrost import redaction
from bifrost.models import GLOBAL, Organization
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
        halopsa: The client secrets of each tenant: a provider's one Halo may have an application for each customer.
    """

    graph: Mapping[str, str]
    user_api: Mapping[str, str]
    halopsa: Mapping[str, Collection[str]]


async def seed(organizations: OrganizationStore, store: SecretStore) -> SampleSecrets:
    """Every secret that active organizations need, made up where there is none.

    A secret is needed where the configuration refers to it, where there is a user API, and where there is a Halo for all.
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
    graph: dict[str, str] = {}
    user_api: dict[str, str] = {}
    halopsa: dict[str, set[str]] = {}
    for organization in organizations.all():
        own, everybodys = _entry(organization.config, "msgraph"), _entry(organizations.global_config(), "msgraph")
        tenant = own.get("tenant_id") or organization.tenant_id
        if tenant and (value := _client_secret(organization, {**everybodys, **own}, known)):
            graph[str(tenant)] = value
        entry, owner = _halo(organization, organizations.global_config())
        if value := _client_secret(organization, entry, known):
            halopsa.setdefault(_halo_tenant(entry, owner), set()).add(value)
        if value := known.get((organization.id, USER_API_KEY)):
            user_api[value] = organization.id
    return Accounts(graph, user_api, halopsa)


def redirected(organizations: OrganizationStore, *, graph: str, user_api: str, halopsa: str) -> str:
    """The organizations as YAML, with the URLs of simulators in place of their own."""
    def with_simulators(config: Mapping[str, Any], owner: str) -> dict[str, Any]:
        changed = dict(config)
        if isinstance(entry := config.get("msgraph"), Mapping):
            changed["msgraph"] = {**entry, "base_url": graph, "login_url": graph}
        if isinstance(entry := config.get("halopsa"), Mapping):
            changed["halopsa"] = {**entry, "base_url": halopsa, "auth_url": f"{halopsa}/auth", "tenant": _halo_tenant(entry, owner)}
        if USER_API_URL in config:
            changed[USER_API_URL] = user_api
        return changed

    schedules = {name: _said(asdict(one)) for name, one in organizations.global_schedules().items()}
    document = {
        "global": {"config": with_simulators(organizations.global_config(), GLOBAL), **({"schedules": schedules} if schedules else {})},
        "organizations": [
            {**_said(asdict(one)), "config": with_simulators(one.config, one.id)} for one in organizations.all()]}
    heading = "# Written by `bifrost dev`, which leads these organizations to simulators. Change their own file instead.\n"
    return heading + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a file would say: without what is None, and mappings with nothing in them."""
    found = {name: _said(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not None and value != {}}


def _needed(organization: Organization, global_config: Mapping[str, Any]) -> Iterator[str]:
    yield from _references(organization.config)
    if USER_API_URL in {**global_config, **organization.config}:
        yield USER_API_KEY
    if "halopsa" not in organization.config:
        yield from _references(global_config.get("halopsa"))
    if "client_secret" not in _entry(organization.config, "msgraph"):
        yield from _references(global_config.get("msgraph"))


def _entry(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entry = config.get(name)
    return entry if isinstance(entry, Mapping) else {}


def _client_secret(organization: Organization, entry: Any, known: SampleSecrets) -> str | None:
    """The secret that an entry's `client_secret` refers to."""
    reference = entry.get("client_secret") if isinstance(entry, Mapping) else None
    return known.get((organization.id, str(reference.get("secret_ref")))) if isinstance(reference, Mapping) else None


def _halo(organization: Organization, global_config: Mapping[str, Any]) -> tuple[Any, str]:
    """The organization's entry, else the one for all; and whose it is."""
    own = organization.config.get("halopsa")
    return (own, organization.id) if own is not None else (global_config.get("halopsa"), GLOBAL)


def _halo_tenant(entry: Mapping[str, Any], owner: str) -> str:
    return str(entry.get("tenant") or owner)


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
