"""Connections with a refresh token: exchanged once for many, and the next one never lost."""

from __future__ import annotations

import asyncio
import uuid

import httpx
import pytest

from bifrost import redaction
from bifrost.errors import (
    ConfigurationError,
    IntegrationError,
    PermissionError,  # noqa: A004 - the name is the guide's
)
from bifrost.integrations.base import BaseIntegration
from bifrost.live import live_pool
from bifrost.models import GLOBAL, Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.secrets.vault import VaultSecrets
from tests.token_endpoint import FIRST
from tests.waiting import until


class Reluctant(MemorySecrets):
    """A store that cannot be written to as long as `refusal` is set."""

    refusal = None

    async def write(self, scope, name, value):
        if self.refusal:
            raise self.refusal
        await super().write(scope, name, value)


@pytest.fixture
def secrets():
    return Reluctant({"acme": {"erp_refresh": FIRST, "erp_secret": "client-canary"}})


@pytest.fixture(params=["memory", "vault"])
def store(request):
    """One kind of store after the other."""
    return MemorySecrets() if request.param == "memory" else request.getfixturevalue("vault_secrets")


@pytest.fixture
def pool_of(token_endpoint):
    """Makes a worker: a pool over a store of secrets, with the connection `erp` in the GLOBAL scope."""
    def make(secrets, classes=dict, **entry):
        config = {"token_url": f"{token_endpoint.url}/token", "client_id": "app", "client_secret": {"secret_ref": "erp_secret"},
                  "refresh_token": {"secret_ref": "erp_refresh"}, "scope": "offline_access", **entry}
        organizations = [Organization("acme", "Acme", tenant_id="acme"), Organization("bolt", "Bolt", tenant_id="bolt")]
        return live_pool(classes, MemoryOrganizations(organizations, {
            "erp": {key: value for key, value in config.items() if value is not None}}), secrets)

    return make


def expire(context):
    """As if the connection's access token had run out."""
    context._connections["erp"][1]._usable_until = float("-inf")


@pytest.mark.parametrize("scope", ["acme", GLOBAL])
async def test_the_next_refresh_token_is_stored_where_the_last_one_was(token_endpoint, pool_of, store, scope):
    """The refresh token is exchanged as RFC 6749 section 6 has it; the one in the answer takes its place in the scope that had
    it, and no other organization's is touched. The access token is kept; neither is ever shown.
    """
    name = f"erp_{uuid.uuid4().hex}"
    await store.write(scope, name, FIRST)
    await store.write("bolt", name, "not-yours")
    await store.write("acme", "erp_secret", "client-canary")
    context = pool_of(store, refresh_token={"secret_ref": name}).context("acme")
    first, again = [await context.get_oauth_connection("erp") for _ in range(2)]
    assert token_endpoint.forms == [{"grant_type": "refresh_token", "refresh_token": FIRST, "client_id": "app",
                               "client_secret": "client-canary", "scope": "offline_access"}]
    assert again is first
    assert (first.get_auth_header(), first.refresh_token, first.is_valid()) == ("Bearer access-canary-1", None, True)
    other = GLOBAL if scope == "acme" else "acme"
    assert [await store.read(place, name) for place in (scope, other, "bolt")] == ["refresh-canary-1", None, "not-yours"]
    assert "canary" not in redaction.mask(f"{first!r} access-canary-1 refresh-canary-0 refresh-canary-1 client-canary")


async def test_a_public_client_has_no_secret(token_endpoint, pool_of, secrets):
    """Without a client_secret none is sent; without a scope neither."""
    await pool_of(secrets, client_secret=None, scope=None).context("acme").get_oauth_connection("erp")
    assert token_endpoint.forms == [{"grant_type": "refresh_token", "refresh_token": FIRST, "client_id": "app"}]


async def test_a_server_that_does_not_rotate_needs_no_writing(token_endpoint, pool_of, secrets):
    """A refresh token that is answered again, as it is, is not written."""
    token_endpoint.forms.append({})  # so that the next one is called ...-2
    await secrets.write("acme", "erp_refresh", "refresh-canary-2")
    token_endpoint.accepted = {"refresh-canary-2"}
    secrets.refusal = PermissionError("nobody writes here")
    assert (await pool_of(secrets).context("acme").get_oauth_connection("erp")).access_token == "access-canary-2"


@pytest.mark.parametrize(("refusal", "kind", "status"), [
    (IntegrationError("Vault answered 503", integration="vault", status_code=503), IntegrationError, 503),
    (PermissionError("Vault refuses"), ConfigurationError, None)])
async def test_what_cannot_be_stored_is_not_lost(token_endpoint, pool_of, secrets, refusal, kind, status):
    """Until the new refresh token is stored the access token is not used: the error names the place, and is retried where the
    store's own would be. Both are kept meanwhile, so that the next call only has to store, and an exchange in between takes
    the new one.
    """
    context = pool_of(secrets).context("acme")
    secrets.refusal = refusal
    for turn in range(3):
        with pytest.raises(kind, match=r"erp: the new refresh token could not be written to acme/erp_refresh: Vault") as caught:
            await context.get_oauth_connection("erp")
        assert getattr(caught.value, "status_code", None) == status
        assert "canary" not in str(caught.value.to_dict())
        if turn == 1:
            expire(context)
    assert [form["refresh_token"] for form in token_endpoint.forms] == [FIRST, "refresh-canary-1"]
    secrets.refusal = None
    assert (await context.get_oauth_connection("erp")).access_token == "access-canary-2"
    assert await secrets.read("acme", "erp_refresh") == "refresh-canary-2"
    assert len(token_endpoint.forms) == 2


async def test_a_refresh_token_that_an_operator_stored_is_not_overwritten(token_endpoint, pool_of, secrets):
    """What could not be stored in time gives way to what somebody has stored meanwhile."""
    context = pool_of(secrets).context("acme")
    secrets.refusal = IntegrationError("away")
    with pytest.raises(IntegrationError):
        await context.get_oauth_connection("erp")
    secrets.refusal = None
    await secrets.write("acme", "erp_refresh", "the-operators")
    assert (await context.get_oauth_connection("erp")).access_token == "access-canary-1"
    assert await secrets.read("acme", "erp_refresh") == "the-operators"


async def test_two_workers_that_race(token_endpoint, pool_of, vault_settings, vault_secrets):
    """A worker whose refresh token was used by another one meanwhile takes the one that this has stored, whatever its own
    cache remembers.
    """
    name = f"erp_{uuid.uuid4().hex}"
    await vault_secrets.write("acme", name, FIRST)
    stores = [VaultSecrets.from_settings(vault_settings, cache_seconds=600) for _ in range(2)]
    fast, slow = (pool_of(store, client_secret=None, refresh_token={"secret_ref": name}).context("acme") for store in stores)
    assert await stores[1].read("acme", name) == FIRST  # so it is in the cache
    held = token_endpoint.held = asyncio.Event()
    late = asyncio.create_task(slow.get_oauth_connection("erp"))

    async def is_asked():
        return token_endpoint.forms

    await until(is_asked)
    assert (await fast.get_oauth_connection("erp")).access_token == "access-canary-2"
    held.set()
    assert (await late).access_token == "access-canary-3"
    assert [form["refresh_token"] for form in token_endpoint.forms] == [FIRST, FIRST, "refresh-canary-2"]
    expire(fast)
    await fast.get_oauth_connection("erp")
    assert token_endpoint.forms[-1]["refresh_token"] == "refresh-canary-3"


async def test_a_refresh_token_that_is_no_longer_good(token_endpoint, pool_of, secrets):
    """One that is refused, and still the one in the store, is tried once; the error says what to do and shows no token."""
    token_endpoint.accepted.clear()
    with pytest.raises(IntegrationError, match=r"400 Bad Request.*acme/erp_refresh is no longer accepted: authorise") as caught:
        await pool_of(secrets).context("acme").get_oauth_connection("erp")
    assert (caught.value.status_code, caught.value.details["code"], len(token_endpoint.forms)) == (400, "invalid_grant", 1)
    assert "canary" not in str(caught.value.to_dict())


async def test_another_refusal_is_just_that(token_endpoint, pool_of, secrets):
    """Of all refusals only `invalid_grant` speaks of the refresh token."""
    token_endpoint.status = 503
    with pytest.raises(IntegrationError, match=r"erp: POST /token answered 503 [^:]*: temporarily_unavailable$"):
        await pool_of(secrets).context("acme").get_oauth_connection("erp")


async def test_a_caller_that_is_cancelled_loses_nothing(token_endpoint, pool_of, secrets):
    """An exchange that has begun is brought to its end, and stored, even if nobody waits for it any more."""
    context = pool_of(secrets).context("acme")
    held = token_endpoint.held = asyncio.Event()
    asking = asyncio.create_task(context.get_oauth_connection("erp"))

    async def is_asked():
        return token_endpoint.forms

    async def is_stored():
        return await secrets.read("acme", "erp_refresh") == "refresh-canary-1"

    await until(is_asked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    held.set()
    await until(is_stored)
    assert (await context.get_oauth_connection("erp")).access_token == "access-canary-1"
    assert len(token_endpoint.forms) == 1


async def test_organizations_that_share_a_refresh_token_take_turns(token_endpoint, pool_of):
    """One in the GLOBAL scope is exchanged by each organization for a token of its own tenant, one after the other."""
    secrets = MemorySecrets({GLOBAL: {"erp_refresh": FIRST}})
    pool = pool_of(secrets, client_secret=None, token_url=f"{token_endpoint.url}/{{tenant_id}}/token")
    answers = await asyncio.gather(*(pool.context(org).get_oauth_connection("erp") for org in ("acme", "bolt") for _ in range(9)))
    assert {answer.access_token for answer in answers} == {"access-canary-1", "access-canary-2"}
    assert sorted(token_endpoint.paths) == ["/acme/token", "/bolt/token"]
    assert [form["refresh_token"] for form in token_endpoint.forms] == [FIRST, "refresh-canary-1"]
    assert await secrets.read(GLOBAL, "erp_refresh") == "refresh-canary-2"


async def test_a_missing_refresh_token_is_a_matter_of_configuration(pool_of, secrets):
    """The error names both places that were tried; one that is removed while it is in use is missing, too."""
    with pytest.raises(ConfigurationError, match=r"'erp.refresh_token' refers .* tried bolt/erp_refresh and GLOBAL/erp_refresh"):
        await pool_of(secrets, client_secret=None).context("bolt").get_oauth_connection("erp")

    class Removed(MemorySecrets):
        def forget(self, scope, name):
            self._secrets[scope].pop(name, None)

    with pytest.raises(ConfigurationError, match=r"'erp.refresh_token' refers .* removed from acme/erp_refresh"):
        await pool_of(Removed({"acme": {"erp_refresh": FIRST}}), client_secret=None).context("acme").get_oauth_connection("erp")


async def test_a_token_that_was_refused_is_replaced(token_endpoint, pool_of, secrets):
    """An integration that uses a connection logs in again after a 401 with another token, however long the first one had to
    live; one of somebody else changes nothing.
    """
    seen = []

    def answer(request):
        seen.append(request.headers["Authorization"])
        return httpx.Response(200 if seen[-1].endswith("-2") else 401, json={})

    class Erp(BaseIntegration):
        integration_name = "erp"

        async def authenticate(self):
            self.http.base_url, self.http.transport = "https://erp.example", httpx.MockTransport(answer)
            self.http.token = self.http.oauth("erp")

        async def ping(self):
            return (await self.http.get("ping")).status_code

    pool = pool_of(secrets, lambda: {"erp": Erp})
    assert await asyncio.gather(*(pool.call("acme", "erp", "ping", (), {}) for _ in range(10))) == [200] * 10
    pool.context("acme")._token_refused("somebody-elses")
    assert await pool.call("acme", "erp", "ping", (), {}) == 200
    assert (len(token_endpoint.forms), set(seen)) == (2, {"Bearer access-canary-1", "Bearer access-canary-2"})
    await pool.aclose()
