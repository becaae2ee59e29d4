"""The journal of a simulator."""

from __future__ import annotations

import httpx
import pytest

from bifrost.dev.simulators.journal import path_matches


@pytest.mark.parametrize(("path", "pattern", "exact", "chosen"), [
    ("/v1.0/users", "", False, True),
    ("/v1.0/users", "/v1.0/users", False, True),
    ("/v1.0/users/1", "/v1.0/users", False, True),
    ("/v1.0/users/1", "/v1.0/users/", False, True),
    ("/v1.0/users/1", "/v1.0/users", True, False),
    ("/v1.0/users", "/v1.0/users", True, True),
    ("/v1.0/usersettings", "/v1.0/users", False, False),
    ("/v1.0/users/1/assignLicense", "/v1.0/users/*/assignLicense", False, True),
    ("/v1.0/users/1", "/v1.0/users/*/assignLicense", False, False),
    ("/v1.0/users/1", "/v1.0/users/?", False, True),
])
def test_a_pattern_chooses_paths(path, pattern, exact, chosen):
    """A plain pattern chooses a path and all below it, or with `exact` only itself; one with a wildcard is a glob."""
    assert path_matches(path, pattern, exact=exact) is chosen


async def test_a_request_is_noted(graph, control, tenant, create):
    """An entry says who asked what and when, and what was answered; the token request is noted with its tenant too."""
    await create()
    [login] = await control.journal(path=f"/{tenant}")
    assert (login.method, login.status, login.tenant) == ("POST", 200, tenant)
    [entry] = await control.journal("post", "/v1.0/users", tenant)
    assert (entry.method, entry.path, entry.status, entry.state) == ("POST", "/v1.0/users", 201, "answered")
    assert entry.body["displayName"] == "Ada"
    assert entry.headers["content-type"] == "application/json"
    assert entry.number > login.number
    assert entry.at.tzinfo is not None


async def test_no_secret_is_noted(graph, create, control, graph_server):
    """Neither the client secret, nor a password, nor a token is in the journal."""
    await create()
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        text = (await client.get(f"{graph_server.url}/_journal")).text
    assert "client_secret" in text
    assert "correct-horse-battery-staple" not in text
    assert "Tr0ub4dor" not in text
    assert graph.headers["Authorization"].split()[1] not in text


async def test_the_journal_can_be_narrowed(graph, control, tenant, create):
    """Method, path, tenant and state choose entries, alone and together."""
    user_id = await create()
    await graph.get(f"/v1.0/users/{user_id}", params={"$select": "id"})
    await graph.get("/v1.0/users")
    below = await control.journal(path="/v1.0/users", tenant=tenant)
    assert [entry.method for entry in below] == ["POST", "GET", "GET"]
    assert [entry.path for entry in await control.journal("GET", "/v1.0/users", tenant, exact=True)] == ["/v1.0/users"]
    assert below[1].query == {"$select": "id"}
    assert await control.journal(tenant="nobody") == []
    assert await control.journal(state="held") == []


async def test_a_replayed_answer_is_marked(graph, control, tenant, a_user):
    """The second entry of one Idempotency-Key is marked, so that effects can be counted."""
    for _ in range(2):
        await graph.post("/v1.0/users", json=a_user(), headers={"Idempotency-Key": "one"})
    entries = await control.journal("POST", "/v1.0/users", tenant)
    assert [(entry.status, entry.replayed) for entry in entries] == [(201, False), (201, True)]
    assert [entry.headers["idempotency-key"] for entry in entries] == ["one", "one"]


async def test_a_body_that_is_not_json_is_noted_by_its_length(graph, control, tenant):
    """Bodies that cannot be read are not shown."""
    await graph.post("/v1.0/users", content=b"secret=\xff")
    [entry] = await control.journal("POST", "/v1.0/users", tenant)
    assert entry.body == "(8 bytes that are not JSON)"


async def test_the_journal_can_be_cleared(graph, control, tenant):
    """After DELETE the journal is empty, and its own requests are never in it."""
    await graph.get("/v1.0/users")
    await control.clear()
    assert await control.journal() == []
    await graph.get("/v1.0/users")
    assert [entry.path for entry in await control.journal()] == ["/v1.0/users"]
