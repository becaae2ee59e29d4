"""Arithmetic on Microsoft 365 licences."""

from typing import Any


def usage(sku: Any) -> dict[str, Any]:
    """How much of a subscribed SKU is in use; the rate is in percent, and 0 where nothing is enabled."""
    enabled, consumed = sku.prepaid_units.enabled, sku.consumed_units
    return {
        "sku_part_number": sku.sku_part_number,
        "sku_id": sku.sku_id,
        "enabled": enabled,
        "consumed": consumed,
        "available": enabled - consumed,
        "utilization_rate": round(consumed / enabled * 100, 2) if enabled > 0 else 0,
    }
