"""A till, simulated over HTTP: it sells what it is asked for, and keeps a journal with the keys it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bifrost.dev.simulators.base import Refusal, Simulator
from bifrost.dev.simulators.control import SimulatorControl

SHOP = """
    from bifrost import BaseIntegration

    class Shop(BaseIntegration):
        integration_name = "shop"

        async def authenticate(self):
            self.http.base_url = {url!r}

        async def sell(self, item, price=1):
            return (await self.http.post(f"/sell/{{item}}", json={{"price": price}})).json()["sold"]
"""
"""The integration, for the till at `url`."""


class TillSimulator(Simulator):
    """The till. It sells everything; faults make it refuse."""

    name: ClassVar[str] = "till"

    def routes(self) -> Sequence[Route]:
        return [Route("/sell/{item}", self._sell, methods=["POST"])]

    def tenant_of(self, request: Request) -> str | None:
        return "all"

    def error(self, request: Request, refusal: Refusal) -> Response:
        return JSONResponse({"error": request.url.path}, status_code=refusal.status)

    async def _sell(self, request: Request) -> Response:
        return JSONResponse({"sold": request.path_params["item"]})


async def sold(till: SimulatorControl) -> list[str]:
    """What the till was asked for, in order."""
    return [entry.path.removeprefix("/sell/") for entry in await till.journal("POST")]


async def keys(till: SimulatorControl, item: str) -> list[str]:
    """The keys of the requests for an item."""
    return [entry.headers["idempotency-key"] for entry in await till.journal("POST", f"/sell/{item}", exact=True)]
