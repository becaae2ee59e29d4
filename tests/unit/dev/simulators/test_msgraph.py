"""The Graph simulator's token endpoint and its refusals of requests as such."""

from __future__ import annotations

import re

import httpx
import pytest

from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.server import SimulatorServer


@pytest.fixture
async def anonymous(graph_server):
    async with httpx.AsyncClient(base_url=graph_server.url, trust_env=False, verify=False) as client:
        yield client


async def test_a_token_is_given_for_the_right_secret(anonymous, client_form, tenant):
    """The token endpoint answers in the identity platform's form, and Graph accepts the token."""
    answer = await anonymous.post(f"/{tenant}/oauth2/v2.0/token", data=client_form())
    token = answer.json().pop("access_token")
    assert answer.status_code == 200
    assert answer.json() == {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token}
    assert (await anonymous.get("/v1.0/users", headers={"Authorization": f"Bearer {token}"})).status_code == 200


@pytest.mark.parametrize(("changes", "status", "error", "number"), [
    ({"client_secret": "a-wrong-secret"}, 401, "invalid_client", 7000215),
    ({"client_secret": None}, 401, "invalid_client", 7000216),
    ({"client_id": None}, 400, "invalid_request", 900144),
    ({"grant_type": None}, 400, "invalid_request", 900144),
    ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ({"scope": "User.Read"}, 400, "invalid_scope", 1002012),
    ({"scope": None}, 400, "invalid_scope", 1002012),
])
async def test_a_wrong_token_request_is_refused(anonymous, client_form, tenant, changes, status, error, number):
    """Each wrong part of a token request is refused with the identity platform's own code, and never repeats a secret."""
    answer = await anonymous.post(f"/{tenant}/oauth2/v2.0/token", data=client_form(**changes))
    assert answer.status_code == status
    body = answer.json()
    assert body["error"] == error
    assert body["error_codes"] == [number]
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert body.keys() == {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id"}
    assert "a-wrong-secret" not in answer.text


async def test_secrets_can_differ_by_tenant(client_form):
    """With secrets by tenant each tenant accepts only its own, and other tenants do not exist."""
    async with (SimulatorServer(GraphSimulator({"acme": "secret-a", "globex": "secret-g"})) as server,
                httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client):
        async def status(tenant, secret):
            form = client_form(client_secret=secret)
            return (await client.post(f"/{tenant}/oauth2/v2.0/token", data=form)).status_code
        assert await status("acme", "secret-a") == 200
        assert await status("globex", "secret-a") == 401
        answer = await client.post("/initech/oauth2/v2.0/token", data=client_form())
        assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])


async def test_a_simulator_without_a_secret_accepts_any(client_form):
    """Without an expected secret every secret is right, which suits a person who tries things out."""
    async with (SimulatorServer(GraphSimulator()) as server,
                httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client):
        answer = await client.post("/acme/oauth2/v2.0/token", data=client_form(client_secret="anything"))
        assert answer.status_code == 200


@pytest.mark.parametrize(("header", "message"), [
    (None, "Access token is empty."),
    ("Basic YTpi", "Access token is empty."),
    ("Bearer never-given", "Access token validation failure."),
])
async def test_a_request_without_a_known_token_is_refused(anonymous, header, message):
    """Graph answers 401 InvalidAuthenticationToken, in its OData form, to anything but a token that was given."""
    headers = {"client-request-id": "asked-by-test", **({"Authorization": header} if header else {})}
    answer = await anonymous.get("/v1.0/users", headers=headers)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("InvalidAuthenticationToken", message)
    assert error["innerError"].keys() == {"date", "request-id", "client-request-id"}
    assert error["innerError"]["client-request-id"] == "asked-by-test"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", error["innerError"]["date"])
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_expires(sign_in, a_user):
    """A token is refused once its time is up, also for a POST that would otherwise be answered from memory."""
    now = [0.0]
    simulator = GraphSimulator(token_seconds=60, clock=lambda: now[0])
    async with SimulatorServer(simulator) as server, await sign_in(server, "acme") as client:
        async def post():
            return await client.post("/v1.0/users", json=a_user(), headers={"Idempotency-Key": "one"})
        assert (await post()).status_code == 201
        now[0] = 59.9
        assert (await post()).status_code == 201
        now[0] = 60
        refused = await post()
        assert refused.status_code == 401
        assert refused.json()["error"]["message"] == "Lifetime validation failed, the token is expired."
        assert [entry.tenant for entry in simulator.journal.entries(path="/v1.0")] == ["acme"] * 3


async def test_a_token_request_is_never_answered_from_memory(anonymous, client_form, tenant):
    """Two token requests with one Idempotency-Key get two tokens, or a client could never replace an expired one."""
    tokens = {(await anonymous.post(f"/{tenant}/oauth2/v2.0/token", data=client_form(),
                                    headers={"Idempotency-Key": "one"})).json()["access_token"] for _ in range(2)}
    assert len(tokens) == 2


async def test_unknown_paths_and_methods_are_refused(graph):
    """A path that Graph does not have gets its 400, a method that a path does not have its 405, both as OData errors."""
    missing = await graph.get("/v1.0/usres")
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "BadRequest")
    assert missing.json()["error"]["message"] == "Resource not found for the segment 'usres'."
    wrong = await graph.put("/v1.0/users", json={})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "Request_BadRequest")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(graph, content):
    """What is not a JSON object is refused as unreadable."""
    answer = await graph.post("/v1.0/users", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")


async def test_the_organization_is_the_tenant(graph, graph_server, sign_in):
    """`/organization` lists the one tenant of the token, with an id that another tenant does not have."""
    answer = (await graph.get("/v1.0/organization")).json()
    assert answer["@odata.context"] == f"{graph_server.url}/v1.0/$metadata#organization"
    assert len(answer["value"]) == 1
    async with await sign_in(graph_server, "another") as another:
        assert (await another.get("/v1.0/organization")).json()["value"][0]["id"] != answer["value"][0]["id"]


async def test_the_same_idempotency_key_has_one_effect(graph, a_user):
    """A POST repeated with its Idempotency-Key gets its first answer, and a refused one is judged anew."""
    async def post(key, **changes):
        return await graph.post("/v1.0/users", json=a_user(**changes), headers={"Idempotency-Key": key})
    refused = await post("one", displayName="")
    assert refused.status_code == 400
    first, again, other = await post("one"), await post("one"), await post("two")
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 400)
    assert again.json() == first.json()
    assert len((await graph.get("/v1.0/users")).json()["value"]) == 1


async def test_idempotency_keys_belong_to_a_tenant(graph, graph_server, sign_in, a_user):
    """Another tenant's request with the same key is another request."""
    answers = [await graph.post("/v1.0/users", json=a_user(), headers={"Idempotency-Key": "one"})]
    async with await sign_in(graph_server, "another") as another:
        answers.append(await another.post("/v1.0/users", json=a_user(), headers={"Idempotency-Key": "one"}))
    assert len({answer.json()["id"] for answer in answers}) == 2


async def test_idempotency_keys_can_be_ignored(sign_in, a_user):
    """With `idempotent=False` the header means nothing, as to the real Graph: the repetition is a conflict."""
    async with SimulatorServer(GraphSimulator(idempotent=False)) as server, await sign_in(server, "acme") as client:
        statuses = [(await client.post("/v1.0/users", json=a_user(), headers={"Idempotency-Key": "one"})).status_code
                    for _ in range(2)]
    assert statuses == [201, 400]


async def test_tenants_see_nothing_of_each_other(graph, graph_server, sign_in, create):
    """A user of one tenant is not there for another tenant's token."""
    user_id = await create()
    async with await sign_in(graph_server, "another-one") as another:
        assert (await another.get(f"/v1.0/users/{user_id}")).status_code == 404
        assert (await another.get("/v1.0/users")).json()["value"] == []
    assert graph_server.simulator.directory("another-one").users == {}
