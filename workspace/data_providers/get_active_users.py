"""Options for a user: those who can sign in."""

from typing import Any

from bifrost import OrganizationContext, data_provider

_FIELDS = ["id", "displayName", "userPrincipalName", "department", "jobTitle"]


@data_provider(name="get_active_users", description="People who can sign in", category="organization",
               cache_ttl_seconds=600)
async def get_active_users(context: OrganizationContext) -> list[dict[str, Any]]:
    """The enabled users by name; none, and a line in the log, if Microsoft 365 cannot be asked."""
    try:
        graph = context.get_integration("msgraph")
        users = await graph.get_users(filter="accountEnabled eq true", select=_FIELDS)
        options = sorted((_option(user) for user in users.value), key=lambda one: one["metadata"]["display_name"])
    except Exception as error:  # noqa: BLE001 - a form without options beats a form that does not open
        context.log("error", "Users cannot be listed", {"error": str(error)})
        return []
    context.log("info", f"Retrieved {len(options)} active users")
    return options


def _option(user: dict[str, Any]) -> dict[str, Any]:
    # Graph sends null for what is empty, so a default of `get` alone would not do.
    name, email = user.get("displayName") or "Unknown", user.get("userPrincipalName") or ""
    department = user.get("department") or "No Department"
    return {
        "label": f"{name} ({email}) - {department}",
        "value": user["id"],
        "metadata": {"email": email, "display_name": name, "department": department,
                     "job_title": user.get("jobTitle") or ""},
    }
