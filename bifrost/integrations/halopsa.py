"""HaloPSA: clients, tickets and time entries of a service desk.

https://halopsa.com/apidoc/info, and the vendor's own specification at https://halo.halopsa.com/api/swagger/v2/swagger.json
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx

from bifrost.errors import IntegrationError, ValidationError
from bifrost.integrations.answers import unreadable
from bifrost.integrations.base import BaseIntegration
from bifrost.integrations.call import current_call
from bifrost.integrations.oauth import ClientCredentials, referenced_secret, required
from bifrost.record import Page, Record, record

RETRY_WINDOW = timedelta(hours=12)
"""How old a client or time entry may be that a retried creation takes for its own."""
_MAX_PAGE = 100
_FIRST_COUNT = 1000
_REFERENCE = "third_party_id_string"
_HALO_NAMES = {"title": "summary", "description": "details", "priority": "priority_id"}
_ONE_SECOND = 1 / 3600  # in hours: what Halo may round a time to


class HaloPSAIntegration(BaseIntegration):
    """The organization's HaloPSA, as the agent whom its API application logs in as.

    Configuration `halopsa`; a provider with one Halo for all its customers writes it into the GLOBAL scope:
        base_url: Halo's own address, such as `https://acme.halopsa.com`.
        client_id: The API application (in Halo: Configuration > Integrations > Halo API), of the kind Client ID and Secret.
        client_secret: `{secret_ref: NAME}`.
        tenant: The tenant's name, where Halo's API details show one.
        auth_url: The authorisation server, `<base_url>/auth` by default.

    A collection is answered whole, however many pages it has, as `{"value": [...]}` that also has the length, items and
    order of its `value`. Fields have Halo's own names. Every method's further keywords are fields, or filters, of Halo's.
    """

    integration_name: ClassVar[str] = "halopsa"

    async def authenticate(self) -> None:
        """Obtain a token for the application; later ones are fetched as they run out.

        https://halopsa.com/apidoc/authentication/client

        Raises:
            ConfigurationError: the configuration or its secret is missing or incomplete; names the organization.
            IntegrationError: Halo refused or could not be reached.
        """
        entry = required(self.context, "halopsa", ("base_url", "client_id", "client_secret"))
        # Halo shows its users the address with what is below it.
        base_url = str(entry["base_url"]).rstrip("/").removesuffix("/api")
        auth_url = str(entry.get("auth_url") or f"{base_url}/auth").rstrip("/").removesuffix("/token")
        tenant = f"?{urlencode({'tenant': entry['tenant']})}" if entry.get("tenant") else ""
        source = ClientCredentials(
            f"{auth_url}/token{tenant}", str(entry["client_id"]), await referenced_secret(self.context, "halopsa", entry),
            "all", name="halopsa", timeout=self.http.timeout, transport=self.http.transport)
        await source.token()
        self.http.base_url = f"{base_url}/api"
        self.http.token = source.token

    # --- clients -------------------------------------------------------------------------------------------------

    async def get_clients(self, search: str | None = None, top: int | None = None, *, include_inactive: bool = False,
                          **filters: Any) -> Page:
        """The active clients that `search` finds, at most `top` of them; all by default.

        https://halopsa.com/apidoc/resources/clients
        """
        inactive = {"includeactive": True, "includeinactive": True} if include_inactive else {}
        return await self._all("Client", "clients", {"search": search, **inactive, **filters}, top)

    async def get_client(self, id: int) -> Record:  # noqa: A002 - the guide's name
        """One client, with its details.

        https://halopsa.com/apidoc/resources/clients
        """
        return _one(await self.http.get(f"Client/{_number(id, 'id')}", params={"includedetails": True}))

    async def create_client(self, name: str, email: str | None = None, phone: str | None = None, **fields: Any) -> Record:
        """Create a client.

        A retried attempt that finds an active client of exactly this name, created within the last 12 hours
        (`RETRY_WINDOW`), answers that one: an earlier attempt may have created it although its answer was lost, and Halo
        knows neither idempotency keys nor a reference to find a client by.

        https://halopsa.com/apidoc/resources/clients

        Args:
            name: The client's name.
            email: The main contact's email address; the contact has the client's name, if `newclient_contactname` says no
                other.
            phone: The main site's telephone number.
            fields: Further fields, such as `newclient_contactname="Ada Lovelace"` or `toplevel_id=2`.

        Raises:
            ValidationError: there is no name.
            IntegrationError: Halo refused.
        """
        if not name:
            raise ValidationError("halopsa.create_client needs a name", field="name")
        contact = {"newclient_contactname": name, "newclient_contactemail": email} if email else {}
        site = {"newclient_phonenumber": phone} if phone else {}
        if current_call.get().attempt > 1:
            for found in await self.get_clients(name):
                if found.get("name") == name and _is_recent((made := await self.get_client(found["id"])).get("datecreated")):
                    return made
        return await self._post("Client", {"name": name, **contact, **site, **fields})

    # --- tickets -------------------------------------------------------------------------------------------------

    async def get_tickets(self, client_id: int | None = None, search: str | None = None, *, open_only: bool = False,
                          top: int | None = None, **filters: Any) -> Page:
        """The tickets of a client, or of all, that `search` finds, at most `top` of them; oldest first.

        https://halopsa.com/apidoc/resources/tickets
        """
        mine = {} if client_id is None else {"client_id": _number(client_id, "client_id")}
        return await self._all("Tickets", "tickets", {
            **mine, "search": search, **({"open_only": True} if open_only else {}), **filters}, top)

    async def get_ticket(self, id: int) -> Record:  # noqa: A002 - the guide's name
        """One ticket, with its details.

        https://halopsa.com/apidoc/resources/tickets
        """
        return _one(await self.http.get(f"Tickets/{_number(id, 'id')}", params={"includedetails": True}))

    async def create_ticket(self, client_id: int, title: str, description: str = "", priority: int | None = None,
                            **fields: Any) -> Record:
        """Create a ticket.

        The ticket's third party reference (`third_party_id_string`) is the call's idempotency key, so that a retried
        attempt finds and answers the ticket that an earlier one created although its answer was lost. A reference of your
        own takes its place, and should then be no other ticket's.

        https://halopsa.com/apidoc/resources/tickets

        Args:
            client_id: The client.
            title: The ticket's summary.
            description: Its details, as plain text.
            priority: The number of a priority of the ticket's SLA; what the ticket type says by default.
            fields: Further fields, such as `tickettype_id=1`, `agent_id=5` or `details_html="<p>…"`.

        Raises:
            ValidationError: there is no title, or a number is none.
            IntegrationError: Halo refused, for instance because the ticket type demands another field.
        """
        if not title:
            raise ValidationError("halopsa.create_ticket needs a title", field="title")
        call, client = current_call.get(), _number(client_id, "client_id")
        wanted = {"client_id": client, "summary": title, "details": description,
                  **({"priority_id": _number(priority, "priority")} if priority is not None else {}),
                  **({_REFERENCE: call.idempotency_key} if call.idempotency_key else {}), **fields}
        if call.attempt > 1 and (reference := wanted.get(_REFERENCE)):
            # A Halo too old to know the filter answers other tickets of the client too: the newest few tell.
            for found in await self.get_tickets(client, top=10, orderdesc=True, **{_REFERENCE: reference}):
                if (made := await self.get_ticket(found["id"])).get(_REFERENCE) == reference:
                    return made
        return await self._post("Tickets", wanted)

    async def update_ticket(self, id: int, changes: Mapping[str, Any]) -> Record:  # noqa: A002 - the guide's name
        """Set fields of a ticket; answers the ticket. `title`, `description` and `priority` are understood as well.

        https://halopsa.com/apidoc/resources/tickets
        """
        renamed = {_HALO_NAMES.get(name, name): value for name, value in changes.items()}
        return await self._post("Tickets", {**renamed, "id": _number(id, "id")})

    # --- time entries --------------------------------------------------------------------------------------------

    async def get_time_entries(self, ticket_id: int | None = None, start: date | str | None = None,
                               end: date | str | None = None, *, agent_id: int | None = None,
                               top: int | None = None) -> Page:
        """The time that agents entered on a ticket, or on all of them since `start`; at most `top` entries.

        In Halo that is the actions of tickets that have a `timetaken`, in hours; `who_agentid` is the agent.

        https://halopsa.com/apidoc/resources/actions

        Args:
            ticket_id: The ticket.
            start: Only what happened after; a time without a zone is UTC.
            end: Only what happened before.
            agent_id: Only this agent's.
            top: How many entries at most; all by default.

        Raises:
            ValidationError: there is neither a ticket nor a start.
            IntegrationError: Halo refused, or answered fewer entries than it has: ask for less time at once.
        """
        _check_top("get_time_entries", top)
        if ticket_id is None and start is None:
            raise ValidationError("halopsa.get_time_entries needs a ticket_id or a start", field="ticket_id")
        mine = {} if ticket_id is None else {"ticket_id": _number(ticket_id, "ticket_id")}
        actions = await self._actions({**mine, "startdate": _moment(start), "enddate": _moment(end)})
        return Page(value=[action for action in actions if (action.get("timetaken") or 0) > 0
                           and agent_id in (None, action.get("who_agentid"))][:top])

    async def create_time_entry(self, ticket_id: int, user_id: int, hours: float, description: str = "", *,
                                outcome: str = "Private Note", **fields: Any) -> Record:
        """Enter time on a ticket: an action with a `timetaken` (https://github.com/homotechsual/HaloAPI/issues/66).

        A retried attempt that finds an entry of the same agent, hours and description on the ticket, created within the
        last 12 hours (`RETRY_WINDOW`), answers that one: an earlier attempt may have created it although its answer was
        lost, and Halo knows neither idempotency keys nor a reference to find an action by.

        https://halopsa.com/apidoc/resources/actions

        Args:
            ticket_id: The ticket.
            user_id: The agent whose time it is.
            hours: How long it took, in hours; `0.25` is a quarter of an hour.
            description: The action's note, as plain text.
            outcome: What Halo calls the action; every action has to have a name.
            fields: Further fields: `datetime` is when it happened (now by default), `hiddenfromuser=False` shows the note to
                the client's users, `outcome_id` goes in place of `outcome`.

        Raises:
            ValidationError: `hours` is not above 0, or a number is none.
            IntegrationError: Halo refused.
        """
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours < float("inf"):
            raise ValidationError(f"halopsa.create_time_entry: hours must be a number above 0, not {hours!r}", field="hours")
        ticket, agent = _number(ticket_id, "ticket_id"), _number(user_id, "user_id")
        if current_call.get().attempt > 1:
            for made in await self.get_time_entries(ticket, agent_id=agent):
                if (abs(made["timetaken"] - hours) < _ONE_SECOND and (made.get("note") or "").strip() == description.strip()
                        and _is_recent(made.get("actiondatecreated") or made.get("datetime"))):
                    return Record(made)
        named = {} if "outcome_id" in fields else {"outcome": outcome}
        return await self._post("Actions", {"ticket_id": ticket, "who_agentid": agent, "timetaken": hours,
                                            "note": description, "hiddenfromuser": True, **named, **fields})

    # --- wire ----------------------------------------------------------------------------------------------------

    async def _post(self, path: str, body: Mapping[str, Any]) -> Record:
        """Create or update one object: with an `id` it is an update. Halo takes objects in an array only."""
        return _one(await self.http.post(path, json=[{name: _sent(value) for name, value in body.items()}]))

    async def _all(self, path: str, name: str, query: Mapping[str, Any], top: int | None) -> Page:
        """A collection to its last page. In order of the ids, or what is created meanwhile would move the pages."""
        _check_top(f"get_{name}", top)
        size = min(top or _MAX_PAGE, _MAX_PAGE)
        asked = {"order": "id", **_given(query), "pageinate": True, "page_size": size}
        items: list[Any] = []
        number = 1
        while True:
            page, total = _many(await self.http.get(path, params={**asked, "page_no": number}), name)
            items.extend(page)
            enough = len(items) >= total if total is not None else len(page) < size
            if not page or enough or (top and len(items) >= top):
                return Page(value=items[:top])
            number += 1

    async def _actions(self, query: Mapping[str, Any]) -> list[Any]:
        """All actions that `query` chooses. They have no pages: one asks for a number of them."""
        count = _FIRST_COUNT
        while True:
            actions, total = _many(await self.http.get("Actions", params={
                **_given(query), "timeentriesonly": True, "count": count}), "actions")
            if len(actions) < count:
                if len(actions) >= (total or 0):
                    return actions
                raise IntegrationError(f"halopsa: Halo answered {len(actions)} of {total} actions: ask for less time at once",
                                       integration="halopsa", status_code=200)
            count = max((total or 0) + 1, 2 * count)


def _number(value: Any, field: str) -> int:
    """An id of Halo's, which are all whole numbers."""
    try:
        return int(str(value))
    except ValueError as error:
        raise ValidationError(f"halopsa: {field} must be a whole number, not {value!r}", field=field) from error


def _check_top(method: str, top: int | None) -> None:
    if top is not None and top < 1:
        raise ValidationError(f"halopsa.{method}: top must be at least 1", field="top")


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _moment(value: date | str | None) -> str | None:
    """A time as Halo's queries take it: in UTC, without a zone."""
    if isinstance(value, datetime):
        utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return utc.isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, date) else value


def _sent(value: Any) -> Any:
    """A field's value as JSON has it."""
    return f"{_moment(value)}Z" if isinstance(value, datetime) else value


def _is_recent(created: Any) -> bool:
    """Whether that is a time within the `RETRY_WINDOW`; Halo's have no zone and are UTC."""
    try:
        at = datetime.fromisoformat(created)
    except (TypeError, ValueError):
        return False
    return datetime.now(UTC) - (at if at.tzinfo else at.replace(tzinfo=UTC)) < RETRY_WINDOW


def _read(response: httpx.Response) -> Any:
    try:
        return record(response.json())
    except ValueError:
        return None


def _one(response: httpx.Response) -> Record:
    """The object that was answered, by itself or as the only one of an array: Halo's endpoints differ."""
    answer = _read(response)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, Record) or "id" not in answer:
        raise unreadable("halopsa", response, "with no object with an id")
    return answer


def _many(response: httpx.Response, name: str) -> tuple[list[Any], int | None]:
    """The list that was answered under `name`, which may be null where it is empty, and how many there are in all, if it says so."""
    answer = _read(response)
    if not isinstance(answer, dict) or not isinstance(answer.get(name), list | None):
        raise unreadable("halopsa", response, f"with no list '{name}'")
    return answer.get(name) or [], answer.get("record_count")
