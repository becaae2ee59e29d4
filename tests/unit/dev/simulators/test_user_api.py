"""The user API simulator."""

from __future__ import annotations

import httpx
import pytest

from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.simulators.user_api import UserAPISimulator


@pytest.fixture
def api(users_server):
    """Asks as an organization, by its key."""
    async def ask(method, path, key="key-of-acme", headers=(), **options):
        async with httpx.AsyncClient(base_url=users_server.url, trust_env=False, verify=False) as client:
            sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **dict(headers)}
            return await client.request(method, path, headers=sent, **options)
    return ask


@pytest.mark.parametrize(("key", "status"), [("key-of-acme", 200), ("key-of-globex", 200), ("wrong", 401), ("", 401)])
async def test_health_checks_the_key(api, key, status):
    """`/health` answers 200 to a known key and 401 to anything else."""
    answer = await api("GET", "/health", key)
    assert answer.status_code == status
    assert answer.json() == ({"status": "ok"} if status == 200 else {
        "error": "unauthorized", "message": "The API key is missing or unknown"})


async def test_a_key_needs_its_scheme(api):
    """A key that is not sent as a bearer token is none."""
    assert (await api("GET", "/health", "", {"Authorization": "Basic key-of-acme"})).status_code == 401


async def test_a_user_is_created_and_read(api):
    """Creating answers 201 with the user, whom its id finds afterwards."""
    created = await api("POST", "/users", json={"email": "ada@acme.example", "name": "Ada", "department": "IT"})
    assert created.status_code == 201
    assert created.json() == {"id": created.json()["id"], "email": "ada@acme.example", "name": "Ada", "department": "IT"}
    assert (await api("GET", created.headers["Location"])).json() == created.json()


async def test_an_email_is_there_once(api):
    """A second user of the same email, in any case, is a conflict; in another organization it is not."""
    body = {"email": "bob@acme.example", "name": "Bob"}
    assert (await api("POST", "/users", json=body)).status_code == 201
    again = await api("POST", "/users", json={**body, "email": "BOB@acme.example"})
    assert (again.status_code, again.json()["error"]) == (409, "conflict")
    assert (await api("POST", "/users", "key-of-globex", json=body)).status_code == 201


async def test_the_same_key_has_one_effect(api):
    """A creation repeated with its Idempotency-Key gets its first answer."""
    body, headers = {"email": "eve@acme.example", "name": "Eve"}, {"Idempotency-Key": "one"}
    first, again = [await api("POST", "/users", headers=headers, json=body) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()


async def test_organizations_see_nothing_of_each_other(api):
    """The id of another organization's user is not found, just as one that never was."""
    created = await api("POST", "/users", json={"email": "carol@acme.example", "name": "Carol"})
    hidden = await api("GET", f"/users/{created.json()['id']}", "key-of-globex")
    assert (hidden.status_code, hidden.json()["error"]) == (404, "not_found")
    assert (await api("GET", "/users/user-0")).json() == hidden.json()


@pytest.mark.parametrize(("content", "said"), [
    (b"{", "The body is not JSON"), (b"[]", "email, name"), (b'{"name": "Ada"}', "Missing, or not a text: email"),
    (b'{"email": 7, "name": "Ada"}', "email"), (b'{"email": "x@acme.example", "name": ""}', "name"),
])
async def test_an_incomplete_user_is_refused(api, content, said):
    """A body without email and name is refused with what is missing."""
    answer = await api("POST", "/users", content=content)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")
    assert said in answer.json()["message"]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/users/any", 401), ("POST", "/users", 401), ("GET", "/nothing", 404), ("DELETE", "/users", 405)])
async def test_requests_that_lead_nowhere_are_refused(api, method, path, status):
    """Requests without a key, to unknown paths and with other methods are refused in the API's own form."""
    answer = await api(method, path, "")
    assert answer.status_code == status
    assert answer.json().keys() == {"error", "message"}


async def test_without_keys_every_key_is_an_organization():
    """Without a mapping each key has users of its own, and the journal does not show the key."""
    simulator = UserAPISimulator()
    async with (SimulatorServer(simulator) as server,
                httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client):
        for key in ("a-secret-key", "another-key"):
            answer = await client.post("/users", json={"email": "ada@acme.example", "name": "Ada"},
                                       headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 201
        assert (await client.get("/health")).status_code == 401
        journal = (await client.get("/_journal")).text
    assert len({entry.tenant for entry in simulator.journal.entries()}) == 3
    assert "a-secret-key" not in journal
