"""What a tenant reports, as the Graph simulator keeps it: sign-ins and security alerts, newest first.

Sources: https://learn.microsoft.com/graph/api/resources/signin and
https://learn.microsoft.com/graph/api/resources/security-alert; page sizes:
https://learn.microsoft.com/graph/api/signin-list and https://learn.microsoft.com/graph/api/resources/security-error-codes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bifrost.dev.simulators.odata import EntityType

Json = dict[str, Any]
SIGN_IN = EntityType("signIn", {
    **dict.fromkeys(("id", "userDisplayName", "userPrincipalName", "userId", "appId", "appDisplayName", "ipAddress",
                     "clientAppUsed", "correlationId", "conditionalAccessStatus", "riskDetail", "riskLevelAggregated",
                     "riskLevelDuringSignIn", "riskState", "resourceDisplayName", "resourceId", "location/city",
                     "location/state", "location/countryOrRegion", "deviceDetail/browser", "deviceDetail/operatingSystem"),
                    str),
    "createdDateTime": datetime, "isInteractive": bool, "riskEventTypes_v2": list, "status": dict,
    "status/errorCode": int, "deviceDetail": dict, "location": dict, "appliedConditionalAccessPolicies": list,
}, default_page=1000, max_page=1000)
ALERT = EntityType("security.alert", {
    **dict.fromkeys(("id", "providerAlertId", "incidentId", "status", "severity", "classification", "determination",
                     "serviceSource", "detectionSource", "tenantId", "title", "description", "recommendedActions", "category",
                     "assignedTo", "alertWebUrl", "incidentWebUrl", "threatDisplayName"), str),
    "createdDateTime": datetime, "lastUpdateDateTime": datetime, "firstActivityDateTime": datetime,
    "lastActivityDateTime": datetime, "resolvedDateTime": datetime, "mitreTechniques": list, "comments": list,
    "evidence": list, "systemTags": list,
}, max_page=1000)


class Reports:
    """The sign-ins and alerts of one tenant; there are those that a test puts there.

    Args:
        tenant_id: Its id, a GUID.
    """

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._sign_ins: list[Json] = []
        self._alerts: list[Json] = []

    @property
    def sign_ins(self) -> list[Json]:
        """All sign-ins, newest first."""
        return _newest_first(self._sign_ins)

    @property
    def alerts(self) -> list[Json]:
        """All alerts, newest first."""
        return _newest_first(self._alerts)

    def add_sign_in(self, user: Mapping[str, Any], **properties: Any) -> Json:
        """Report that a user signed in: now, to the Azure portal, successfully, unless `properties` say otherwise."""
        made = {**dict.fromkeys(name for name in SIGN_IN.properties if "/" not in name), "id": str(uuid.uuid4()),
                "createdDateTime": _now(), "userDisplayName": user["displayName"],
                "userPrincipalName": user["userPrincipalName"], "userId": user["id"],
                "appId": "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "appDisplayName": "Azure Portal",
                "ipAddress": "203.0.113.7", "clientAppUsed": "Browser", "correlationId": str(uuid.uuid4()),
                "conditionalAccessStatus": "notApplied", "isInteractive": True, "riskDetail": "none",
                "riskLevelAggregated": "none", "riskLevelDuringSignIn": "none", "riskState": "none",
                "riskEventTypes_v2": [], "appliedConditionalAccessPolicies": [],
                "status": {"errorCode": 0, "failureReason": "Other.", "additionalDetails": None},
                "deviceDetail": {"deviceId": "", "displayName": "", "operatingSystem": "Windows 10",
                                 "browser": "Edge 130.0.0", "isCompliant": False, "isManaged": False, "trustType": ""},
                "location": {"city": "Redmond", "state": "Washington", "countryOrRegion": "US",
                             "geoCoordinates": {"altitude": None, "latitude": 47.68, "longitude": -122.12}},
                **properties}
        self._sign_ins.append(made)
        return made

    def add_alert(self, title: str, **properties: Any) -> Json:
        """Report an alert: now, new and of medium severity, unless `properties` say otherwise."""
        alert_id, now = f"da{uuid.uuid4().int % 10 ** 18}_1", _now()
        made = {**dict.fromkeys(ALERT.properties), "id": alert_id, "providerAlertId": alert_id, "incidentId": "1",
                "status": "new", "severity": "medium", "classification": "unknown", "determination": "unknown",
                "serviceSource": "microsoftDefenderForEndpoint", "detectionSource": "antivirus",
                "tenantId": self._tenant_id, "title": title, "description": title, "recommendedActions": "",
                "category": "SuspiciousActivity", "createdDateTime": now, "lastUpdateDateTime": now,
                "firstActivityDateTime": now, "lastActivityDateTime": now,
                "alertWebUrl": f"https://security.microsoft.com/alerts/{alert_id}?tid={self._tenant_id}",
                "incidentWebUrl": f"https://security.microsoft.com/incidents/1?tid={self._tenant_id}",
                "mitreTechniques": [], "comments": [], "evidence": [], "systemTags": [], **properties}
        self._alerts.append(made)
        return made


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _newest_first(reported: list[Json]) -> list[Json]:
    return sorted(reported, key=lambda one: datetime.fromisoformat(one["createdDateTime"]))[::-1]
