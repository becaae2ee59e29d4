"""The data providers without any server: mocks stand for the context and Microsoft Graph."""

from types import SimpleNamespace
from unittest.mock import AsyncMock, MagicMock

import pytest

from workspace.data_providers.get_active_users import get_active_users
from workspace.data_providers.get_available_licenses import get_available_licenses
from workspace.data_providers.get_departments import DEFAULT, get_departments


@pytest.fixture
def graph():
    return AsyncMock()


@pytest.fixture
def context(graph):
    mock = MagicMock()
    mock.get_integration = MagicMock(side_effect={"msgraph": graph}.__getitem__)
    return mock


async def test_licenses_of_which_some_are_left(context, graph):
    """A licence is offered with its free units; one that is used up is not."""
    graph.get_subscribed_skus.return_value = SimpleNamespace(value=[
        SimpleNamespace(sku_part_number=part, sku_id=f"id-{part}", consumed_units=consumed,
                        prepaid_units=SimpleNamespace(enabled=enabled))
        for part, enabled, consumed in (("E3", 25, 5), ("E5", 5, 5))])
    assert await get_available_licenses(context) == [{
        "label": "E3 (20 available)", "value": "id-E3",
        "metadata": {"sku_part_number": "E3", "available": 20, "total": 25, "consumed": 5}}]


async def test_active_users_by_name(context, graph):
    """Enabled users are asked for and offered in the order of their names; gaps have words."""
    graph.get_users.return_value = SimpleNamespace(value=[
        {"id": "2", "displayName": "Bob", "userPrincipalName": "bob@x.example", "department": None, "jobTitle": None},
        {"id": "1", "displayName": "Ada", "userPrincipalName": "ada@x.example", "department": "IT", "jobTitle": "Countess"},
        {"id": "3"}])
    options = await get_active_users(context)
    assert [(one["label"], one["value"]) for one in options] == [
        ("Ada (ada@x.example) - IT", "1"), ("Bob (bob@x.example) - No Department", "2"), ("Unknown () - No Department", "3")]
    assert options[0]["metadata"] == {"email": "ada@x.example", "display_name": "Ada", "department": "IT",
                                      "job_title": "Countess"}
    assert graph.get_users.call_args.kwargs["filter"] == "accountEnabled eq true"


@pytest.mark.parametrize("provider", [get_available_licenses, get_active_users])
async def test_an_outage_leaves_a_form_without_options(context, graph, provider):
    """A failure is logged, and the form opens without options."""
    graph.get_subscribed_skus.side_effect = graph.get_users.side_effect = Exception("Graph API error")
    assert await provider(context) == []
    assert context.log.call_args.args[0] == "error"


@pytest.mark.parametrize(("configured", "offered"), [(["Legal", "Lab"], ["Legal", "Lab"]), (None, DEFAULT)])
async def test_departments_are_configured(context, configured, offered):
    """The configured list in its order, or a sensible one."""
    context.get_config = MagicMock(return_value=configured)
    assert [one["value"] for one in await get_departments(context)] == offered
    context.get_config.assert_called_once_with("departments")
