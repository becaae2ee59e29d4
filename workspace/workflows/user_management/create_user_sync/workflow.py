"""Onboarding in two systems, in one go and never half."""

from typing import Any

from bifrost import IntegrationError, OrganizationContext, param, workflow
from workspace.workflows.user_management.create_user_sync.lib.mapping import store_user_mapping


@workflow(name="create_user_sync", description="Onboard one person in Microsoft 365 and in our own user directory",
          category="user_management", tags=["m365", "sync", "user-management"])
@param("email", "email", "Email address", required=True)
@param("name", "string", "Full name", required=True)
@param("department", "string", "Department", data_provider="get_departments")
@param("license_sku", "string", "License", data_provider="get_available_licenses")
async def create_user_sync(context: OrganizationContext, email: str, name: str, department: str = "",
                           license_sku: str = "") -> dict[str, Any]:
    """Create a user in Microsoft 365, then in the internal system, and keep which is which."""
    context.log("info", "Creating a synchronized user", {"department": department})
    try:
        graph = context.get_integration("msgraph")
        m365_user = await graph.create_user(email, name, department)
        if license_sku:
            await graph.assign_license(m365_user["id"], license_sku)
        context.save_checkpoint("m365_user_created", {"user_id": m365_user["id"], "email": email})

        internal_api = context.get_integration("user_management_api")
        internal_user = await internal_api.create_user(email, name, department)
        context.save_checkpoint("internal_user_created", {"user_id": internal_user["id"], "email": email})

        await store_user_mapping(context, m365_user["id"], internal_user["id"])
    except Exception as error:
        context.log("error", "User synchronization failed", {"error": str(error)})
        raise IntegrationError(message="Failed to create synchronized user",
                               details={"email": email, "error": str(error)}) from error
    return {"success": True, "m365_user_id": m365_user["id"], "internal_user_id": internal_user["id"], "email": email,
            "name": name}
