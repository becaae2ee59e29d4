"""Client credentials: one request for many, kept until shortly before they run out, and never shown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from bifrost import redaction
from bifrost.dev.ports import free_port
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.integrations.oauth import ClientCredentials, referenced_secret, required
from tests.waiting import until

from .conftest import GRAPH_SECRET

SCOPE = "https://graph.example/.default"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def source_at(graph, secret=GRAPH_SECRET, **options):
    return ClientCredentials(f"{graph.url}/acme/oauth2/v2.0/token", "app", secret, SCOPE, name="msgraph", **options)


def answering(*bodies, clock=None):
    """A source whose server gives these answers in turn: for answers that no simulator gives."""
    answers = iter(bodies)
    options = {"clock": clock} if clock else {}
    return ClientCredentials("https://login.example/token", "app", "odd-canary-991", transport=httpx.MockTransport(
        lambda _: httpx.Response(200, **next(answers))), **options)


async def test_a_token_is_asked_for_once(graph):
    """However many ask at once, one request is made, with what RFC 6749 section 4.4 wants in it."""
    source = source_at(graph)
    tokens = await asyncio.gather(*(source.token() for _ in range(5)))
    assert len(set(tokens)) == 1
    [entry] = graph.journal.entries()
    assert (entry.body["grant_type"], entry.body["client_id"], entry.body["scope"]) == ("client_credentials", "app", SCOPE)


async def test_credentials_say_when_they_run_out(graph):
    """The credentials carry the token's type and expiry, and print without it; the token is masked from then on."""
    credentials = await source_at(graph).credentials()
    assert (credentials.connection_name, credentials.token_type, credentials.scopes) == ("msgraph", "Bearer", SCOPE)
    assert timedelta(minutes=58) < credentials.expires_at - datetime.now(UTC) <= timedelta(minutes=60)
    assert credentials.access_token not in repr(credentials)
    assert credentials.access_token not in redaction.mask(credentials.get_auth_header())


@pytest.mark.parametrize(("expires_in", "still_used", "replaced"), [(3600, 3539, 3541), (100, 89, 91), ("100", 89, 91)])
async def test_a_token_is_replaced_before_it_runs_out(expires_in, still_used, replaced):
    """A token is no longer used 60 seconds before its end, or in the last tenth of a shorter life."""
    clock = Clock()
    source = answering(*({"json": {"access_token": f"token-{n}", "expires_in": expires_in}} for n in range(2)), clock=clock)
    assert await source.token() == "token-0"
    clock.now += still_used
    assert await source.token() == "token-0"
    clock.now += replaced - still_used
    assert await source.token() == "token-1"


@pytest.mark.parametrize("body", [{"access_token": "t0"}, {"access_token": "t0", "expires_in": None},
                                  {"access_token": "t0", "expires_in": "never"}])
async def test_a_token_without_an_expiry_is_kept(body):
    """A server need not say how long a token lives; it is kept then, and never counts as expired."""
    clock = Clock()
    source = answering({"json": body}, clock=clock)
    await source.token()
    clock.now += 10**9
    credentials = await source.credentials()
    assert credentials.expires_at is None
    assert not credentials.is_expired()


async def test_a_token_that_lives_no_time_is_not_kept():
    """An expiry of 0 means now."""
    source = answering(*({"json": {"access_token": f"t{n}", "expires_in": 0}} for n in range(2)), clock=Clock())
    assert [await source.token(), await source.token()] == ["t0", "t1"]


async def test_a_refusal_has_the_oauth_code_and_not_the_secret(graph):
    """A refusal is an IntegrationError with its status and OAuth's code; the secret is in no part of it."""
    with pytest.raises(IntegrationError, match=r"msgraph: POST /acme/oauth2/v2.0/token answered 401.*AADSTS7000215") as caught:
        await source_at(graph, "wrong-canary-4711").token()
    assert (caught.value.status_code, caught.value.details["code"]) == (401, "invalid_client")
    assert "canary" not in str(caught.value.to_dict())


async def test_an_outage_is_retried_later(graph):
    """A failed request is not remembered: the next caller asks again."""
    source = source_at(graph)
    await graph.control.fail("POST", "/acme", status=503, retry_after="2")
    with pytest.raises(IntegrationError) as caught:
        await source.token()
    assert (caught.value.status_code, caught.value.details["retry_after_seconds"]) == (503, 2)
    assert await source.token()


async def test_callers_at_once_share_a_failure(token_endpoint):
    """An outage is met once for all that wait; each has an error of its own, and the next caller asks again."""
    token_endpoint.status = 503
    source = ClientCredentials(f"{token_endpoint.url}/token", "app", "secret")
    failures = await asyncio.gather(*(source.token() for _ in range(5)), return_exceptions=True)
    assert [failure.status_code for failure in failures] == [503] * 5
    failures[0].details["mark"] = True
    assert "mark" not in failures[1].details
    assert len(token_endpoint.forms) == 1
    token_endpoint.status = 0
    assert await source.token() == "access-canary-2"


async def test_what_nobody_waits_for_fails_in_silence(token_endpoint):
    """A request whose callers were all cancelled is made to its end, and its failure is nobody's."""
    token_endpoint.status, held = 503, asyncio.Event()
    token_endpoint.held = held
    source = ClientCredentials(f"{token_endpoint.url}/token", "app", "secret")
    asking = asyncio.create_task(source.token())

    async def is_asked():
        return token_endpoint.forms

    await until(is_asked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    task = source._renewing
    held.set()
    await asyncio.wait([task])
    assert source._renewing is None


async def test_an_answer_without_end_is_not_read_to_its_end():
    """Of a token endpoint that answers no token but gigabytes only the beginning is read."""
    async def endless():
        while True:
            yield b"x" * 65_536

    source = ClientCredentials("https://login.example/token", "app", "secret", transport=httpx.MockTransport(
        lambda _: httpx.Response(200, content=endless())))
    with pytest.raises(IntegrationError, match="answered 200 without an access_token"):
        await source.token()


async def test_an_answer_that_breaks_off_is_a_network_error():
    """Half of an answer is none: it is asked for again."""
    async def half():
        yield b'{"access_token": '
        raise httpx.ReadError("cut")

    source = ClientCredentials("https://login.example/token", "app", "secret", transport=httpx.MockTransport(
        lambda _: httpx.Response(200, content=half())))
    with pytest.raises(IntegrationError, match=r"oauth could not be reached: POST login.example/token: ReadError") as caught:
        await source.token()
    assert caught.value.status_code is None


async def test_an_unreachable_endpoint_is_a_network_error():
    """Nobody listening: an IntegrationError without a status, so that it is retried."""
    source = ClientCredentials(f"http://127.0.0.1:{free_port()}/token", "app", "secret")
    with pytest.raises(IntegrationError, match=r"oauth could not be reached: POST 127.0.0.1") as caught:
        await source.token()
    assert caught.value.status_code is None


@pytest.mark.parametrize("url", ["", "login.example/token", "http://host:port/"])
async def test_a_token_url_that_is_none_is_a_matter_of_configuration(url):
    """A token URL that cannot be asked is no network error, which would be retried."""
    with pytest.raises(ConfigurationError, match=r"is no http\(s\) URL"):
        await ClientCredentials(url, "app", "secret").token()


@pytest.mark.parametrize("answer", [{"text": "<html>"}, {"json": []}, {"json": {"token": "x"}}, {"json": {"access_token": 5}}])
async def test_an_answer_without_a_token_is_an_error(answer):
    """A server that says 200 and gives no token has failed."""
    with pytest.raises(IntegrationError, match="oauth: POST /token answered 200 without an access_token") as caught:
        await answering(answer).token()
    assert caught.value.status_code == 200


async def test_an_empty_scope_is_not_sent():
    """Without a scope the server decides."""
    seen = []
    source = ClientCredentials("https://login.example/token", "app", "secret", transport=httpx.MockTransport(
        lambda request: seen.append(request.content) or httpx.Response(200, json={"access_token": "t", "scope": "all"})))
    assert (await source.credentials()).scopes == "all"
    assert b"scope" not in seen[0]


def test_required_names_the_organization_and_what_is_missing(world):
    """A missing or incomplete configuration names the organization (or GLOBAL), the entry and the keys."""
    names = ("client_id", "client_secret")
    with pytest.raises(ConfigurationError, match="Organization 'acme' has no configuration 'crm'; it takes client_id, cli"):
        required(world.pool.context("acme"), "crm", names)
    with pytest.raises(ConfigurationError, match="The GLOBAL scope has no configuration 'crm'"):
        required(world.pool.context(None), "crm", names)
    world.configure(crm={"client_id": "app", "client_secret": ""})
    with pytest.raises(ConfigurationError, match="Organization 'acme': the configuration 'crm' lacks client_secret") as caught:
        required(world.pool.context("acme"), "crm", names)
    assert (caught.value.config_key, caught.value.details["missing_keys"]) == ("crm.client_secret", ["client_secret"])
    assert required(world.pool.context("acme"), "crm", ("client_id",))["client_id"] == "app"


@pytest.mark.parametrize("written", ["written-canary", {"secret": "written-canary"}, {"secret_ref": 5}, None])
async def test_a_secret_is_referred_to_and_never_written(world, written):
    """A secret in the configuration itself is refused, without showing it."""
    with pytest.raises(ConfigurationError, match=r"'crm.client_secret' must refer to a secret") as caught:
        await referenced_secret(world.pool.context("acme"), "crm", {"client_secret": written})
    assert "canary" not in str(caught.value.to_dict())


async def test_a_reference_is_looked_up(world):
    """A reference is the secret's value, or an error that names both places tried."""
    context = world.pool.context("acme")
    assert await referenced_secret(context, "x", {"client_secret": {"secret_ref": "msgraph_client_secret"}}) == GRAPH_SECRET
    with pytest.raises(ConfigurationError, match="missing: Secret 'absent' not found; tried acme/absent and GLOBAL/absent"):
        await referenced_secret(context, "x", {"client_secret": {"secret_ref": "absent"}})
