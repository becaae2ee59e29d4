"""weekly_license_audit without any server: mocks stand for the context and Microsoft Graph."""

from datetime import datetime
from types import SimpleNamespace
from unittest.mock import AsyncMock, MagicMock

import pytest

from bifrost import WorkflowException
from workspace.workflows.automation.weekly_license_audit import weekly_license_audit


def sku(part_number, enabled, consumed):
    return SimpleNamespace(sku_part_number=part_number, sku_id=f"id-{part_number}", consumed_units=consumed,
                           prepaid_units=SimpleNamespace(enabled=enabled))


@pytest.fixture
def graph():
    mock = AsyncMock()
    mock.get_subscribed_skus.return_value = SimpleNamespace(
        value=[sku("E3", 25, 5), sku("E5", 100, 96), sku("FREE", 10, 6), sku("OLD", 0, 0)])
    return mock


@pytest.fixture
def context(graph):
    mock = MagicMock()
    mock.get_integration = MagicMock(side_effect={"msgraph": graph}.__getitem__)
    mock.get_config = MagicMock(return_value="it@acme.example")
    return mock


async def test_the_report_has_every_license_and_their_sums(context):
    """Each licence is counted, the sums are right, and the two checkpoints frame the work."""
    report = await weekly_license_audit(context)
    assert datetime.fromisoformat(report["audit_date"]).tzinfo
    assert report["total_skus"] == 4
    assert report["licenses"][0] == {"sku_part_number": "E3", "sku_id": "id-E3", "enabled": 25, "consumed": 5,
                                     "available": 20, "utilization_rate": 20.0}
    assert report["summary"] == {"total_licenses": 135, "used_licenses": 107, "available_licenses": 28,
                                 "utilization_rate": 79.26}
    assert [one.args for one in context.save_checkpoint.call_args_list] == [
        ("getting_licenses", {}), ("audit_complete", {"licenses_analyzed": 4, "recommendations": 3})]


async def test_recommendations(context):
    """Less than half in use is too many, more than 95 % too few; in between nothing is recommended."""
    recommended = (await weekly_license_audit(context))["recommendations"]
    assert [(one["type"], one["sku"], one["message"]) for one in recommended] == [
        ("underutilized", "E3", "License E3 is only 20.0% utilized"), ("overutilized", "E5", "License E5 is 96.0% utilized"),
        ("underutilized", "OLD", "License OLD is only 0.0% utilized")]


async def test_the_administrator_is_told(context):
    """The report goes to the configured address; without one it goes nowhere."""
    await weekly_license_audit(context)
    sent = [one.args[2] for one in context.log.call_args_list if one.args[1] == "License report sent"]
    assert sent == [{"recipient": "it@acme.example", "utilization_rate": 79.26}]
    context.log.reset_mock()
    context.get_config.return_value = None
    await weekly_license_audit(context)
    assert "License report sent" not in [one.args[1] for one in context.log.call_args_list]


async def test_a_tenant_without_licenses(context, graph):
    """Nothing to count is no error."""
    graph.get_subscribed_skus.return_value = SimpleNamespace(value=[])
    report = await weekly_license_audit(context)
    assert (report["total_skus"], report["summary"]["utilization_rate"], report["recommendations"]) == (0, 0, [])


async def test_a_failure_names_its_cause(context, graph):
    """A failure is logged and told with its reason."""
    graph.get_subscribed_skus.side_effect = Exception("Graph API error")
    with pytest.raises(WorkflowException, match="License audit failed: Graph API error"):
        await weekly_license_audit(context)
    assert context.log.call_args.args[0] == "error"
