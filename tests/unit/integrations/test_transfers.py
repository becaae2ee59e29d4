"""`self.http` with what is too large for memory: bodies in pieces, files whole or not at all, errors without their ballast."""

from __future__ import annotations

import asyncio
import gzip
from unittest.mock import MagicMock

import httpx
import pytest

from bifrost.dev.simulators.server import SimulatorServer
from bifrost.errors import IntegrationError
from bifrost.integrations.bodies import FileBody
from bifrost.integrations.http import IntegrationHTTP
from tests.waiting import until

PIECE = b"0123456789abcdef" * 4096


class Exchange:
    """A server with one request at a time, whose pieces come and go as the test says."""

    name = "exchange"

    def __init__(self):
        self.requests, self.received = [], []
        self.gate = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.requests.append((scope["path"], {name.decode(): value.decode() for name, value in scope["headers"]}))
        await getattr(self, scope["path"].strip("/"))(receive, send)

    async def halves(self, receive, send):
        """A body whose second half waits for the gate."""
        await _start(send, 200)
        await _piece(send, PIECE, more=True)
        await self.gate.wait()
        await _piece(send, PIECE)

    async def cut(self, receive, send):
        """A body that ends before its length."""
        await _start(send, 200, (b"content-length", b"1000000"))
        await _piece(send, PIECE, more=True)
        raise ConnectionAbortedError

    async def unchanged(self, receive, send):
        await _start(send, 304)
        await _piece(send, b"")

    async def refuse(self, receive, send):
        await _start(send, 404)
        await _piece(send, b'{"message": "no such file"}')

    async def refuse_and_cut(self, receive, send):
        await _start(send, 503, (b"content-length", b"1000000"), (b"retry-after", b"7"))
        await _piece(send, b'{"message": "so', more=True)
        raise ConnectionAbortedError

    async def refuse_for_ever(self, receive, send):
        await receive()
        gone = asyncio.ensure_future(receive())
        await _start(send, 500)
        while not gone.done():
            await _piece(send, PIECE, more=True)
            await asyncio.sleep(0)  # nothing waits any more in `send` once the client has gone
        self.gate.set()

    async def too_large(self, receive, send):
        """A refusal that comes before the body."""
        await _start(send, 413)
        await _piece(send, b"")

    async def moved(self, receive, send):
        await _start(send, 307, (b"location", self.elsewhere.encode()))
        await _piece(send, b"")

    async def take(self, receive, send):
        more = True
        while more:
            message = await receive()
            self.received.append(message.get("body", b""))
            more = message.get("more_body", False)
        await _start(send, 201)
        await _piece(send, b"".join(self.received))


async def _start(send, status, *headers):
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _piece(send, body, *, more=False):
    await send({"type": "http.response.body", "body": body, "more_body": more})


@pytest.fixture(scope="module")
async def server():
    async with SimulatorServer(Exchange()) as made:
        yield made


@pytest.fixture
def exchange(server):
    server.simulator = Exchange()
    yield server.simulator
    server.simulator.gate.set()


@pytest.fixture
async def http(server, exchange, tracked):
    client = IntegrationHTTP("drive", tracked)
    client.base_url = server.url
    yield client
    await client.aclose()


@pytest.fixture
def path(tmp_path):
    """A file that is there already."""
    (tmp_path / "report.csv").write_bytes(b"old")
    return tmp_path / "report.csv"


async def test_a_download_is_written_as_it_comes(http, exchange, tracked, path):
    """What has come is in a file beside the old one while the rest is still on its way; in the end it takes its place."""
    download = asyncio.create_task(http.download("halves", path))

    async def half():
        return [file for file in path.parent.iterdir() if file != path and file.stat().st_size >= len(PIECE) - 8192]

    await until(half)
    assert path.read_bytes() == b"old"
    exchange.gate.set()
    assert await download == 2 * len(PIECE)
    assert path.read_bytes() == PIECE * 2
    assert list(path.parent.iterdir()) == [path]
    assert [(call["method"], call["endpoint"], call["status_code"]) for call in tracked.calls] == [("GET", "/halves", 200)]


@pytest.mark.parametrize(("url", "status", "problem"), [
    ("refuse", 404, "drive: GET /refuse answered 404 Not Found: no such file"),
    ("unchanged", 304, "drive: GET /unchanged answered 304 and no file"),
    ("cut", None, "drive could not be reached: GET .*/cut: RemoteProtocolError")])
async def test_a_download_that_fails_leaves_nothing(http, tracked, path, url, status, problem):
    """A refusal, or an answer that breaks off or has no file, is an error; the old file stays, and no half of a new one."""
    with pytest.raises(IntegrationError, match=problem) as caught:
        await http.download(url, str(path))
    assert caught.value.status_code == status
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"old"]
    assert [(call["status_code"], call["error"]) for call in tracked.calls] == [
        (status or 0, caught.value.message if status != 304 else None)]


async def test_a_download_that_is_cancelled_leaves_nothing(http, path):
    """A call that runs out of time takes its half of the file with it."""
    download = asyncio.create_task(http.download("halves", path))

    async def begun():
        return len(list(path.parent.iterdir())) == 2

    await until(begun)
    download.cancel()
    with pytest.raises(asyncio.CancelledError):
        await download
    assert list(path.parent.iterdir()) == [path]


async def test_a_download_needs_its_folder(http, exchange, tracked, tmp_path):
    """A folder that does not exist is an error of the file system; the request is on record, for it was answered."""
    exchange.gate.set()
    with pytest.raises(FileNotFoundError):
        await http.download("halves", tmp_path / "absent" / "file")
    assert [(call["status_code"], call["error"]) for call in tracked.calls] == [(200, None)]


@pytest.mark.parametrize(("elsewhere", "key"), [("/take", "key-canary"), ("{other}/take", None)])
async def test_credentials_do_not_follow_a_redirect(http, exchange, path, elsewhere, key):
    """A download follows redirects: at the same origin with its credentials, to another one with none of them."""
    async with SimulatorServer(exchange) as other:
        exchange.elsewhere = elsewhere.format(other=other.url)
        http.token, http.headers = key and "token-canary", {"X-Api-Key": "key-canary", "Accept": "text/csv"}
        await http.download("moved", path, headers={"X-Mine": "key-canary"})
    (_, first), (_, second) = exchange.requests
    assert first["x-api-key"] == "key-canary"
    assert [second.get(name) for name in ("x-api-key", "x-mine", "accept")] == [key, key, "text/csv"]
    assert second.get("authorization") == first.get("authorization")


async def test_a_file_is_sent_in_pieces(http, exchange, tmp_path):
    """The path of a file as `content` is its bytes, of a length that is said beforehand; a redirect that wants the body again
    gets it.
    """
    file, exchange.elsewhere = tmp_path / "big", "/take"
    file.write_bytes(PIECE * 20)
    response = await http.put("moved", content=file, follow_redirects=True)
    assert response.content == PIECE * 20
    assert len(exchange.received) > 1
    for _, headers in exchange.requests:
        assert headers["content-length"] == str(20 * len(PIECE))
        assert "transfer-encoding" not in headers


async def test_a_body_is_sent_as_it_is_made(http, exchange):
    """Of an async iterator each piece is on its way before the next one is made."""
    async def arrived():
        return exchange.received

    async def pieces():
        yield b"first"
        await until(arrived)
        yield b"second"

    assert (await http.post("take", content=pieces())).content == b"firstsecond"
    assert exchange.received[0] == b"first"


async def test_a_file_that_is_not_there_is_not_sent(http, exchange, tmp_path):
    """A missing file is an error before anything is requested."""
    with pytest.raises(FileNotFoundError):
        await http.put("take", content=tmp_path / "absent")
    assert exchange.requests == []


async def test_a_file_that_changes_is_sent_as_it_was_announced(tmp_path):
    """As much of a file is sent as was announced, if it has grown; one that has become shorter cannot be."""
    file = tmp_path / "log"
    file.write_bytes(b"12345")
    body = FileBody(file)
    file.write_bytes(b"1234567890")
    assert [piece async for piece in body] == [b"12345"]
    file.write_bytes(b"123")
    with pytest.raises(OSError, match="log became shorter while it was sent: it had 5 bytes, and 2 are gone"):
        [piece async for piece in body]


async def test_a_refusal_may_come_before_the_body_has_gone(http, tmp_path):
    """A server that does not want a body says so without reading it, and that is the error."""
    (tmp_path / "big").write_bytes(PIECE * 20)
    with pytest.raises(IntegrationError, match="PUT /too_large answered 413") as caught:
        await http.put("too_large", content=tmp_path / "big")
    assert caught.value.status_code == 413


async def test_an_answer_can_be_read_as_it_comes(http, exchange):
    """`stream` hands over the answer before its body is there."""
    async with http.stream("get", "halves") as response:
        pieces = response.aiter_raw(len(PIECE))
        assert await anext(pieces) == PIECE
        exchange.gate.set()
        assert await anext(pieces) == PIECE


async def test_a_refusal_without_end_is_not_read_to_its_end(http, exchange):
    """Of an error's body only the beginning is read, and the connection is closed on the rest."""
    with pytest.raises(IntegrationError, match="answered 500 Internal Server Error: 0123456789abcdef") as caught:
        await http.get("refuse_for_ever")
    assert len(caught.value.details["response"]) == 500
    await asyncio.wait_for(exchange.gate.wait(), 30)


async def test_a_refusal_that_breaks_off_is_a_refusal(http):
    """The status counts, and what has come of the body."""
    with pytest.raises(IntegrationError, match=r'answered 503 Service Unavailable: {"message": "so') as caught:
        await http.get("refuse_and_cut")
    assert (caught.value.status_code, caught.value.details["retry_after_seconds"]) == (503, 7)


async def test_a_compressed_refusal_is_read():
    """An error's body is unpacked as any."""
    http = IntegrationHTTP("odd", MagicMock())
    http.base_url, http.transport = "https://odd.example", httpx.MockTransport(lambda _: httpx.Response(
        400, headers={"Content-Encoding": "gzip"}, content=gzip.compress(b'{"message": "Too bad"}')))
    with pytest.raises(IntegrationError, match=r"400 Bad Request: Too bad$"):
        await http.get("x")
