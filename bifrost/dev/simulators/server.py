"""Runs simulators: inside a running event loop (`SimulatorServer`), or as the whole of a process (`serve`)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from bifrost.dev.simulators.base import CUT, Simulator
from bifrost.dev.simulators.halopsa import HaloSimulator
from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.user_api import UserAPISimulator
from bifrost.errors import ConfigurationError, NotFoundError

SIMULATORS: Mapping[str, Callable[..., Simulator]] = {
    GraphSimulator.name: GraphSimulator,
    HaloSimulator.name: HaloSimulator,
    UserAPISimulator.name: UserAPISimulator,
}
"""Every simulator by the name that `bifrost simulate` takes."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with an event for its readiness."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the program that the simulator runs in."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so."""
        await super().startup(sockets=sockets)
        self.ready.set()

    def cut(self, client: tuple[str, int] | None = None) -> None:
        """Close the connections of one client, or all of them, without an answer to what they wait for."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol) and client in (None, connection.client):
                connection.transport.abort()


class SimulatorServer:
    """One simulator on a port, served by the event loop that it was started in.

    Args:
        simulator: What to serve.
        host: The address to listen on.
        port: The port; 0 takes a free one.
    """

    def __init__(self, simulator: Simulator, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.simulator = simulator
        self._host = host
        self._port = port
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it answers; with port 0 known once it has started."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> str:
        """Listen. Returns the URL when requests are answered there.

        Raises:
            ConfigurationError: the port is taken, or the address is not this machine's.
        """
        listening = self._listen()
        self._port = listening.getsockname()[1]
        config = uvicorn.Config(self._app, interface="asgi3", http=H11Protocol, ws="none", lifespan="off",
                                access_log=False, log_config=None, log_level="warning", proxy_headers=False)
        config.load()  # here, where an error is raised to the caller
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        await self._server.ready.wait()
        return self.url

    async def stop(self) -> None:
        """Stop listening, and cut off the calls that are held or slow. Without effect on a server that does not run."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        for listening in self._server.servers:
            listening.close()  # before the cut, or a client may be back too soon
        self._server.cut()
        await self._serving
        self._server = self._serving = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.stop()

    def _listen(self) -> socket.socket:
        try:
            listening = socket.create_server((self._host, self._port), backlog=128)
            # Connections inherit it; asyncio does not set it on sockets made so, and each answer would take 40 ms.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listening
        except OSError as exc:
            raise ConfigurationError(f"The simulator '{self.simulator.name}' cannot listen on {self._host}:{self._port}: "
                                     f"{exc.strerror}. Choose another port, or 0 for a free one.") from exc

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = self._server
        assert server is not None
        await self.simulator({**scope, CUT: lambda: server.cut(scope["client"])}, receive, send)


def serve(name: str, port: int, *, host: str = "127.0.0.1", on_ready: Callable[[str], object] = lambda _url: None,
          **options: Any) -> None:
    """Run a simulator until SIGINT or SIGTERM; to be called from the main thread.

    Args:
        name: One of `SIMULATORS`.
        port: The port; 0 takes a free one.
        host: The address to listen on.
        on_ready: Called with the URL once requests are answered there.
        options: What the simulator's class takes.

    Raises:
        NotFoundError: there is no simulator of that name.
        ConfigurationError: the port is taken.
    """
    if name not in SIMULATORS:
        raise NotFoundError.of("Simulator", name, SIMULATORS, f"There are: {', '.join(sorted(SIMULATORS))}.")
    asyncio.run(_serve_until_signalled(SimulatorServer(SIMULATORS[name](**options), host=host, port=port), on_ready))


async def _serve_until_signalled(server: SimulatorServer, on_ready: Callable[[str], object]) -> None:
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    async with server:
        on_ready(server.url)
        await asked_to_stop.wait()
