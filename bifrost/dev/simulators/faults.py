"""Faults on demand: the next calls of a kind are refused, slow, cut off or held.

Served by every simulator: `POST /_faults` (one fault or a list, see `Fault`), `GET /_faults` (what is left of them),
`DELETE /_faults` and `POST /_release`, which lets every held call go on and answers how many there were.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bifrost.dev.simulators.journal import Entry, path_matches


class Fault(BaseModel):
    """What shall go wrong, and for which calls.

    A call suffers the first fault that fits it, in the order in which the faults were given: first `delay_seconds`, then
    `hold`, then `drop` or `status`. Before its effect, unless `after` is set: then the effect happens as usual and only
    the answer suffers, which is the case that idempotency keys exist for. A held or delayed call whose client goes away
    before its effect has none.

    Attributes:
        method: The HTTP method, or None for any.
        path: The path and all below it, or a glob (see `journal.path_matches`); empty for any.
        exact: `path` means that path alone.
        tenant: Only this tenant's calls, or None for any.
        times: How many calls suffer it; None means until the faults are cleared.
        status: Answer this HTTP error (400 to 599) in the vendor's wire format.
        retry_after: The Retry-After header of that answer: seconds, or an HTTP date.
        delay_seconds: Wait so long first.
        hold: Wait until `POST /_release`.
        drop: Close the connection without an answer.
        after: Let the effect happen first.
    """

    model_config = ConfigDict(extra="forbid")

    method: str | None = None
    path: str = ""
    exact: bool = False
    tenant: str | None = None
    times: int | None = Field(default=1, ge=1)
    status: int | None = Field(default=None, ge=400, le=599)
    retry_after: str | None = Field(default=None, coerce_numbers_to_str=True)
    delay_seconds: float = Field(default=0, ge=0)
    hold: bool = False
    drop: bool = False
    after: bool = False

    @model_validator(mode="after")
    def _does_one_thing(self) -> Fault:
        if not (self.status or self.delay_seconds or self.hold or self.drop):
            raise ValueError("a fault needs a status, delay_seconds, hold or drop: this one would do nothing")
        if self.status and self.drop:
            raise ValueError("a fault has either a status or drop: a dropped call has no answer")
        if self.retry_after and not self.status:
            raise ValueError("retry_after is a header of the answer with status; add a status such as 429")
        return self

    def fits(self, entry: Entry) -> bool:
        """Whether this is a call that suffers the fault."""
        return ((self.method is None or self.method.upper() == entry.method)
                and self.tenant in (None, entry.tenant)
                and path_matches(entry.path, self.path, exact=self.exact))


class Faults:
    """The faults in force on one simulator, and the calls they hold."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []
        self._held: set[asyncio.Event] = set()

    def add(self, faults: Iterable[Fault]) -> None:
        """Put faults into force, behind those that are."""
        self._pending += [fault.model_copy() for fault in faults]

    def clear(self) -> None:
        """Take every fault out of force. Calls that are held stay held."""
        self._pending.clear()

    def take(self, entry: Entry) -> Fault | None:
        """The fault that this call suffers, if any; uses it up by one."""
        fault = next((fault for fault in self._pending if fault.fits(entry)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
            if fault.times == 0:
                self._pending.remove(fault)
        return fault

    async def wait(self, fault: Fault, entry: Entry) -> None:
        """Wait for as long as the fault says."""
        await asyncio.sleep(fault.delay_seconds)
        if not fault.hold:
            return
        released = asyncio.Event()
        self._held.add(released)
        entry.state = "held"
        try:
            await released.wait()
            entry.state = "received"
        finally:
            self._held.discard(released)

    def release(self) -> int:
        """Let every held call go on; says how many there were."""
        held, self._held = self._held, set()
        for released in held:
            released.set()
        return len(held)

    def routes(self) -> list[Route]:
        """The faults over HTTP."""
        return [Route("/_faults", self._add, methods=["POST"]), Route("/_faults", self._list, methods=["GET"]),
                Route("/_faults", self._clear, methods=["DELETE"]), Route("/_release", self._release, methods=["POST"])]

    async def _add(self, request: Request) -> Response:
        try:
            given = json.loads(await request.body())
            self.add([Fault.model_validate(item) for item in (given if isinstance(given, list) else [given])])
        except ValidationError as error:
            wrong = "; ".join(": ".join([*map(str, item["loc"]), item["msg"]]) for item in error.errors())
            return JSONResponse({"error": f"This is not a fault: {wrong}"}, status_code=400)
        except ValueError as error:
            return JSONResponse({"error": f"This is not JSON: {error}"}, status_code=400)
        return Response(status_code=204)

    async def _list(self, _request: Request) -> Response:
        return JSONResponse([fault.model_dump(mode="json") for fault in self._pending])

    async def _clear(self, _request: Request) -> Response:
        self.clear()
        return Response(status_code=204)

    async def _release(self, _request: Request) -> Response:
        return JSONResponse({"released": self.release()})
