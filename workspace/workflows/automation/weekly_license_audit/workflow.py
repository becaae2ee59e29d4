"""Every Monday: which licences lie idle, and which run out."""

from datetime import UTC, datetime
from typing import Any

from bifrost import OrganizationContext, WorkflowException, workflow
from workspace.workflows.automation.weekly_license_audit.lib.report import build_report


@workflow(name="weekly_license_audit", description="Every Monday: which licenses lie idle, and which run out", category="automation",
          execution_mode="scheduled", schedule="0 9 * * 1", expose_in_forms=False, timeout_seconds=600,
          tags=["audit", "licenses", "scheduled"])
async def weekly_license_audit(context: OrganizationContext) -> dict[str, Any]:
    """Compare the licences that are paid for with those in use, and report to the organization's administrator."""
    context.log("info", "Starting weekly license audit")
    try:
        graph = context.get_integration("msgraph")
        context.save_checkpoint("getting_licenses", {})
        skus = await graph.get_subscribed_skus()

        report = build_report(datetime.now(UTC).isoformat(), skus.value)
        counts = {"licenses_analyzed": len(report["licenses"]), "recommendations": len(report["recommendations"])}
        context.save_checkpoint("audit_complete", counts)

        admin_email = context.get_config("admin_email")
        if admin_email:
            await send_audit_report(context, admin_email, report)
    except Exception as error:
        context.log("error", "License audit failed", {"error": str(error)})
        raise WorkflowException(f"License audit failed: {error}") from error

    context.log("info", "License audit completed",
                {**counts, "utilization_rate": report["summary"]["utilization_rate"]})
    return report


async def send_audit_report(context: OrganizationContext, admin_email: str, report: dict[str, Any]) -> None:
    """Send the report. This sample only logs that; a real one would call an integration that sends mail."""
    context.log("info", "License report sent", {
        "recipient": admin_email, "utilization_rate": report["summary"]["utilization_rate"]})
