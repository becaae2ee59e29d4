"""The audit's report: pure functions, so that they are tested without any context."""

from typing import Any

from workspace.utils.licensing import usage

UNDERUTILIZED, OVERUTILIZED = 50, 95
"""The utilization, in percent, below and above which the audit recommends something."""


def build_report(audit_date: str, skus: list[Any]) -> dict[str, Any]:
    """The numbers of every licence, their sums, and what to do about them."""
    licenses = [usage(sku) for sku in skus]
    total = sum(one["enabled"] for one in licenses)
    used = sum(one["consumed"] for one in licenses)
    return {
        "audit_date": audit_date,
        "total_skus": len(licenses),
        "licenses": licenses,
        "summary": {
            "total_licenses": total,
            "used_licenses": used,
            "available_licenses": total - used,
            "utilization_rate": round(used / total * 100, 2) if total > 0 else 0,
        },
        "recommendations": [advice for one in licenses if (advice := _recommendation(one))],
    }


def _recommendation(one: dict[str, Any]) -> dict[str, Any] | None:
    sku, enabled = one["sku_part_number"], one["enabled"]
    rate = one["consumed"] / enabled * 100 if enabled > 0 else 0  # not rounded: 49.999 is below 50
    message = f"License {sku} is {'only ' if rate < UNDERUTILIZED else ''}{rate:.1f}% utilized"
    if rate < UNDERUTILIZED:
        return {"type": "underutilized", "sku": sku, "message": message, "action": "Consider reducing license count"}
    if rate > OVERUTILIZED:
        return {"type": "overutilized", "sku": sku, "message": message,
                "action": "Consider purchasing additional licenses"}
    return None
