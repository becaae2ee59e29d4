"""Data providers on a real server: fetched once for everybody, kept for as long as declared, and never for somebody else."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment

from bifrost import messages
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.dev.vault_server import VaultServer
from bifrost.errors import (
    ConfigurationError,
    IntegrationError,
    NotFoundError,
    PermissionError,  # noqa: A004 - the name is the guide's
    TimeoutError,  # noqa: A004 - the same
    ValidationError,
    WorkflowException,
)
from bifrost.live import live_pool
from bifrost.messages import CallContext, CallerMessage, OptionCheck, ProviderMessage
from bifrost.models import ExecutionStatus
from bifrost.settings import Settings
from bifrost.temporal import replay
from bifrost.temporal.client import connect_to
from bifrost.temporal.history import list_executions, read_execution
from bifrost.temporal.interceptors import carried_context
from bifrost.temporal.payloads import store as payloads
from bifrost.temporal.providers import options as lists
from bifrost.temporal.providers.options import Offered, options
from bifrost.temporal.providers.serving import ProviderActivities
from bifrost.workspace.live import Workspace
from tests.temporal.conftest import House
from tests.temporal.test_cli import Shell
from tests.temporal.till import SHOP, sold
from tests.temporal.workers import Workers
from tests.waiting import until

SKUS = "/v1.0/subscribedSkus"
GUIDE = {
    "get_available_licenses": '''# Request: "Create a data provider for available Microsoft 365 licenses"

# AI Agent Response:
from engine.shared.decorators import data_provider
from engine.shared.context import OrganizationContext

@data_provider(
    name="get_available_licenses",
    description="Get available Microsoft 365 licenses for assignment",
    category="m365",
    cache_ttl_seconds=300  # Cache for 5 minutes
)
async def get_available_licenses(context: OrganizationContext):
    """
    Return available Microsoft 365 licenses from organization subscription.

    Returns:
        list: Available license options with metadata
    """
    try:
        graph = context.get_integration("msgraph")
        skus = await graph.get_subscribed_skus()

        available_licenses = []
        for sku in skus.value:
            available_units = sku.prepaid_units.enabled - sku.consumed_units

            if available_units > 0:
                available_licenses.append({
                    "label": f"{sku.sku_part_number} ({available_units} available)",
                    "value": sku.sku_id,
                    "metadata": {
                        "sku_part_number": sku.sku_part_number,
                        "available": available_units,
                        "total": sku.prepaid_units.enabled,
                        "consumed": sku.consumed_units
                    }
                })

        context.log("info", f"Found {len(available_licenses)} available licenses")

        return available_licenses

    except Exception as e:
        context.log("error", "Failed to get available licenses", {"error": str(e)})
        return []
''',
    "get_active_users": '''# /workspace/data_providers/get_active_users.py
from engine.shared.decorators import data_provider
from engine.shared.context import OrganizationContext

@data_provider(
    name="get_active_users",
    description="Get list of active users for selection",
    category="organization",
    cache_ttl_seconds=600  # Cache for 10 minutes
)
async def get_active_users(context: OrganizationContext):
    """
    Return active users from Microsoft 365 for form selection.

    Returns:
        list: Active users with display names and emails
    """
    try:
        graph = context.get_integration("msgraph")

        # Get only enabled users
        users = await graph.get_users(
            filter="accountEnabled eq true",
            select=["id", "displayName", "userPrincipalName", "department", "jobTitle"]
        )

        active_users = []
        for user in users.value:
            display_name = user.get("displayName", "Unknown")
            email = user.get("userPrincipalName", "")
            department = user.get("department", "No Department")

            active_users.append({
                "label": f"{display_name} ({email}) - {department}",
                "value": user["id"],
                "metadata": {
                    "email": email,
                    "display_name": display_name,
                    "department": department,
                    "job_title": user.get("jobTitle", "")
                }
            })

        # Sort by display name
        active_users.sort(key=lambda x: x["metadata"]["display_name"])

        context.log("info", f"Retrieved {len(active_users)} active users")

        return active_users

    except Exception as e:
        context.log("error", "Failed to get active users", {"error": str(e)})
        return []
''',
}
"""The guide's two data providers, word for word."""
HATS = """
    from bifrost import data_provider, param

    @data_provider(name="hats", retry_policy={{"max_attempts": 1}}{more})
    @param("size", "int"{required})
    async def hats(context, size: int = 7):
        sold = await context.get_integration("shop").sell(f"{{context.org_id}}-{{size}}")
        return [{{"label": f"Hat for {{sold}}", "value": sold, "metadata": {{"size": size}}}}]
"""
"""A data provider that asks the till once for each list."""


@pytest.fixture
def cached() -> int:
    """Most of what is shown here has nothing to do with replays; where it has, the worker is told to cache nothing."""
    return 1000


def _hats(house: House, till: SimulatorControl, more: str = "", required: str = "") -> None:
    house.write("integrations/shop.py", SHOP.format(url=till.url))
    house.write("data_providers/hats.py", HATS.format(more=more and f", {more}", required=required and f", {required}"))


async def _ask(house: House, provider: str = "hats", *, org_id: str | None = "acme", fresh: bool = False, wait: float = 30,
               **inputs: Any) -> Offered:
    return await options(house.client, provider, task_queue=house.task_queue, org_id=org_id, inputs=inputs, fresh=fresh,
                         wait_seconds=wait)


def _organization(house: House, org_id: str, **changes: Any) -> None:
    known = house.organizations._organizations
    known[:] = [replace(one, **changes) if one.id == org_id else one for one in known]


async def test_fifty_who_ask_at_once_share_one_call(house: House, graph: SimulatorControl) -> None:
    """The guide's data providers, word for word: fifty cost Graph one call, another organization never sees the list."""
    for name, source in GUIDE.items():
        house.write(f"data_providers/{name}.py", source)
    house.write("workflows/hire.py", """
        from bifrost import workflow

        @workflow(name="hire")
        async def hire(context):
            await context.get_integration("msgraph").create_user(f"list@{context.tenant_id}.example", "Ada List", "IT")
    """)
    async with house.serving(cached=0):
        await house.run("hire")
        await graph.clear()
        answers = await asyncio.gather(*(_ask(house, "get_available_licenses") for _ in range(50)))
        assert len(await graph.journal("GET", SKUS)) == 1
        assert len({json.dumps(one.options) for one in answers}) == 1
        assert all(option["metadata"]["available"] > 0 for option in answers[0].options)
        assert answers[0].options[0].keys() == {"label", "value", "metadata"}

        assert (await _ask(house, "get_available_licenses", org_id="globex")).cached is False
        assert [entry.tenant for entry in await graph.journal("GET", SKUS)] == ["acme", "globex"]
        users = await _ask(house, "get_active_users")
        assert "Ada List (list@acme.example) - IT" in [user["label"] for user in users.options]
    again = await _ask(house, "get_available_licenses")  # no worker is there any more
    assert (again.cached, again.stale, again.options) == (True, False, answers[0].options)
    assert len(await graph.journal("GET", SKUS)) == 2
    assert not [one for one in await list_executions(house.client) if one.workflow == messages.OPTIONS]


async def test_an_error_that_a_data_provider_swallows_is_an_answer(house: House, graph: SimulatorControl) -> None:
    """The guide's answers an empty list when Graph fails, which is cached as declared until somebody has it fetched anew."""
    house.write("data_providers/licenses.py", GUIDE["get_available_licenses"])
    await graph.fail("GET", SKUS, status=403, times=1)
    async with house.serving():
        first, second = [await _ask(house, "get_available_licenses") for _ in range(2)]
        assert (first.options, first.cached, second.options, second.cached) == ([], False, [], True)
        third = await _ask(house, "get_available_licenses", fresh=True)
        assert (third.cached, bool(third.options)) == (False, True)
        assert (await _ask(house, "get_available_licenses")).options == third.options


async def test_a_list_is_kept_for_its_time(house: House, till: SimulatorControl) -> None:
    """It is fetched again after its time, for other inputs by themselves, and each time where its time is 0."""
    _hats(house, till, "cache_ttl_seconds=1.5")
    house.write("data_providers/never.py", HATS.format(more=", cache_ttl_seconds=0", required="").replace("hats", "never"))
    async with house.serving():
        first, second = await _ask(house), await _ask(house)
        assert (first.cached, second.cached, first.cache_expires_at) == (False, True, second.cache_expires_at)
        assert (await _ask(house, size="8")).options == [{"label": "Hat for acme-8", "value": "acme-8", "metadata": {"size": 8}}]
        assert await sold(till) == ["acme-7", "acme-8"]

        async def expired() -> bool:
            return not (await _ask(house)).cached

        await until(expired)
        assert await sold(till) == ["acme-7", "acme-8", "acme-7"]
        never = [await _ask(house, "never", size=1) for _ in range(2)]
        assert [(one.cached, one.cache_expires_at) for one in never] == [(False, None)] * 2
        assert (await sold(till))[-2:] == ["acme-1", "acme-1"]


async def test_errors_are_not_cached(house: House, till: SimulatorControl) -> None:
    """After one the next who asks has it fetched; a good list stays in force for others when a fresh one cannot be had."""
    _hats(house, till)
    async with house.serving():
        await till.fail("POST", status=403)
        with pytest.raises(IntegrationError) as failed:
            await _ask(house)
        assert (failed.value.status_code, failed.value.integration) == (403, "shop")
        assert (await _ask(house)).cached is False

        await till.fail("POST", status=403)
        with pytest.raises(IntegrationError):
            await _ask(house, fresh=True)
        assert (await _ask(house)).cached is True
        assert len(await sold(till)) == 3


async def test_the_last_good_list_is_served_while_the_data_provider_fails(house: House, till: SimulatorControl) -> None:
    """It is marked as stale, and a good one takes its place; an organization that may have none loses what it had."""
    _hats(house, till, "cache_ttl_seconds=0, stale_seconds=600")
    async with house.serving():
        good = await _ask(house)
        assert good.stale is False
        await till.fail("POST", status=403)
        stale = await _ask(house)
        assert (stale.stale, stale.cached, stale.options, stale.cache_expires_at) == (True, True, good.options, good.cache_expires_at)
        assert (await _ask(house)).stale is False
        _organization(house, "acme", active=False)
        for _ in range(2):
            with pytest.raises(PermissionError, match="'acme' is inactive: it is offered no options"):
                await _ask(house)
        assert len(await sold(till)) == 3


async def test_what_cannot_be_asked_is_refused(house: House, till: SimulatorControl) -> None:
    """Unknown names with near ones, inactive organizations, inputs that are missing or wrong; and nothing is fetched."""
    _hats(house, till, required="required=True")
    house.write("data_providers/broken.py", "import nothing_of_that_name\n")
    async with house.serving():
        with pytest.raises(NotFoundError, match=r"Data provider 'hat' not found\. Did you mean 'hats'\?.* data_providers/broken.py:1"):
            await _ask(house, "hat")
        with pytest.raises(NotFoundError, match=r"Organization 'acne' not found\. Did you mean 'acme'\?"):
            await _ask(house, org_id="acne", size=1)
        with pytest.raises(PermissionError, match="'initech' is inactive"):
            await _ask(house, org_id="initech", size=1)
        with pytest.raises(ValidationError, match="Data provider 'hats': Missing required parameter: size") as missing:
            await _ask(house)
        assert missing.value.field == "size"
        with pytest.raises(ValidationError, match="'size' must be a whole number"):
            await _ask(house, size="large")
        with pytest.raises(ValidationError, match=r"What is given to 'hats' cannot be stored: size: builtins\.object is no JSON"):
            await _ask(house, size=object())
        assert (await _ask(house, org_id=messages.GLOBAL_SCOPE, size=1)).options[0]["value"] == "None-1"
        assert await sold(till) == ["None-1"]
    with pytest.raises(TimeoutError, match=r"'hats' gave no list within 0\.2 seconds. Either no worker serves the task queue 'house-"):
        await _ask(house, size=2, wait=0.2)


async def test_a_list_may_end_under_whoever_asks(house: House, till: SimulatorControl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is over, or an operator ends it: where there was a list, it is fetched again; where it was awaited, that is said."""
    _hats(house, till, "cache_ttl_seconds=0.3")
    kept = house.client.get_workflow_handle(messages.options_id(house.task_queue, ProviderMessage(org_id="acme", provider="hats")))
    ask_anew = lists._Asked._ask_anew

    async def too_late(asked: lists._Asked, run_id: str) -> bool:
        await kept.terminate("the test ends it")
        return await ask_anew(asked, run_id)

    async def unheard(asked: lists._Asked, run_id: str) -> bool:
        del asked, run_id
        return True

    async with house.serving():
        await _ask(house)
        monkeypatch.setattr(lists._Asked, "_ask_anew", too_late)
        assert (await _ask(house, fresh=True)).cached is False
        monkeypatch.setattr(lists._Asked, "_ask_anew", unheard)
        assert (await _ask(house, fresh=True)).cached is False
        await kept.terminate("a list would be waited for")
        await till.fail("POST", hold=True, times=None)
        for end, said in ((kept.cancel, "Workflow cancelled"), (kept.terminate, "terminated by user")):
            waiting = asyncio.create_task(_ask(house, fresh=True))
            await till.wait_for(state="held", path="/sell")
            await end()
            with pytest.raises(WorkflowException, match=f"The options of 'hats' were not fetched: {said}"):
                await waiting
            await till.release()
    nowhere = await connect_to(house.client.service_client.config.target_host, "nowhere")
    with pytest.raises(ConfigurationError, match=r"Temporal refused: .*nowhere"):
        await options(nowhere, "hats", task_queue=house.task_queue, org_id="acme")
    token = carried_context.set(CallContext(execution_id="", origin_run_id="", workflow="", caller=CallerMessage(user_id="u")))
    check = ProviderActivities(Workspace(None, house.revisions), house.organizations, live_pool(dict, house.organizations, house.secrets)).check
    with pytest.raises(RPCError):  # no refusal of a value: the check is made again
        await ActivityEnvironment(nowhere).run(check, [OptionCheck(parameter="hat", provider="hats", values=["a"])])
    carried_context.reset(token)


async def test_a_long_list_is_stored_outside(house: House) -> None:
    """A thousand options with metadata, from a sync function with objects: whole, and in Temporal only as references."""
    house.write("data_providers/long.py", """
        import dataclasses, threading
        from bifrost import data_provider

        @dataclasses.dataclass
        class Option:
            label: str
            value: int
            metadata: dict

        @data_provider(name="long", timeout_seconds=30)
        def long(context):
            thread = threading.current_thread() is not threading.main_thread()
            return [Option(f"Option {number}", number, {"text": "x" * 500, "thread": thread}) for number in range(1000)]
    """)
    async with house.serving():
        offered = [await _ask(house, "long") for _ in range(2)]
        assert [(len(one.options), one.cached) for one in offered] == [(1000, False), (1000, True)]
        assert offered[1].options[999] == {"label": "Option 999", "value": 999, "metadata": {"text": "x" * 500, "thread": True}}
        kept = house.client.get_workflow_handle(messages.options_id(house.task_queue, ProviderMessage(org_id="acme", provider="long")))
        first = (await kept.fetch_history()).events[0]
        assert first.ByteSize() < 4096
        assert len(payloads.references(first)) == 1


async def test_what_is_no_list_of_options_is_an_error(house: House) -> None:
    """It reaches whoever asked as a ValidationError that names the data provider and the option; so does a timeout."""
    house.write("data_providers/wrong.py", """
        import asyncio
        from bifrost import data_provider

        @data_provider(name="wrong")
        async def wrong(context):
            return [{"label": "A", "value": "a"}, {"label": "A again", "value": "a"}]

        @data_provider(name="slow", timeout_seconds=0.1, retry_policy={"max_attempts": 1})
        async def slow(context):
            await asyncio.sleep(60)
    """)
    async with house.serving():
        with pytest.raises(ValidationError, match=r"'wrong': options\[1\] has the value of options\[0\], 'a'") as refused:
            await _ask(house, "wrong")
        assert (refused.value.field, refused.value.details["provider"]) == ("options[1].value", "wrong")
        with pytest.raises(TimeoutError, match="The data provider 'slow' did not end in time, in any attempt"):
            await _ask(house, "slow")


VALIDATED = """
    from bifrost import data_provider, param, workflow

    @data_provider(name="shoes")
    def shoes(context):
        raise KeyError("no shoes")

    @workflow(name="dress", retry_policy={"max_attempts": 1})
    @param("size", "int", default_value=7)
    @param("hat", "string", data_provider="hats", validate_options=True, data_provider_inputs={"size": "size"})
    @param("more", "list", data_provider="hats", validate_options=True)
    @param("shoe", "string", data_provider="shoes", validate_options=True)
    async def dress(context, size, hat: str = "", more: list | None = None, shoe: str = ""):
        await context.get_integration("shop").sell("dress")
        return hat
"""


async def test_a_value_that_is_none_of_the_options_is_refused(house: House, till: SimulatorControl) -> None:
    """Before its code, with similar options; asked once, through the cache, not again in a replay. No list is an error, too."""
    _hats(house, till)
    house.write("workflows/dress.py", VALIDATED)
    async with house.serving(cached=0) as workspace:
        handle = await house.start("dress", {"hat": "acme-8", "size": "8", "more": ["acme-7"]})
        assert await handle.result() == "acme-8"
        assert sorted(await sold(till)) == ["acme-7", "acme-8", "dress"]
        assert await house.run("dress") == ""  # what is not given is not held against anything

        with pytest.raises(ValidationError, match=r"Parameter 'hat' must be one of the options of 'hats', and 'acme-9' is none\. "
                                                  r"Did you mean 'acme-8' \(Hat for acme-8\)\?; Parameter 'more' must") as refused:
            await house.run("dress", {"hat": "acme-9", "size": 8, "more": ["acme-7", "coat"]})
        assert [one["field"] for one in refused.value.details["errors"]] == ["hat", "more"]
        with pytest.raises(ValidationError, match="Did you mean 'acme-7'"):
            await house.run("dress", {"hat": "Hat for acme-7"})
        with pytest.raises(KeyError, match="no shoes"):
            await house.run("dress", {"shoe": "left"})
        assert sorted(await sold(till)) == ["acme-7", "acme-7", "acme-8", "dress", "dress"]
    execution = await read_execution(house.client, handle.id)
    assert (execution.status, [call.name for call in execution.calls]) == (ExecutionStatus.SUCCESS, ["shop.sell"])

    async def histories() -> AsyncIterator[Any]:
        yield await replay.history_of(house.client, handle.id)
        listed = messages.options_id(house.task_queue, ProviderMessage(org_id="acme", provider="hats", inputs={"size": 8}))
        keeping = (await replay.history_of(house.client, listed)).events[0].workflow_execution_started_event_attributes
        yield await house.client.get_workflow_handle(listed, run_id=keeping.first_execution_run_id).fetch_history()

    assert [one.failure async for one in replay.replay(workspace, histories(), os.environ["BIFROST_PAYLOADS"])] == [None, None]


async def test_a_list_is_its_organizations_where_payloads_are_encrypted(
        house: House, till: SimulatorControl, temporal_server: TemporalServer, vault_server: VaultServer, tmp_path: Path) -> None:
    """Nobody reads it in Temporal without the organization's key, and it comes back whole, cached too."""
    encrypting = Settings(vault_addr=vault_server.address, vault_token=vault_server.token, encryption="vault")
    house.client = await connect_to(temporal_server.address, house.client.namespace, str(tmp_path / "payloads"), encrypting)
    _hats(house, till)
    async with house.serving():
        answers = [await _ask(house) for _ in range(2)]
    assert [(one.cached, one.options[0]["value"]) for one in answers] == [(False, "acme-7"), (True, "acme-7")]
    kept = house.client.get_workflow_handle(messages.options_id(house.task_queue, ProviderMessage(org_id="acme", provider="hats")))
    [argument] = (await kept.fetch_history()).events[0].workflow_execution_started_event_attributes.input.payloads
    assert (argument.metadata["encoding"], b"acme-7" in argument.data) == (b"binary/encrypted", False)
    assert argument.metadata["encryption-key-id"].decode().endswith("acme")


async def test_the_command_line_asks_any_worker(house: House, till: SimulatorControl, temporal_server: TemporalServer,
                                                tmp_path: Path) -> None:
    """`providers list` reads the workspace; `providers options` needs none: a worker of the task queue answers."""
    _hats(house, till, 'description="Hats by size", cache_ttl_seconds=60, stale_seconds=60')
    house.write("data_providers/broken.py", "import nothing_of_that_name\n")
    shell = Shell({"TEMPORAL_ADDRESS": temporal_server.address, "BIFROST_TASK_QUEUE": house.task_queue}, tmp_path)
    workspace = str(house.root)
    async with house.serving():
        good = await _ask(house)
        await till.fail("POST", "/sell/acme-7", status=403)
        shown, listed, as_json, table, unknown = await asyncio.gather(
            shell("providers", "list", BIFROST_WORKSPACE=workspace), shell("providers", "list", "--json", BIFROST_WORKSPACE=workspace),
            shell("providers", "options", "hats", "--org", "acme", "-p", "size=9", "--json"),
            shell("providers", "options", "hats", "--org", "acme", "--no-cache"),
            shell("providers", "options", "hat", "--org", "acme", "--json"))
    assert [line.split() for line in shown.out.splitlines()][1] == ["hats", "General", "size", "60", "s", "Hats", "by", "size"]
    assert (shown.status, listed.status, listed.json["failures"][0]["file"]) == (1, 1, "data_providers/broken.py")
    assert "Cannot be loaded: data_providers/broken.py:1" in shown.err
    assert listed.json["data_providers"][0] == {
        "name": "hats", "description": "Hats by size", "category": "General", "cache_ttl_seconds": 60, "stale_seconds": 60,
        "timeout_seconds": 60, "retry_policy": {"max_attempts": 1},
        "parameters": [{"name": "size", "type": "int", "label": "Size", "required": False}]}
    assert list(as_json.json) == ["provider", "options", "cached", "cache_expires_at", "stale"]
    assert (as_json.json["provider"], as_json.json["cached"], as_json.json["options"][0]["value"]) == ("hats", False, "acme-9")
    assert as_json.json["cache_expires_at"].endswith("+00:00")
    assert good.cache_expires_at is not None
    assert f"The data provider fails; this list expired at {good.cache_expires_at:%Y-%m-%d %H:%M:%S} UTC" in table.err
    assert [line.split() for line in table.out.splitlines()] == [["LABEL", "VALUE"], ["Hat", "for", "acme-7", "acme-7"]]
    assert (unknown.status, unknown.json["error"], unknown.json["details"]["near"]) == (1, "NotFoundError", ["hats"])


async def test_a_worker_killed_while_it_fetches_costs_nobody_the_list(
        client: Client, graph: SimulatorControl, tmp_path: Path, temporal_server: TemporalServer,
        sample_environment: dict[str, str]) -> None:
    """`kill -9` in the middle of the call: another worker makes it again, and everybody who waited has the list."""
    queue = f"options-{tmp_path.name}"
    workers = Workers({**sample_environment, "TEMPORAL_ADDRESS": temporal_server.address, "BIFROST_TASK_QUEUE": queue}, tmp_path)
    await graph.fail("GET", SKUS, hold=True, times=1)
    try:
        first = await workers.spawn()
        waiting = [asyncio.create_task(options(client, "get_available_licenses", task_queue=queue, org_id="acme"))
                   for _ in range(5)]
        await graph.wait_for(1, state="held", timeout_seconds=30)
        await workers.kill(first)
        await workers.spawn()
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 60)
    finally:
        await workers.stop()
    assert {json.dumps(one.options) for one in answers} == {json.dumps(answers[0].options)}
    assert answers[0].options
    assert len(await graph.journal("GET", SKUS)) == 2
