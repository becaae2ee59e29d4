"""What every simulator is: an ASGI application that journals, fails on demand, and answers a repeated POST once.

A vendor's simulator derives from `Simulator` and brings its routes, its way to tell tenants apart and its wire format for
errors.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from bifrost.dev.simulators.faults import Fault, Faults
from bifrost.dev.simulators.journal import Entry, Journal

CUT = "bifrost.cut"
"""The key of the ASGI scope under which the server puts a function that closes this request's connection at once."""


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - it is an answer, not an accident
    """An endpoint's way to answer with an error.

    Attributes:
        status: The HTTP status.
        code: The vendor's code; empty means the one that goes with the status.
        message: The vendor's sentence; empty means the one that goes with the status.
        extra: More of the vendor's error body.
        headers: Headers of the answer.
    """

    status: int
    code: str = ""
    message: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answer:
    status: int
    messages: tuple[Message, ...]


class Simulator(abc.ABC):
    """An ASGI application that behaves as a vendor's API does.

    Args:
        idempotent: Whether a POST with the Idempotency-Key of an earlier one (same tenant and path) that succeeded gets
            the earlier answer again, without a second effect. Refused calls had no effect and are judged anew.

    Attributes:
        name: What `bifrost simulate` calls it.
        journal: The requests received.
        faults: The faults in force.
    """

    name: ClassVar[str]

    def __init__(self, *, idempotent: bool = True) -> None:
        self.journal = Journal()
        self.faults = Faults()
        self._idempotent = idempotent
        self._answers: dict[tuple[str | None, str, str], _Answer] = {}
        self._control = Starlette(routes=[*self.journal.routes(), *self.faults.routes()])
        self._vendor = Starlette(routes=self.routes(), exception_handlers={
            Refusal: self._refused, HTTPException: self._not_routed})
        self._vendor.router.redirect_slashes = False

    @abc.abstractmethod
    def routes(self) -> Sequence[Route]:
        """The vendor's endpoints."""

    @abc.abstractmethod
    def tenant_of(self, request: Request) -> str | None:
        """Whose request this is, or None where that cannot be told."""

    @abc.abstractmethod
    def error(self, request: Request, refusal: Refusal) -> Response:
        """The refusal in the vendor's wire format."""

    def remembers(self, request: Request) -> bool:
        """Whether this POST is one to be answered once."""
        return self.tenant_of(request) is not None

    def not_routed(self, request: Request, status: int) -> Refusal:  # noqa: ARG002 - for those that answer otherwise
        """The refusal of a path (404) or method (405) that the vendor does not have."""
        return Refusal(status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request (ASGI)."""
        if scope["path"].startswith("/_"):
            await self._control(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return
        request = Request(scope)
        entry = self.journal.open(request, body, self.tenant_of(request))
        answer = await self._answer(request, body, entry, receive)
        if answer is not None:
            entry.status, entry.state = answer.status, "answered"
            for message in answer.messages:
                await send(message)

    async def _answer(self, request: Request, body: bytes, entry: Entry, receive: Receive) -> _Answer | None:
        """The answer, or None where there shall be none: the client has gone, or a fault cut it off."""
        fault = self.faults.take(entry)
        if fault is None:
            return await self._perform(request, body, entry)
        performed = await self._perform(request, body, entry) if fault.after else None
        if not await self._wait(fault, entry, receive):
            entry.state = "abandoned"
            return None
        if fault.drop:
            entry.state = "dropped"
            await _cut(request.scope, receive)
            return None
        if fault.status:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return await _collect(self.error(request, Refusal(fault.status, headers=headers)), request.scope, b"")
        return performed or await self._perform(request, body, entry)

    async def _perform(self, request: Request, body: bytes, entry: Entry) -> _Answer:
        """The effect and its answer; or the earlier answer, where this repeats an earlier request."""
        key = entry.headers.get("idempotency-key")
        if not (self._idempotent and key and request.method == "POST" and self.remembers(request)):
            return await _collect(self._vendor, request.scope, body)
        repeated = (entry.tenant, entry.path, key)
        if repeated in self._answers:
            entry.replayed = True
            return self._answers[repeated]
        answer = await _collect(self._vendor, request.scope, body)
        if answer.status < 300:
            self._answers[repeated] = answer
        return answer

    async def _wait(self, fault: Fault, entry: Entry, receive: Receive) -> bool:
        """Wait as the fault says. False if the client went away meanwhile."""
        waiting = asyncio.ensure_future(self.faults.wait(fault, entry))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            for task in (waiting, gone):
                task.cancel()
            await asyncio.gather(waiting, gone, return_exceptions=True)

    async def _refused(self, request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        return self.error(request, refusal)

    async def _not_routed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return self.error(request, self.not_routed(request, error.status_code))


async def _collect(app: Any, scope: Scope, body: bytes) -> _Answer:
    """What an ASGI application (also a Response is one) answers to a request whose body was read already."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await app({**scope}, receive, send)
    return _Answer(messages[0]["status"], tuple(messages))


async def _disconnected(receive: Receive) -> None:
    """Wait for the client to go away: after the body, that is the only message there is."""
    await receive()


async def _cut(scope: Scope, receive: Receive) -> None:
    """Close the connection at once, and wait until the server has noticed: it answers 500 where it has not."""
    scope[CUT]()
    await _disconnected(receive)
