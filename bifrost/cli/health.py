"""Whether a worker lives and is ready, over HTTP: `/livez` and `/readyz`, for whatever starts and stops it.

Alive is a worker whose event loop turns; restarting it would mend nothing else. Ready is one that takes work and can do it:
connected to Temporal, polling, with a workspace, and with secrets within reach; and no longer when it is told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bifrost.errors import ConfigurationError
from bifrost.settings import HEALTH_VARIABLE, host_and_port

LOOK_SECONDS: Final = 5.0
"""How often what a worker depends on is looked at."""
LATELY_SECONDS: Final = 30.0
"""How long ago it may have answered last."""

Look = Callable[[], Awaitable[bool]]
_log = structlog.stdlib.get_logger("bifrost.worker")


class Health:
    """What a worker says of itself.

    Args:
        looks: By name, what tells whether something that the worker depends on answers; it may raise where it does not.
        look_seconds: How often they are asked.
        lately_seconds: How long an answer counts.
    """

    def __init__(self, looks: dict[str, Look], *, look_seconds: float = LOOK_SECONDS, lately_seconds: float = LATELY_SECONDS) -> None:
        self.serving = False
        self.stopping = False
        self.looks = looks
        self._look_seconds = look_seconds
        self._lately_seconds = lately_seconds
        self._seen: dict[str, float] = {}

    def ready(self) -> Mapping[str, bool]:
        """Everything that readiness takes, and whether it is so."""
        now = time.monotonic()
        return {"polling": self.serving, "not stopping": not self.stopping,
                **{name: now - self._seen.get(name, -self._lately_seconds) < self._lately_seconds for name in self.looks}}

    async def watch(self) -> None:
        """Look at everything again and again, until cancelled: most often while it starts, since somebody waits for that."""
        started = False
        while True:
            await asyncio.gather(*(self._look(name) for name in self.looks))
            ready = all(self.ready().values())
            started = started or ready
            await asyncio.sleep(self._look_seconds if ready else min(self._look_seconds, 1 if started else 0.1))

    async def _look(self, name: str) -> None:
        with contextlib.suppress(Exception):  # whatever is wrong, it does not answer
            async with asyncio.timeout(self._look_seconds):
                if await self.looks[name]():
                    self._seen[name] = time.monotonic()

    def app(self) -> Starlette:
        """The two pages."""
        async def livez(_: Request) -> Response:
            return PlainTextResponse("alive\n")

        async def readyz(_: Request) -> Response:
            found = self.ready()
            return JSONResponse({"ready": all(found.values()), "checks": found}, status_code=200 if all(found.values()) else 503)

        return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz)])


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the worker."""
        yield


@contextlib.asynccontextmanager
async def answering(health: Health, address: str) -> AsyncIterator[None]:
    """Answer at this address until the block ends; nowhere where it is empty.

    Raises:
        ConfigurationError: nothing can listen there.
    """
    if not address:
        yield
        return
    host, port = host_and_port(HEALTH_VARIABLE, address)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"Health cannot be answered at {address}: {error}. Set {HEALTH_VARIABLE} to another address of this "
                                 "machine's, or to nothing", config_key=HEALTH_VARIABLE) from error
    server = _Server(uvicorn.Config(health.app(), ws="none", lifespan="off", access_log=False, log_config=None, log_level="warning"))
    tasks = [asyncio.create_task(server.serve(sockets=[listening])), asyncio.create_task(health.watch())]
    _log.info("health is answered", address=address)
    try:
        yield
    finally:
        server.should_exit = True
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
