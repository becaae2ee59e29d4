"""create_m365_user without any server: mocks stand for the context and Microsoft Graph."""

from types import SimpleNamespace
from unittest.mock import AsyncMock, MagicMock

import pytest

from bifrost import IntegrationError, ValidationError
from workspace.workflows.user_management.create_m365_user import create_m365_user

EMAIL = "ada@acme.mail.onmicrosoft.com"
ADA = {"email": EMAIL, "name": "Ada Lovelace", "department": "IT", "license_sku": "ENTERPRISEPACK"}


@pytest.fixture
def graph():
    mock = AsyncMock()
    mock.create_user.return_value = {"id": "m365-1"}
    mock.get_groups.return_value = SimpleNamespace(value=[{"id": "group-1"}])
    return mock


@pytest.fixture
def context(graph):
    mock = MagicMock()
    mock.org.tenant_id = "acme"
    mock.get_integration = MagicMock(side_effect={"msgraph": graph}.__getitem__)
    return mock


async def test_a_user_gets_a_license_and_a_group(context, graph):
    """The user is created, licensed and put into the department's group, with a checkpoint before each of the first two."""
    result = await create_m365_user(context, **ADA)
    assert result == {"success": True, "user_id": "m365-1", **ADA}
    graph.create_user.assert_called_once_with(email=EMAIL, display_name="Ada Lovelace", department="IT")
    graph.assign_license.assert_called_once_with("m365-1", "ENTERPRISEPACK")
    graph.get_groups.assert_called_once_with("displayName eq 'IT'")
    graph.add_user_to_group.assert_called_once_with("m365-1", "group-1")
    assert [one.args[0] for one in context.save_checkpoint.call_args_list] == ["creating_user", "assigning_license"]


async def test_license_and_department_may_be_left_out(context, graph):
    """Without them nothing is assigned and no group is looked for."""
    assert (await create_m365_user(context, email=EMAIL, name="Ada"))["success"] is True
    graph.assign_license.assert_not_called()
    graph.get_groups.assert_not_called()


async def test_a_department_without_a_group(context, graph):
    """A department need not have a group; a quote in its name is escaped."""
    graph.get_groups.return_value = SimpleNamespace(value=[])
    await create_m365_user(context, **{**ADA, "department": "Board's office"})
    graph.get_groups.assert_called_once_with("displayName eq 'Board''s office'")
    graph.add_user_to_group.assert_not_called()


async def test_a_failure_names_its_cause(context, graph):
    """A refusal of Graph's is logged and told with its reason."""
    graph.assign_license.side_effect = IntegrationError("no licence is left", status_code=400)
    with pytest.raises(IntegrationError, match="Failed to create user: no licence is left") as caught:
        await create_m365_user(context, **ADA)
    assert (caught.value.integration, caught.value.details["email"]) == ("msgraph", EMAIL)
    assert context.log.call_args.args[0] == "error"


@pytest.mark.parametrize("email", ["ada@gmail.com", "ada@evil-acme.mail.onmicrosoft.com", "invalid-email"])
async def test_an_address_outside_the_organization_is_refused(context, graph, email):
    """Only addresses in the tenant's domain are taken, and nothing is created otherwise."""
    with pytest.raises(ValidationError) as caught:
        await create_m365_user(context, **{**ADA, "email": email})
    assert caught.value.field == "email"
    graph.create_user.assert_not_called()


async def test_without_an_organization_there_is_no_domain(context, graph):
    """In an execution without an organization no address can be right."""
    context.org = None
    with pytest.raises(ValidationError):
        await create_m365_user(context, **ADA)
    graph.create_user.assert_not_called()


@pytest.mark.parametrize("name", ["", "x" * 101])
async def test_a_name_has_1_to_100_characters(context, name):
    """The rules of `@param` hold in a direct call, too."""
    with pytest.raises(ValidationError) as caught:
        await create_m365_user(context, **{**ADA, "name": name})
    assert caught.value.field == "name"
