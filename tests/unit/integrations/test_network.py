"""`self.http` and the network: proxies and certificate authorities of the environment, connections and cookies of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from bifrost.dev.simulators.server import SimulatorServer
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.integrations.base import BaseIntegration
from bifrost.integrations.http import IntegrationHTTP
from bifrost.integrations.oauth import ClientCredentials
from tests.certificates import Authority


class Sessions:
    """A server that hands each request a new cookie, and says what it was sent and over which connection."""

    name = "sessions"

    def __init__(self):
        self.number = 0

    async def __call__(self, scope, receive, send):
        request = Request(scope)
        self.number += 1
        answer = JSONResponse({"cookie": request.cookies.get("session"), "connection": scope["client"][1],
                               "access_token": "network-canary"})
        answer.set_cookie("session", str(self.number))
        await answer(scope, receive, send)


@pytest.fixture(scope="module")
async def server():
    async with SimulatorServer(Sessions()) as made:
        yield made


@pytest.fixture
def sessions(server):
    """Where cookies are counted from 1."""
    server.simulator = Sessions()
    return server.url


@pytest.fixture
async def http(sessions, tracked):
    client = IntegrationHTTP("crm", tracked)
    client.base_url = sessions
    yield client
    await client.aclose()


@pytest.mark.parametrize("keep", [False, True])
async def test_connections_and_cookies_are_the_organizations_own(world, sessions, keep):
    """Each organization's client has connections of its own, which it uses again, and no cookie goes from one organization's
    calls to another's; to later calls of the same one only where the integration wants that.
    """
    class Crm(BaseIntegration):
        integration_name = "crm"

        async def authenticate(self):
            self.http.base_url, self.http.keep_cookies = sessions, keep

        async def ask(self):
            return (await self.http.get("/")).json()

    world.classes["crm"] = Crm
    seen = [await world.pool.of(org, "crm").ask() for org in ("acme", "bolt", "acme", "bolt")]
    assert [answer["cookie"] for answer in seen] == [None, None, *(["1", "2"] if keep else [None, None])]
    acme, bolt, *again = [answer["connection"] for answer in seen]
    assert again == [acme, bolt]
    assert acme != bolt


@contextlib.asynccontextmanager
async def forward_proxy(seen):
    """A forward proxy for plain HTTP; `seen` gets each request's line and the proxy's credentials."""
    async def forward(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, url, version = head.split("\r\n")[0].split()
        seen.append((method, url, "Basic" in head))
        target = httpx.URL(url)
        up_reader, up_writer = await asyncio.open_connection(target.host, target.port)
        _, _, rest = head.partition("\r\n")
        up_writer.write(f"{method} {target.raw_path.decode()} {version}\r\nConnection: close\r\n{rest}".encode())
        pumps = [asyncio.create_task(_pump(reader, up_writer)), asyncio.create_task(_pump(up_reader, writer))]
        await pumps[1]
        pumps[0].cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (writer, up_writer):
            end.close()

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _pump(reader, writer):
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()


async def test_a_proxy_of_the_environment_is_used(http, sessions, monkeypatch):
    """Requests, those for tokens too, go through the proxy that HTTP_PROXY names, with its credentials, except to the hosts in
    NO_PROXY.
    """
    seen = []
    async with forward_proxy(seen) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:password@{proxy}")
        http.token = ClientCredentials(f"{sessions}/token", "app", "secret").token
        assert (await http.get("/users", params={"page": 2})).status_code == 200
        assert seen == [("POST", f"{sessions}/token", True), ("GET", f"{sessions}/users?page=2", True)]
        await http.aclose()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert (await http.get("/users")).status_code == 200
    assert len(seen) == 2


@pytest.mark.parametrize(("variable", "value", "problem"), [
    ("HTTP_PROXY", "carrier-pigeon://user:hunter2@proxy.example", "a proxy of the environment cannot be used"),
    ("ALL_PROXY", "socks5://user:hunter2@proxy.example", "a proxy of the environment cannot be used"),
    ("HTTP_PROXY", "http://user:hunter2@proxy.example:port", "a proxy of the environment cannot be used"),
    ("SSL_CERT_FILE", "/absent/ca.pem", "certificate authorities cannot be read.*SSL_CERT_FILE"),
    ("SSL_CERT_FILE", __file__, "certificate authorities cannot be read.*SSL_CERT_FILE"),
])
async def test_an_environment_that_cannot_be_used_is_a_matter_of_configuration(monkeypatch, variable, value, problem):
    """A proxy or an authority that cannot be used names the variables, is not retried, and shows no password."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"crm: .*{problem}") as caught:
        await IntegrationHTTP("crm", None).get("http://127.0.0.1:1/")
    assert "hunter2" not in str(caught.value.to_dict())
    assert caught.value.__suppress_context__


async def test_an_authority_of_ones_own_is_trusted_where_it_is_named(http, monkeypatch, tmp_path):
    """A certificate of an unknown authority is refused, and the error names SSL_CERT_FILE; with the authority in that file the
    connection is made, without a word about it in the code.
    """
    authority, own = Authority(), tmp_path / "server.pem"
    own.write_text("".join(authority.issue("localhost", "127.0.0.1")))
    (tmp_path / "ca.pem").write_text(authority.certificate)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(own)

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as server:
        http.base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(IntegrationError, match=r"CERTIFICATE_VERIFY_FAILED.*name the authority's file in SSL_CERT_FILE"):
            await http.get("/")
        await http.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert (await http.get("/")).status_code == 204
