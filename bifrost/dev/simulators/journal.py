"""What a simulator was asked: one entry per request, with secrets masked.

Served by every simulator at `GET /_journal` (a JSON list, oldest first; query parameters `method`, `path`, `exact`,
`tenant` and `state` choose) and `DELETE /_journal`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bifrost.context import sanitize

State = Literal["received", "held", "answered", "dropped", "abandoned"]
"""Where a request stands: being worked on, held by a fault, answered, cut off by a fault, or left by its client."""
MAX_ENTRIES = 10_000
"""How many entries a journal keeps; older ones are forgotten."""
_HEADERS = ("idempotency-key", "traceparent", "content-type", "user-agent", "client-request-id", "prefer", "consistencylevel")


class Entry(BaseModel):
    """One request.

    Attributes:
        number: Counts the requests of this simulator from 1.
        at: When it arrived.
        method: The HTTP method, in capitals.
        path: The decoded path.
        query: The query parameters.
        tenant: Whose request it was, as the simulator's own authentication tells; None where it cannot.
        headers: The few headers that matter, in lower case; never an Authorization header.
        body: The JSON or form sent, with passwords, secrets and tokens masked; None if there was none.
        status: The HTTP status answered; None while there is no answer, and for ever where it was dropped.
        state: Where it stands.
        replayed: Whether the answer repeated that of an earlier request with the same Idempotency-Key, without an effect.
    """

    number: int
    at: datetime
    method: str
    path: str
    query: dict[str, Any] = Field(default_factory=dict)
    tenant: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    status: int | None = None
    state: State = "received"
    replayed: bool = False


def path_matches(path: str, pattern: str, *, exact: bool = False) -> bool:
    """Whether `pattern` chooses `path`.

    A pattern with `*` or `?` is a glob over the whole path (`*` also crosses slashes). Any other one chooses that path and
    everything below it, or with `exact` that path alone. An empty pattern chooses every path.
    """
    if not pattern:
        return True
    if "*" in pattern or "?" in pattern:
        return fnmatchcase(path, pattern)
    return path == pattern or (not exact and path.startswith(pattern.rstrip("/") + "/"))


def _readable(content_type: str, body: bytes) -> Any:
    """The body as JSON: decoded, with sensitive values masked. Forms are sent by OAuth clients."""
    if not body:
        return None
    if content_type.startswith("application/x-www-form-urlencoded"):
        return sanitize(dict(parse_qsl(body.decode("utf-8", "replace"))))
    try:
        return sanitize(json.loads(body))
    except ValueError:
        return f"({len(body)} bytes that are not JSON)"


class Journal:
    """The requests of one simulator, in order of arrival."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._received = 0

    def open(self, request: Request, body: bytes, tenant: str | None) -> Entry:
        """Note a request on its arrival; the entry is completed while it is worked on."""
        self._received += 1
        headers: Mapping[str, str] = request.headers
        entry = Entry(
            number=self._received, at=datetime.now(UTC), method=request.method, path=request.url.path, tenant=tenant,
            query=sanitize(dict(request.query_params)),
            headers={name: headers[name] for name in _HEADERS if name in headers},
            body=_readable(headers.get("content-type", ""), body))
        self._entries.append(entry)
        return entry

    def entries(self, *, method: str | None = None, path: str = "", exact: bool = False, tenant: str | None = None,
                state: str | None = None) -> list[Entry]:
        """The entries of a method, of paths (see `path_matches`), of a tenant and in a state; all by default."""
        return [entry for entry in self._entries
                if (method is None or entry.method == method.upper())
                and path_matches(entry.path, path, exact=exact)
                and (tenant is None or entry.tenant == tenant)
                and (state is None or entry.state == state)]

    def clear(self) -> None:
        """Forget every entry."""
        self._entries.clear()

    def routes(self) -> list[Route]:
        """The journal over HTTP."""
        return [Route("/_journal", self._list, methods=["GET"]), Route("/_journal", self._clear, methods=["DELETE"])]

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        found = self.entries(method=asked.get("method"), path=asked.get("path", ""), tenant=asked.get("tenant"),
                             state=asked.get("state"), exact=asked.get("exact") == "true")
        return JSONResponse([entry.model_dump(mode="json") for entry in found])

    async def _clear(self, _request: Request) -> Response:
        self.clear()
        return Response(status_code=204)
