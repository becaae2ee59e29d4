"""`self.http.paged`: every way that systems have to say there are more, and none that leads astray."""

from __future__ import annotations

import itertools
import json
from unittest.mock import MagicMock

import httpx
import pytest
from starlette.responses import JSONResponse

from bifrost.dev.simulators.server import SimulatorServer
from bifrost.errors import IntegrationError, ValidationError
from bifrost.integrations.http import IntegrationHTTP


class Shelf:
    """Seven items in pages of three, found in each of the usual ways."""

    name = "shelf"

    def __init__(self):
        self.asked = []

    async def __call__(self, scope, receive, send):
        query = dict(httpx.QueryParams(scope["query_string"].decode()))
        self.asked.append(query)
        style, number = scope["path"].strip("/"), int(query.get("page") or query.get("after") or 1)
        await getattr(self, style)(number, list(range(7))[number * 3 - 3:number * 3])(scope, receive, send)

    def link(self, number, items):
        more = f'</link?page={number + 1}&kind=a>; title="x"; rel="Next last", </link?page=1>; rel="first"'
        return JSONResponse(items, headers={"Link": more if number < 3 else '</link?page=1>; rel="first"'})

    def odata(self, number, items):
        more = {"@odata.nextLink": f"/odata?page={number + 1}#fragment"} if number < 3 else {}
        return JSONResponse({"value": items, **more})

    def cursor(self, number, items):
        return JSONResponse({"found": {"all": items}, "meta": {"next": number + 1 if number < 3 else None}})

    def numbered(self, number, items):
        return JSONResponse({"items": items} if items else {})


@pytest.fixture(scope="module")
async def server():
    async with SimulatorServer(Shelf()) as made:
        yield made


@pytest.fixture
async def http(server, tracked):
    server.simulator = Shelf()
    client = IntegrationHTTP("shelf", tracked)
    client.base_url = server.url
    yield client
    await client.aclose()


async def collected(http, url, **options):
    return [item async for item in http.paged(url, **options)]


@pytest.mark.parametrize(("url", "options", "asked"), [
    ("link?kind=a", {}, [{"kind": "a"}, {"page": "2", "kind": "a"}, {"page": "3", "kind": "a"}]),
    ("odata", {"items": "value", "next": "@odata.nextLink", "params": {"top": 3}}, [{"top": "3"}, {"page": "2"}, {"page": "3"}]),
    ("cursor?x=1", {"items": "found.all", "next": "meta.next", "cursor": "after", "params": {"top": 3}},
     [{"x": "1", "top": "3"}, {"x": "1", "top": "3", "after": "2"}, {"x": "1", "top": "3", "after": "3"}]),
    ("numbered", {"items": "items", "page": "page"}, [{"page": str(number)} for number in (1, 2, 3, 4)]),
])
async def test_every_item_of_every_page(http, server, tracked, url, options, asked):
    """Pages are followed by the Link header (RFC 8288), a link or a cursor in the answer, or by number. A link is followed as it
    is; to a cursor or a number the query of the first page is added. Each page is a request on record.
    """
    assert await collected(http, url, **options) == list(range(7))
    assert server.simulator.asked == asked
    assert [call["status_code"] for call in tracked.calls] == [200] * len(asked)


async def test_no_page_is_fetched_before_it_is_needed(http, server):
    """A loop that ends early costs no further request; numbers begin where they are told to."""
    async for item in http.paged("numbered", items="items", page="page", first_page=2):
        assert item == 3
        break
    assert server.simulator.asked == [{"page": "2"}]


async def test_a_page_that_is_refused_is_an_error(http):
    """A refusal between two pages is raised as any, after the items before it."""
    refusing = itertools.chain([httpx.Response(200, json=[1], headers={"Link": '<?page=2>; rel="next"'})],
                               itertools.repeat(httpx.Response(503)))
    http.transport = httpx.MockTransport(lambda _: next(refusing))
    things = http.paged("things")
    assert await anext(things) == 1
    with pytest.raises(IntegrationError, match="answered 503"):
        await anext(things)


def answering(*answers, base_url="https://odd.example/v1"):
    """A client whose other side gives these answers in turn, and the requests that it sees: for what no server should do."""
    seen, given = [], itertools.cycle(answers)

    def answer(request):
        seen.append(request)
        body = next(given)
        return httpx.Response(200, text=body if isinstance(body, str) else json.dumps(body))

    http = IntegrationHTTP("odd", MagicMock())
    http.base_url, http.token, http.headers = base_url, "link-canary", {"X-Api-Key": "link-canary"}
    http.transport = httpx.MockTransport(answer)
    return http, seen


BY_LINK, BY_CURSOR = {"items": "value", "next": "next"}, {"items": "value", "next": "next", "cursor": "after"}


@pytest.mark.parametrize(("answers", "options", "problem"), [
    ([{"value": [1], "next": "?page=2"}, {"value": [2], "next": "https://odd.example/v1/x"}], BY_LINK, "pages run in a circle"),
    ([{"value": [1], "next": "c1"}, {"value": [2], "next": "c1"}], BY_CURSOR, "pages run in a circle"),
    ([{"value": [1]}], {"items": "value", "page": "p"}, "the same page again; does it know the parameter 'p'"),
    ([{"value": [1], "next": 5}], BY_LINK, "a next page that is no link"),
    ([{"value": [1], "next": "ftp://odd.example/x"}], BY_LINK, "a next page that is no link"),
    ([{"value": [1], "next": "http://odd.example:port/"}], BY_LINK, "a next page that is no link"),
    ([{"value": [1], "next": True}], BY_CURSOR, "a next page that is no cursor"),
    ([{"value": {"a": 1}}], BY_LINK, "out a list at 'value', where the items"),
    ([{"value": [1]}], {}, "out a list, where the items"),
    (["<html>"], BY_LINK, "something that is no JSON"),
])
async def test_what_is_no_page_is_refused(answers, options, problem):
    """Pages that come back to one that was read, links that are none, and answers without a list end in an error that is not
    retried: nothing runs for ever, and nothing is silently left out.
    """
    http, _ = answering(*answers)
    with pytest.raises(IntegrationError, match=rf"odd: GET /v1/x? answered 200 with.*{problem}") as caught:
        await collected(http, "x", **options)
    assert caught.value.status_code == 200


@pytest.mark.parametrize("base_url", ["https://odd.example/v1", ""])
async def test_credentials_never_follow_a_link(base_url):
    """A link to another origin is followed without token and headers, also without a base URL, and those of the call; back at
    home they are sent again.
    """
    http, seen = answering({"value": [1], "next": "https://evil.example/2"}, {"value": [2], "next": "https://odd.example/3"},
                           {"value": []}, base_url=base_url)
    assert await collected(http, "https://odd.example/v1/x", headers={"X-Mine": "link-canary"}, **BY_LINK) == [1, 2]
    assert ["link-canary" in str(request.headers.raw) for request in seen] == [True, False, True]
    assert [request.headers.get("X-Mine") for request in seen] == ["link-canary", None, "link-canary"]


@pytest.mark.parametrize("options", [{"cursor": "c"}, {"page": "p", "next": "n"}, {"page": "p", "cursor": "c"}])
async def test_ways_that_do_not_go_together_are_refused(options):
    """A cursor needs the field it is in, and a number excludes both; nothing is requested."""
    http, seen = answering({"value": []})
    with pytest.raises(ValidationError, match="Pages are found by"):
        await collected(http, "x", **options)
    assert not seen
