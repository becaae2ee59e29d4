"""Which user here is which user there."""

from bifrost import OrganizationContext


async def store_user_mapping(context: OrganizationContext, m365_id: str, internal_id: str) -> None:
    """Keep the pair of ids. This sample keeps it in the execution's log; a real one would call an integration."""
    context.log("info", "User mapping stored", {"m365_id": m365_id, "internal_id": internal_id})
