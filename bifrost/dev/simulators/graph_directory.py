"""The directory of one Microsoft Entra tenant, as the Graph simulator keeps it: users, groups and licences.

Sources: https://learn.microsoft.com/graph/api/resources/user, https://learn.microsoft.com/graph/api/resources/group,
https://learn.microsoft.com/graph/api/resources/subscribedsku, https://learn.microsoft.com/graph/api/resources/licensedetails,
and for the public ids of products and service plans
https://learn.microsoft.com/entra/identity/users/licensing-service-plan-reference.
"""

from __future__ import annotations

import base64
import re
import string
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bifrost.dev.simulators.base import Refusal
from bifrost.dev.simulators.graph_reports import Reports
from bifrost.dev.simulators.odata import EntityType

Json = dict[str, Any]
_NAMESPACE = uuid.UUID("0b1f7057-5a6c-4f0e-9d0a-6d7367726170")
_READ_ONLY = {"user": {"id", "createdDateTime", "assignedLicenses", "signInSessionsValidFromDateTime"},
              "group": {"id", "createdDateTime", "mail"}}
_NEVER_NULL = {"accountEnabled", "displayName", "mailNickname", "userPrincipalName", "mailEnabled", "securityEnabled",
               "groupTypes"}
_FORMS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "user": {"displayName": re.compile(r".+"), "mailNickname": re.compile(r"[^@\s]+"),
             "userPrincipalName": re.compile(r"[^@\s]+@[^@\s]+"), "usageLocation": re.compile(r"[A-Za-z]{2}")},
    "group": {"displayName": re.compile(r".{1,256}"), "description": re.compile(r".+", re.DOTALL),
              "mailNickname": re.compile(r"""[^\x00-\x20\x7f-\U0010ffff@()\\\[\]";:.<>,]{1,64}""")}}
_TEXTS = ("id", "displayName", "givenName", "surname", "mailNickname", "userPrincipalName", "mail", "jobTitle",
          "department", "companyName", "employeeId", "officeLocation", "mobilePhone", "city", "country", "state",
          "postalCode", "streetAddress", "preferredLanguage", "usageLocation", "userType")
USER = EntityType(
    "user", {**dict.fromkeys(_TEXTS, str), "accountEnabled": bool, "businessPhones": list, "otherMails": list,
             "assignedLicenses": list, "createdDateTime": datetime, "signInSessionsValidFromDateTime": datetime},
    default=("businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation",
             "preferredLanguage", "surname", "userPrincipalName", "id"), advanced=True)
GROUP = EntityType("group", {
    "id": str, "createdDateTime": datetime, "description": str, "displayName": str, "groupTypes": list, "mail": str,
    "mailEnabled": bool, "mailNickname": str, "securityEnabled": bool, "visibility": str}, advanced=True)
LICENSE = EntityType("licenseDetails", {"id": str, "skuId": str, "skuPartNumber": str, "servicePlans": list})
DEPARTMENTS = ("IT", "Sales", "Finance", "HR")
"""Each has a group of that name in every tenant."""
SKU_IDS: Mapping[str, str] = {
    "ENTERPRISEPACK": "6fd2c87f-b296-42f0-b197-1e91e994b900",  # Office 365 E3
    "SPE_E3": "05e9a617-0261-4cee-bb44-138d3ef5d965",          # Microsoft 365 E3
    "SPE_E5": "06ebc4ee-1bb5-47dd-8120-11324bc54e06",          # Microsoft 365 E5
    "FLOW_FREE": "f30db892-07e9-47e9-837c-80727f46fd3d",       # Power Automate Free
}
"""The public id of each product that can be subscribed to here, by its part number."""
SUBSCRIBED: Mapping[str, tuple[int, int]] = {
    "ENTERPRISEPACK": (25, 0), "SPE_E3": (10, 9), "SPE_E5": (5, 5), "FLOW_FREE": (10_000, 12)}
"""What a tenant is subscribed to, if nothing else is said: units bought, and units in use at the start."""
_PLANS: Mapping[str, str] = {
    "EXCHANGE_S_ENTERPRISE": "efb87545-963c-4e0d-99df-69c6916d9eb0",
    "SHAREPOINTENTERPRISE": "5dbe027f-2339-4123-9542-606e4d348a72",
    "TEAMS1": "57ff2da0-773e-42df-b2af-ffb7a2317929",
}


def stable_id(*names: str) -> str:
    """A GUID that is the same in every run: of a tenant, or of something in it."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(names)))


def bad_request(message: str, **extra: Any) -> Refusal:
    """A refusal with the code that Graph gives to most of them."""
    return Refusal(400, "Request_BadRequest", message, extra)


def not_found(name: str) -> Refusal:
    """The refusal of an object that is not there."""
    return Refusal(404, "Request_ResourceNotFound", f"Resource '{name}' does not exist or one of its queried "
                                                    "reference-property objects are not present.")


class Directory:
    """One tenant.

    Args:
        tenant: Its id, a GUID or a domain.
        subscribed: Units bought and units in use at the start, by part number; see `SUBSCRIBED`.

    Attributes:
        reports: Its sign-ins and alerts; `reports.add_sign_in` and `reports.add_alert` make some.
    """

    def __init__(self, tenant: str, subscribed: Mapping[str, tuple[int, int]] = SUBSCRIBED) -> None:
        self.id = stable_id(tenant)
        self.reports = Reports(self.id)
        self.users: dict[str, Json] = {}
        self.groups = {group["id"]: group for group in (_group(tenant, name) for name in DEPARTMENTS)}
        self.members: dict[str, list[str]] = {group_id: [] for group_id in self.groups}
        self.skus = {SKU_IDS[part]: _sku(self.id, part, *units) for part, units in subscribed.items()}

    def organization(self) -> Json:
        """The tenant itself."""
        return {"id": self.id, "displayName": "Simulated tenant", "countryLetterCode": "US", "tenantType": "AAD",
                "verifiedDomains": [{"name": f"{self.id}.onmicrosoft.com", "isDefault": True, "isInitial": True,
                                     "type": "Managed", "capabilities": "Email, OfficeCommunicationsOnline"}]}

    def user(self, name: str) -> Json:
        """A user by id or userPrincipalName."""
        found = self.users.get(name) or self._by_principal_name(name)
        if found is None:
            raise not_found(name)
        return found

    def group(self, group_id: str) -> Json:
        """A group by id."""
        if group_id not in self.groups:
            raise not_found(group_id)
        return self.groups[group_id]

    def create_user(self, given: Json) -> Json:
        """See https://learn.microsoft.com/graph/api/user-post-users."""
        _require("User", given, "accountEnabled", "displayName", "mailNickname", "userPrincipalName", "passwordProfile")
        self._check_user(given)
        now = _now()
        empty: Json = {name: [] if kind is list else None for name, kind in USER.properties.items()}
        user = {**empty, **given, "id": str(uuid.uuid4()), "createdDateTime": now,
                "signInSessionsValidFromDateTime": now, "userType": given.get("userType") or "Member"}
        user.pop("passwordProfile")
        self.users[user["id"]] = user
        return user

    def update_user(self, name: str, given: Json) -> None:
        """See https://learn.microsoft.com/graph/api/user-update."""
        user = self.user(name)
        self._check_user(given, known=user)
        user.update({name: value for name, value in given.items() if name != "passwordProfile"})

    def delete_user(self, name: str) -> None:
        """See https://learn.microsoft.com/graph/api/user-delete. The licences are free again, the memberships end."""
        user = self.users.pop(self.user(name)["id"])
        for assigned in user["assignedLicenses"]:
            self.skus[assigned["skuId"]]["consumedUnits"] -= 1
        for members in self.members.values():
            if user["id"] in members:
                members.remove(user["id"])

    def revoke_sessions(self, name: str) -> None:
        """See https://learn.microsoft.com/graph/api/user-revokesigninsessions."""
        self.user(name)["signInSessionsValidFromDateTime"] = _now()

    def license_details(self, name: str) -> list[Json]:
        """See https://learn.microsoft.com/graph/api/user-list-licensedetails."""
        skus = [self.skus[assigned["skuId"]] for assigned in self.user(name)["assignedLicenses"]]
        return [{"id": _license_id(self.id, sku["skuId"]), "skuId": sku["skuId"], "skuPartNumber": sku["skuPartNumber"],
                 "servicePlans": sku["servicePlans"]} for sku in skus]

    def assign_license(self, name: str, add: list[Json], remove: list[str]) -> Json:
        """See https://learn.microsoft.com/graph/api/user-assignlicense. All of it happens, or nothing."""
        user = self.user(name)
        had = {assigned["skuId"]: assigned for assigned in user["assignedLicenses"]}
        wanted = {assigned["skuId"]: assigned for assigned in add}
        if add and not user["usageLocation"]:
            raise bad_request("License assignment cannot be done for user with invalid usage location.")
        for sku_id in [*wanted, *remove]:
            if sku_id not in self.skus:
                raise bad_request(f"License {sku_id} does not correspond to a valid company License.")
        if not had.keys() >= set(remove):
            raise bad_request("User does not have a corresponding license.")
        for sku_id in wanted.keys() - had.keys():
            sku = self.skus[sku_id]
            if sku["consumedUnits"] >= sku["prepaidUnits"]["enabled"]:
                raise bad_request(f"Subscription with SKU {sku_id} does not have any available licenses.")
        has = {sku_id: assigned for sku_id, assigned in {**had, **wanted}.items() if sku_id not in remove}
        for sku_id in had.keys() ^ has.keys():
            self.skus[sku_id]["consumedUnits"] += 1 if sku_id in has else -1
        user["assignedLicenses"] = list(has.values())
        return user

    def create_group(self, given: Json) -> Json:
        """See https://learn.microsoft.com/graph/api/group-post-groups."""
        _require("Group", given, "displayName", "mailEnabled", "mailNickname", "securityEnabled")
        _check(GROUP, given)
        unified = "Unified" in given.get("groupTypes", [])
        if given["mailEnabled"] and not unified:
            raise bad_request("The service does not currently support writes of mail-enabled groups. Please ensure that the "
                              "mail-enablement property is unset and the security-enablement property is set.")
        if unified and any(group["groupTypes"] and group["mailNickname"] == given["mailNickname"]
                           for group in self.groups.values()):
            raise _conflict("mailNickname")
        group: Json = {**dict.fromkeys(GROUP.properties), "groupTypes": [], **given, "id": str(uuid.uuid4()),
                       "createdDateTime": _now(),
                       "mail": f"{given['mailNickname']}@{self.id}.onmicrosoft.com" if unified else None}
        self.groups[group["id"]], self.members[group["id"]] = group, []
        return group

    def add_member(self, group_id: str, user_id: str) -> None:
        """See https://learn.microsoft.com/graph/api/group-post-members."""
        group = self.group(group_id)
        if user_id not in self.users:
            raise not_found(user_id)
        if user_id in self.members[group["id"]]:
            raise bad_request("One or more added object references already exist for the following modified properties: "
                              "'members'.")
        self.members[group["id"]].append(user_id)

    def remove_member(self, group_id: str, user_id: str) -> None:
        """See https://learn.microsoft.com/graph/api/group-delete-members."""
        members = self.members[self.group(group_id)["id"]]
        if user_id not in members:
            raise not_found(group_id)  # Graph names the group, also where it is the member that is missing
        members.remove(user_id)

    def _by_principal_name(self, name: str) -> Json | None:
        return next((user for user in self.users.values()
                     if user["userPrincipalName"].casefold() == name.casefold()), None)

    def _check_user(self, given: Json, known: Json | None = None) -> None:
        """Refuse properties that a user cannot have, and a name that is another's."""
        if "passwordProfile" in given:
            _check_password(given["passwordProfile"])
        _check(USER, {name: value for name, value in given.items() if name != "passwordProfile"})
        same = self._by_principal_name(given.get("userPrincipalName", ""))
        if same is not None and same is not known:
            raise _conflict("userPrincipalName")


def _require(resource: str, given: Json, *names: str) -> None:
    for name in names:
        if given.get(name) is None:
            raise bad_request(f"A value is required for property '{name}' of resource '{resource}'.")


def _check(entity: EntityType, given: Json) -> None:
    """Refuse properties that there are not, that are read-only, or that cannot have such a value."""
    for name, value in given.items():
        if name not in entity.properties:
            raise bad_request(f"The property '{name}' does not exist on type 'microsoft.graph.{entity.name}'. Make sure to "
                              "only use property names that are defined by the type.")
        if name in _READ_ONLY[entity.name]:
            raise bad_request(f"Property '{name}' is read-only and cannot be set.")
        if not _is_valid(entity, name, value):
            raise bad_request(f"Invalid value specified for property '{name}' of resource '{entity.name.title()}'.")


def _is_valid(entity: EntityType, name: str, value: Any) -> bool:
    if value is None:
        return name not in _NEVER_NULL
    form = _FORMS[entity.name].get(name)
    of_its_type = isinstance(value, entity.properties[name])
    return of_its_type and (form is None or form.fullmatch(value) is not None)


def _conflict(name: str) -> Refusal:
    message = f"Another object with the same value for property {name} already exists."
    return bad_request(message, details=[{"code": "ObjectConflict", "message": message, "target": name}])


def _check_password(profile: Any) -> None:
    """See https://learn.microsoft.com/entra/identity/authentication/concept-sspr-policy for what a password needs."""
    password = profile.get("password") if isinstance(profile, dict) else None
    if not isinstance(password, str):
        raise bad_request("A value is required for property 'passwordProfile.password' of resource 'User'.")
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation + " ")
    if len(password) < 8 or sum(any(char in kind for char in password) for kind in kinds) < 3:
        raise bad_request("The specified password does not comply with password complexity requirements. "
                          "Please provide a different password.")


def _group(tenant: str, name: str) -> Json:
    return {"id": stable_id(tenant, "group", name), "createdDateTime": "2024-01-01T00:00:00Z",
            "description": f"Everybody in {name}", "displayName": name, "groupTypes": [], "mail": None,
            "mailEnabled": False, "mailNickname": name.lower(), "securityEnabled": True, "visibility": None}


def _sku(tenant_guid: str, part: str, enabled: int, consumed: int) -> Json:
    plans = [{"servicePlanId": plan_id, "servicePlanName": plan, "provisioningStatus": "Success", "appliesTo": "User"}
             for plan, plan_id in _PLANS.items()] if part != "FLOW_FREE" else []
    return {"accountId": tenant_guid, "accountName": "simulated", "appliesTo": "User", "capabilityStatus": "Enabled",
            "consumedUnits": consumed, "id": f"{tenant_guid}_{SKU_IDS[part]}", "skuId": SKU_IDS[part],
            "skuPartNumber": part, "prepaidUnits": {"enabled": enabled, "suspended": 0, "warning": 0, "lockedOut": 0},
            "servicePlans": plans, "subscriptionIds": [stable_id(tenant_guid, "subscription", part)]}


def _license_id(tenant_guid: str, sku_id: str) -> str:
    both = uuid.UUID(tenant_guid).bytes_le + uuid.UUID(sku_id).bytes_le
    return base64.urlsafe_b64encode(both).decode().rstrip("=")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
