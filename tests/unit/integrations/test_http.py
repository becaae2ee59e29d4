"""`self.http`: errors in one shape, calls on record, keys that survive a retry, and no secret anywhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest.mock import AsyncMock, MagicMock

import httpx
import pytest

from bifrost import redaction
from bifrost.dev.ports import free_port
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.integrations.answers import MAX_EXCERPT, retry_after_seconds
from bifrost.integrations.http import IntegrationHTTP
from bifrost.models import OAuthCredentials

from .conftest import API_KEY


@pytest.fixture
async def http(user_api, tracked):
    client = IntegrationHTTP("user_api", tracked)
    client.base_url, client.token = user_api.url, API_KEY
    yield client
    await client.aclose()


def answering(handler, context=None):
    """A client whose other side is `handler`: for answers that no simulator gives."""
    client = IntegrationHTTP("odd", context or MagicMock())
    client.base_url, client.transport = "https://odd.example/v1", httpx.MockTransport(handler)
    return client


async def test_every_method_sends_itself():
    """Each method sends the request it is called."""
    seen = []
    http = answering(lambda request: seen.append((request.method, request.url.path)) or httpx.Response(204))
    for method in ("get", "post", "patch", "put", "delete"):
        await getattr(http, method)("things")
    assert seen == [(method, "/v1/things") for method in ("GET", "POST", "PATCH", "PUT", "DELETE")]


async def test_an_answer_is_an_httpx_response_and_on_record(http, tracked):
    """A good answer is handed over as httpx has it; the call is on record without its query."""
    response = await http.get("/health", params={"page": "2"}, headers={"X-Extra": "1"})
    assert response.json() == {"status": "ok"}
    [call] = tracked.calls
    assert {key: call[key] for key in call if key != "duration_ms"} == {
        "integration": "user_api", "method": "GET", "endpoint": "/health", "status_code": 200, "error": None}
    assert call["duration_ms"] >= 0


async def test_base_url_and_url_may_have_slashes_or_not():
    """A slash at the end of the base URL or the start of the path makes no difference; no path is the base URL."""
    seen = []
    http = answering(lambda request: seen.append(str(request.url)) or httpx.Response(200))
    for base, url in (("https://odd.example/v1/", "/a"), ("https://odd.example/v1", "a"), ("https://odd.example/v1", "")):
        http.base_url = base
        await http.get(url)
    assert seen == ["https://odd.example/v1/a", "https://odd.example/v1/a", "https://odd.example/v1"]


async def test_a_refusal_is_an_integration_error_with_the_facts(http, tracked):
    """An answer of 400 and above raises, with status, path, what the other side said, and is on record."""
    with pytest.raises(IntegrationError, match="user_api: GET /users/nobody answered 404 Not Found: There is no") as caught:
        await http.get("/users/nobody?token=hush")
    error = caught.value
    assert (error.integration, error.status_code) == ("user_api", 404)
    assert error.details["endpoint"] == "/users/nobody"
    assert error.details["code"] == "not_found"
    assert "There is no user" in error.details["response"]
    assert "retry_after_seconds" not in error.details
    assert tracked.calls[0]["status_code"] == 404
    assert tracked.calls[0]["error"] == error.message
    assert "hush" not in str(error.to_dict()) + str(tracked.calls)


async def test_throttling_says_how_long_to_wait(http, user_api):
    """Retry-After of a refusal, decimals included, is in the error's details, in seconds."""
    await user_api.control.fail("GET", "/health", status=429, retry_after="0.25")
    with pytest.raises(IntegrationError) as caught:
        await http.get("/health")
    assert (caught.value.status_code, caught.value.details["retry_after_seconds"]) == (429, 0.25)


@pytest.mark.parametrize(("header", "seconds"), [
    (" 3 ", 3.0), ("0.249", 0.249), ("-5", 0.0), ("soon", None), ("", None), (None, None), ("inf", None), ("nan", None),
    ("9" * 20, 86_400.0), ("1" * 400, None), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("Fri, 31 Dec 1999 23:59:59 -0000", 0.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0), ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None)])
def test_retry_after_is_seconds_or_a_date(header, seconds):
    """Retry-After is a number that is never negative and at most a day; what cannot be read counts as not said."""
    headers = {} if header is None else {"Retry-After": header}
    assert retry_after_seconds(httpx.Response(429, headers=headers)) == seconds


def test_retry_after_is_a_date_to_come():
    """A date as Retry-After is the time until then."""
    header = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_seconds(httpx.Response(429, headers={"Retry-After": header})) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(("body", "said", "code"), [
    ('{"error": {"code": "Bad", "message": "Too bad"}}', "Too bad", "Bad"),
    ('{"error": "invalid_client", "error_description": "Who?"}', "Who?", "invalid_client"),
    ('{"error": "oops"}', "oops", "oops"),
    ('{"Message": "Sorry"}', "Sorry", None),
    ('{"detail": "No such thing"}', "No such thing", None),
    ('{"message": ["a", "b"]}', '{"message": ["a", "b"]}', None),
    ('["odd"]', '["odd"]', None),
    ("<html>gateway</html>", "<html>gateway</html>", None),
])
async def test_the_message_is_what_the_other_side_said(body, said, code):
    """The usual JSON errors are read; anything else is quoted."""
    with pytest.raises(IntegrationError) as caught:
        await answering(lambda _: httpx.Response(400, text=body)).get("x")
    assert caught.value.message == f"odd: GET /v1/x answered 400 Bad Request: {said}"
    assert caught.value.details.get("code") == code


async def test_an_answer_without_body_is_an_error_without_reason():
    """A refusal that says nothing is only its status."""
    with pytest.raises(IntegrationError) as caught:
        await answering(lambda _: httpx.Response(418)).get("x")
    assert caught.value.message == "odd: GET /v1/x answered 418 I'm a teapot"


async def test_an_excerpt_is_short_and_holds_no_secret():
    """The body that an error quotes is masked first and cut then, so no half of a secret remains at the edge."""
    redaction.remember("excerpt-canary-123456")
    body = "x" * (MAX_EXCERPT - 10) + "excerpt-canary-123456" + "y" * 100
    with pytest.raises(IntegrationError) as caught:
        await answering(lambda _: httpx.Response(500, text=body)).get("excerpt-canary-123456")
    assert len(caught.value.details["response"]) == MAX_EXCERPT
    assert "canary" not in str(caught.value.to_dict())


async def test_a_server_that_is_not_there_is_an_error_without_status(tracked):
    """Nobody listening: an IntegrationError without a status, so that it is retried; names method, host and path only."""
    http, port = IntegrationHTTP("gone", tracked), free_port()
    http.base_url = f"http://127.0.0.1:{port}"
    with pytest.raises(IntegrationError, match=f"gone could not be reached: POST 127.0.0.1:{port}/a: Connect") as caught:
        await http.post("/a?key=hush", headers={"X-Key": "hush"})
    assert caught.value.status_code is None
    assert isinstance(caught.value.__cause__, httpx.TransportError)
    assert tracked.calls[0]["status_code"] == 0
    assert "hush" not in str(caught.value.to_dict()) + str(tracked.calls)


async def test_an_answer_that_does_not_come_is_a_network_error(http, user_api):
    """A timeout is an IntegrationError without a status; `timeout` is in seconds and holds for each request."""
    await user_api.control.fail("GET", "/health", hold=True)
    http.timeout = 0.05
    with pytest.raises(IntegrationError, match=r"could not be reached: GET .*/health: ReadTimeout") as caught:
        await http.get("/health")
    assert caught.value.status_code is None
    await user_api.control.release()
    assert (await http.get("/health", timeout=10)).status_code == 200


async def test_a_connection_that_is_cut_is_a_network_error(http, user_api):
    """A server that closes the connection without an answer counts as not reached."""
    await user_api.control.fail("GET", "/health", drop=True)
    with pytest.raises(IntegrationError, match="could not be reached") as caught:
        await http.get("/health")
    assert caught.value.status_code is None


async def test_a_host_without_port_is_named_without_one():
    """An error names the port only where the URL does."""
    def refuse(request):
        raise httpx.ReadError("hush", request=request)
    with pytest.raises(IntegrationError, match=r"odd could not be reached: GET odd.example/v1/x: ReadError$"):
        await answering(refuse).get("x")


@pytest.mark.parametrize("url", ["/users", "ftp://elsewhere.example/x", "http://"])
async def test_a_url_that_is_none_is_a_matter_of_configuration(url):
    """A URL that cannot be asked is refused at once and is no network error, which would be retried."""
    with pytest.raises(ConfigurationError, match=r"is no http\(s\) URL"):
        await IntegrationHTTP("loose", MagicMock()).get(url)


async def test_a_malformed_url_is_a_matter_of_configuration():
    """A URL that cannot even be read is refused, too."""
    with pytest.raises(ConfigurationError, match="the URL cannot be one"):
        await IntegrationHTTP("loose", MagicMock()).get("http://host:port/")


async def test_a_token_that_cannot_be_sent_is_not_quoted(http):
    """A key with a line break cannot be a header: the error says so, is not retried, and does not show the key."""
    http.token = "header-canary\n"
    with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
        await http.get("/health")
    assert "canary" not in str(caught.value.to_dict())
    assert caught.value.__suppress_context__


async def test_a_token_is_sent_and_remembered():
    """`token` is sent as a bearer token, asked for at each request where it is a function, and masked from then on."""
    seen = []
    http = answering(lambda request: seen.append(request.headers["Authorization"]) or httpx.Response(200))
    tokens = iter(["token-canary-1", "token-canary-2"])

    async def source():
        return next(tokens)

    http.token = source
    await http.get("x")
    await http.get("x")
    assert seen == ["Bearer token-canary-1", "Bearer token-canary-2"]
    assert "canary" not in redaction.mask("token-canary-1 token-canary-2")


async def test_credentials_stay_with_their_origin():
    """A URL of another origin, such as a link in an answer, gets neither token nor headers."""
    seen = {}
    http = answering(lambda request: seen.update({str(request.url.host): dict(request.headers)}) or httpx.Response(200))
    http.token, http.headers = "origin-canary", {"X-Api-Key": "origin-canary"}
    await http.get("https://odd.example/other")
    await http.get("https://evil.example/v1/x")
    assert "origin-canary" in str(seen["odd.example"])
    assert "origin-canary" not in str(seen["evil.example"])


async def test_without_a_base_url_headers_go_along():
    """An integration that only uses whole URLs sends its headers to all of them."""
    seen = []
    http = answering(lambda request: seen.append(request.headers["X-Api-Key"]) or httpx.Response(200))
    http.base_url, http.headers = "", {"X-Api-Key": "k"}
    await http.get("https://any.example/x")
    assert seen == ["k"]


async def test_requests_of_a_call_carry_its_key_numbered(http, user_api, calling):
    """Changing requests carry the call's key, the second and later ones numbered; a repeated attempt sends the same."""
    for _attempt in (1, 2):
        calling(idempotency_key="key")
        await http.get("/health")
        first = await http.post("/users", json={"email": "a@b.example", "name": "A"})
        second = await http.post("/users", json={"email": "b@b.example", "name": "B"})
    sent = [entry.headers.get("idempotency-key") for entry in user_api.journal.entries()]
    assert sent == [None, "key", "key-2"] * 2
    assert (first.json()["id"], second.json()["id"]) == ("user-1", "user-2")


async def test_without_a_call_there_is_no_key(http, user_api):
    """Outside a call nothing promises that a request is the same one again, so no key is sent."""
    await http.post("/users", json={"email": "a@b.example", "name": "A"})
    assert "idempotency-key" not in user_api.journal.entries()[0].headers


async def test_a_key_of_ones_own_is_kept(http, user_api, calling):
    """An integration that knows a better key may send it."""
    calling(idempotency_key="key")
    await http.post("/users", json={"email": "a@b.example", "name": "A"}, headers={"idempotency-key": "mine"})
    assert user_api.journal.entries()[0].headers["idempotency-key"] == "mine"


async def test_requests_at_once_have_keys_of_their_own(http, user_api, calling):
    """Parallel requests of one call are told apart, in the order in which they were begun."""
    calling(idempotency_key="key")
    await asyncio.gather(*(http.post("/users", json={"email": f"{n}@b.example", "name": str(n)}) for n in range(3)))
    sent = {entry.body["name"]: entry.headers["idempotency-key"] for entry in user_api.journal.entries()}
    assert sent == {"0": "key", "1": "key-2", "2": "key-3"}


async def test_a_token_of_a_connection():
    """`oauth` makes a token source of the context's connection of that name, and asks for nothing itself."""
    seen, context = [], MagicMock()
    context.get_oauth_connection = AsyncMock(side_effect=[OAuthCredentials("erp", f"connection-canary-{n}") for n in range(2)])
    http = answering(lambda request: seen.append(request.headers["Authorization"]) or httpx.Response(200), context)
    http.token = http.oauth("erp")
    context.get_oauth_connection.assert_not_awaited()
    await http.get("x")
    await http.get("x")
    assert seen == ["Bearer connection-canary-0", "Bearer connection-canary-1"]
    context.get_oauth_connection.assert_awaited_with("erp")


async def test_a_context_may_be_a_mock():
    """A user's unit test hands any object as context."""
    context = MagicMock()
    await answering(lambda _: httpx.Response(200), context).get("x")
    context._track_integration_call.assert_called_once()


async def test_closing_is_safe_at_any_time(http):
    """A client can be closed unopened, twice, and used again."""
    await http.aclose()
    await http.get("/health")
    await http.aclose()
    await http.aclose()
    assert (await http.get("/health")).status_code == 200
