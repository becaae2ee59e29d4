"""Payload encryption, on a real Temporal server and a real Vault."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer, find_temporal
from bifrost.dev.vault_server import VaultServer
from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from bifrost.temporal.payloads import codec_server
from bifrost.temporal.payloads.converter import data_converter, require_key
from bifrost.temporal.payloads.encryption import Envelopes
from bifrost.temporal.resuming import resume
from tests.temporal.conftest import House
from tests.waiting import until

SOURCE = """
    from bifrost import BaseIntegration, IntegrationError, activity, workflow

    class Echo(BaseIntegration):
        integration_name = "echo"

        async def authenticate(self):
            pass

        async def say(self, text):
            return {"said": text, "more": "canary-answer" * 30_000}

        async def refuse(self, text):
            raise IntegrationError(f"refused {text}", status_code=400, of=text)

    @activity
    async def shout(text: str):
        return text.upper()

    @workflow(name="child")
    async def child(context, text: str):
        return {"child": text}

    @workflow(name="talks")
    async def talks(context, text: str, fail: bool = False):
        context.log("info", f"log {text}", {"of": text})
        context.save_checkpoint("begun", {"data": text})
        echo = context.get_integration("echo")
        answer = await echo.say(text)
        await context.execute_workflow("child", {"text": text})
        try:
            await echo.refuse(text)
        except IntegrationError as error:
            refusal = error.to_dict()
            if fail:
                raise
        event = await context.wait_for_event("go")
        return {"answer": answer["said"], "refusal": refusal, "event": event, "loud": await shout(text)}

    @workflow(name="short", requires_org=False)
    async def short(context, text: str):
        return {"text": text}
"""
TOKEN, ACMES = "canary-token-for-everything", "canary-token-for-acme-alone"


@pytest.fixture(scope="session")
def encrypting(vault_server: VaultServer) -> Settings:
    """Settings that encrypt."""
    return Settings(vault_addr=vault_server.address, vault_token=vault_server.token, encryption="vault")


@pytest.fixture
async def encrypted(house: House, temporal_server: TemporalServer, encrypting: Settings, tmp_path: Path) -> House:
    """A house whose client and worker encrypt."""
    house.client = await executions.connect_to(temporal_server.address, house.client.namespace, str(tmp_path / "payloads"), encrypting)
    house.write("workflows/a/b/workflow.py", SOURCE)
    return house


def _readable(text: str) -> bool:
    """Whether a canary is in it, as it is or in base64 at any of its places."""
    return any(spelled in text for spelled in ("canary", "Y2FuYXJ5", "NhbmFye", "jYW5hcn"))


async def _keys_in_history(client: Client, execution_id: str) -> set[str]:
    """The keys that payloads of an execution are encrypted with; nothing in it can be read without them."""
    text = (await client.get_workflow_handle(execution_id).fetch_history()).to_json()
    assert not _readable(text)
    return {base64.b64decode(name).decode() for name in re.findall(r'"encryption-key-id": "([^"]+)"', text)}


async def test_nothing_is_readable_without_the_key(encrypted: House, tmp_path: Path) -> None:
    """Arguments, results, checkpoints, logs, signals, headers, memos, failures: all are the organization's, and come back whole."""
    async with encrypted.serving():
        handle = await encrypted.start("talks", {"text": "canary-talk"})
        await executions.signal(encrypted.client, handle.id, "go", {"payload": "canary-event"})
        result = await executions.result(handle)
        failed = await encrypted.start("talks", {"text": "canary-talk", "fail": True})
        with pytest.raises(IntegrationError, match="refused canary-talk") as refusal:
            await executions.result(failed)
        unowned = await encrypted.start("short", {"text": "canary-talk"}, org_id=None)
        assert await executions.result(unowned) == {"text": "canary-talk"}
        again = await resume.rerun(encrypted.client, unowned.id)
        assert await executions.result(again) == {"text": "canary-talk"}
    assert refusal.value.details == {"status_code": 400, "of": "canary-talk"}
    assert (result["answer"], result["event"], result["loud"]) == ("canary-talk", {"payload": "canary-event"}, "CANARY-TALK")
    assert result["refusal"]["message"] == "refused canary-talk"
    assert await _keys_in_history(encrypted.client, handle.id) == {"bifrost-acme"}
    assert await _keys_in_history(encrypted.client, unowned.id) == await _keys_in_history(encrypted.client, again.id) == {"bifrost-GLOBAL"}
    shown = await read_execution(encrypted.client, failed.id)
    assert (shown.params["text"], shown.checkpoints[0].data, shown.log[0].message) == ("canary-talk", {"data": "canary-talk"}, "log canary-talk")
    assert [call.error for call in shown.calls] == [None, "refused canary-talk"]
    assert not [file for file in (tmp_path / "payloads").rglob("*.payload") if b"canary" in file.read_bytes()]
    assert list((tmp_path / "payloads").rglob("*.payload"))


async def test_a_failed_run_is_resumed_where_it_failed(encrypted: House) -> None:
    """What a resume reads of a history, it reads through the key: which call failed, with which words."""
    async with encrypted.serving() as workspace:
        failed = await encrypted.start("talks", {"text": "canary-talk", "fail": True})
        with pytest.raises(IntegrationError):
            await executions.result(failed)
        resumed = await resume.resume(encrypted.client, workspace, failed.id, payloads=str(encrypted.root.parent / "payloads"))
        assert resumed.at == "echo.refuse"


async def test_deleting_a_key_shreds_one_organizations_payloads(encrypted: House, vault_server: VaultServer, encrypting: Settings,
                                                                temporal_server: TemporalServer) -> None:
    """They are unreadable for every process that comes after, which says so; other organizations' and older clear ones are not."""
    async with encrypted.serving():
        acme, globex = await encrypted.start("short", {"text": "a"}), await encrypted.start("short", {"text": "b"}, org_id="globex")
        for handle in (acme, globex):
            await executions.result(handle)
        plain = await executions.connect_to(temporal_server.address, encrypted.client.namespace)
        clear = await executions.start(plain, "short", task_queue=encrypted.task_queue, org_id="globex", params={"text": "c"})
        assert await executions.result(encrypted.client.get_workflow_handle(clear.id)) == {"text": "c"}
    async with httpx.AsyncClient(base_url=f"{vault_server.address}/v1/transit/keys/", headers={"X-Vault-Token": vault_server.token}) as vault:
        (await vault.post("bifrost-acme/config", json={"deletion_allowed": True})).raise_for_status()
        (await vault.delete("bifrost-acme")).raise_for_status()
    later = await executions.connect_to(temporal_server.address, encrypted.client.namespace, settings=encrypting)
    with pytest.raises(NotFoundError, match="What was encrypted with the key 'bifrost-acme' cannot be read"):
        await later.get_workflow_handle(acme.id).result()
    assert (await read_execution(later, globex.id)).params == {"text": "b"}
    assert (await read_execution(later, clear.id)).params == {"text": "c"}
    await executions.start(later, "short", task_queue="nobody", org_id="acme", params={"text": "d"})  # with a new key of that name
    again = await executions.connect_to(temporal_server.address, encrypted.client.namespace, settings=encrypting)
    with pytest.raises(NotFoundError, match="or has another one of this name now"):
        await again.get_workflow_handle(acme.id).result()


@pytest.mark.parametrize("cached", [1000], indirect=True)
async def test_a_worker_that_cannot_encrypt_does_not_start(encrypted: House, encrypting: Settings, temporal_server: TemporalServer) -> None:
    """Its tasks would fail for ever. Where Vault does not answer just now it starts: they wait."""
    for wrong, refusal in ({"vault_transit": "nowhere"}, pytest.raises(ConfigurationError, match="no transit engine")), (
            {"vault_addr": f"http://127.0.0.1:{free_port()}"}, contextlib.nullcontext()):
        encrypted.client = await executions.connect_to(temporal_server.address, "default", None, replace(encrypting, **wrong))
        with refusal:
            await require_key(encrypted.client.data_converter)
    encrypted.client = await executions.connect_to(temporal_server.address, "default", None, replace(encrypting, vault_transit="nowhere"))
    with pytest.raises(ConfigurationError, match="BIFROST_VAULT_TRANSIT"):
        async with encrypted.serving():
            pass


class _Stumbling(Envelopes):
    """Answers, three times, that Vault is away, where a call's arguments are to be read."""

    stumbled = 0

    async def unseal(self, payload: Payload) -> Payload:
        opened = await super().unseal(payload)
        if b"reklat" in opened.data and self.stumbled < 3:
            self.stumbled += 1
            raise IntegrationError("Vault is away", integration="vault", again={
                "reason": "Vault is away", "after_seconds": 0.01, "attempts": 0, "give_up_seconds": 60})
        return opened


async def test_a_call_waits_for_vault(encrypted: House, encrypting: Settings, temporal_server: TemporalServer) -> None:
    """Arguments that cannot be read because Vault is away use up no attempt: the run makes the call again, until it is back."""
    stumbling = _Stumbling.from_settings(encrypting)
    encrypted.client = await Client.connect(temporal_server.address, data_converter=data_converter(None, stumbling, encrypting=True))
    encrypted.write("workflows/a/b/workflow.py", """
        from bifrost import BaseIntegration, RetryRules, workflow

        class Echo(BaseIntegration):
            integration_name = "echo"
            retry = RetryRules(max_attempts=1)

            async def authenticate(self):
                pass

            async def say(self, text):
                return text

        @workflow(name="talks")
        async def talks(context, text: str):
            return await context.get_integration("echo").say(text[::-1])
    """)
    async with encrypted.serving(cached=1000):
        assert await encrypted.run("talks", {"text": "talker"}) == "reklat"
    assert stumbling.stumbled == 3


# --- the codec server -------------------------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Signals are for the tests."""


@pytest.fixture
async def codec_url(encrypting: Settings, tmp_path: Path) -> AsyncIterator[str]:
    """A codec server over HTTP, for a UI at `http://ui.example`."""
    file = tmp_path / "tokens"
    file.write_text(f"# who may read\n\n{TOKEN} *\n{ACMES} acme,initech\n")
    app = codec_server.app(Envelopes.from_settings(encrypting), codec_server.read_tokens(file), origins=["http://ui.example"],
                           payloads=str(tmp_path / "payloads"))
    port = free_port()
    server = _Server(uvicorn.Config(app, port=port, log_config=None, access_log=False, lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def _temporal(*arguments: str) -> str:
    """Temporal's own command line."""
    process = await asyncio.create_subprocess_exec(str(find_temporal()), *arguments, stdout=asyncio.subprocess.PIPE,
                                                   stderr=asyncio.subprocess.STDOUT)
    return (await process.communicate())[0].decode()


@pytest.mark.parametrize("cached", [1000], indirect=True)
async def test_temporals_command_line_reads_through_the_codec_server(encrypted: House, codec_url: str, temporal_server: TemporalServer) -> None:
    """With a token that is for the organization, large results included; with any other it sees what it saw before."""
    async with encrypted.serving():
        handle = await encrypted.start("talks", {"text": "canary-talk"}, org_id="globex")
        await executions.signal(encrypted.client, handle.id, "go", None)
        await executions.result(handle)
        shown = [await _temporal(
            "workflow", "show", "-w", handle.id, "--output", "json", "--address", temporal_server.address,
            "--codec-endpoint", f"{codec_url}/{{namespace}}", "--codec-auth", f"Bearer {token}") for token in (TOKEN, ACMES)]
        started = await _temporal(
            "workflow", "execute", "--type", "short", "--task-queue", encrypted.task_queue, "-w", f"by-hand-{encrypted.task_queue}",
            "--input", '{"org_id":"acme","params":{"text":"canary-by-hand"}}', "--address", temporal_server.address,
            "--codec-endpoint", codec_url, "--codec-auth", f"Bearer {ACMES}")
    assert [_readable(text) for text in shown] == [True, False]
    assert len(shown[0]) > 390_000 > len(shown[1]) > 1000  # with the call's answer of that size, which lies outside
    assert "canary-by-hand" in started
    assert await _keys_in_history(encrypted.client, f"by-hand-{encrypted.task_queue}") == {"bifrost-acme"}


@pytest.mark.parametrize(("headers", "content", "status"), [
    ({}, b'{"payloads":[]}', 401), ({"Authorization": f"Basic {TOKEN}"}, b'{"payloads":[]}', 401), ({"Authorization": "Bearer wröng".encode()}, b"{}", 401),
    ({"Authorization": f"Bearer {TOKEN}"}, b"[", 400), ({"Authorization": f"Bearer {TOKEN}"}, b'{"payloads":5}', 400),
    ({"Authorization": f"Bearer {TOKEN}"}, b" " * 2000, 413), ({"Authorization": f"Bearer {TOKEN}"}, b"{}", 200),
    ({"Authorization": f"Bearer {ACMES}"}, b'{"payloads":[{"metadata":{"encoding":"anNvbi9wbGFpbg=="},"data":"e30="}]}', 403)])
async def test_a_request_that_is_not_as_it_must_be_is_refused(codec_url: str, monkeypatch: pytest.MonkeyPatch, headers: Mapping[str, Any],
                                                              content: bytes, status: int) -> None:
    """No token, another scheme, no JSON, no payloads, too much, another organization's: each has its status."""
    monkeypatch.setattr(codec_server, "MAX_BYTES", 1000)
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{codec_url}/encode", headers=headers, content=content)
    assert answer.status_code == status


async def test_the_web_ui_may_ask_from_its_origin_alone(codec_url: str) -> None:
    """A browser asks first whether it may; another page may not."""
    async with httpx.AsyncClient() as http:
        asked = {origin: await http.options(f"{codec_url}/default/decode", headers={
            "Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-namespace"})
            for origin in ("http://ui.example", "http://other.example")}
    assert asked["http://ui.example"].headers["access-control-allow-origin"] == "http://ui.example"
    assert "access-control-allow-origin" not in asked["http://other.example"].headers


@pytest.mark.parametrize("content", ["", "# nobody\n", "short *\n", f"{TOKEN}\n", f"{TOKEN} acme globex\n"])
def test_a_file_of_tokens_is_read_or_refused(tmp_path: Path, content: str) -> None:
    """With the file and the line, and without the token."""
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(str(file))) as refusal:
        codec_server.read_tokens(file)
    assert TOKEN not in str(refusal.value)
