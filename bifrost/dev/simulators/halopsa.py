"""HaloPSA's API and its authorisation server, over one port.

What is simulated, after Halo's public documentation (https://halopsa.com/apidoc/info, and the specification at
https://halo.halopsa.com/api/swagger/v2/swagger.json) and what public clients of it report:

- `POST /auth/token?tenant=…`: client credentials, https://halopsa.com/apidoc/authentication/client; 401 `invalid_client` for
  wrong ones (https://github.com/homotechsual/HaloAPI/issues/19)
- `/api/Client`, `/api/Tickets`, `/api/Actions` and each with `/{id}`: https://halopsa.com/apidoc/resources/clients, tickets,
  actions. A POST takes an array only, creates, or updates where there is an `id`; a list is `{"record_count", "clients"}`
  (`tickets`, `actions`), in pages of at most 100 with `pageinate=true&page_size=&page_no=`, else of at most `count`.

Every tenant has a desk of its own; the token tells the tenant, which without `?tenant=` is called as the client. Known
differences: ticket types, SLAs, sites, contacts, agents, workflows, permissions and the many other fields and filters are
not simulated, a field that is sent is kept as it is; Halo's paths do not tell upper from lower case, these do; Halo does not
document its errors: they are .NET exceptions as its clients see them, and their sentences may differ.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bifrost.dev.simulators.base import Refusal, Simulator

Json = dict[str, Any]
TOKEN_SECONDS = 3600
"""How long a token is valid, unless said otherwise."""
MAX_PAGE, DEFAULT_PAGE = 100, 50
"""Items on a page: the most that `page_size` may ask for, and without it."""
CLOSED = 9
"""The status of closed tickets."""
_TOKEN_PATH = "/auth/token"
_LISTED_WITHOUT = ("details", "third_party_id_string")


@dataclass
class Desk:
    """What one tenant's Halo holds, by id."""

    clients: dict[int, Json] = field(default_factory=dict)
    tickets: dict[int, Json] = field(default_factory=dict)
    actions: dict[int, Json] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001), repr=False)

    def save_client(self, given: Mapping[str, Any]) -> Json:
        """Create or update a client."""
        if "id" not in given and not given.get("name"):
            raise Refusal(400, message="Please enter a name for the Customer")
        return self._save(self.clients, given, {"inactive": False, "datecreated": _now()})

    def save_ticket(self, given: Mapping[str, Any]) -> Json:
        """Create or update a ticket."""
        if "id" not in given and not given.get("summary"):
            raise Refusal(400, message="Please enter a Summary")
        if "client_id" in given:
            client = _found(self.clients, given["client_id"], 400)
            given = {**given, "client_name": client["name"]}
        return self._save(self.tickets, given, {
            "details": "", "status_id": 1, "tickettype_id": 1, "priority_id": 4, "timetaken": 0.0, "dateoccurred": _now(),
            "third_party_id_string": ""})

    def save_action(self, given: Mapping[str, Any]) -> Json:
        """Create or update an action; its time is added to the ticket's."""
        if "id" not in given and not (given.get("outcome") or given.get("outcome_id")):
            raise Refusal(400, message="Please select an Outcome")
        made = self._save(self.actions, given, {
            "ticket_id": _found(self.tickets, given.get("ticket_id"), 400)["id"], "note": "", "timetaken": 0.0,
            "hiddenfromuser": False, "datetime": _now(), "actiondatecreated": _now()} if "id" not in given else {})
        self.tickets[made["ticket_id"]]["timetaken"] = sum(
            action["timetaken"] for action in self.actions.values() if action["ticket_id"] == made["ticket_id"])
        return made

    def _save(self, kind: dict[int, Json], given: Mapping[str, Any], fresh: Mapping[str, Any]) -> Json:
        if "id" in given:
            kept = _found(kind, given["id"])
            kept.update({**given, "id": kept["id"]})
            return kept
        made = {"id": next(self._ids), **fresh, **given}
        kind[made["id"]] = made
        return made


class HaloSimulator(Simulator):
    """HaloPSA. It knows no idempotency keys, as the real one does not.

    Args:
        client_secrets: The client secrets that each tenant accepts; other tenants do not exist then. None accepts any.
        token_seconds: How long tokens are valid.
        clock: Tells the time in seconds; only differences matter.
    """

    name: ClassVar[str] = "halopsa"

    def __init__(self, client_secrets: Mapping[str, Collection[str]] | None = None, *, token_seconds: int = TOKEN_SECONDS,
                 clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(idempotent=False)
        self._client_secrets = client_secrets
        self._token_seconds = token_seconds
        self._clock = clock
        self._tokens: dict[str, tuple[str, float]] = {}
        self._desks: dict[str, Desk] = {}

    def routes(self) -> Sequence[Route]:
        return [
            Route(_TOKEN_PATH, self._token, methods=["POST"]),
            Route("/api/Client", self._list_clients, methods=["GET"]),
            Route("/api/Client", self._save_clients, methods=["POST"]),
            Route("/api/Client/{id}", self._get_client, methods=["GET"]),
            Route("/api/Tickets", self._list_tickets, methods=["GET"]),
            Route("/api/Tickets", self._save_tickets, methods=["POST"]),
            Route("/api/Tickets/{id}", self._get_ticket, methods=["GET"]),
            Route("/api/Actions", self._list_actions, methods=["GET"]),
            Route("/api/Actions", self._save_actions, methods=["POST"]),
            Route("/api/Actions/{id}", self._get_action, methods=["GET"]),
        ]

    def tenant_of(self, request: Request) -> str | None:
        if request.url.path == _TOKEN_PATH:
            return request.query_params.get("tenant")
        tenant, _ = self._tokens.get(_bearer(request), (None, 0))
        return tenant

    def error(self, request: Request, refusal: Refusal) -> Response:
        phrase = HTTPStatus(refusal.status).phrase
        if request.url.path == _TOKEN_PATH:
            code = refusal.code or ("invalid_client" if refusal.status == 401 else "server_error")
            return JSONResponse({"error": code, "error_description": refusal.message or phrase}, refusal.status, dict(refusal.headers))
        if refusal.status == 401:
            return Response(status_code=401, headers={"WWW-Authenticate": "Bearer", **refusal.headers})
        return JSONResponse({"ClassName": "System.Exception", "Message": refusal.message or phrase, "Data": None,
                             "InnerException": None}, refusal.status, dict(refusal.headers))

    def desk(self, tenant: str) -> Desk:
        """What a tenant's Halo holds, for tests in the same process."""
        return self._desks.setdefault(tenant, Desk())

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        if form.get("grant_type") != "client_credentials":
            raise Refusal(400, "unsupported_grant_type", f"The specified grant type '{form.get('grant_type', '')}' is not simulated.")
        tenant, secret = request.query_params.get("tenant") or form.get("client_id"), form.get("client_secret")
        known = self._client_secrets
        if not tenant or not form.get("client_id") or not secret or (known is not None and secret not in known.get(tenant, ())):
            raise Refusal(401, "invalid_client", "The specified client credentials are invalid.")
        token = f"simulated.{secrets.token_urlsafe(48)}"
        self._tokens[token] = tenant, self._clock() + self._token_seconds
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": self._token_seconds,
                             "scope": form.get("scope", "all")}, headers={"Cache-Control": "no-store"})

    def _authorized(self, request: Request) -> Desk:
        tenant, expires = self._tokens.get(_bearer(request), ("", 0.0))
        if not tenant or expires <= self._clock():
            raise Refusal(401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return self.desk(tenant)

    async def _list_clients(self, request: Request) -> Response:
        asked = request.query_params
        found = [client for client in self._authorized(request).clients.values()
                 if _contains(client, asked.get("search"), "name") and (not client["inactive"] or _is_true(asked, "includeinactive"))]
        return _listed(asked, "clients", found)

    async def _save_clients(self, request: Request) -> Response:
        return await _saved(request, self._authorized(request).save_client)

    async def _get_client(self, request: Request) -> Response:
        return JSONResponse(_found(self._authorized(request).clients, request.path_params["id"]))

    async def _list_tickets(self, request: Request) -> Response:
        asked, reference = request.query_params, request.query_params.get("third_party_id_string")
        found = [ticket for ticket in self._authorized(request).tickets.values()
                 if asked.get("client_id") in (None, str(ticket.get("client_id")))
                 and reference in (None, ticket["third_party_id_string"])
                 and _contains(ticket, asked.get("search"), "id", "summary", "details")
                 and not (_is_true(asked, "open_only") and ticket["status_id"] == CLOSED)
                 and not (_is_true(asked, "closed_only") and ticket["status_id"] != CLOSED)]
        # A list's columns are the agent's choice: what is no usual one can only be relied on in the single ticket.
        return _listed(asked, "tickets", [{name: value for name, value in ticket.items() if name not in _LISTED_WITHOUT}
                                          for ticket in found])

    async def _save_tickets(self, request: Request) -> Response:
        return await _saved(request, self._authorized(request).save_ticket)

    async def _get_ticket(self, request: Request) -> Response:
        return JSONResponse(_found(self._authorized(request).tickets, request.path_params["id"]))

    async def _list_actions(self, request: Request) -> Response:
        asked = request.query_params
        start, end = _time(asked.get("startdate")), _time(asked.get("enddate"))
        found = [action for action in self._authorized(request).actions.values()
                 if asked.get("ticket_id") in (None, str(action["ticket_id"]))
                 and (not _is_true(asked, "timeentriesonly") or action["timetaken"])
                 and (start is None or _time(action["datetime"]) >= start) and (end is None or _time(action["datetime"]) <= end)]
        found.reverse()  # the newest first
        return JSONResponse({"record_count": len(found), "actions": found[:_number(asked, "count", DEFAULT_PAGE)]})

    async def _save_actions(self, request: Request) -> Response:
        return await _saved(request, self._authorized(request).save_action)

    async def _get_action(self, request: Request) -> Response:
        return JSONResponse(_found(self._authorized(request).actions, request.path_params["id"]))


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _now() -> str:
    """The time as Halo writes it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def _time(text: Any) -> Any:
    """A time that was sent or kept, as one that compares; None where there is none."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError) as exc:
        raise Refusal(400, message=f"String '{text}' was not recognized as a valid DateTime.") from exc
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _found(kind: Mapping[int, Json], number: Any, status: int = 404) -> Json:
    try:
        return kind[int(number)]
    except (KeyError, TypeError, ValueError) as exc:
        raise Refusal(status, message=f"There is no object of id '{number}'") from exc


def _is_true(asked: Mapping[str, str], name: str) -> bool:
    return asked.get(name, "").lower() == "true"


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    given = asked.get(name, str(default))
    if not given.isdecimal() or int(given) < 1:
        raise Refusal(400, message=f"The value '{given}' is not valid for {name}.")
    return int(given)


def _contains(item: Json, wanted: str | None, *names: str) -> bool:
    return not wanted or any(wanted.casefold() in str(item.get(name, "")).casefold() for name in names)


def _listed(asked: Mapping[str, str], name: str, found: list[Json]) -> Response:
    """The page that the query asks for, in its envelope: newest first, unless another order is asked for."""
    found = sorted(found, key=lambda item: item["id"], reverse=asked.get("order") != "id" or _is_true(asked, "orderdesc"))
    if not _is_true(asked, "pageinate"):
        return JSONResponse({"record_count": len(found), name: found[:_number(asked, "count", DEFAULT_PAGE)]})
    size, number = min(_number(asked, "page_size", DEFAULT_PAGE), MAX_PAGE), _number(asked, "page_no", 1)
    return JSONResponse({"page_no": number, "page_size": size, "record_count": len(found),
                         name: found[(number - 1) * size:number * size]})


async def _saved(request: Request, save: Callable[[Mapping[str, Any]], Json]) -> Response:
    try:
        given = json.loads(await request.body())
    except ValueError:
        given = None
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise Refusal(400, message='Cannot deserialize the current JSON: a JSON array (e.g. [{"name":"value"}]) is required.')
    made = [save(item) for item in given]
    return JSONResponse(made[0] if len(made) == 1 else made, 201)
