"""Organizations that are led to simulators, and the secrets made up for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bifrost import redaction
from bifrost.dev import samples
from bifrost.models import Organization, ScheduleOverride
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.secrets.memory import MemorySecrets

GRAPH = {"client_id": "app", "client_secret": {"secret_ref": "graph_secret"}}
HALO = {"base_url": "https://msp.halopsa.com", "client_id": "app", "client_secret": {"secret_ref": "halo_secret"}}


def _organizations(*configs: dict[str, Any], everywhere: dict[str, Any] | None = None) -> MemoryOrganizations:
    return MemoryOrganizations([Organization(f"org{number}", f"Org {number}", f"tenant{number}", config=config)
                                for number, config in enumerate(configs, 1)], everywhere or {})


async def test_every_secret_that_is_referred_to_is_made_up_once() -> None:
    """References count wherever they stand; what Vault has, also globally, stays; the redaction net knows the rest."""
    organizations = _organizations(
        {"msgraph": GRAPH, "list": [{"secret_ref": "in_list"}], "typed": {"value": "in_type", "type": "secret_ref"}},
        {"msgraph": GRAPH, "shared": {"secret_ref": "everybodys"}}, everywhere={"user_management_api_url": "https://x"})
    store = MemorySecrets({"org2": {"graph_secret": "written-by-hand"}, "GLOBAL": {"everybodys": "for-everybody"}})
    found = await samples.seed(organizations, store)
    assert set(found) == {("org1", "graph_secret"), ("org1", "in_list"), ("org1", "in_type"),
                          ("org1", "user_management_api_key"), ("org2", "graph_secret"), ("org2", "everybodys"),
                          ("org2", "user_management_api_key")}
    assert found["org2", "graph_secret"] == "written-by-hand"
    assert found["org2", "everybodys"] == "for-everybody"
    assert await store.read("org1", "in_list") == found["org1", "in_list"]
    assert redaction.mask(found["org1", "in_list"]) == redaction.MASK
    assert await samples.seed(organizations, store) == found


async def test_only_what_is_needed_is_made_up() -> None:
    """Nothing runs for them. Neither does one without a user API need a key for it, nor one with a Halo the Halo for all."""
    organizations = MemoryOrganizations([Organization("gone", "Gone", active=False, config={"msgraph": GRAPH})])
    assert await samples.seed(organizations, MemorySecrets({})) == {}
    assert set(await samples.seed(_organizations({"msgraph": GRAPH}), MemorySecrets({}))) == {("org1", "graph_secret")}
    halo = _organizations({"halopsa": {**HALO, "client_secret": {"secret_ref": "own"}}}, {}, everywhere={"halopsa": HALO})
    assert set(await samples.seed(halo, MemorySecrets({}))) == {("org1", "own"), ("org2", "halo_secret")}
    graph = _organizations({"msgraph": {"tenant_id": "own"}}, {"msgraph": "none"}, everywhere={"msgraph": GRAPH})
    made = await samples.seed(graph, MemorySecrets({}))
    assert samples.accounts(graph, made).graph == {"own": made["org1", "graph_secret"], "tenant2": made["org2", "graph_secret"]}


def test_accounts_tell_organizations_apart() -> None:
    """Graph knows each tenant's secret, the user API the organization of each key; without a secret there is no account.

    Halo knows the secrets of each tenant, which is the organization where none is named; all share the Halo for all.
    """
    organizations = _organizations({"msgraph": {**GRAPH, "tenant_id": "own"}}, {"msgraph": GRAPH},
                                   {"msgraph": {"client_secret": "plain"}}, {})
    known = {("org1", "graph_secret"): "one", ("org1", "user_management_api_key"): "key"}
    assert samples.accounts(organizations, known) == samples.Accounts({"own": "one"}, {"key": "org1"}, {})
    organizations = _organizations({"halopsa": HALO}, {"halopsa": {**HALO, "tenant": "msp"}}, {}, {}, {"halopsa": "none"},
                                   everywhere={"halopsa": HALO})
    known = {(f"org{number}", "halo_secret"): f"secret{number}" for number in range(1, 6)}
    assert samples.accounts(organizations, known) == samples.Accounts({}, {}, {
        "org1": {"secret1"}, "msp": {"secret2"}, "GLOBAL": {"secret3", "secret4"}})


@pytest.mark.parametrize("everywhere", [{}, {"user_management_api_url": "https://x", "other": 1}])
def test_only_urls_are_replaced(everywhere: dict[str, Any]) -> None:
    """What an organization does not have is not added to it; dates and numbers in quotes stay text."""
    organizations = _organizations({"msgraph": GRAPH, "since": "2026-01-02", "n": "7"}, {"msgraph": "none", "halopsa": "none"},
                                   {"halopsa": HALO}, everywhere=everywhere)
    written = yaml.safe_load(samples.redirected(organizations, graph="http://graph", user_api="http://users", halopsa="http://halo"))
    changed = {"user_management_api_url": "http://users"} if everywhere else {}
    assert written["global"] == {"config": {**everywhere, **changed}}
    assert [one["config"] for one in written["organizations"]] == [
        {"msgraph": {**GRAPH, "base_url": "http://graph", "login_url": "http://graph"}, "since": "2026-01-02", "n": "7"},
        {"msgraph": "none", "halopsa": "none"},
        {"halopsa": {**HALO, "base_url": "http://halo", "auth_url": "http://halo/auth", "tenant": "org3"}}]


def test_schedules_stay_as_they_are(tmp_path: Path) -> None:
    """What organizations say of schedules is in the written file, too: read again, it is the same."""
    everybodys, own = {"audit": ScheduleOverride(paused=True)}, {"audit": ScheduleOverride("@daily", "Asia/Tokyo", paused=True, enabled=False)}
    organizations = MemoryOrganizations([Organization("a", "A", schedules=own), Organization("b", "B", schedules=everybodys)], {}, everybodys)
    (file := tmp_path / "organizations.yaml").write_text(samples.redirected(organizations, graph="http://g", user_api="http://u", halopsa="http://h"))
    read = YamlOrganizations(file)
    assert ([one.schedules for one in read.all()], read.global_schedules()) == ([own, everybodys], everybodys)
