"""Faults on demand, over real connections."""

from __future__ import annotations

import asyncio

import httpx
import pytest


@pytest.mark.parametrize(("status", "code"), [
    (401, "InvalidAuthenticationToken"), (403, "Authorization_RequestDenied"), (404, "Request_ResourceNotFound"),
    (429, "TooManyRequests"), (500, "InternalServerError"), (503, "ServiceUnavailable"), (418, "UnknownError")])
async def test_a_status_is_answered_in_the_vendors_form(graph, control, a_user, tenant, status, code):
    """A fault's status is answered as the vendor would, with Retry-After where asked, and without the effect."""
    await control.fail("POST", "/v1.0/users", status=status, retry_after=1)
    answer = await graph.post("/v1.0/users", json=a_user())
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["Retry-After"] == "1"
    assert [entry.status for entry in await control.journal("POST", "/v1.0/users", tenant)] == [status]
    assert (await graph.get("/v1.0/users")).json()["value"] == []


async def test_the_token_endpoint_can_fail_too(control, graph, client_form, tenant):
    """At the token endpoint a fault has the form of OAuth errors."""
    await control.fail(path=f"/{tenant}/oauth2", status=503)
    await control.fail(path=f"/{tenant}/oauth2", status=401)
    answers = [await graph.post(f"/{tenant}/oauth2/v2.0/token", data=client_form()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 401, 200]
    assert [answer.json().get("error") for answer in answers] == ["temporarily_unavailable", "invalid_client", None]


async def test_faults_are_used_up_in_order(graph, control):
    """Each fault strikes as often as it says; then the next one does, then none."""
    await control.fail("GET", "/v1.0/users", status=503, times=2)
    await control.fail("GET", status=429)
    assert [(fault.status, fault.times) for fault in await control.faults()] == [(503, 2), (429, 1)]
    statuses = [(await graph.get("/v1.0/users")).status_code for _ in range(4)]
    assert statuses == [503, 503, 429, 200]
    assert await control.faults() == []


async def test_a_fault_strikes_only_what_it_names(graph, control, tenant):
    """Method, path and tenant must all fit, and the method may be in lower case."""
    await control.fail("post", "/v1.0/users", status=500)
    await control.fail("GET", "/v1.0/users", status=500, tenant="another")
    await control.fail("GET", "/v1.0/users/*", status=500)
    await control.fail("GET", "/v1.0", exact=True, status=500)
    assert (await graph.get("/v1.0/users")).status_code == 200
    assert (await graph.get("/v1.0/users/1")).status_code == 500
    assert (await graph.post("/v1.0/users", json={})).status_code == 500


async def test_a_fault_without_end_lasts_until_it_is_cleared(graph, control):
    """`times=None` strikes every time; clearing ends it."""
    await control.fail(status=503, times=None)
    assert {(await graph.get("/v1.0/users")).status_code for _ in range(3)} == {503}
    await control.clear()
    assert (await graph.get("/v1.0/users")).status_code == 200


async def test_a_slow_call_is_answered_late(graph, control):
    """`delay_seconds` holds back the answer so long, and no longer."""
    await control.fail("GET", delay_seconds=0.05)
    started = asyncio.get_running_loop().time()
    assert (await graph.get("/v1.0/users")).status_code == 200
    assert asyncio.get_running_loop().time() - started >= 0.05


async def test_a_dropped_call_has_no_answer_and_no_effect(graph, control, a_user, tenant):
    """`drop` closes the connection; the client sees a network error, and a second try works."""
    await control.fail("POST", drop=True)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await graph.post("/v1.0/users", json=a_user())
    assert (await graph.get("/v1.0/users")).json()["value"] == []
    assert (await graph.post("/v1.0/users", json=a_user())).status_code == 201
    entries = await control.journal("POST", "/v1.0/users", tenant)
    assert [(entry.status, entry.state) for entry in entries] == [(None, "dropped"), (201, "answered")]


async def test_an_answer_can_be_lost_after_the_effect(graph, control, a_user, tenant):
    """With `after` the effect has happened though the client saw an error; the same key then gets the lost answer."""
    await control.fail("POST", drop=True, after=True)
    headers = {"Idempotency-Key": "one"}
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await graph.post("/v1.0/users", json=a_user(), headers=headers)
    [user] = (await graph.get("/v1.0/users")).json()["value"]
    again = await graph.post("/v1.0/users", json=a_user(), headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, user["id"])
    entries = await control.journal("POST", "/v1.0/users", tenant)
    assert [(entry.state, entry.replayed) for entry in entries] == [("dropped", False), ("answered", True)]


async def test_a_wrong_status_can_follow_the_effect(graph, control, a_user):
    """`after` with a status answers the error though the effect has happened."""
    await control.fail("POST", status=504, after=True)
    assert (await graph.post("/v1.0/users", json=a_user())).status_code == 504
    assert len((await graph.get("/v1.0/users")).json()["value"]) == 1


@pytest.mark.parametrize(("after", "users"), [(False, 0), (True, 1)])
async def test_a_held_call_waits_for_its_release(graph, control, a_user, tenant, after, users):
    """A held call is seen in the journal while it waits, before or after its effect, and goes on when released."""
    await control.fail("POST", "/v1.0/users", hold=True, after=after)
    call = asyncio.create_task(graph.post("/v1.0/users", json=a_user()))
    [held] = await control.wait_for(state="held", tenant=tenant)
    assert (held.status, held.path) == (None, "/v1.0/users")
    assert len((await graph.get("/v1.0/users")).json()["value"]) == users
    assert not call.done()
    assert await control.release() == 1
    assert (await call).status_code == 201
    assert await control.release() == 0
    assert len((await graph.get("/v1.0/users")).json()["value"]) == 1


async def test_a_held_call_can_end_in_an_error(graph, control):
    """A hold together with a status holds first and then refuses."""
    await control.fail("GET", hold=True, status=500)
    call = asyncio.create_task(graph.get("/v1.0/users"))
    await control.wait_for(state="held")
    await control.release()
    assert (await call).status_code == 500


async def test_a_held_call_whose_client_dies_has_no_effect(graph_server, graph, control, a_user, tenant):
    """When its client goes away before the effect, a held call is given up, and nothing is left to release."""
    await control.fail("POST", hold=True)
    async with httpx.AsyncClient(base_url=graph_server.url, headers=graph.headers, trust_env=False, verify=False) as dying:
        call = asyncio.create_task(dying.post("/v1.0/users", json=a_user()))
        await control.wait_for(state="held", tenant=tenant)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await control.wait_for(state="abandoned", tenant=tenant)
    assert await control.release() == 0
    assert (await graph.get("/v1.0/users")).json()["value"] == []


@pytest.mark.parametrize(("fault", "said"), [
    ({}, "this one would do nothing"),
    ({"status": 200}, "status: Input should be greater than or equal to 400"),
    ({"status": 500, "drop": True}, "either a status or drop"),
    ({"hold": True, "retry_after": "1"}, "retry_after is a header of the answer with status"),
    ({"status": 500, "times": 0}, "times: Input should be greater than or equal to 1"),
    ({"stauts": 500}, "stauts: Extra inputs are not permitted"),
    ([{"status": 500}, {"delay": 1}], "delay: Extra inputs are not permitted"),
    ("x", "Input should be a valid dictionary"),
])
async def test_a_wrong_fault_is_refused(graph_server, control, fault, said):
    """A fault that says nothing, contradicts itself or is misspelt is refused with the reason, and none is kept."""
    async with httpx.AsyncClient(base_url=graph_server.url, trust_env=False, verify=False) as client:
        answer = await client.post("/_faults", json=fault)
        assert answer.status_code == 400
        assert said in answer.json()["error"]
        assert (await client.post("/_faults", content=b"{")).json()["error"].startswith("This is not JSON")
    assert await control.faults() == []


async def test_several_faults_can_be_given_at_once(graph_server, graph, control):
    """`POST /_faults` takes a list too."""
    async with httpx.AsyncClient(base_url=graph_server.url, trust_env=False, verify=False) as client:
        answer = await client.post("/_faults", json=[{"status": 503}, {"status": 429}])
        assert answer.status_code == 204
    assert [(await graph.get("/v1.0/users")).status_code for _ in range(3)] == [503, 429, 200]


async def test_a_client_that_leaves_while_it_sends_is_forgotten(graph_server, control):
    """A request whose body never arrives is not noted and disturbs nobody."""
    host, port = graph_server.url.removeprefix("http://").split(":")
    _reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1.0/users HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await control.journal("POST", "/v1.0/users") == []


