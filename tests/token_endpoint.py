"""A real token endpoint whose refresh tokens are good for one use, as strict authorisation servers have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from urllib.parse import parse_qsl

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from bifrost.dev.simulators.server import SimulatorServer

FIRST = "refresh-canary-0"


class TokenEndpoint:
    """Answers `access-canary-N`, and to a refresh token also the next one, `refresh-canary-N`.

    Attributes:
        url: Where it answers, on any path.
        paths, forms: What it was asked, in order.
        accepted: The refresh tokens that are good.
        status: What it answers instead, if set.
        expires_in: How long its tokens live, in seconds.
        held: Set, each request waits for this event before it is looked at; taken by the next request.
    """

    name = "token endpoint"

    def __init__(self, accepted: Iterable[str] = ()) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.accepted = set(accepted)
        self.status = 0
        self.expires_in = 3600
        self.held: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        form = dict(parse_qsl((await request.body()).decode()))
        self.paths.append(request.url.path)
        self.forms.append(form)
        number, held, self.held = len(self.forms), self.held, None
        if held:
            await held.wait()
        await self._answer(form, number)(scope, receive, send)

    def _answer(self, form: dict[str, str], number: int) -> JSONResponse:
        if self.status:
            return JSONResponse({"error": "temporarily_unavailable"}, self.status)
        answer = {"access_token": f"access-canary-{number}", "token_type": "bearer", "expires_in": self.expires_in}
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.accepted:
                return JSONResponse({"error": "invalid_grant", "error_description": f"no {form['refresh_token']}"}, 400)
            self.accepted ^= {form["refresh_token"], f"refresh-canary-{number}"}
            answer["refresh_token"] = f"refresh-canary-{number}"
        return JSONResponse(answer)


@pytest.fixture(scope="session")
async def token_server() -> AsyncIterator[SimulatorServer]:
    """One server for all tests, each of which puts an endpoint of its own behind it."""
    async with SimulatorServer(TokenEndpoint()) as server:  # type: ignore[arg-type]  # an application that has a name
        yield server


@pytest.fixture
def token_endpoint(token_server: SimulatorServer) -> TokenEndpoint:
    """An endpoint that accepts the refresh token `refresh-canary-0`."""
    endpoint = token_server.simulator = TokenEndpoint({FIRST})  # type: ignore[assignment]  # the same
    endpoint.url = token_server.url
    return endpoint
