"""Microsoft Graph v1.0: users, licences and groups of an organization's Microsoft 365 tenant.

https://learn.microsoft.com/en-us/graph/api/overview?view=graph-rest-1.0
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError, ValidationError
from bifrost.integrations import msgraph_wire as wire
from bifrost.integrations.base import BaseIntegration
from bifrost.integrations.call import current_call
from bifrost.integrations.oauth import ClientCredentials, referenced_secret
from bifrost.models import GLOBAL
from bifrost.record import Page, Record

_MAX_PAGE, _MAX_REPORT_PAGE = 999, 1000
_IDENTIFYING = ("id", "displayName", "userPrincipalName", "mail", "department", "usageLocation", "accountEnabled")
_SETTINGS = ("client_id", "client_secret", "base_url", "login_url")


class MSGraphIntegration(BaseIntegration):
    """The organization's tenant in Microsoft Graph, as an application (no user signs in).

    Configuration `msgraph`:
        tenant_id: The Entra tenant; the organization's own `tenant_id` by default. One in the GLOBAL scope is the provider's
            tenant and serves only executions without an organization.
        client_id: The application.
        client_secret: `{secret_ref: NAME}`.
        base_url: `https://graph.microsoft.com` by default; national clouds have their own
            (https://learn.microsoft.com/en-us/graph/deployments).
        login_url: `https://login.microsoftonline.com` by default.
        usage_location: The country of new users, two letters of ISO 3166-1; `US` by default. Licences need one.

    What the organization does not configure is taken from the GLOBAL scope: there an application that many tenants have
    consented to is configured once (https://learn.microsoft.com/en-us/entra/identity-platform/howto-convert-app-to-be-multi-tenant).

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
        entry = self._configured()
        base_url = str(entry.get("base_url") or "https://graph.microsoft.com").rstrip("/")
        login_url = str(entry.get("login_url") or "https://login.microsoftonline.com").rstrip("/")
        source = ClientCredentials(
            f"{login_url}/{wire.segment(str(entry['tenant_id']))}/oauth2/v2.0/token", str(entry["client_id"]),
            await referenced_secret(self.context, "msgraph", entry), f"{base_url}/.default", name="msgraph",
            timeout=self.http.timeout, transport=self.http.transport)
        await source.token()
        self.http.base_url = f"{base_url}/v1.0"
        self.http.token = source.token

    def _configured(self) -> dict[str, Any]:
        """The configuration: each entry the organization's, else the global one; the tenant never another's."""
        given, org = self.context.get_config("msgraph"), self.context.org
        mine = given if isinstance(given, Mapping) else {}
        entry = {name: mine.get(name) or self.context.get_config(f"msgraph.{name}") for name in _SETTINGS}
        own = mine if org is None or "msgraph" in org.config else {}
        entry["tenant_id"] = own.get("tenant_id") or self.context.tenant_id
        missing = [name for name in ("tenant_id", "client_id", "client_secret") if not entry[name]]
        if missing:
            place = f"Organization '{org.id}'" if org else f"The {GLOBAL} scope"
            raise ConfigurationError(f"{place}: the configuration 'msgraph' lacks {', '.join(missing)}",
                                     config_key=f"msgraph.{missing[0]}", org_id=self.context.org_id, missing_keys=missing)
        return entry

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
        nickname = wire.nickname_of(local_part)
        if not nickname or "@" not in email:
            raise ValidationError("msgraph.create_user needs an email address as user principal name", field="email")
        wanted = {"displayName": shown, "userPrincipalName": email, "accountEnabled": True,
                  "usageLocation": usage_location or self.get_config("msgraph.usage_location") or "US",
                  **({"department": department} if department else {}), **wire.camel_keys(properties)}
        profile = {"password": wire.initial_password(), "forceChangePasswordNextSignIn": True}
        try:
            return wire.read(await self.http.post("users", json={
                "mailNickname": nickname, "passwordProfile": profile, **wanted}))
        except IntegrationError as error:
            if current_call.get().attempt == 1 or not wire.is_taken(error):
                raise
            existing = await self.get_user(email, select=_IDENTIFYING)
            if any(existing.get(key) != wanted[key] for key in ("displayName", "department") if wanted.get(key)):
                raise
            return existing

    async def get_user(self, id_or_upn: str, *, select: str | Sequence[str] | None = None) -> Record:
        """One user, by id or user principal name. `select` names the properties; Graph's default set by default.

        https://learn.microsoft.com/en-us/graph/api/user-get?view=graph-rest-1.0
        """
        return wire.read(await self.http.get(wire.user_path(id_or_upn), params=wire.query(select=select)))

    async def get_users(self, filter: str | None = None,  # noqa: A002 - the guide's name, and OData's
                        select: str | Sequence[str] | None = None, top: int | None = None) -> Page:
        """The users that `filter` (OData) chooses, at most `top` of them; all by default.

        https://learn.microsoft.com/en-us/graph/api/user-list?view=graph-rest-1.0
        """
        size = wire.page_size("get_users", top, _MAX_PAGE)
        return await self._all("users", wire.query(filter=filter, select=select, top=size), top)

    async def update_user(self, id: str, changes: Mapping[str, Any]) -> Record:  # noqa: A002 - the guide's name
        """Set properties of a user, by id or user principal name.

        https://learn.microsoft.com/en-us/graph/api/user-update?view=graph-rest-1.0
        """
        await self.http.patch(wire.user_path(id), json=wire.camel_keys(changes))
        return Record(success=True, id=id)

    async def disable_user(self, id: str) -> Record:  # noqa: A002 - the guide's name
        """Keep a user, by id or user principal name, from signing in. One who is disabled already is no error.

        Sessions that are open go on until their tokens run out: see `revoke_sign_in_sessions`.

        https://learn.microsoft.com/en-us/graph/api/user-update?view=graph-rest-1.0
        """
        return await self.update_user(id, {"accountEnabled": False})

    async def enable_user(self, id: str) -> Record:  # noqa: A002 - the guide's name
        """Let a user, by id or user principal name, sign in. One who is enabled already is no error.

        https://learn.microsoft.com/en-us/graph/api/user-update?view=graph-rest-1.0
        """
        return await self.update_user(id, {"accountEnabled": True})

    async def delete_user(self, id: str) -> Record:  # noqa: A002 - the guide's name
        """Delete a user, by id or user principal name. Microsoft can restore the user for 30 days.

        A retried attempt that finds no user is no error: an earlier attempt has deleted it. On a first attempt it is one.

        https://learn.microsoft.com/en-us/graph/api/user-delete?view=graph-rest-1.0
        """
        try:
            await self.http.delete(wire.user_path(id))
        except IntegrationError as error:
            if current_call.get().attempt == 1 or error.status_code != 404:
                raise
        return Record(success=True, id=id)

    async def revoke_sign_in_sessions(self, id: str) -> Record:  # noqa: A002 - the guide's name
        """Make a user, by id or user principal name, sign in again everywhere; it may take Microsoft some minutes.

        Repeating it revokes what was signed in to meanwhile, and nothing else.

        https://learn.microsoft.com/en-us/graph/api/user-revokesigninsessions?view=graph-rest-1.0
        """
        await self.http.post(f"{wire.user_path(id)}/revokeSignInSessions")
        return Record(success=True, id=id)

    async def assign_license(self, user_id: str, sku: str) -> Record:
        """Give a user a licence: by `skuId` (a GUID) or `skuPartNumber` (such as `ENTERPRISEPACK`). Answers the user.

        A licence that the user has already is no error, so a retried attempt is safe.

        https://learn.microsoft.com/en-us/graph/api/user-assignlicense?view=graph-rest-1.0

        Raises:
            NotFoundError: the tenant has no subscription of that part number; names similar ones.
            IntegrationError: Graph refused, for instance because no licence is left.
        """
        return await self._change_licenses(user_id, add=[{"skuId": await self._sku_id(sku), "disabledPlans": []}])

    async def remove_license(self, user_id: str, sku: str) -> Record:
        """Take a licence from a user: by `skuId` (a GUID) or `skuPartNumber`. Answers the user.

        A licence that the user does not have is no error, so a retried attempt is safe.

        https://learn.microsoft.com/en-us/graph/api/user-assignlicense?view=graph-rest-1.0

        Raises:
            NotFoundError: the tenant has no subscription of that part number; names similar ones.
            IntegrationError: Graph refused, for instance because the licence comes from a group.
        """
        sku_id = await self._sku_id(sku)
        try:
            return await self._change_licenses(user_id, remove=[sku_id])
        except IntegrationError as error:
            if not wire.has_no_such_license(error):
                raise
        return await self.get_user(user_id)

    async def get_user_licenses(self, id: str) -> Page:  # noqa: A002 - the guide's name
        """The licences of a user, by id or user principal name, with their service plans; also those that groups give.

        https://learn.microsoft.com/en-us/graph/api/user-list-licensedetails?view=graph-rest-1.0
        """
        return await self._all(f"{wire.user_path(id)}/licenseDetails", None)

    async def add_user_to_group(self, user_id: str, group_id: str) -> Record:
        """Make a user (by id) a member of a group (by id). One who is a member already is no error.

        https://learn.microsoft.com/en-us/graph/api/group-post-members?view=graph-rest-1.0
        """
        member = {"@odata.id": f"{self.http.base_url}/directoryObjects/{wire.segment(user_id)}"}
        try:
            await self.http.post(f"groups/{wire.segment(group_id)}/members/$ref", json=member)
        except IntegrationError as error:
            if not wire.is_member_already(error):
                raise
        return Record(success=True, user_id=user_id, group_id=group_id)

    async def remove_user_from_group(self, user_id: str, group_id: str) -> Record:
        """End a user's (by id) membership of a group (by id). One who is no member is no error, so a retried attempt is safe.

        https://learn.microsoft.com/en-us/graph/api/group-delete-members?view=graph-rest-1.0

        Raises:
            IntegrationError: there is no such user or group (404), or Graph refused.
        """
        group = f"groups/{wire.segment(group_id)}"
        try:
            await self.http.delete(f"{group}/members/{wire.segment(user_id)}/$ref")
        except IntegrationError as error:
            if error.status_code != 404 or not wire.is_guid(user_id):
                raise
            # Graph has one answer for no membership, no group and no user; the last two are mistakes.
            await self.http.get(group, params=wire.query(select="id"))
            await self.get_user(user_id, select="id")
        return Record(success=True, user_id=user_id, group_id=group_id)

    async def get_group_members(self, group_id: str, select: str | Sequence[str] | None = None,
                                top: int | None = None) -> Page:
        """The direct members of a group (by id), at most `top` of them; all by default.

        They may be users, groups, devices and more: `@odata.type` tells, such as `#microsoft.graph.user`.

        https://learn.microsoft.com/en-us/graph/api/group-list-members?view=graph-rest-1.0
        """
        size = wire.page_size("get_group_members", top, _MAX_PAGE)
        return await self._all(f"groups/{wire.segment(group_id)}/members", wire.query(select=select, top=size), top)

    async def create_group(self, name: str, description: str | None = None, *, mail_nickname: str | None = None,
                           **properties: Any) -> Record:
        """Create a security group, or with `group_types=["Unified"]` a Microsoft 365 group.

        Names need not be unique. So a retried attempt looks first for a group of this name and mail nickname, and answers
        it: an earlier attempt may have created it although its answer was lost.

        https://learn.microsoft.com/en-us/graph/api/group-post-groups?view=graph-rest-1.0

        Args:
            name: The display name.
            description: What the group is for.
            mail_nickname: The first half of a Microsoft 365 group's address; by default one that no other call makes.
            properties: Further properties (`visibility="Private"`).

        Raises:
            ValidationError: there is no name.
        """
        if not name:
            raise ValidationError("msgraph.create_group needs a name", field="name")
        call = current_call.get()
        unique = hashlib.sha256((call.idempotency_key or str(uuid.uuid4())).encode()).hexdigest()
        wanted = {"displayName": name, "mailNickname": mail_nickname or unique[:10],
                  **({"description": description} if description else {}), **wire.camel_keys(properties)}
        if call.attempt > 1:
            same = await self.get_groups(f"displayName eq {wire.text(name)} and "
                                         f"mailNickname eq {wire.text(wanted['mailNickname'])}")
            if same.value:
                return Record(same.value[0])
        unified = "Unified" in (wanted.get("groupTypes") or ())
        return wire.read(await self.http.post("groups", json={
            "groupTypes": [], "mailEnabled": unified, "securityEnabled": not unified, **wanted}))

    async def get_groups(self, filter: str | None = None) -> Page:  # noqa: A002 - the guide's name, and OData's
        """The groups that `filter` (OData) chooses; all by default.

        https://learn.microsoft.com/en-us/graph/api/group-list?view=graph-rest-1.0
        """
        return await self._all("groups", wire.query(filter=filter))

    async def get_group_by_name(self, name: str) -> Record | None:
        """The group with this display name, or None. Display names need not be unique: it is the first one."""
        groups = await self.get_groups(f"displayName eq {wire.text(name)}")
        return groups.value[0] if groups.value else None

    async def get_subscribed_skus(self) -> Page:
        """The licences that the tenant has subscribed to, with their numbers.

        https://learn.microsoft.com/en-us/graph/api/subscribedsku-list?view=graph-rest-1.0
        """
        return await self._all("subscribedSkus", None)

    async def get_sign_ins(self, filter: str | None = None, top: int | None = None) -> Page:  # noqa: A002 - the same
        """The users' sign-ins that `filter` (OData) chooses, newest first, at most `top` of them.

        By default all that the tenant keeps, which is a month: `createdDateTime ge 2026-11-01T00:00:00Z` spares most of it.
        It takes the permission AuditLog.Read.All, and a tenant with Microsoft Entra ID P1 or P2.

        https://learn.microsoft.com/en-us/graph/api/signin-list?view=graph-rest-1.0
        """
        size = wire.page_size("get_sign_ins", top, _MAX_REPORT_PAGE)
        return await self._all("auditLogs/signIns", wire.query(filter=filter, top=size), top)

    async def get_security_alerts(self, filter: str | None = None, top: int | None = None) -> Page:  # noqa: A002 - the same
        """The alerts of Microsoft's security products that `filter` (OData) chooses, newest first, at most `top` of them.

        All by default. It takes the permission SecurityAlert.Read.All.

        https://learn.microsoft.com/en-us/graph/api/security-list-alerts_v2?view=graph-rest-1.0
        """
        size = wire.page_size("get_security_alerts", top, _MAX_REPORT_PAGE)
        return await self._all("security/alerts_v2", wire.query(filter=filter, top=size), top)

    async def _change_licenses(self, user: str, *, add: Sequence[Any] = (), remove: Sequence[str] = ()) -> Record:
        return wire.read(await self.http.post(f"{wire.user_path(user)}/assignLicense", json={
            "addLicenses": list(add), "removeLicenses": list(remove)}))

    async def _sku_id(self, sku: str) -> str:
        if wire.is_guid(sku):
            return sku
        by_part_number = {one["skuPartNumber"].upper(): one["skuId"] for one in await self.get_subscribed_skus()}
        if sku.upper() not in by_part_number:
            raise NotFoundError.of("License", sku.upper(), by_part_number,
                                   hint=f"The tenant has: {', '.join(sorted(by_part_number)) or 'none'}")
        return str(by_part_number[sku.upper()])

    async def _all(self, path: str, query: Mapping[str, Any] | None, limit: int | None = None) -> Page:
        """A collection to its last page: https://learn.microsoft.com/en-us/graph/paging."""
        answer = wire.read(await self.http.get(path, params=query))
        items = list(answer.get("value", []))
        while (link := answer.get("@odata.nextLink")) and (limit is None or len(items) < limit):
            answer = wire.read(await self.http.get(link))
            items.extend(answer.get("value", []))
        return Page(value=items[:limit])
