"""One application of the provider's in many customers' tenants: each call goes to its own organization's tenant."""

from __future__ import annotations

import asyncio
import functools
import ssl

import pytest

from bifrost.errors import ConfigurationError
from bifrost.integrations.registry import BUILT_IN
from bifrost.live import live_pool
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets

from .conftest import GRAPH_SECRET, msgraph_config


@pytest.fixture
async def provider(graph):
    """Makes the pool of organizations that share the application of the GLOBAL scope."""
    pools = []

    def pool(*organizations, **more):
        secrets = MemorySecrets({"GLOBAL": {"msgraph_client_secret": GRAPH_SECRET}})
        shared = {"msgraph": msgraph_config(graph.url, **more)}
        pools.append(live_pool(lambda: BUILT_IN, MemoryOrganizations(list(organizations), shared), secrets))
        return pools[-1]

    yield pool
    for made in pools:
        await made.aclose()


async def test_a_hundred_tenants_at_once(provider, graph, monkeypatch):
    """A hundred organizations at once, one of them with 50 calls: each request carries its own tenant's token, and every
    tenant is asked for one token.
    """
    # Every client loads the machine's certificates, which would be most of what this takes.
    monkeypatch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
    tenants = {f"org-{number}": f"tenant-{number}" for number in range(100)}
    pool = provider(*(Organization(org, org, tenant_id=tenant) for org, tenant in tenants.items()))
    calls = [pool.of(org, "msgraph").create_user(f"ada@{org}.example", "Ada") for org in tenants]
    calls += [pool.of("org-0", "msgraph").get_groups() for _ in range(50)]
    await asyncio.gather(*calls)
    for org, tenant in tenants.items():
        assert [user["userPrincipalName"] for user in graph.directory(tenant).users.values()] == [f"ada@{org}.example"]
        assert len(graph.journal.entries(path=f"/{tenant}/oauth2")) == 1
    assert len(graph.journal.entries(path="/v1.0/groups", tenant="tenant-0")) == 50
    assert len(graph.journal.entries(path="/v1.0")) == 150


@pytest.mark.parametrize(("organization", "tenant"), [
    (Organization("acme", "Acme", tenant_id="acme"), "acme"),
    (Organization("acme", "Acme", tenant_id="acme", config={"msgraph": {"tenant_id": "acme-entra"}}), "acme-entra"),
    (Organization("acme", "Acme", tenant_id="acme", config={"msgraph": {"usage_location": "DE"}}), "acme"),
    (None, "provider"),
])
async def test_whose_tenant_a_call_goes_to(provider, graph, organization, tenant):
    """The tenant is the organization's, by its configuration or else by itself, and the GLOBAL one only where there is no
    organization; what the organization does not configure is the provider's.
    """
    pool = provider(*([organization] if organization else []), tenant_id="provider")
    await pool.of(organization.id if organization else None, "msgraph").get_groups()
    assert {entry.tenant for entry in graph.journal.entries()} == {tenant}


async def test_an_organization_without_a_tenant_gets_nobody_elses(provider, graph):
    """An organization that has no tenant is refused, and never served by the provider's."""
    pool = provider(Organization("bolt", "Bolt"), tenant_id="provider")
    with pytest.raises(ConfigurationError, match="Organization 'bolt': the configuration 'msgraph' lacks tenant_id"):
        await pool.of("bolt", "msgraph").get_groups()
    assert not graph.journal.entries()
