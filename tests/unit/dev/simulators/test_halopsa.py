"""The HaloPSA simulator."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx
import pytest

from bifrost.dev.simulators.halopsa import HaloSimulator
from bifrost.dev.simulators.server import SimulatorServer

FORM = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "secret-a", "scope": "all"}


@pytest.fixture(scope="module")
async def server():
    async with SimulatorServer(HaloSimulator({"acme": ["secret-a", "secret-b"], "globex": ["secret-g"], "app": ["secret-a"]})) as server:
        yield server


@asynccontextmanager
async def signed_in(server, tenant="acme", secret="secret-a"):
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client:
        answer = await client.post("/auth/token", params={"tenant": tenant}, data={**FORM, "client_secret": secret})
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


@pytest.fixture
async def halo(server):
    server.simulator._desks.clear()
    async with signed_in(server) as client:
        yield client


@pytest.fixture
async def client_id(halo):
    return (await halo.post("/api/Client", json=[{"name": "Globex"}])).json()["id"]


@pytest.mark.parametrize(("tenant", "changes", "status", "error"), [
    ("acme", {}, 200, None), ("acme", {"client_secret": "secret-b"}, 200, None), ("", {}, 200, None),
    ("acme", {"client_secret": "secret-g"}, 401, "invalid_client"), ("acme", {"client_secret": ""}, 401, "invalid_client"),
    ("acme", {"client_id": ""}, 401, "invalid_client"), ("initech", {}, 401, "invalid_client"),
    ("acme", {"grant_type": "password"}, 400, "unsupported_grant_type"),
])
async def test_a_token_is_given_for_a_secret_of_the_tenant(server, tenant, changes, status, error):
    """Each tenant accepts its own secrets only; without one the client's name is the tenant; refusals have OAuth's form."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False) as client:
        answer = await client.post("/auth/token", params={"tenant": tenant}, data={**FORM, **changes})
    assert (answer.status_code, answer.json().get("error")) == (status, error)
    if status == 200:
        assert answer.json() == {"access_token": answer.json()["access_token"], "token_type": "Bearer", "expires_in": 3600,
                                 "scope": "all"}


async def test_a_token_expires():
    """A token is refused once its time is up, with an empty 401; so are none and one that was never given."""
    now = [0.0]
    simulator = HaloSimulator(token_seconds=60, clock=lambda: now[0])
    async with SimulatorServer(simulator) as server, signed_in(server, secret="anything") as client:
        assert (await client.get("/api/Client")).status_code == 200
        now[0] = 60.0
        refused = await client.get("/api/Client")
        for header in ("Bearer never-given", "Basic YTpi"):
            assert (await client.get("/api/Client", headers={"Authorization": header})).status_code == 401
    assert (refused.status_code, refused.content, refused.headers["WWW-Authenticate"]) == (401, b"", 'Bearer error="invalid_token"')
    assert [entry.tenant for entry in simulator.journal.entries(path="/api")] == ["acme", "acme", None, None]


async def test_tenants_see_nothing_of_each_other(server, halo, client_id):
    """A client of one tenant is not there for another tenant's token."""
    async with signed_in(server, "globex", "secret-g") as other:
        assert (await other.get(f"/api/Client/{client_id}")).status_code == 404
        assert (await other.get("/api/Client")).json() == {"record_count": 0, "clients": []}
    assert list(server.simulator.desk("acme").clients) == [client_id]


async def test_a_post_takes_an_array_and_knows_no_idempotency_key(halo, client_id):
    """One object is answered by itself, several as an array; the same key again makes another object."""
    body, key = [{"client_id": client_id, "summary": "T"}], {"Idempotency-Key": "one"}
    first, again = [(await halo.post("/api/Tickets", json=body, headers=key)).json()["id"] for _ in range(2)]
    assert first != again
    both = await halo.post("/api/Tickets", json=[{"id": first, "summary": "U"}, {"summary": "V"}])
    assert (both.status_code, [ticket["summary"] for ticket in both.json()]) == (201, ["U", "V"])
    assert (await halo.get(f"/api/Tickets/{first}")).json()["client_name"] == "Globex"


@pytest.mark.parametrize(("path", "content", "said"), [
    ("Client", b'{"name": "Acme"}', "a JSON array"), ("Client", b"[7]", "a JSON array"), ("Client", b"{", "a JSON array"),
    ("Client", b"[{}]", "Please enter a name"), ("Tickets", b"[{}]", "Please enter a Summary"),
    ("Tickets", b'[{"summary": "T", "client_id": "x"}]', "There is no object of id 'x'"),
    ("Actions", b'[{"ticket_id": 1}]', "Please select an Outcome"),
    ("Actions", b'[{"outcome": "Note"}]', "There is no object of id 'None'"),
])
async def test_a_wrong_object_is_refused(halo, path, content, said):
    """What Halo cannot take is answered 400, as an exception of .NET."""
    answer = await halo.post(f"/api/{path}", content=content)
    assert (answer.status_code, answer.json()["ClassName"]) == (400, "System.Exception")
    assert said in answer.json()["Message"]


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/api/Tickets/7", 404), ("GET", "/api/Actions/x", 404), ("GET", "/api/Nothing", 404), ("PUT", "/api/Client", 405),
    ("GET", "/api/Client?count=x", 400), ("GET", "/api/Tickets?pageinate=true&page_no=0", 400),
    ("GET", "/api/Actions?startdate=soon", 400), ("POST", "/auth/nothing", 404)])
async def test_requests_that_lead_nowhere_are_refused(halo, client_id, method, path, status):
    """What is not there, and what cannot be read, is refused in the API's own form."""
    await halo.post("/api/Tickets", json=[{"client_id": client_id, "summary": "T"}])
    answer = await halo.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["ClassName", "Message", "Data", "InnerException"])


async def test_lists_have_pages_or_a_number(halo, client_id):
    """A list is newest first and cut to `count`; with `pageinate` it has pages, whose envelope says where one is."""
    tickets = (await halo.post("/api/Tickets", json=[{"client_id": client_id, "summary": f"T{n}"} for n in range(3)])).json()
    ids = [ticket["id"] for ticket in tickets]
    asked = (await halo.get("/api/Tickets", params={"count": 2})).json()
    assert (asked["record_count"], [one["id"] for one in asked["tickets"]]) == (3, [ids[2], ids[1]])
    page = (await halo.get("/api/Tickets", params={"pageinate": True, "page_size": 2, "page_no": 2, "order": "id"})).json()
    assert (page["page_no"], page["page_size"], page["record_count"]) == (2, 2, 3)
    assert [one["id"] for one in page["tickets"]] == [ids[2]]
    assert "third_party_id_string" not in page["tickets"][0]
    largest = (await halo.get("/api/Tickets", params={"pageinate": True, "page_size": 1000})).json()
    assert largest["page_size"] == 100


async def test_an_action_can_be_changed(halo, client_id):
    """An action has its ticket's time; one that is changed keeps what it was, and the ticket's time follows."""
    ticket = (await halo.post("/api/Tickets", json=[{"client_id": client_id, "summary": "T"}])).json()["id"]
    action = (await halo.post("/api/Actions", json=[{"ticket_id": ticket, "outcome": "Note", "timetaken": 1}])).json()
    changed = (await halo.post("/api/Actions", json=[{"id": action["id"], "timetaken": 2}])).json()
    assert changed == {**action, "timetaken": 2}
    assert (await halo.get(f"/api/Actions/{action['id']}")).json() == changed
    assert (await halo.get(f"/api/Tickets/{ticket}")).json()["timetaken"] == 2


@pytest.mark.parametrize(("path", "body"), [
    ("/api/Client", {"ClassName": "System.Exception", "Message": "Service Unavailable", "Data": None, "InnerException": None}),
    ("/auth/token", {"error": "server_error", "error_description": "Service Unavailable"})])
async def test_it_fails_on_demand_in_halos_form(server, halo, path, body):
    """A fault is answered as the endpoint answers its errors."""
    await halo.post("/_faults", json={"path": path, "status": 503, "retry_after": 3})
    answer = await halo.post(path)
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()) == (503, "3", body)
