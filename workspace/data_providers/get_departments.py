"""Options for a department: the organization's own list."""

from typing import Any

from bifrost import OrganizationContext, data_provider

DEFAULT = ["Engineering", "Finance", "HR", "IT", "Marketing", "Operations", "Sales"]
"""The departments of an organization that configures none."""


@data_provider(name="get_departments", description="Get the organization's departments", category="organization",
               cache_ttl_seconds=3600)
async def get_departments(context: OrganizationContext) -> list[dict[str, Any]]:
    """The list in the configuration `departments`, in its order."""
    return [{"label": name, "value": name} for name in context.get_config("departments") or DEFAULT]
