"""Onboarding in Microsoft 365 alone."""

from typing import Any

from bifrost import IntegrationError, OrganizationContext, ValidationError, param, workflow
from workspace.workflows.user_management.create_m365_user.lib.groups import get_department_group


@workflow(name="create_m365_user", description="Onboard one person in Microsoft 365, with license and group", category="user_management",
          tags=["m365", "user-management"])
@param("email", "email", "Email address", required=True,
       help_text="In the organization's own domain: name@TENANT.mail.onmicrosoft.com")
@param("name", "string", "Full name", required=True, validation={"min_length": 1, "max_length": 100})
@param("department", "string", "Department", data_provider="get_departments")
@param("license_sku", "string", "License", data_provider="get_available_licenses")
async def create_m365_user(context: OrganizationContext, email: str, name: str, department: str = "",
                           license_sku: str = "") -> dict[str, Any]:
    """Create a user, give them a licence and make them a member of their department's group."""
    context.log("info", "Creating a Microsoft 365 user", {"department": department, "license_sku": license_sku})
    domain = f"{context.org.tenant_id}.mail.onmicrosoft.com" if context.org else ""
    if not domain or not email.lower().endswith(f"@{domain.lower()}"):
        raise ValidationError(f"The email address must be in the organization's domain, {domain}", field="email",
                              details={"expected_domain": domain})
    try:
        graph = context.get_integration("msgraph")

        context.save_checkpoint("creating_user", {"email": email})
        user = await graph.create_user(email=email, display_name=name, department=department)

        if license_sku:
            context.save_checkpoint("assigning_license", {"user_id": user["id"], "license_sku": license_sku})
            await graph.assign_license(user["id"], license_sku)

        group = await get_department_group(graph, department) if department else None
        if group:
            await graph.add_user_to_group(user["id"], group["id"])
    except Exception as error:
        context.log("error", "The user could not be created", {"error": str(error)})
        raise IntegrationError(integration="msgraph", message=f"Failed to create user: {error}",
                               details={"email": email}) from error

    context.log("info", "The user was created", {"user_id": user["id"]})
    return {"success": True, "user_id": user["id"], "email": email, "name": name, "department": department,
            "license_sku": license_sku}
