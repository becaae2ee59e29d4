"""Microsoft Graph over real HTTP, against the simulator of its wire format."""

from __future__ import annotations

import asyncio
import json
import string

import httpx
import pytest

from bifrost import redaction
from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError, ValidationError
from bifrost.integrations import msgraph, msgraph_wire
from bifrost.record import Page, Record

from .conftest import GRAPH_SECRET, msgraph_config

E3 = "6fd2c87f-b296-42f0-b197-1e91e994b900"


@pytest.fixture
def ms(acme):
    """Acme's Microsoft Graph."""
    return acme.pool.of("acme", "msgraph")


class Context:
    """An organization, or rather what the integration asks of its context."""

    org, org_id = None, "acme"

    def __init__(self, tenant_id="acme", **config):
        self.tenant_id = tenant_id
        self.config = {"client_id": "app", "client_secret": {"secret_ref": "msgraph_client_secret"}, **config}

    def get_config(self, key, default=None):
        return {"msgraph": self.config}.get(key, default)

    async def get_secret(self, name):
        return GRAPH_SECRET

    def _track_integration_call(self, **call):
        pass


async def answered(handler, call):
    """What `call` makes of a Graph that answers as `handler` does: for answers that the simulator does not give."""
    def respond(request):
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "odd-graph-token"})
        return handler(request)

    client = msgraph.MSGraphIntegration(Context(base_url="https://graph.example"))
    client.http.transport = httpx.MockTransport(respond)
    await client.authenticate()
    try:
        return await call(client)
    finally:
        await client.aclose()


async def test_a_user_by_position_or_by_keyword(ms, graph):
    """The guide's two ways to call create_user make the same user."""
    first = await ms.create_user("ada@acme.example", "Ada Lovelace", "IT")
    second = await ms.create_user(email="bob@acme.example", display_name="Bob", department="IT")
    assert isinstance(first, Record)
    assert (first["displayName"], second.display_name, second.user_principal_name) == (
        "Ada Lovelace", "Bob", "bob@acme.example")
    kept = graph.directory("acme").users[first["id"]]
    assert (kept["department"], kept["usageLocation"], kept["accountEnabled"], kept["mailNickname"]) == (
        "IT", "US", True, "ada")


async def test_further_properties_in_either_spelling(acme, ms, graph):
    """Properties go to Graph in camelCase; the usage location is the argument's, else the configured one."""
    acme.configure(msgraph=msgraph_config(graph.url, usage_location="DE"))
    user = await ms.create_user("ada@acme.example", "Ada", job_title="Engineer", officeLocation="B1")
    other = await ms.create_user("bob@acme.example", "Bob", usage_location="FR")
    kept = graph.directory("acme").users
    assert (user.job_title, user.office_location) == ("Engineer", "B1")
    assert (kept[user["id"]]["usageLocation"], kept[other["id"]]["usageLocation"]) == ("DE", "FR")


async def test_a_user_needs_a_name_and_an_address(ms, graph):
    """What Graph would refuse anyway is refused before it is asked."""
    with pytest.raises(ValidationError, match="needs a name") as caught:
        await ms.create_user("ada@acme.example")
    assert caught.value.field == "name"
    for address in ("ada", "@acme.example", "é@acme.example"):
        with pytest.raises(ValidationError, match="needs an email address"):
            await ms.create_user(address, "Ada")
    assert not graph.journal.entries(path="/v1.0/users")


async def test_nobody_learns_the_initial_password(acme, monkeypatch):
    """The initial password is in the request, must be changed, is masked everywhere, and is in no answer or error."""
    sent = []

    def create(request):
        sent.append(json.loads(request.content)["passwordProfile"])
        return httpx.Response(500, json={"error": {"code": "Echo", "message": f"Refused {request.content.decode()}"}})

    with pytest.raises(IntegrationError) as caught:
        await answered(create, lambda client: client.create_user("ada@acme.example", "Ada"))
    assert sent[0]["forceChangePasswordNextSignIn"] is True
    assert sent[0]["password"] not in str(caught.value.to_dict())
    assert sent[0]["password"] not in redaction.mask(sent[0]["password"])


def test_initial_passwords_are_strong_and_differ():
    """An initial password is long, of all four kinds of characters, and never twice the same."""
    made = {msgraph_wire.initial_password() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        assert len(password) == 24
        assert all(set(password) & set(kind) for kind in (
            string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation))


async def test_a_taken_name_is_an_error_at_the_first_attempt(ms, calling):
    """At a first attempt a taken name is somebody else's: Graph's refusal, as it is."""
    calling(attempt=1)
    await ms.create_user("ada@acme.example", "Ada")
    with pytest.raises(IntegrationError, match="userPrincipalName already exists") as caught:
        await ms.create_user("ada@acme.example", "Ada")
    assert (caught.value.status_code, caught.value.details["code"]) == (400, "Request_BadRequest")


async def test_a_retry_finds_the_user_of_an_attempt_whose_answer_was_lost(ms, graph, calling):
    """The first attempt creates the user and loses the answer; the second one answers that user, and there is one."""
    await graph.control.fail("POST", "/v1.0/users", drop=True, after=True)
    calling(attempt=1)
    with pytest.raises(IntegrationError, match="could not be reached"):
        await ms.create_user("ada@acme.example", "Ada", "IT")
    calling(attempt=2)
    user = await ms.create_user("ada@acme.example", "Ada", "IT")
    assert list(graph.directory("acme").users) == [user["id"]]
    assert (user.display_name, user.department) == ("Ada", "IT")


async def test_a_retry_does_not_take_somebody_else(ms, calling):
    """A retry that finds the name taken by a user who is not the one asked for fails: it is another person."""
    await ms.create_user("ada@acme.example", "Ada Byron", "Finance")
    calling(attempt=2)
    with pytest.raises(IntegrationError, match="userPrincipalName already exists"):
        await ms.create_user("ada@acme.example", "Ada Lovelace", "Finance")
    with pytest.raises(IntegrationError, match="userPrincipalName already exists"):
        await ms.create_user("ada@acme.example", "Ada Byron", "IT")


async def test_a_retry_does_not_hide_another_refusal(ms, calling):
    """Only a taken name is taken for the earlier attempt's work."""
    calling(attempt=2)
    with pytest.raises(IntegrationError, match="Invalid value specified for property 'usageLocation'"):
        await ms.create_user("ada@acme.example", "Ada", usage_location="Germany")


async def test_users_by_id_and_by_name(ms):
    """A user is found by id and by principal name; `select` chooses properties; an unknown one is a 404."""
    made = await ms.create_user("ada@acme.example", "Ada", "IT")
    assert (await ms.get_user(made["id"])).display_name == "Ada"
    assert (await ms.get_user("ada@acme.example", select="id,department")).department == "IT"
    with pytest.raises(IntegrationError) as caught:
        await ms.get_user("nobody@acme.example")
    assert caught.value.status_code == 404


@pytest.mark.parametrize(("name", "path"), [
    ("a/b#EXT#@acme.example", b"/v1.0/users/a%2Fb%23EXT%23@acme.example"),
    ("$x@acme.example", b"/v1.0/users('%24x@acme.example')"), ("../groups", b"/v1.0/users/..%2Fgroups")])
async def test_a_name_never_becomes_another_path(name, path):
    """Slashes, number signs and dollars in a principal name are escaped as Graph wants them."""
    seen = []
    await answered(lambda request: seen.append(request.url.raw_path) or httpx.Response(200, json={"id": "1"}),
                   lambda client: client.get_user(name))
    assert seen == [path]


async def test_a_list_is_followed_to_its_last_page(ms, graph):
    """A collection is whole however many pages it has; `top` bounds it; it has `value`, a length and an order."""
    await asyncio.gather(*(ms.create_user(f"user{n}@acme.example", f"User {n}") for n in range(5)))
    graph.journal.clear()
    users = await ms.get_users(top=4)
    assert isinstance(users, Page)
    assert (len(users), len(users.value)) == (4, 4)
    two_a_page = await answered_pages(graph)
    assert two_a_page == 5
    assert "@odata.nextLink" not in users


async def answered_pages(graph):
    """How many users are listed when Graph sends two a page."""
    pages = {"1": {"value": [{"id": "a"}, {"id": "b"}], "@odata.nextLink": "https://graph.example/v1.0/users?page=2"},
             "2": {"value": [{"id": "c"}, {"id": "d"}], "@odata.nextLink": "https://graph.example/v1.0/users?page=3"},
             "3": {"value": [{"id": "e"}]}}
    return len(await answered(lambda request: httpx.Response(200, json=pages[request.url.params.get("page", "1")]),
                              lambda client: client.get_users()))


async def test_top_bounds_a_list_of_several_pages():
    """`top` is how many there are at most, not the size of a page; no page is fetched in vain."""
    asked = []

    def page(request):
        asked.append(dict(request.url.params))
        return httpx.Response(200, json={"value": [{"id": "a"}, {"id": "b"}],
                                         "@odata.nextLink": "https://graph.example/v1.0/users?page=next"})
    users = await answered(page, lambda client: client.get_users(top=3))
    assert ([user.id for user in users], asked) == (["a", "b", "a"], [{"$top": "3"}, {"page": "next"}])
    asked.clear()
    await answered(page, lambda client: client.get_users(top=2))
    assert asked == [{"$top": "2"}]
    with pytest.raises(ValidationError, match="top must be at least 1"):
        await answered(page, lambda client: client.get_users(top=0))


async def test_filter_and_select(ms):
    """`filter` is OData's; `select` takes names as a list or as text."""
    await ms.create_user("ada@acme.example", "Ada", "IT")
    await ms.create_user("bob@acme.example", "Bob", "Sales")
    users = await ms.get_users(filter="accountEnabled eq true and department eq 'IT'", select=["id", "displayName"])
    assert [dict(user) for user in users] == [{"id": users[0].id, "displayName": "Ada"}]


async def test_update_user(ms, graph):
    """Changes reach Graph in camelCase; the answer says whose they were."""
    made = await ms.create_user("ada@acme.example", "Ada")
    assert await ms.update_user(made["id"], {"job_title": "Countess", "department": "IT"}) == {
        "success": True, "id": made["id"]}
    assert graph.directory("acme").users[made["id"]]["jobTitle"] == "Countess"


async def test_a_user_is_disabled_signed_out_and_enabled(ms, graph):
    """Disabling, revoking and enabling act on the user, by id or name, and may be repeated."""
    made = await ms.create_user("ada@acme.example", "Ada")
    kept = graph.directory("acme").users[made["id"]]
    kept["signInSessionsValidFromDateTime"] = before = "2020-01-01T00:00:00Z"
    for _ in range(2):
        assert await ms.disable_user(made["id"]) == {"success": True, "id": made["id"]}
        assert (await ms.revoke_sign_in_sessions(id="ada@acme.example")).success
    assert (kept["accountEnabled"], kept["signInSessionsValidFromDateTime"] > before) == (False, True)
    await ms.enable_user(id="ada@acme.example")
    assert kept["accountEnabled"] is True


async def test_a_user_is_deleted_once(ms, graph, calling):
    """Nobody to delete is an error at a first attempt, and at a retry the earlier attempt's work; else it is an error."""
    made = await ms.create_user("ada@acme.example", "Ada")
    assert await ms.delete_user(made["id"]) == {"success": True, "id": made["id"]}
    assert graph.directory("acme").users == {}
    calling(attempt=1)
    with pytest.raises(IntegrationError) as caught:
        await ms.delete_user(made["id"])
    assert caught.value.status_code == 404
    calling(attempt=2)
    assert (await ms.delete_user(made["id"])).success
    await graph.control.fail("DELETE", "/v1.0/users", status=403)
    with pytest.raises(IntegrationError, match="Insufficient privileges"):
        await ms.delete_user(made["id"])


@pytest.mark.parametrize("sku", ["ENTERPRISEPACK", "enterprisepack", E3, E3.upper()])
async def test_a_license_by_id_or_part_number(ms, graph, sku):
    """A licence is named by its GUID or its part number, in any case; assigning it again changes nothing."""
    made = await ms.create_user("ada@acme.example", "Ada")
    for _ in range(2):
        assert (await ms.assign_license(made["id"], sku)).id == made["id"]
    assert [one["skuId"] for one in graph.directory("acme").users[made["id"]]["assignedLicenses"]] == [E3]
    assert next(one for one in await ms.get_subscribed_skus() if one.sku_id == E3).consumed_units == 1


async def test_a_license_that_there_is_not(ms):
    """An unknown part number names the similar ones; a licence that is used up is Graph's refusal."""
    made = await ms.create_user("ada@acme.example", "Ada")
    with pytest.raises(NotFoundError, match=r"License 'ENTERPRISEPAK' not found. Did you mean 'ENTERPRISEPACK'\?"):
        await ms.assign_license(made["id"], "enterprisepak")
    with pytest.raises(IntegrationError, match="does not have any available licenses") as caught:
        await ms.assign_license(made["id"], "SPE_E5")
    assert caught.value.status_code == 400


async def test_a_license_is_taken_away(ms, graph):
    """A licence is removed by id or part number, a licence that is not there is no error, and one that never was is."""
    made = await ms.create_user("ada@acme.example", "Ada")
    for sku in ("enterprisepack", E3):
        await ms.assign_license(made["id"], sku)
        [held] = await ms.get_user_licenses(made["id"])
        assert (held.sku_id, held.sku_part_number) == (E3, "ENTERPRISEPACK")
        for _ in range(2):
            assert (await ms.remove_license(user_id="ada@acme.example", sku=sku)).id == made["id"]
        assert len(await ms.get_user_licenses(id=made["id"])) == 0
    with pytest.raises(NotFoundError, match="Did you mean 'ENTERPRISEPACK'"):
        await ms.remove_license(made["id"], "ENTERPRISEPAK")
    with pytest.raises(IntegrationError, match="does not correspond to a valid company License"):
        await ms.remove_license(made["id"], "00000000-0000-0000-0000-000000000001")


async def test_groups(ms, graph):
    """Groups are found by filter and by name, quotes included; a member twice is no error, an unknown group is."""
    made = await ms.create_user("ada@acme.example", "Ada")
    group = await ms.get_group_by_name("IT")
    assert (await ms.get_groups("displayName eq 'IT'")).value[0] == group
    assert await ms.get_group_by_name("It's us") is None
    assert len(await ms.get_groups()) > 1
    for _ in range(2):
        assert (await ms.add_user_to_group(made["id"], group["id"])).success
    assert graph.directory("acme").members[group["id"]] == [made["id"]]
    with pytest.raises(IntegrationError) as caught:
        await ms.add_user_to_group(made["id"], "nowhere")
    assert caught.value.status_code == 404


async def test_members_come_and_go(ms):
    """Members are listed with their types, to the last page or to `top`; removing who is none is no error, and removing
    nobody, or from nowhere, is.
    """
    users = [await ms.create_user(f"user{n}@acme.example", f"User {n}") for n in range(3)]
    group = await ms.get_group_by_name("IT")
    for user in users:
        await ms.add_user_to_group(user["id"], group["id"])
    members = await ms.get_group_members(group["id"], select=["displayName"])
    assert [(one.display_name, one["@odata.type"]) for one in members] == [
        (f"User {n}", "#microsoft.graph.user") for n in range(3)]
    assert len(await ms.get_group_members(group_id=group["id"], top=2)) == 2
    for _ in range(2):
        assert await ms.remove_user_from_group(users[0]["id"], group["id"]) == {
            "success": True, "user_id": users[0]["id"], "group_id": group["id"]}
    assert [one.id for one in await ms.get_group_members(group["id"])] == [user["id"] for user in users[1:]]
    for user_id, group_id in ((users[1]["id"], "nowhere"), (E3, group["id"]), ("user1@acme.example", group["id"])):
        with pytest.raises(IntegrationError) as caught:
            await ms.remove_user_from_group(user_id, group_id)
        assert caught.value.status_code == 404
    assert len(await ms.get_group_members(group["id"])) == 2


async def test_a_group_is_created_once(ms, graph, calling):
    """A call makes one group however many attempts it takes, and another call another, also of the same name."""
    await graph.control.fail("POST", "/v1.0/groups", drop=True, after=True)
    calling(attempt=1, idempotency_key="one")
    with pytest.raises(IntegrationError, match="could not be reached"):
        await ms.create_group("Bob's friends", "Those who like Bob")
    calling(attempt=2, idempotency_key="one")
    first = await ms.create_group("Bob's friends", "Those who like Bob")
    calling(attempt=2, idempotency_key="two")
    second = await ms.create_group(name="Bob's friends", description="Those who like Bob")
    made = [group for group in await ms.get_groups() if group.display_name == "Bob's friends"]
    assert [group.id for group in made] == [first["id"], second["id"]]
    assert (first.description, first.security_enabled, first.mail_enabled) == ("Those who like Bob", True, False)


async def test_a_microsoft_365_group(ms):
    """A unified group has mail at its nickname, and a nickname that another has is Graph's refusal; a name is needed."""
    group = await ms.create_group("Crew", mail_nickname="crew", group_types=["Unified"], visibility="Private")
    assert (group.mail.partition("@")[0], group.mail_enabled, group.security_enabled, group.visibility) == (
        "crew", True, False, "Private")
    with pytest.raises(IntegrationError, match="same value for property mailNickname"):
        await ms.create_group("Another crew", mail_nickname="crew", group_types=["Unified"])
    with pytest.raises(ValidationError, match="needs a name"):
        await ms.create_group("")


async def test_sign_ins_and_alerts(ms, graph):
    """Both are newest first, chosen by `filter`, bounded by `top`, and `top` is at least 1."""
    user, reports = await ms.create_user("ada@acme.example", "Ada"), graph.directory("acme").reports
    for day in (1, 2, 3):
        at = f"2026-11-0{day}T08:00:00Z"
        reports.add_sign_in(user, createdDateTime=at, status={"errorCode": 50126 if day == 2 else 0})
        reports.add_alert(f"Alert {day}", createdDateTime=at, severity="high" if day == 1 else "low")
    assert [one.created_date_time[8:10] for one in await ms.get_sign_ins()] == ["03", "02", "01"]
    [failed] = await ms.get_sign_ins("createdDateTime ge 2026-11-02T00:00:00Z and status/errorCode ne 0")
    assert (failed.user_id, failed.status.error_code) == (user["id"], 50126)
    assert len(await ms.get_sign_ins(top=2)) == 2
    assert [one.title for one in await ms.get_security_alerts(top=2)] == ["Alert 3", "Alert 2"]
    assert [one.title for one in (await ms.get_security_alerts(filter="severity eq 'high'")).value] == ["Alert 1"]
    for refused in (ms.get_sign_ins(top=0), ms.get_security_alerts(top=0), ms.get_group_members("any", top=0)):
        with pytest.raises(ValidationError, match="top must be at least 1"):
            await refused


async def test_licenses_read_as_the_guide_reads_them(ms):
    """`skus.value`, `sku.prepaid_units.enabled`, `sku.consumed_units`, `sku.sku_part_number` and `sku.sku_id` work."""
    skus = await ms.get_subscribed_skus()
    by_part = {sku.sku_part_number: (sku.prepaid_units.enabled, sku.consumed_units, sku.sku_id) for sku in skus.value}
    assert by_part["ENTERPRISEPACK"] == (25, 0, E3)


async def test_an_expired_token_is_replaced_without_notice(ms, graph):
    """A token that Graph no longer takes costs a new login, not an error."""
    await ms.get_groups()
    await graph.control.fail("GET", "/v1.0/groups", status=401)
    assert await ms.get_groups()
    assert len(graph.journal.entries(path="/acme/oauth2")) == 2


@pytest.mark.parametrize(("config", "message"), [
    ({}, "Organization 'acme': the configuration 'msgraph' lacks client_id, client_secret"),
    ({"msgraph": {"client_id": "app"}}, "Organization 'acme': the configuration 'msgraph' lacks client_secret"),
    ({"msgraph": {"client_id": "app", "client_secret": "plain"}}, "'msgraph.client_secret' must refer to a secret"),
])
async def test_what_is_missing_in_the_configuration(world, config, message):
    """A missing or incomplete configuration names the organization and the keys, before anything is sent."""
    world.configure(**config)
    with pytest.raises(ConfigurationError, match=message):
        await world.pool.of("acme", "msgraph").get_groups()


async def test_a_wrong_secret_is_entras_refusal(acme, ms):
    """Entra's refusal reaches the caller with its code, and without the secret."""
    await acme.secrets.write("acme", "msgraph_client_secret", "wrong-canary-8123")
    with pytest.raises(IntegrationError, match="AADSTS7000215") as caught:
        await ms.get_groups()
    assert (caught.value.status_code, caught.value.details["code"]) == (401, "invalid_client")
    assert "canary" not in str(caught.value.to_dict())


@pytest.mark.parametrize("answer", [{"text": "<html>portal</html>"}, {"json": []}])
async def test_an_answer_that_is_no_object_is_an_error(answer):
    """A proxy's login page with status 200 is not a user."""
    with pytest.raises(IntegrationError, match="something that is no JSON object"):
        await answered(lambda _: httpx.Response(200, **answer), lambda client: client.get_user("ada"))


def test_real_addresses_are_the_defaults():
    """Without URLs in the configuration, Microsoft's own are meant."""
    seen = []
    client = msgraph.MSGraphIntegration(Context(tenant_id="t/../x"))
    client.http.transport = httpx.MockTransport(
        lambda request: seen.append(str(request.url)) or httpx.Response(200, json={"access_token": "default-token"}))
    asyncio.run(client.authenticate())
    assert seen == ["https://login.microsoftonline.com/t%2F..%2Fx/oauth2/v2.0/token"]
    assert client.http.base_url == "https://graph.microsoft.com/v1.0"
