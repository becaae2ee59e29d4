"""The sample workspace's integration over real HTTP."""

from __future__ import annotations

import pytest

from bifrost.errors import IntegrationError
from workspace.integrations.user_management_api import UserManagementAPIIntegration


@pytest.fixture
def api(acme):
    acme.classes["user_management_api"] = UserManagementAPIIntegration
    return acme.pool.of("acme", "user_management_api")


async def test_a_user_is_created_once_and_read_back(api, user_api, calling):
    """Two attempts of one call make one user, because they carry one key; the health check carries none."""
    calling(idempotency_key="run/1")
    first = await api.create_user("ada@acme.example", "Ada", "IT")
    calling(idempotency_key="run/1", attempt=2)
    assert await api.create_user("ada@acme.example", "Ada", "IT") == first
    assert (await api.get_user(first["id"])).email == "ada@acme.example"
    posts = user_api.journal.entries(method="POST")
    assert [(entry.replayed, entry.headers["idempotency-key"]) for entry in posts] == [(False, "run/1"), (True, "run/1")]
    assert [entry.path for entry in user_api.journal.entries(method="GET")] == ["/health", f"/users/{first['id']}"]


async def test_a_wrong_key_is_noticed_before_the_first_call(acme, api, user_api):
    """The health check finds a key that does not work; nothing else is sent."""
    await acme.secrets.write("acme", "user_management_api_key", "wrong-canary-0815")
    with pytest.raises(IntegrationError, match="GET /health answered 401") as caught:
        await api.create_user("ada@acme.example", "Ada", "IT")
    assert "canary" not in str(caught.value.to_dict())
    assert not user_api.journal.entries(method="POST")


async def test_refusals_have_their_status(api):
    """A second user of an address is a 409, an unknown id a 404, and an id is never a path."""
    await api.create_user("ada@acme.example", "Ada", "IT")
    with pytest.raises(IntegrationError) as caught:
        await api.create_user("ada@acme.example", "Ada", "IT")
    assert caught.value.status_code == 409
    for unknown in ("nobody", "../health"):
        with pytest.raises(IntegrationError) as caught:
            await api.get_user(unknown)
        assert caught.value.status_code == 404
