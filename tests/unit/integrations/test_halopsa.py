"""HaloPSA over real HTTP, against the simulator of its wire format."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import httpx
import pytest

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.halopsa import HaloSimulator
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.errors import ConfigurationError, IntegrationError, ValidationError
from bifrost.integrations.halopsa import HaloPSAIntegration
from bifrost.record import Page, Record

from .conftest import World

SECRET = "halo-canary-31c7be"
OLD = (datetime.now(UTC) - timedelta(hours=13)).replace(tzinfo=None).isoformat()
NEW = (datetime.now(UTC) - timedelta(hours=11)).isoformat()


def config(url, **more):
    return {"base_url": url, "client_id": "app", "client_secret": {"secret_ref": "halopsa_client_secret"}, "tenant": "acme", **more}


@pytest.fixture
async def halo():
    """HaloPSA at `halo.url`, with `halo.control`; what Acme's holds is `halo.acme`."""
    simulator = HaloSimulator({"acme": [SECRET]})
    async with SimulatorServer(simulator) as server, SimulatorControl(server.url) as control:
        simulator.url, simulator.control, simulator.acme = server.url, control, simulator.desk("acme")
        yield simulator


@pytest.fixture
async def world(halo):
    made = World(halopsa=config(halo.url))
    await made.secrets.write("acme", "halopsa_client_secret", SECRET)
    yield made
    await made.pool.aclose()


@pytest.fixture
def psa(world):
    """Acme's HaloPSA."""
    return world.pool.of("acme", "halopsa")


@pytest.fixture
def client(halo):
    """A client's id."""
    return halo.acme.save_client({"name": "Globex"})["id"]


@pytest.fixture
def ticket(halo, client):
    """A ticket's id."""
    return halo.acme.save_ticket({"client_id": client, "summary": "No printer"})["id"]


async def answered(call, *answers):
    """What `call` makes of a Halo that gives these answers, one after the other; and what it was asked."""
    left, seen = list(answers), []

    def respond(request):
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "odd-halo-token"})
        seen.append(dict(request.url.params))
        return httpx.Response(200, **left.pop(0))

    class Context:
        org_id = "acme"

        def get_config(self, key, default=None):
            return {"halopsa": config("https://halo.example")}.get(key, default)

        async def get_secret(self, name):
            return SECRET

        def _track_integration_call(self, **call):
            pass

    halopsa = HaloPSAIntegration(Context())
    halopsa.http.transport = httpx.MockTransport(respond)
    await halopsa.authenticate()
    try:
        return await call(halopsa), seen
    finally:
        await halopsa.aclose()


async def test_clients(psa, halo, client):
    """A client is created with a main contact and telephone number, found by id and by search; inactive ones on demand."""
    made = await psa.create_client("Initech", "it@initech.example", "555 1", toplevel_id=2)
    assert isinstance(made, Record)
    assert halo.journal.entries(method="POST", path="/api/Client")[0].body == [{
        "name": "Initech", "newclient_contactname": "Initech", "newclient_contactemail": "it@initech.example",
        "newclient_phonenumber": "555 1", "toplevel_id": 2}]
    assert await psa.get_client(made.id) == made
    found = await psa.get_clients("init")
    assert isinstance(found, Page)
    assert ([one.name for one in found], found.value[0].id) == (["Initech"], made.id)
    halo.acme.clients[client]["inactive"] = True
    assert [len(await psa.get_clients()), len(await psa.get_clients(include_inactive=True))] == [1, 2]


async def test_a_ticket(psa, halo, client, calling):
    """A ticket carries the call's key as its reference, and further fields as they are; changes are understood in both namings."""
    calling(idempotency_key="key-of-the-call")
    made = await psa.create_ticket(client, "No printer", "It is gone", 2, tickettype_id=5,
                                   dateoccurred=datetime(2026, 9, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert halo.journal.entries(method="POST", path="/api/Tickets")[0].body == [{
        "client_id": client, "summary": "No printer", "details": "It is gone", "priority_id": 2, "tickettype_id": 5,
        "third_party_id_string": "key-of-the-call", "dateoccurred": "2026-09-01T10:00:00Z"}]
    changed = await psa.update_ticket(made.id, {"title": "No toner", "priority": 1, "status_id": 9})
    assert (changed.id, changed.summary, changed.priority_id, changed.status_id) == (made.id, "No toner", 1, 9)
    assert await psa.get_ticket(str(made.id)) == changed
    assert len(halo.acme.tickets) == 1


async def test_tickets_are_listed_to_the_last_page(psa, halo, client):
    """A list is whole and in order of the ids; `top` bounds it, and no page is fetched in vain; filters are Halo's own."""
    other = halo.acme.save_client({"name": "Other"})["id"]
    made = [halo.acme.save_ticket({"client_id": other if n % 5 == 0 else client, "summary": f"Ticket {n}",
                                   "status_id": 9 if n % 2 else 1})["id"] for n in range(205)]

    async def pages(**asked):
        halo.journal.clear()
        found = await psa.get_tickets(**asked)
        sizes = [(entry.query["page_no"], entry.query["page_size"]) for entry in halo.journal.entries(path="/api/Tickets")]
        return [one.id for one in found], sizes

    assert await pages() == (made, [("1", "100"), ("2", "100"), ("3", "100")])
    assert await pages(top=150) == (made[:150], [("1", "100"), ("2", "100")])
    assert await pages(top=3) == (made[:3], [("1", "3")])
    assert await pages(client_id=other, open_only=True, top=2) == ([made[0], made[10]], [("1", "2")])
    assert await pages(search="ticket 204") == ([made[204]], [("1", "100")])
    assert await pages(closed_only=True, orderdesc=True, top=1) == ([made[203]], [("1", "1")])
    assert await pages(search="nowhere") == ([], [("1", "100")])


async def test_time_is_entered_on_a_ticket(psa, halo, ticket):
    """An entry is an action of the agent with the time in hours, hidden from the client's users; it counts on the ticket."""
    made = await psa.create_time_entry(ticket, 5, 0.25, "Called them")
    await psa.create_time_entry(ticket, 6, 1, outcome_id=7, hiddenfromuser=False)
    assert [entry.body for entry in halo.journal.entries(method="POST", path="/api/Actions")] == [
        [{"ticket_id": ticket, "who_agentid": 5, "timetaken": 0.25, "note": "Called them", "hiddenfromuser": True,
          "outcome": "Private Note"}],
        [{"ticket_id": ticket, "who_agentid": 6, "timetaken": 1, "note": "", "hiddenfromuser": False, "outcome_id": 7}]]
    assert (await psa.get_ticket(ticket)).timetaken == 1.25
    halo.acme.save_action({"ticket_id": ticket, "outcome": "Email"})
    assert [entry.timetaken for entry in await psa.get_time_entries(ticket)] == [1, 0.25]
    assert (await psa.get_time_entries(ticket, agent_id=5)).value == [made]
    assert len(await psa.get_time_entries(ticket, top=1)) == 1


async def test_time_entries_of_a_time(psa, halo, ticket):
    """Entries of all tickets are chosen by time, given as a date, a time of any zone or Halo's own text."""
    for day in (1, 2, 3):
        halo.acme.save_action({"ticket_id": ticket, "outcome": "Note", "timetaken": day, "datetime": f"2026-09-0{day}T12:00:00"})
    assert [one.timetaken for one in await psa.get_time_entries(start=date(2026, 9, 2))] == [3, 2]
    east = datetime(2026, 9, 2, 13, 30, tzinfo=timezone(timedelta(hours=2)))  # 11:30 UTC
    assert [one.timetaken for one in await psa.get_time_entries(ticket, end=east)] == [1]
    assert [one.timetaken for one in await psa.get_time_entries(
        start=datetime(2026, 9, 2),  # noqa: DTZ001 - without a zone it is UTC
        end="2026-09-02T12:00:00")] == [2]


async def test_many_time_entries(psa, halo, ticket):
    """Actions have no pages: what is more than was asked for is asked for again; what Halo keeps back is an error."""
    first = halo.acme.save_action({"ticket_id": ticket, "outcome": "Note", "timetaken": 1})
    for n in range(1, 1001):  # more than the first question's 1,000
        halo.acme.actions[n] = {**first, "id": n}
    assert len(await psa.get_time_entries(ticket)) == 1001
    assert [entry.query["count"] for entry in halo.journal.entries(path="/api/Actions")] == ["1000", "2000"]
    with pytest.raises(IntegrationError, match="answered 1 of 5 actions: ask for less time at once"):
        await answered(lambda one: one.get_time_entries(7), {"json": {"record_count": 5, "actions": [{"timetaken": 1}]}})


CREATIONS = {
    "Client": ("clients", lambda psa, _: psa.create_client("Initech", "it@initech.example")),
    "Tickets": ("tickets", lambda psa, client: psa.create_ticket(client, "No printer")),
    "Actions": ("actions", lambda psa, ticket: psa.create_time_entry(ticket, 5, 0.1, "Called them ")),
}


@pytest.mark.parametrize("path", CREATIONS)
async def test_a_retry_finds_what_an_attempt_made_whose_answer_was_lost(psa, halo, client, ticket, calling, path):
    """The first attempt creates it and loses the answer; the second one answers that object, and there is no other."""
    kind, create = CREATIONS[path]
    of = ticket if kind == "actions" else client
    before = set(getattr(halo.acme, kind))
    await halo.control.fail("POST", f"/api/{path}", drop=True, after=True)
    calling(attempt=1, idempotency_key="key-1")
    with pytest.raises(IntegrationError, match="could not be reached"):
        await create(psa, of)
    calling(attempt=2, idempotency_key="key-1")
    made = await create(psa, of)
    assert set(getattr(halo.acme, kind)) - before == {made["id"]}
    assert made == getattr(halo.acme, kind)[made["id"]]


@pytest.mark.parametrize(("path", "others"), [
    ("Client", [{"name": "Initech", "datecreated": OLD}, {"name": "Initech II"}, {"name": "Initech", "datecreated": "?"}]),
    ("Tickets", [{"summary": "No printer", "third_party_id_string": "key-2"}]),
    ("Actions", [{"timetaken": 0.1, "note": "Called them", "who_agentid": 5, "actiondatecreated": OLD},
                 {"timetaken": 0.2, "note": "Called them", "who_agentid": 5}, {"timetaken": 0.1, "note": "", "who_agentid": 5},
                 {"timetaken": 0.1, "note": "Called them", "who_agentid": 6}]),
])
async def test_a_retry_does_not_take_what_is_not_its_own(psa, halo, client, ticket, calling, path, others):
    """What is old, or other than what was asked for, is somebody else's: a retry creates its own."""
    kind, create = CREATIONS[path]
    for other in others:
        {"Client": halo.acme.save_client, "Tickets": halo.acme.save_ticket, "Actions": halo.acme.save_action}[path](
            {**({"ticket_id": ticket, "outcome": "Note"} if path == "Actions" else {}), **other})
    before = set(getattr(halo.acme, kind))
    calling(attempt=2, idempotency_key="key-1")
    assert (await create(psa, ticket if kind == "actions" else client))["id"] not in before


async def test_what_marks_a_creation_as_its_own(psa, halo, client, ticket, calling):
    """A first attempt creates in any case. A ticket's own reference is looked for; a time of any zone can be recent."""
    calling(attempt=1, idempotency_key="key-1")
    first, second = [await psa.create_ticket(client, "T", third_party_id_string="mine") for _ in range(2)]
    assert first.id != second.id
    calling(attempt=2, idempotency_key="key-1")
    assert (await psa.create_ticket(client, "T", third_party_id_string="mine")).id == second.id
    calling(attempt=2)  # without a key there is nothing to look for
    assert (await psa.create_ticket(client, "T")).id not in (first.id, second.id)
    made = halo.acme.save_action({"ticket_id": ticket, "outcome": "Note", "timetaken": 1, "who_agentid": 5,
                                  "actiondatecreated": None, "datetime": NEW})
    assert (await psa.create_time_entry(ticket, 5, 1)).id == made["id"]


async def test_a_halo_that_does_not_know_the_reference(calling):
    """Where the reference chooses nothing, each of the newest tickets is asked for its own: none is taken for another."""
    calling(attempt=2, idempotency_key="key-1")
    made, seen = await answered(
        lambda one: one.create_ticket(7, "T"), {"json": {"record_count": 90, "tickets": [{"id": n} for n in range(10)]}},
        *({"json": {"id": n, "third_party_id_string": None}} for n in range(10)), {"json": {"id": 90}})
    assert made.id == 90
    assert {"page_size": "10", "third_party_id_string": "key-1", "orderdesc": "true"}.items() <= seen[0].items()


@pytest.mark.parametrize(("call", "message"), [
    (lambda psa: psa.create_client(""), "create_client needs a name"),
    (lambda psa: psa.create_ticket(7, ""), "create_ticket needs a title"),
    (lambda psa: psa.create_ticket("7; drop", "T"), "client_id must be a whole number, not '7; drop'"),
    (lambda psa: psa.create_ticket(7, "T", priority="high"), "priority must be a whole number, not 'high'"),
    (lambda psa: psa.get_ticket("../Client"), "id must be a whole number"),
    (lambda psa: psa.get_time_entries(), "needs a ticket_id or a start"),
    (lambda psa: psa.get_time_entries(7, top=0), "get_time_entries: top must be at least 1"),
    (lambda psa: psa.get_clients(top=0), "get_clients: top must be at least 1"),
    *((lambda psa, hours=hours: psa.create_time_entry(7, 5, hours), "hours must be a number above 0")
      for hours in (0, "1", True, float("nan"))),
])
async def test_what_cannot_be_is_refused_before_halo_is_asked(psa, halo, call, message):
    """Wrong arguments name the method or the argument, and nothing is sent for them."""
    with pytest.raises(ValidationError, match=message):
        await call(psa)
    assert not halo.journal.entries(path="/api")


async def test_halos_refusals(psa, client):
    """Halo's own sentence and status reach the caller."""
    with pytest.raises(IntegrationError, match=r"answered 404 Not Found: There is no object of id '7'") as caught:
        await psa.get_ticket(7)
    assert caught.value.status_code == 404
    with pytest.raises(IntegrationError, match=r"POST /api/Actions answered 400 Bad Request: There is no object of id '7'"):
        await psa.create_time_entry(7, 5, 1)


async def test_an_expired_token_is_replaced_without_notice(psa, halo):
    """A token that Halo no longer takes costs a new login, not an error."""
    await psa.get_clients()
    await halo.control.fail("GET", "/api/Client", status=401)
    assert len(await psa.get_clients()) == 0
    assert [entry.tenant for entry in halo.journal.entries(path="/auth")] == ["acme", "acme"]


async def test_where_halo_is(world, psa, halo):
    """Addresses are taken as Halo shows them; without a tenant none is named; the scope is `all`."""
    halo._client_secrets = None
    world.configure(halopsa=config(f"{halo.url}/api/", auth_url=f"{halo.url}/auth/", tenant=None))
    await psa.get_clients()
    world.configure(halopsa=config(halo.url, auth_url=f"{halo.url}/auth/token", tenant="a&b"))
    await psa.get_clients()
    logins = halo.journal.entries(path="/auth/token", exact=True)
    assert [(entry.query, entry.body["scope"]) for entry in logins] == [({}, "all"), ({"tenant": "a&b"}, "all")]
    assert [entry.tenant for entry in halo.journal.entries(path="/api/Client")] == ["app", "a&b"]


async def test_a_wrong_secret_is_halos_refusal(world, psa):
    """Halo's refusal reaches the caller with its code, and without the secret."""
    await world.secrets.write("acme", "halopsa_client_secret", "wrong-canary-8123")
    with pytest.raises(IntegrationError, match="The specified client credentials are invalid") as caught:
        await psa.get_clients()
    assert (caught.value.status_code, caught.value.details["code"]) == (401, "invalid_client")
    assert "canary" not in str(caught.value.to_dict())


@pytest.mark.parametrize(("config", "message"), [
    ({}, "Organization 'acme' has no configuration 'halopsa'; it takes base_url, client_id, client_secret"),
    ({"halopsa": {"client_id": "app"}}, "Organization 'acme': the configuration 'halopsa' lacks base_url, client_secret"),
    ({"halopsa": config("https://x", client_secret="plain")}, "'halopsa.client_secret' must refer to a secret"),
])
async def test_what_is_missing_in_the_configuration(world, psa, config, message):
    """A missing or incomplete configuration names the organization and the keys, before anything is sent."""
    world.configure(**config)
    with pytest.raises(ConfigurationError, match=message):
        await psa.get_clients()


async def test_answers_of_other_shapes():
    """An object may come in an array, an empty list as null, and a list without its number goes on until a page is not full."""
    made, _ = await answered(lambda one: one.update_ticket(7, {}), {"json": [{"id": 7, "summary": "T"}]})
    assert (made.id, made.summary) == (7, "T")
    assert len((await answered(lambda one: one.get_clients(), {"json": {"record_count": 0, "clients": None}}))[0]) == 0
    full = {"json": {"tickets": [{"id": n} for n in range(100)]}}
    found, seen = await answered(lambda one: one.get_tickets(), full, full, {"json": {"tickets": [{"id": 200}]}})
    assert (len(found), [asked["page_no"] for asked in seen]) == (201, ["1", "2", "3"])
    short = {"json": {"record_count": 300, "tickets": [{"id": 1}]}}
    found, seen = await answered(lambda one: one.get_tickets(), short, {"json": {"record_count": 300, "tickets": []}})
    assert (len(found), len(seen)) == (1, 2)


@pytest.mark.parametrize("answer", [{"text": "<html>portal</html>"}, {"json": []}, {"json": {"clients": {}}}])
async def test_an_answer_that_is_none_is_an_error(answer):
    """A proxy's login page with status 200 is neither a client nor a list of them."""
    with pytest.raises(IntegrationError, match="GET /api/Client/7 answered 200 with no object with an id"):
        await answered(lambda one: one.get_client(7), answer)
    with pytest.raises(IntegrationError, match="GET /api/Client answered 200 with no list 'clients'"):
        await answered(lambda one: one.get_clients(), answer)
