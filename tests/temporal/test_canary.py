"""Canaries: values that must be nowhere but in Vault, in every secret and secret parameter, and a search of all that was written."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import os
import shutil
import sys
import textwrap
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from bifrost import redaction
from bifrost.dev.ports import free_port
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal import replay
from bifrost.temporal.history import ending, read_execution
from tests.temporal.conftest import API_KEYS, GRAPH_SECRETS, SAMPLE, House
from tests.temporal.workers import Workers

TOKEN = 'canary/tok+en=5f3a&"9\\b'
KEY = "-----BEGIN KEY-----\ncanaryMIIEvQIBADANBgkqhkiG9w0BAQ\ncanarySecondLineOfTheKey0123\n-----END KEY-----"
GIVEN = "canary param ünd 7f21"
PLAIN = "canary-of-a-plain-parameter"
FAILURES = ("refused", "down", "odd", "code", "activity", "handle")
SOURCE = """
    import base64
    import urllib.parse

    from bifrost import BaseIntegration, IntegrationError, activity, param, workflow

    class Leak(BaseIntegration):
        integration_name = "leak"

        async def authenticate(self):
            pass

        async def echo(self, given, how="result"):
            value = given["deep"][0]
            encoded = base64.b64encode(f"user:{value}".encode()).decode()
            self.context.log("warning", f"it is {value}", {"it": value, "as": [urllib.parse.quote(value), encoded]})
            if how == "refused":
                raise IntegrationError(f"GET https://user:{value}@host/?t={urllib.parse.quote(value)} was refused", status_code=403,
                                       details={"headers": {"X-It": value, "Authorization": f"Basic {encoded}"}, value: "key"}, error_type=value)
            if how == "down":
                raise ConnectionError(f"no way to {value}")
            if how == "odd":
                raise type(value.encode().hex(), (Exception,), {})(value)
            return {"raw": value, "in": {value: [value]}, "bytes": value.encode(), "basic": encoded, "large": value + "x" * 300_000}

    @activity
    def shout(token: str, how: str):
        if how == "activity":
            raise ValueError({"token": token})
        return {"token": token, "long": f"{token} " * 3}

    @workflow(name="leaky", timeout_seconds=60, retry_policy={"max_attempts": 2, "backoff_seconds": 0.01})
    @param("api_token", "secret", required=True)
    async def leaky(context, api_token, plain: str, how: str = "result"):
        leak = context.get_integration("leak")
        handles = [api_token, await context.get_secret("canary_token"), await context.get_secret("canary_key")]
        context.log("info", f"{handles} {handles[0]} {plain}", {"handle": handles[0], "handles": handles})
        answers = []
        for handle in handles:
            answers.append(await leak.echo({"deep": [handle]}))
            answers.append(await shout(handle, "result"))
            context.set_variable("it", answers[-1])
            context.log("info", f"answered {answers[-1]}", {"answers": answers})
            context.save_checkpoint(f"had {answers[-1]['token']}", {"answers": answers, "handle": handle})
        if how == "code":
            raise RuntimeError(f"{answers} {handles}")
        if how == "handle":
            return "Bearer " + handles[0]
        if how == "activity":
            await shout(handles[1], how)
        await leak.echo({"deep": [handles[1]]}, how)
        return {"answers": answers, "handles": handles}
"""


def _spellings(value: str) -> set[bytes]:
    """How a value may be written. Of base64 within a longer text the middle, which is the same whatever stands around it."""
    raw = value.encode()
    basic = [base64.b64encode(b"\0" * before + raw)[(4 if before else 0):-4] for before in range(3)]
    return {raw, json.dumps(value)[1:-1].encode(), json.dumps(value, ensure_ascii=False)[1:-1].encode(), repr(value)[1:-1].encode(),
            urllib.parse.quote(value).encode(), urllib.parse.quote(value, safe="").encode(), urllib.parse.quote_plus(value).encode(),
            raw.hex().encode(), *basic, *(one.replace(b"+", b"-").replace(b"/", b"_") for one in basic)}


def _found(places: Iterable[tuple[str, bytes]], values: Iterable[str]) -> list[str]:
    """Which values are where."""
    wanted = [(value, spelled) for value in values for spelled in _spellings(value)]
    return [f"{value!r} in {place} as {spelled!r}" for place, content in places for value, spelled in wanted if spelled in content]


def _files(*folders: Path) -> list[tuple[str, bytes]]:
    return [(file.name, file.read_bytes()) for folder in folders for file in folder.rglob("*") if file.is_file()]


async def _bifrost(environment: dict[str, str], *arguments: str, stdin: str = "") -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bifrost", *arguments, env={**os.environ, **environment}, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    return (await asyncio.wait_for(process.communicate(stdin.encode()), 120))[0]


@pytest.mark.parametrize("encryption", ["off", "vault"])
async def test_no_secret_is_anywhere_but_in_vault(encryption: str, tmp_path: Path, sample_environment: dict[str, str], vault_secrets: VaultSecrets,
                                                  graph: SimulatorControl, user_api: SimulatorControl) -> None:
    """Not in Temporal's database, the stores or any output, whatever user code does with what a call gets; encrypted, parameters neither."""
    workspace = shutil.copytree(SAMPLE, tmp_path / "workspace")
    (workspace / "workflows" / "leaky").mkdir()
    (workspace / "workflows" / "leaky" / "workflow.py").write_text(textwrap.dedent(SOURCE))
    await vault_secrets.write("acme", "canary_token", TOKEN)
    await vault_secrets.write("GLOBAL", "canary_key", KEY)
    async with TemporalServer(tmp_path / "temporal", db_path=tmp_path / "temporal" / "temporal.db", port=free_port()) as server:
        environment = {
            **sample_environment, "TEMPORAL_ADDRESS": server.address, "BIFROST_WORKSPACE": str(workspace), "BIFROST_LOG_LEVEL": "debug",
            "BIFROST_LOG_FORMAT": "json", "BIFROST_PAYLOADS": str(tmp_path / "payloads"), "BIFROST_ENCRYPTION": encryption}
        workers = Workers(environment, tmp_path)
        await workers.spawn()
        try:
            client = await executions.connect_to(server.address, server.namespace, str(tmp_path / "payloads"), Settings(
                vault_addr=environment["VAULT_ADDR"], vault_token=environment["VAULT_TOKEN"], encryption=encryption))
            start = functools.partial(executions.start, client, task_queue="bifrost", org_id="acme", store=vault_secrets)
            handles = [await start("create_user_sync", execution_id="sync", params={
                "email": f"{encryption}@acme.example", "name": PLAIN, "department": "IT", "license_sku": "ENTERPRISEPACK"})]
            handles += [await start("leaky", execution_id=how, params={"plain": PLAIN, "how": how}, secrets={"api_token": GIVEN}) for how in FAILURES]
            outputs = [await _bifrost(environment, "run", "leaky", "--org", "acme", "-p", "api_token=-", "-p", f"plain={PLAIN}", "--execution-id",
                                      "result", "--json", stdin=GIVEN)]
            ended = {handle.id: await ending(handle) for handle in handles}
            outputs += await asyncio.gather(*(_bifrost(environment, "executions", *arguments) for arguments in (
                ("show", "refused", "--json"), ("logs", "code", "--json"))))
        finally:
            await workers.stop()
        written = [*_files(tmp_path / "temporal", tmp_path / "payloads", tmp_path / "revisions"), ("the worker's log", workers.output()),
                   *(("an output", output) for output in outputs)]
    secrets = [TOKEN, KEY, *KEY.splitlines()[1:3], GIVEN, GRAPH_SECRETS["acme"], API_KEYS["acme"], environment["VAULT_TOKEN"]]
    assert _found([*written, ("an ending", repr(ended).encode())], secrets) == []
    assert ended["sync"][1] is None
    assert b'"status": "Success"' in outputs[0], outputs[0]
    assert {how: ended[how][1]["error"] for how in FAILURES} == {
        "refused": redaction.MASK, "down": "ConnectionError", "odd": "IntegrationError", "code": "RuntimeError", "activity": "ValueError", "handle": "TypeError"}
    assert b'"Failed"' in outputs[1]
    assert PLAIN.encode() in outputs[2]
    kept = [await vault_secrets.read("acme", name) for name in await vault_secrets.names("acme") if name.startswith("start.result.api_token.")]
    assert set(kept) == {GIVEN}
    stored = [(place, content) for place, content in written if place.startswith("temporal.db") or place.endswith(".payload")]
    assert bool(_found(stored, [PLAIN])) is (encryption == "off")  # and so what is searched would be found


async def test_a_name_with_a_secret_in_it_is_masked_and_replays(house: House) -> None:
    """A checkpoint's name is no payload: with a known value in it, it is stars, also for a worker that does not know the value."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="names")
        async def names(context, text: str):
            await context.get_secret("msgraph_client_secret")
            context.save_checkpoint("plain")
            context.save_checkpoint(f"of {text}")
            return {"secret": await context.get_secret("msgraph_client_secret"), "list": [await context.get_secret("msgraph_client_secret")]}
    """)
    async with house.serving() as workspace:
        # A value of this test's own: as a parameter it is in the database, where other tests look for theirs.
        house.secrets._secrets["acme"]["msgraph_client_secret"] = value = "canary-in-a-name-7d21"
        handle = await house.start("names", {"text": value})
        assert await handle.result() == {"secret": redaction.MASK, "list": [redaction.MASK]}
    history = await handle.fetch_history()
    ids = [event.activity_task_scheduled_event_attributes.activity_id for event in history.events
           if event.HasField("activity_task_scheduled_event_attributes")]
    assert ids == ["checkpoint:plain", f"checkpoint:{redaction.MASK}"]
    assert [point.name for point in (await read_execution(house.client, handle.id)).checkpoints] == ["plain", redaction.MASK]
    redaction._values.clear()
    redaction._by_block.clear()

    async def one():
        yield WorkflowHistory(handle.id, history.events)

    assert [replayed.failure async for replayed in replay.replay(workspace, one())] == [None]
