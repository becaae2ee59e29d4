"""$filter, $select, $top and paging of the Graph simulator."""

from __future__ import annotations

import pytest


@pytest.fixture
async def people(create):
    """Four users."""
    await create("ada", department="IT")
    await create("bob", department="Sales", accountEnabled=False)
    await create("adrian", department="IT", accountEnabled=False)
    await create("o'neil", department="Sales")


@pytest.mark.parametrize(("condition", "names"), [
    ("accountEnabled eq true", ["Ada", "O'Neil"]),
    ("accountEnabled eq false and department eq 'IT'", ["Adrian"]),
    ("userPrincipalName eq 'BOB@acme.example'", ["Bob"]),
    ("startswith(displayName,'ad')", ["Ada", "Adrian"]),
    ("startswith( displayName , 'AD' ) and accountEnabled eq true and department eq 'IT'", ["Ada"]),
    ("displayName eq 'o''neil'", ["O'Neil"]),
    ("startswith(jobTitle,'x')", []),
    ("jobTitle eq 'x'", []),
    ("jobTitle eq null", ["Ada", "Bob", "Adrian", "O'Neil"]),
    ("department eq 'IT and Sales'", []),
    ("displayName eq 'bob' or startsWith(displayName,'o') and accountEnabled eq true", ["Bob", "O'Neil"]),
    ("createdDateTime ge 2020-01-01T00:00:00Z and createdDateTime le 2999-12-31", ["Ada", "Bob", "Adrian", "O'Neil"]),
    ("createdDateTime le 2020-01-01T00:00:00.123+01:00", []),
    ("jobTitle ge 'a'", []),
])
async def test_a_filter_chooses(graph, people, condition, names):
    """`eq` compares texts without case, booleans and null, `ge` and `le` also times; `startswith` compares beginnings; `and`
    joins them, and `or` these.
    """
    answer = await graph.get("/v1.0/users", params={"$filter": condition})
    assert [user["displayName"] for user in answer.json()["value"]] == names


@pytest.mark.parametrize(("condition", "said"), [
    ("nickname eq 'x'", "Could not find a property named 'nickname' on type 'microsoft.graph.user'."),
    ("startswith(nickname,'x')", "Could not find a property named 'nickname'"),
    ("accountEnabled eq 'true'", "Found operand types 'Edm.Boolean' and 'Edm.String'"),
    ("displayName eq true", "Found operand types 'Edm.String' and 'Edm.Boolean'"),
    ("businessPhones eq 'x'", "Found operand types 'Collection(Edm.String)' and 'Edm.String'"),
    ("createdDateTime ge '2020-01-01'", "Found operand types 'Edm.DateTimeOffset' and 'Edm.String'"),
    ("createdDateTime ge 2020-13-01", "The value '2020-13-01' is no date."),
    ("not(displayName eq 'x')", "Syntax error at position 0"),
    ("displayName eq 'it's'", "Syntax error at position 19"),
    ("displayName eq 'x' xor displayName eq 'y'", "Syntax error at position 18"),
    ("displayName eq 'x' and ", "Syntax error at position 18"),
])
async def test_a_wrong_filter_is_refused(graph, condition, said):
    """A filter that Graph or this simulator cannot answer is refused, not ignored."""
    answer = await graph.get("/v1.0/users", params={"$filter": condition})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
    assert answer.json()["error"]["message"].startswith("Invalid filter clause: ")
    assert said in answer.json()["error"]["message"]


@pytest.fixture
def sign_ins(graph_server, tenant):
    """Three sign-ins, of which the second failed."""
    reports = graph_server.simulator.directory(tenant).reports
    for day, code in ((1, 0), (2, 50126), (3, 0)):
        reports.add_sign_in({"id": str(day), "displayName": "Ada", "userPrincipalName": "ada@acme.example"},
                            createdDateTime=f"2026-11-0{day}T08:00:00.1234567Z", status={"errorCode": code},
                            location={"city": "Oslo"} if day < 3 else None)


@pytest.mark.parametrize(("condition", "days"), [
    ("", "321"),
    ("status/errorCode ne 0", "2"),
    ("status/errorCode gt 50125", "2"),
    ("status/errorCode lt 1", "31"),
    ("createdDateTime gt 2026-11-01 and createdDateTime lt 2026-11-03T08:00:00Z", "21"),
    ("location/city eq 'oslo'", "21"),
    ("location/city ne null", "21"),
    ("startsWith(appDisplayName,'azure')", "321"),
])
async def test_reports_are_filtered(graph, sign_ins, condition, days):
    """Reports compare in every way, also properties of properties, and are newest first."""
    answer = await graph.get("/v1.0/auditLogs/signIns", params={"$filter": condition})
    assert "".join(one["userId"] for one in answer.json()["value"]) == days


async def test_the_directory_compares_less_than_reports(graph):
    """`ne` needs a header that is not simulated: as Graph without it, the simulator refuses."""
    answer = await graph.get("/v1.0/users", params={"$filter": "displayName ne 'x'"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "Request_UnsupportedQuery")
    assert answer.json()["error"]["message"].startswith("Operator 'ne' is not supported because the 'ConsistencyLevel")


async def test_select_chooses_properties(graph, graph_server, people):
    """`$select` answers exactly the properties it names, and the context says so."""
    answer = (await graph.get("/v1.0/users", params={"$select": "displayName, department", "$top": "1"})).json()
    assert answer["value"] == [{"displayName": "Ada", "department": "IT"}]
    assert answer["@odata.context"] == f"{graph_server.url}/v1.0/$metadata#users(displayName, department)"


async def test_an_unknown_property_cannot_be_selected(graph, create, sign_ins):
    """`$select` of what is no property of the type itself is refused, of one object as of a list."""
    user_id = await create()
    for path in ("/v1.0/users", f"/v1.0/users/{user_id}"):
        answer = await graph.get(path, params={"$select": "id,salary"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
        assert "Could not find a property named 'salary'" in answer.json()["error"]["message"]
    assert (await graph.get("/v1.0/auditLogs/signIns", params={"$select": "status/errorCode"})).status_code == 400


async def test_pages_follow_each_other(graph, graph_server, people):
    """`@odata.nextLink` leads to the next page with the same query, and the last page has none."""
    url, names, pages = "/v1.0/users?$top=1&$select=displayName&$filter=department eq 'IT'", [], 0
    while url:
        answer = (await graph.get(url)).json()
        names += [user["displayName"] for user in answer["value"]]
        assert all(user.keys() == {"displayName"} for user in answer["value"])
        pages += 1
        url = answer.get("@odata.nextLink", "")
        assert not url or (url.startswith(f"{graph_server.url}/v1.0/users?") and "$skiptoken=" in url)
    assert (names, pages) == (["Ada", "Adrian"], 2)


async def test_a_page_holds_100_by_default(graph, graph_server, tenant):
    """Without `$top` a page has a hundred items."""
    directory = graph_server.simulator.directory(tenant)
    for number in range(101):
        directory.create_user({"accountEnabled": True, "displayName": str(number), "mailNickname": str(number),
                               "userPrincipalName": f"{number}@acme.example",
                               "passwordProfile": {"password": "Tr0ub4dor&3"}})
    first = (await graph.get("/v1.0/users")).json()
    assert len(first["value"]) == 100
    assert len((await graph.get(first["@odata.nextLink"])).json()["value"]) == 1


@pytest.mark.parametrize(("query", "code"), [
    ({"$top": "0"}, "Request_UnsupportedQuery"),
    ({"$top": "1000"}, "Request_UnsupportedQuery"),
    ({"$top": "many"}, "Request_UnsupportedQuery"),
    ({"$skiptoken": "made-up"}, "Directory_ExpiredPageToken"),
    ({"$orderby": "displayName"}, "Request_UnsupportedQuery"),
])
async def test_a_wrong_query_is_refused(graph, query, code):
    """Page sizes out of range, invented page tokens and options that are not simulated are refused, not ignored."""
    answer = await graph.get("/v1.0/users", params=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
