"""Users, licences and groups in the Graph simulator."""

from __future__ import annotations

import pytest

from bifrost.dev.simulators.graph_directory import SKU_IDS
from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.server import SimulatorServer

E3 = SKU_IDS["ENTERPRISEPACK"]


def refusal(answer):
    """Status, code and sentence of an OData error."""
    return answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["message"]


def licenses(*add, remove=()):
    return {"addLicenses": [{"skuId": sku_id, "disabledPlans": []} for sku_id in add], "removeLicenses": list(remove)}


async def consumed(graph, part="ENTERPRISEPACK"):
    skus = (await graph.get("/v1.0/subscribedSkus")).json()["value"]
    return next(sku["consumedUnits"] for sku in skus if sku["skuPartNumber"] == part)


async def test_a_user_is_created_as_graph_does(graph, graph_server, a_user):
    """Creating a user answers 201 with the default properties, and never the password."""
    answer = await graph.post("/v1.0/users", json=a_user(department="IT"))
    user = answer.json()
    assert answer.status_code == 201
    assert user["@odata.context"] == f"{graph_server.url}/v1.0/$metadata#users/$entity"
    assert (user["displayName"], user["userPrincipalName"]) == ("Ada", "ada@acme.example")
    assert "department" not in user  # not a default property of Graph's; $select gets it
    assert "Tr0ub4dor" not in answer.text
    assert answer.headers["Location"] == f"{graph_server.url}/v1.0/users/{user['id']}"
    assert answer.headers["Content-Type"].startswith("application/json;odata.metadata=minimal")


@pytest.mark.parametrize("missing", ["accountEnabled", "displayName", "mailNickname", "userPrincipalName",
                                     "passwordProfile"])
async def test_a_user_needs_five_properties(graph, a_user, missing):
    """Each required property that is missing is refused by name."""
    answer = await graph.post("/v1.0/users", json=a_user(**{missing: None}))
    assert refusal(answer) == (400, "Request_BadRequest",
                               f"A value is required for property '{missing}' of resource 'User'.")


@pytest.mark.parametrize(("changes", "said"), [
    ({"passwordProfile": {}}, "A value is required for property 'passwordProfile.password'"),
    ({"passwordProfile": "Tr0ub4dor&3"}, "A value is required for property 'passwordProfile.password'"),
    ({"passwordProfile": {"password": "short1A"}}, "password complexity requirements"),
    ({"passwordProfile": {"password": "alllowercase"}}, "password complexity requirements"),
    ({"displayName": ""}, "Invalid value specified for property 'displayName'"),
    ({"accountEnabled": "yes"}, "Invalid value specified for property 'accountEnabled'"),
    ({"userPrincipalName": "ada"}, "Invalid value specified for property 'userPrincipalName'"),
    ({"mailNickname": "ada@acme.example"}, "Invalid value specified for property 'mailNickname'"),
    ({"usageLocation": "USA"}, "Invalid value specified for property 'usageLocation'"),
    ({"jobTitle": 7}, "Invalid value specified for property 'jobTitle'"),
    ({"display_name": "Ada"}, "The property 'display_name' does not exist on type 'microsoft.graph.user'."),
    ({"id": "mine"}, "Property 'id' is read-only and cannot be set."),
])
async def test_a_user_with_a_wrong_property_is_refused(graph, a_user, changes, said):
    """A value that a property cannot have, an unknown property and a read-only one are refused, and no user is made."""
    status, code, message = refusal(await graph.post("/v1.0/users", json=a_user(**changes)))
    assert (status, code) == (400, "Request_BadRequest")
    assert said in message
    assert (await graph.get("/v1.0/users")).json()["value"] == []


async def test_a_principal_name_is_there_once(graph, a_user, create):
    """A second user of the same userPrincipalName, in any case, is refused with the detail ObjectConflict."""
    await create()
    answer = await graph.post("/v1.0/users", json=a_user(userPrincipalName="ADA@acme.example"))
    said = "Another object with the same value for property userPrincipalName already exists."
    assert refusal(answer) == (400, "Request_BadRequest", said)
    assert answer.json()["error"]["details"] == [
        {"code": "ObjectConflict", "message": said, "target": "userPrincipalName"}]


async def test_a_user_is_found_by_id_and_by_principal_name(graph, graph_server, create):
    """Both names of a user find it, also in OData's form, `$select` chooses its properties, an unknown one is a 404."""
    user_id = await create(department="IT")
    by_name = (await graph.get("/v1.0/users/Ada@acme.example", params={"$select": "id,department"})).json()
    assert by_name == {"@odata.context": f"{graph_server.url}/v1.0/$metadata#users(id,department)/$entity",
                       "id": user_id, "department": "IT"}
    assert (await graph.get(f"/v1.0/users/{user_id}")).json()["id"] == user_id
    assert (await graph.get("/v1.0/users('ada@acme.example')")).json()["id"] == user_id
    assert refusal(await graph.get("/v1.0/users/bob@acme.example"))[:2] == (404, "Request_ResourceNotFound")


async def test_a_user_is_updated(graph, create):
    """PATCH answers 204 and changes what it names, also to null; a password is taken and never shown."""
    user_id = await create(jobTitle="Analyst")
    answer = await graph.patch(f"/v1.0/users/{user_id}", json={
        "department": "Sales", "jobTitle": None, "passwordProfile": {"password": "N3w-password"}})
    assert (answer.status_code, answer.content) == (204, b"")
    changed = (await graph.get(f"/v1.0/users/{user_id}", params={"$select": "department,jobTitle"})).json()
    assert (changed["department"], changed["jobTitle"]) == ("Sales", None)


async def test_a_wrong_update_is_refused(graph, create):
    """PATCH refuses an unknown user, null where a value is needed, and another's name; its own name is no conflict."""
    ada, _ = await create("ada"), await create("bob")
    async def patch(user, **body):
        answer = await graph.patch(f"/v1.0/users/{user}", json=body)
        return answer.status_code
    assert await patch("nobody", department="IT") == 404
    assert await patch(ada, accountEnabled=None) == 400
    assert await patch(ada, userPrincipalName="bob@acme.example") == 400
    assert await patch(ada, userPrincipalName="ada@acme.example") == 204


async def test_subscriptions_have_graphs_shape(graph):
    """`subscribedSkus` lists products by their public ids, with units bought and in use."""
    answer = (await graph.get("/v1.0/subscribedSkus")).json()
    assert answer["@odata.context"].endswith("/v1.0/$metadata#subscribedSkus")
    skus = {sku["skuPartNumber"]: sku for sku in answer["value"]}
    e3 = skus["ENTERPRISEPACK"]
    assert e3["skuId"] == "6fd2c87f-b296-42f0-b197-1e91e994b900"
    assert e3["prepaidUnits"] == {"enabled": 25, "suspended": 0, "warning": 0, "lockedOut": 0}
    assert (e3["consumedUnits"], e3["capabilityStatus"], e3["appliesTo"]) == (0, "Enabled", "User")
    assert {"servicePlanId", "servicePlanName", "provisioningStatus", "appliesTo"} == e3["servicePlans"][0].keys()
    assert skus["FLOW_FREE"]["servicePlans"] == []
    assert skus["SPE_E5"]["consumedUnits"] == skus["SPE_E5"]["prepaidUnits"]["enabled"]


async def test_a_licence_is_assigned_and_taken_away(graph, create):
    """Assigning uses a unit, once however often it is repeated; removing gives it back."""
    user_id = await create()
    for _ in range(2):
        answer = await graph.post(f"/v1.0/users/{user_id}/assignLicense", json=licenses(E3.upper()))
        assert (answer.status_code, answer.json()["id"]) == (200, user_id)
        assert await consumed(graph) == 1
    user = (await graph.get(f"/v1.0/users/{user_id}", params={"$select": "assignedLicenses"})).json()
    assert user["assignedLicenses"] == [{"disabledPlans": [], "skuId": E3}]
    answer = await graph.post("/v1.0/users/ada@acme.example/assignLicense", json=licenses(remove=[E3]))
    assert (answer.status_code, await consumed(graph)) == (200, 0)


@pytest.mark.parametrize(("body", "said"), [
    ({"addLicenses": []}, "The missing parameters are: removeLicenses."),
    ({"removeLicenses": []}, "The missing parameters are: addLicenses."),
    (licenses("ENTERPRISEPACK"), "Cannot convert a primitive value to the expected type 'Edm.Guid'."),
    ({"addLicenses": ["ENTERPRISEPACK"], "removeLicenses": []}, "expected type 'Edm.Guid'."),
    ({"addLicenses": [{}], "removeLicenses": []}, "expected type 'Edm.Guid'."),
    (licenses("00000000-0000-0000-0000-000000000001"), "does not correspond to a valid company License."),
    (licenses(E3, remove=[SKU_IDS["SPE_E3"]]), "User does not have a corresponding license."),
    (licenses(E3, SKU_IDS["SPE_E5"]), f"Subscription with SKU {SKU_IDS['SPE_E5']} does not have any available licenses."),
])
async def test_a_wrong_assignment_is_refused_as_a_whole(graph, create, body, said):
    """A licence that cannot be assigned or removed is refused with Graph's sentence, and nothing else is assigned."""
    user_id = await create()
    status, code, message = refusal(await graph.post(f"/v1.0/users/{user_id}/assignLicense", json=body))
    assert (status, code) == (400, "Request_BadRequest")
    assert said in message
    assert await consumed(graph) == 0


async def test_a_licence_needs_a_usage_location(graph, create):
    """A user without usageLocation gets no licence; an unknown user is a 404."""
    user_id = await create(usageLocation=None)
    answer = await graph.post(f"/v1.0/users/{user_id}/assignLicense", json=licenses(E3))
    assert refusal(answer) == (400, "Request_BadRequest",
                               "License assignment cannot be done for user with invalid usage location.")
    assert (await graph.post("/v1.0/users/nobody/assignLicense", json=licenses(E3))).status_code == 404


async def test_subscriptions_can_be_chosen(sign_in, a_user):
    """With one unit bought the first user gets it and the second is refused."""
    simulator = GraphSimulator(subscribed={"ENTERPRISEPACK": (1, 0)})
    async with SimulatorServer(simulator) as server, await sign_in(server, "acme") as client:
        statuses = []
        for name in ("ada", "bob"):
            user = (await client.post("/v1.0/users", json=a_user(name))).json()
            answer = await client.post(f"/v1.0/users/{user['id']}/assignLicense", json=licenses(E3))
            statuses.append(answer.status_code)
        assert statuses == [200, 400]


async def test_departments_have_groups(graph):
    """Every tenant has the four departments' groups, found by their name and by their id."""
    assert [group["displayName"] for group in (await graph.get("/v1.0/groups")).json()["value"]] == [
        "IT", "Sales", "Finance", "HR"]
    found = (await graph.get("/v1.0/groups", params={"$filter": "displayName eq 'Finance'"})).json()["value"]
    assert len(found) == 1
    group = (await graph.get(f"/v1.0/groups/{found[0]['id']}")).json()
    assert (group["displayName"], group["securityEnabled"]) == ("Finance", True)
    assert refusal(await graph.get("/v1.0/groups/nothing"))[:2] == (404, "Request_ResourceNotFound")


async def test_a_member_is_added_once(graph, graph_server, create):
    """Adding a member answers 204, and adding it again Graph's 400."""
    user_id = await create()
    group = (await graph.get("/v1.0/groups", params={"$filter": "displayName eq 'IT'"})).json()["value"][0]["id"]
    body = {"@odata.id": f"{graph_server.url}/v1.0/directoryObjects/{user_id}"}
    answer = await graph.post(f"/v1.0/groups/{group}/members/$ref", json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    again = await graph.post(f"/v1.0/groups/{group}/members/$ref", json=body)
    said = "One or more added object references already exist for the following modified properties: 'members'."
    assert refusal(again) == (400, "Request_BadRequest", said)
    members = (await graph.get(f"/v1.0/groups/{group}/members")).json()["value"]
    assert [member["id"] for member in members] == [user_id]


async def test_a_wrong_membership_is_refused(graph, create):
    """A reference that is none is a 400; a user or a group that is not there is a 404."""
    user_id = await create()
    group = (await graph.get("/v1.0/groups")).json()["value"][0]["id"]
    async def add(group, **body):
        return (await graph.post(f"/v1.0/groups/{group}/members/$ref", json=body)).status_code
    assert await add(group) == 400
    assert await add(group, **{"@odata.id": user_id}) == 400
    assert await add(group, **{"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/nobody"}) == 404
    assert await add("nothing", **{"@odata.id": f"https://graph.microsoft.com/v1.0/users/{user_id}"}) == 404


async def test_a_member_is_removed_once(graph, graph_server, create):
    """Removing a member answers 204 and leaves the user; the 404 names the group, also where it is the member that is missing."""
    user_id = await create()
    group = (await graph.get("/v1.0/groups")).json()["value"][0]["id"]
    await graph.post(f"/v1.0/groups/{group}/members/$ref",
                     json={"@odata.id": f"{graph_server.url}/v1.0/users/{user_id}"})
    [member] = (await graph.get(f"/v1.0/groups/{group}/members", params={"$select": "id"})).json()["value"]
    assert member == {"@odata.type": "#microsoft.graph.user", "id": user_id}
    answer = await graph.delete(f"/v1.0/groups/{group}/members/{user_id}/$ref")
    assert (answer.status_code, answer.content) == (204, b"")
    for path in (f"/v1.0/groups/{group}/members/{user_id}/$ref", f"/v1.0/groups/{group}/members/nobody/$ref"):
        status, code, message = refusal(await graph.delete(path))
        assert (status, code) == (404, "Request_ResourceNotFound")
        assert message.startswith(f"Resource '{group}' does not exist")
    assert (await graph.get(f"/v1.0/users/{user_id}")).status_code == 200


async def test_a_deleted_user_leaves_nothing(graph, graph_server, create):
    """Deleting answers 204, ends memberships, gives the licence back and frees the name; nobody is deleted twice."""
    user_id = await create()
    group = (await graph.get("/v1.0/groups")).json()["value"][0]["id"]
    await graph.post(f"/v1.0/users/{user_id}/assignLicense", json=licenses(E3))
    await graph.post(f"/v1.0/groups/{group}/members/$ref",
                     json={"@odata.id": f"{graph_server.url}/v1.0/users/{user_id}"})
    answer = await graph.delete("/v1.0/users('ada@acme.example')")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await graph.get(f"/v1.0/groups/{group}/members")).json()["value"] == []
    assert await consumed(graph) == 0
    assert (await graph.delete(f"/v1.0/users/{user_id}")).status_code == 404
    assert await create() != user_id


async def test_licence_details(graph, graph_server, create):
    """`licenseDetails` has the part number and the service plans of what is assigned, and an id of Graph's form."""
    user_id = await create()
    await graph.post(f"/v1.0/users/{user_id}/assignLicense", json=licenses(E3))
    answer = (await graph.get("/v1.0/users/ada@acme.example/licenseDetails")).json()
    assert answer["@odata.context"] == f"{graph_server.url}/v1.0/$metadata#users('{user_id}')/licenseDetails"
    [details] = answer["value"]
    assert (details["skuId"], details["skuPartNumber"], len(details["id"])) == (E3, "ENTERPRISEPACK", 43)
    assert details["servicePlans"][0].keys() == {"servicePlanId", "servicePlanName", "provisioningStatus", "appliesTo"}
    assert (await graph.get("/v1.0/users/nobody/licenseDetails")).status_code == 404


async def test_sessions_are_revoked(graph, graph_server, tenant, create):
    """Revoking answers the boolean true and moves the time from which sessions count."""
    user_id = await create()
    kept = graph_server.simulator.directory(tenant).users[user_id]
    kept["signInSessionsValidFromDateTime"] = "2020-01-01T00:00:00Z"
    answer = await graph.post(f"/v1.0/users/{user_id}/revokeSignInSessions")
    assert (answer.status_code, answer.json()) == (200, {
        "@odata.context": f"{graph_server.url}/v1.0/$metadata#Edm.Boolean", "value": True})
    changed = await graph.get(f"/v1.0/users/{user_id}", params={"$select": "signInSessionsValidFromDateTime"})
    assert changed.json()["signInSessionsValidFromDateTime"] > "2020-01-01T00:00:00Z"
    assert (await graph.post("/v1.0/users/nobody/revokeSignInSessions")).status_code == 404


async def test_a_group_is_created_as_graph_does(graph, graph_server):
    """Creating a group answers 201 with all its properties; `@odata.type`, which Microsoft's clients send, is no property."""
    answer = await graph.post("/v1.0/groups", json={
        "@odata.type": "#microsoft.graph.group", "displayName": "Board", "mailEnabled": False, "mailNickname": "board",
        "securityEnabled": True})
    group = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{graph_server.url}/v1.0/groups/{group['id']}")
    assert group["@odata.context"] == f"{graph_server.url}/v1.0/$metadata#groups/$entity"
    assert (group["groupTypes"], group["mail"], group["description"]) == ([], None, None)
    assert (await graph.get(f"/v1.0/groups/{group['id']}")).json()["displayName"] == "Board"
    assert (await graph.get(f"/v1.0/groups/{group['id']}/members")).json()["value"] == []


@pytest.mark.parametrize(("changes", "said"), [
    ({"displayName": None}, "A value is required for property 'displayName' of resource 'Group'."),
    ({"mailNickname": "the board"}, "Invalid value specified for property 'mailNickname' of resource 'Group'."),
    ({"mailNickname": "b.oard"}, "Invalid value specified for property 'mailNickname'"),
    ({"description": ""}, "Invalid value specified for property 'description'"),
    ({"groupTypes": None}, "Invalid value specified for property 'groupTypes'"),
    ({"mail": "board@acme.example"}, "Property 'mail' is read-only and cannot be set."),
    ({"owner": "ada"}, "The property 'owner' does not exist on type 'microsoft.graph.group'."),
    ({"mailEnabled": True}, "does not currently support writes of mail-enabled groups"),
    ({"groupTypes": ["Unified"], "mailEnabled": True, "mailNickname": "crew"},
     "Another object with the same value for property mailNickname already exists."),
])
async def test_a_wrong_group_is_refused(graph, changes, said):
    """What a group cannot be is refused, a nickname that another Microsoft 365 group has too, and no group is made."""
    crew = {"displayName": "Crew", "mailEnabled": True, "mailNickname": "crew", "securityEnabled": False,
            "groupTypes": ["Unified"]}
    assert (await graph.post("/v1.0/groups", json=crew)).status_code == 201
    status, code, message = refusal(await graph.post("/v1.0/groups", json={
        "displayName": "Board", "mailEnabled": False, "mailNickname": "board", "securityEnabled": True, **changes}))
    assert (status, code) == (400, "Request_BadRequest")
    assert said in message
    assert (await graph.get("/v1.0/groups", params={"$filter": "displayName eq 'Board'"})).json()["value"] == []


async def test_reports_are_paged(graph, graph_server, tenant):
    """Sign-ins and alerts are newest first and follow each other page by page; up to 1,000 fit on a page."""
    reports = graph_server.simulator.directory(tenant).reports
    for number in range(3):
        reports.add_sign_in({"id": str(number), "displayName": "Ada", "userPrincipalName": "ada@acme.example"})
        reports.add_alert(f"Alert {number}")
    for path, name, found in (("auditLogs/signIns", "userId", ["2", "1", "0"]),
                              ("security/alerts_v2", "title", ["Alert 2", "Alert 1", "Alert 0"])):
        first = (await graph.get(f"/v1.0/{path}", params={"$top": "2"})).json()
        last = (await graph.get(first["@odata.nextLink"])).json()
        assert first["@odata.context"] == f"{graph_server.url}/v1.0/$metadata#{path}"
        assert [one[name] for one in first["value"] + last["value"]] == found
        assert (await graph.get(f"/v1.0/{path}", params={"$top": "1000"})).status_code == 200
        assert (await graph.get(f"/v1.0/{path}", params={"$top": "1001"})).status_code == 400
