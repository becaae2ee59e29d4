"""Microsoft Graph v1.0: users, licences and groups of an organization's Microsoft 365 tenant.

https://learn.microsoft.com/en-us/graph/api/overview?view=graph-rest-1.0
"""

from __future__ import annotations

import re
import secrets
import string
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import httpx

from bifrost import redaction
from bifrost.errors import IntegrationError, NotFoundError, ValidationError
from bifrost.integrations.base import BaseIntegration
from bifrost.integrations.call import current_call
from bifrost.integrations.oauth import ClientCredentials, referenced_secret, required
from bifrost.record import Page, Record, camel, record

_MAX_PAGE = 999
_PASSWORD_LENGTH = 24
_SYMBOLS = "!#$%*+-=?@_"
# Graph's rule for mailNickname: ASCII without these, at most 64 characters.
_NOT_IN_NICKNAME = re.compile(r'[^\x21-\x7e]|[@()\\\[\]";:<>,]')
_IDENTIFYING = ("id", "displayName", "userPrincipalName", "mail", "department", "usageLocation", "accountEnabled")


class MSGraphIntegration(BaseIntegration):
    """The organization's tenant in Microsoft Graph, as an application (no user signs in).

    Configuration `msgraph`:
        tenant_id: The Entra tenant; the organization's `tenant_id` by default.
        client_id: The application.
        client_secret: `{secret_ref: NAME}`.
        base_url: `https://graph.microsoft.com` by default; national clouds have their own
            (https://learn.microsoft.com/en-us/graph/deployments).
        login_url: `https://login.microsoftonline.com` by default.
        usage_location: The country of new users, two letters of ISO 3166-1; `US` by default. Licences need one.

    A collection is answered whole, however many pages it has, as `{"value": [...]}` that also has the length, items and
    order of its `value`. Where a method takes properties, snake_case and Graph's camelCase both work.
    """

    integration_name: ClassVar[str] = "msgraph"

    async def authenticate(self) -> None:
        """Obtain a token for the application; later ones are fetched as they run out.

        https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow

        Raises:
            ConfigurationError: the configuration or its secret is missing or incomplete; names the organization.
            IntegrationError: Entra refused or could not be reached.
        """
        tenant_id = self.context.get_config("msgraph.tenant_id") or self.context.tenant_id
        names = ("client_id", "client_secret") if tenant_id else ("tenant_id", "client_id", "client_secret")
        entry = required(self.context, "msgraph", names)
        base_url = str(entry.get("base_url") or "https://graph.microsoft.com").rstrip("/")
        login_url = str(entry.get("login_url") or "https://login.microsoftonline.com").rstrip("/")
        source = ClientCredentials(
            f"{login_url}/{_segment(str(tenant_id))}/oauth2/v2.0/token", str(entry["client_id"]),
            await referenced_secret(self.context, "msgraph", entry), f"{base_url}/.default", name="msgraph",
            timeout=self.http.timeout, transport=self.http.transport)
        await source.token()
        self.http.base_url = f"{base_url}/v1.0"
        self.http.token = source.token

    async def create_user(self, email: str, name: str | None = None, department: str | None = None, *,
                          display_name: str | None = None, usage_location: str | None = None,
                          **properties: Any) -> Record:
        """Create an enabled user who must choose a new password at the first sign-in.

        The initial password is random and nobody learns it: an administrator resets it, or issues a Temporary Access Pass.

        A retried attempt that finds the name taken answers the user of that name, if it is the one that was asked for:
        Graph knows no idempotency keys, so an earlier attempt may have created the user although its answer was lost. On
        a first attempt a taken name is somebody else's, and an error.

        https://learn.microsoft.com/en-us/graph/api/user-post-users?view=graph-rest-1.0

        Args:
            email: The user principal name.
            name: The display name; may be given as `display_name` as well.
            department: The department.
            display_name: The display name.
            usage_location: Two letters of ISO 3166-1; the configured default by default.
            properties: Further properties (`job_title="Engineer"`).

        Raises:
            ValidationError: there is no display name, or the email address is none.
            IntegrationError: Graph refused; a taken name is a 400 of code `Request_BadRequest`.
        """
        shown, local_part = display_name or name, email.partition("@")[0]
        if not shown:
            raise ValidationError("msgraph.create_user needs a name (or display_name)", field="name")
        nickname = _NOT_IN_NICKNAME.sub("", local_part)[:64]
        if not nickname or "@" not in email:
            raise ValidationError("msgraph.create_user needs an email address as user principal name", field="email")
        wanted = {"displayName": shown, "userPrincipalName": email, "accountEnabled": True,
                  "usageLocation": usage_location or self.get_config("msgraph.usage_location") or "US",
                  **({"department": department} if department else {}), **_camel_keys(properties)}
        profile = {"password": _initial_password(), "forceChangePasswordNextSignIn": True}
        try:
            return _read(await self.http.post("users", json={
                "mailNickname": nickname, "passwordProfile": profile, **wanted}))
        except IntegrationError as error:
            if current_call.get().attempt == 1 or not _is_taken(error):
                raise
            existing = await self.get_user(email, select=_IDENTIFYING)
            if any(existing.get(key) != wanted[key] for key in ("displayName", "department") if wanted.get(key)):
                raise
            return existing

    async def get_user(self, id_or_upn: str, *, select: str | Sequence[str] | None = None) -> Record:
        """One user, by id or user principal name. `select` names the properties; Graph's default set by default.

        https://learn.microsoft.com/en-us/graph/api/user-get?view=graph-rest-1.0
        """
        # A name that begins with $ is only found in the form with parentheses, says the page above.
        segment = f"users('{_segment(id_or_upn)}')" if id_or_upn.startswith("$") else f"users/{_segment(id_or_upn)}"
        return _read(await self.http.get(segment, params=_query(select=select)))

    async def get_users(self, filter: str | None = None,  # noqa: A002 - the guide's name, and OData's
                        select: str | Sequence[str] | None = None, top: int | None = None) -> Page:
        """The users that `filter` (OData) chooses, at most `top` of them; all by default.

        https://learn.microsoft.com/en-us/graph/api/user-list?view=graph-rest-1.0
        """
        if top is not None and top < 1:
            raise ValidationError("msgraph.get_users: top must be at least 1", field="top")
        page_size = min(top, _MAX_PAGE) if top else None
        return await self._all("users", _query(filter=filter, select=select, top=page_size), top)

    async def update_user(self, id: str, changes: Mapping[str, Any]) -> Record:  # noqa: A002 - the guide's name
        """Set properties of a user, by id or user principal name.

        https://learn.microsoft.com/en-us/graph/api/user-update?view=graph-rest-1.0
        """
        await self.http.patch(f"users/{_segment(id)}", json=_camel_keys(changes))
        return Record(success=True, id=id)

    async def assign_license(self, user_id: str, sku: str) -> Record:
        """Give a user a licence: by `skuId` (a GUID) or `skuPartNumber` (such as `ENTERPRISEPACK`). Answers the user.

        A licence that the user has already is no error, so a retried attempt is safe.

        https://learn.microsoft.com/en-us/graph/api/user-assignlicense?view=graph-rest-1.0

        Raises:
            NotFoundError: the tenant has no subscription of that part number; names similar ones.
            IntegrationError: Graph refused, for instance because no licence is left.
        """
        sku_id = sku if _is_guid(sku) else await self._sku_id(sku)
        return _read(await self.http.post(f"users/{_segment(user_id)}/assignLicense", json={
            "addLicenses": [{"skuId": sku_id, "disabledPlans": []}], "removeLicenses": []}))

    async def add_user_to_group(self, user_id: str, group_id: str) -> Record:
        """Make a user (by id) a member of a group (by id). One who is a member already is no error.

        https://learn.microsoft.com/en-us/graph/api/group-post-members?view=graph-rest-1.0
        """
        member = {"@odata.id": f"{self.http.base_url}/directoryObjects/{_segment(user_id)}"}
        try:
            await self.http.post(f"groups/{_segment(group_id)}/members/$ref", json=member)
        except IntegrationError as error:
            if not _is_member_already(error):
                raise
        return Record(success=True, user_id=user_id, group_id=group_id)

    async def get_groups(self, filter: str | None = None) -> Page:  # noqa: A002 - the guide's name, and OData's
        """The groups that `filter` (OData) chooses; all by default.

        https://learn.microsoft.com/en-us/graph/api/group-list?view=graph-rest-1.0
        """
        return await self._all("groups", _query(filter=filter))

    async def get_group_by_name(self, name: str) -> Record | None:
        """The group with this display name, or None. Display names need not be unique: it is the first one."""
        # In OData a quote inside a string is doubled.
        groups = await self.get_groups("displayName eq '{}'".format(name.replace("'", "''")))
        return groups.value[0] if groups.value else None

    async def get_subscribed_skus(self) -> Page:
        """The licences that the tenant has subscribed to, with their numbers.

        https://learn.microsoft.com/en-us/graph/api/subscribedsku-list?view=graph-rest-1.0
        """
        return await self._all("subscribedSkus", None)

    async def _sku_id(self, part_number: str) -> str:
        by_part_number = {sku["skuPartNumber"].upper(): sku["skuId"] for sku in await self.get_subscribed_skus()}
        if part_number.upper() not in by_part_number:
            raise NotFoundError.of("License", part_number.upper(), by_part_number,
                                   hint=f"The tenant has: {', '.join(sorted(by_part_number)) or 'none'}")
        return str(by_part_number[part_number.upper()])

    async def _all(self, path: str, query: Mapping[str, Any] | None, limit: int | None = None) -> Page:
        """A collection to its last page: https://learn.microsoft.com/en-us/graph/paging."""
        answer = _read(await self.http.get(path, params=query))
        items = list(answer.get("value", []))
        while (link := answer.get("@odata.nextLink")) and (limit is None or len(items) < limit):
            answer = _read(await self.http.get(link))
            items.extend(answer.get("value", []))
        return Page(value=items[:limit])


def _segment(text: str) -> str:
    return quote(text, safe="@")


def _query(*, select: str | Sequence[str] | None = None, **options: Any) -> dict[str, Any] | None:
    given = {"select": select if isinstance(select, str | None) else ",".join(select), **options}
    return {f"${name}": value for name, value in given.items() if value is not None} or None


def _read(response: httpx.Response) -> Record:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise IntegrationError(f"msgraph: {response.request.method} {response.request.url.path} answered "
                               f"{response.status_code} with something that is no JSON object", integration="msgraph",
                               status_code=response.status_code)
    result: Record = record(answer)
    return result


def _camel_keys(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {camel(name): value for name, value in properties.items()}


def _is_guid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


# Graph tells these apart from other bad requests by their sentence alone; the codes are the same.
def _is_taken(error: IntegrationError) -> bool:
    return error.status_code in (400, 409) and "userprincipalname already exists" in error.message.lower()


def _is_member_already(error: IntegrationError) -> bool:
    return error.status_code == 400 and "object references already exist" in error.message.lower()


def _initial_password() -> str:
    """A random password with characters of all four kinds, of which Entra demands three.

    https://learn.microsoft.com/en-us/entra/identity/authentication/concept-password-ban-bad-combined-policy
    """
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, _SYMBOLS)
    characters = [secrets.choice(kind) for kind in kinds]
    characters += [secrets.choice("".join(kinds)) for _ in range(_PASSWORD_LENGTH - len(kinds))]
    secrets.SystemRandom().shuffle(characters)
    password = "".join(characters)
    redaction.remember(password)
    return password
