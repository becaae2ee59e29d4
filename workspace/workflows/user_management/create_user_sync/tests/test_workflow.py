"""create_user_sync without any server: mocks stand for the context and its integrations."""

from unittest.mock import AsyncMock, MagicMock

import pytest

from bifrost import IntegrationError, ValidationError
from workspace.workflows.user_management.create_user_sync import create_user_sync

ADA = {"email": "ada@example.com", "name": "Ada Lovelace", "department": "IT", "license_sku": "ENTERPRISEPACK"}


@pytest.fixture
def graph():
    mock = AsyncMock()
    mock.create_user.return_value = {"id": "m365-1", "displayName": "Ada Lovelace"}
    return mock


@pytest.fixture
def internal_api():
    mock = AsyncMock()
    mock.create_user.return_value = {"id": "internal-1", "email": "ada@example.com"}
    return mock


@pytest.fixture
def context(graph, internal_api):
    """A context that notes every call and checkpoint, in their order, in `context.happened`."""
    mock = MagicMock()
    mock.get_integration = MagicMock(side_effect={"msgraph": graph, "user_management_api": internal_api}.__getitem__)
    mock.happened = MagicMock()
    mock.happened.attach_mock(graph, "msgraph")
    mock.happened.attach_mock(internal_api, "user_management_api")
    mock.happened.attach_mock(mock.save_checkpoint, "save_checkpoint")
    return mock


async def test_the_user_is_created_in_both_systems(context, graph, internal_api):
    """Both systems are asked with what was given, and the result names both ids."""
    result = await create_user_sync(context, **ADA)
    assert result == {"success": True, "m365_user_id": "m365-1", "internal_user_id": "internal-1",
                      "email": "ada@example.com", "name": "Ada Lovelace"}
    graph.create_user.assert_called_once_with("ada@example.com", "Ada Lovelace", "IT")
    graph.assign_license.assert_called_once_with("m365-1", "ENTERPRISEPACK")
    internal_api.create_user.assert_called_once_with("ada@example.com", "Ada Lovelace", "IT")


async def test_a_checkpoint_lies_between_the_systems(context):
    """Microsoft 365 is done, licence included, and marked as done, before the internal system is asked."""
    await create_user_sync(context, **ADA)
    happened = [one.args[0] if name == "save_checkpoint" else name
                for one in context.happened.mock_calls for name in [one[0]]]
    assert happened == ["msgraph.create_user", "msgraph.assign_license", "m365_user_created",
                        "user_management_api.create_user", "internal_user_created"]


async def test_without_a_license_none_is_assigned(context, graph):
    """The licence may be left out."""
    result = await create_user_sync(context, email="ada@example.com", name="Ada")
    assert result["success"] is True
    graph.assign_license.assert_not_called()


async def test_a_failure_in_microsoft_365_stops_it(context, graph, internal_api):
    """The failure is logged and told; the internal system is never asked."""
    graph.create_user.side_effect = Exception("Graph API error")
    with pytest.raises(IntegrationError, match="Failed to create synchronized user") as caught:
        await create_user_sync(context, **ADA)
    assert caught.value.details == {"email": "ada@example.com", "error": "Graph API error"}
    assert context.log.call_args.args[0] == "error"
    internal_api.create_user.assert_not_called()


async def test_a_failure_in_the_internal_system_comes_after_the_checkpoint(context, internal_api):
    """What was done in Microsoft 365 is marked, so that a resumed run does not do it again."""
    internal_api.create_user.side_effect = IntegrationError("refused", status_code=409)
    with pytest.raises(IntegrationError, match="Failed to create synchronized user"):
        await create_user_sync(context, **ADA)
    assert [one.args[0] for one in context.save_checkpoint.call_args_list] == ["m365_user_created"]


async def test_a_bad_email_address_is_refused(context, graph):
    """A direct call checks parameters as a run does, before any user code."""
    with pytest.raises(ValidationError) as caught:
        await create_user_sync(context, **{**ADA, "email": "invalid-email"})
    assert caught.value.field == "email"
    graph.create_user.assert_not_called()
