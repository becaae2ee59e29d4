"""Options for a licence: those of which some are left."""

from typing import Any

from bifrost import OrganizationContext, data_provider
from workspace.utils.licensing import usage


@data_provider(name="get_available_licenses", description="Microsoft 365 licenses that have free units",
               category="m365", cache_ttl_seconds=300)
async def get_available_licenses(context: OrganizationContext) -> list[dict[str, Any]]:
    """The licences with free units; none, and a line in the log, if Microsoft 365 cannot be asked."""
    try:
        graph = context.get_integration("msgraph")
        licenses = [usage(sku) for sku in (await graph.get_subscribed_skus()).value]
    except Exception as error:  # noqa: BLE001 - a form without options beats a form that does not open
        context.log("error", "Licenses cannot be listed", {"error": str(error)})
        return []
    free = [one for one in licenses if one["available"] > 0]
    context.log("info", f"Found {len(free)} available licenses")
    return [{
        "label": f"{one['sku_part_number']} ({one['available']} available)",
        "value": one["sku_id"],
        "metadata": {"sku_part_number": one["sku_part_number"], "available": one["available"],
                     "total": one["enabled"], "consumed": one["consumed"]},
    } for one in free]
