"""Groups that stand for departments."""

from typing import Any


async def get_department_group(graph: Any, department: str) -> Any:
    """The Microsoft 365 group that is called like the department, or None."""
    quoted = department.replace("'", "''")  # in a filter, a quote is written twice
    groups = await graph.get_groups(f"displayName eq '{quoted}'")
    return groups.value[0] if groups.value else None
