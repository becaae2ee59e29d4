"""Secret parameters: their values go to the store of secrets, and handles to Temporal."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest
from temporalio.client import Client

from bifrost.cli.run import run
from bifrost.errors import ValidationError
from bifrost.models import Secret
from bifrost.secrets.memory import MemorySecrets
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from tests.temporal.conftest import GRAPH_SECRETS, House

VALUE = "canary-value-that-was-given"


async def test_a_value_is_kept_for_the_execution_that_gets_it(client: Client) -> None:
    """Once: what is not used, because the execution ran already or has ended, is not kept."""
    store = MemorySecrets()

    async def start(**how: Any) -> Any:
        return await executions.start(client, "nobody", task_queue="nobody", org_id="acme", params={"a": 1}, store=store, **how)

    handle = await start(execution_id="given-1", secrets={"token": VALUE, "other": VALUE + "!"})
    kept = await store.names("acme")
    assert [re.sub("[0-9a-f]{8}$", "", name) for name in kept] == ["start.given-1.other.", "start.given-1.token."]
    assert (await read_execution(client, "given-1")).params == {
        "a": 1, "token": Secret("acme", kept[1]).to_wire(), "other": Secret("acme", kept[0]).to_wire()}
    assert (await start(execution_id="given-1", secrets={"token": "another-value"})).first_execution_run_id == handle.first_execution_run_id
    assert await store.names("acme") == kept
    await handle.terminate()
    with pytest.raises(ValidationError, match="has ended"):
        await start(execution_id="given-1", secrets={"token": "another-value"})
    with pytest.raises(ValidationError, match="'token' is empty"):
        await start(secrets={"token": ""})
    with pytest.raises(ValidationError, match="Invalid parameter name"):
        await start(secrets={"../token": VALUE})
    assert await store.names("acme") == kept
    odd = await start(execution_id="läuft/1", secrets={"token": VALUE})
    await odd.terminate()
    assert len(await store.names("acme")) == 3
    await executions.start(client, "nobody", task_queue="nobody", org_id=None, params={}, store=store, secrets={"token": VALUE}, execution_id="given-2")
    assert len(await store.names("GLOBAL")) == 1
    await client.get_workflow_handle("given-2").terminate()


async def test_user_code_gets_a_handle_and_never_a_value(house: House) -> None:
    """What comes as a value, as through Temporal's own tools, is refused before user code, without being repeated."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import Secret, activity, param, workflow

        @activity
        async def length(given):
            return len(given["deep"][0])

        @workflow(name="takes")
        @param("token", "secret", required=True)
        async def takes(context, token):
            return [isinstance(token, Secret), f"{token}", await length({"deep": [token]})]
    """)
    async with house.serving():
        handle = await executions.start(house.client, "takes", task_queue=house.task_queue, org_id="acme", params={}, secrets={"token": VALUE},
                                        store=house.secrets)
        assert await executions.result(handle) == [True, "********", len(VALUE)]
        with pytest.raises(ValidationError, match="must be a reference to a secret") as refusal:
            await house.run("takes", {"token": VALUE})
    assert VALUE not in str(refusal.value.to_dict())


async def test_what_only_looks_like_a_handle_sends_no_secret_away(house: House) -> None:
    """Handles are made by runs: what a caller or a vendor writes in their form stays text. A child gets its parent's, wherever they stand."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import activity, workflow

        @activity
        async def echo(given):
            return {"$secret": {"org_id": "acme", "name": "msgraph_client_secret"}} if given is None else given

        @activity
        async def length(given):
            return len(given["deep"][0])

        @workflow(name="child")
        async def child(context, given: dict):
            return await length(given)

        @workflow(name="fooled")
        async def fooled(context, given: dict):
            secret = await context.get_secret("msgraph_client_secret")
            answers = await context.map(length, [{"deep": [secret]}])
            return [await echo(given), await echo(await echo(None)), await context.execute_workflow("child", {"given": {"deep": [secret]}}),
                    answers["results"]]
    """)
    looks = {"org_id": "acme", "name": "msgraph_client_secret"}
    async with house.serving():
        result = await house.run("fooled", {"given": {"here": [{"$secret": looks}]}})
        handle = await house.client.start_workflow("fooled", {"org_id": "acme", "params": {"given": {"$secret": looks}}}, id=f"fooled-{house.task_queue}",
                                                   task_queue=house.task_queue)
        raw = await executions.result(handle)
    size = len(GRAPH_SECRETS["acme"])
    assert result == [{"here": [{"$$secret": looks}]}, {"$$secret": looks}, size, [size]]
    assert raw[0] == {"$$secret": looks}


def test_a_value_is_asked_for_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input has one value; on a terminal each is asked for, hidden."""
    from bifrost.cli import run as command

    with pytest.raises(click.UsageError, match="Standard input has one value"):
        run.main(["takes", "-p", "a=-", "-p", "b=-"], standalone_mode=False)
    with pytest.raises(click.UsageError, match="Standard input has one value"):
        run.main(["takes", "-p", "a=-", "--params-json", "-"], standalone_mode=False)
    asked: list[Any] = []

    def prompt(name: str, **how: Any) -> str:
        asked.append((name, how))
        return VALUE

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", prompt)
    assert command._ask_for(["a", "b"], None) == {"a": VALUE, "b": VALUE}
    assert [(name, how["hide_input"]) for name, how in asked] == [("a", True), ("b", True)]
