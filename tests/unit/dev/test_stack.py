"""The embedded stack: whole or not at all, and connected to nothing but itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bifrost.dev import foreground
from bifrost.dev.ports import LOOPBACK, free_port
from bifrost.dev.stack import Ports, Stack, _only_one_in
from bifrost.errors import ConfigurationError
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings
from tests.waiting import until

ROOT = Path(__file__).parents[3]
DEAD = (sys.executable, "-c", "raise SystemExit('no worker today')")


def _settings(directory: Path) -> Settings:
    """The sample workspace, and organizations of the test's own."""
    shutil.copy(ROOT / "deploy" / "organizations.yaml", directory)
    return Settings(workspace=ROOT / "workspace", organizations=directory / "organizations.yaml", vault_cacert="of another",
                    task_queue="stack")


def _ports() -> Ports:
    return Ports(temporal=free_port(), ui=free_port(), vault=free_port())


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack with simulators."""
    directory = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPORAL_API_KEY", "of another cluster")
        async with Stack(directory / "kept", _settings(directory), ports=_ports()) as stack:
            yield stack
    assert not stack.env_file.exists()


async def _ended(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


async def test_without_workspace_and_organizations_nothing_is_started(tmp_path: Path) -> None:
    """The refusal names both places and what to create there; no folder is made."""
    stack = Stack(tmp_path / "kept", Settings(workspace=tmp_path / "ws", organizations=tmp_path / "orgs.yaml"))
    with pytest.raises(ConfigurationError) as refusal:
        await stack.__aenter__()
    for said in (f"There is no workspace at {tmp_path}/ws: create", "BIFROST_WORKSPACE",
                 f"There are no organizations at {tmp_path}/orgs.yaml: write", "BIFROST_ORGANIZATIONS"):
        assert said in refusal.value.message
    assert not (tmp_path / "kept").exists()


async def test_wrong_organizations_are_refused_by_their_own_name(tmp_path: Path) -> None:
    """A mistake is reported with the file that people write, before anything is started."""
    (tmp_path / "orgs.yaml").write_text("organizations:\n  - name: Nobody\n")
    with pytest.raises(ConfigurationError, match=r"orgs\.yaml:2: organizations\[0\]\.id is missing"):
        await Stack(tmp_path / "kept", Settings(workspace=tmp_path, organizations=tmp_path / "orgs.yaml")).__aenter__()
    assert not (tmp_path / "kept").exists()


async def test_one_folder_has_one_stack(tmp_path: Path) -> None:
    """A second one in the same folder is refused; when the first has ended, the folder is free."""
    with _only_one_in(tmp_path), pytest.raises(ConfigurationError, match="Another `bifrost dev` or `bifrost demo` runs in"):
        await Stack(tmp_path, _settings(tmp_path)).__aenter__()
    with _only_one_in(tmp_path):
        pass


async def test_a_start_that_fails_half_way_ends_what_was_started(tmp_path: Path) -> None:
    """Where one server cannot start, no other one is left behind, and the folder is free."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        stack = Stack(tmp_path, _settings(tmp_path), ports=replace(_ports(), vault=taken.getsockname()[1]))
        with pytest.raises(ConfigurationError, match="which OpenBao was to listen on, is taken"):
            await stack.__aenter__()
    assert stack.temporal._process is None or stack.temporal._process.pid is None
    with _only_one_in(tmp_path):
        pass


async def test_a_worker_of_the_stack_takes_tasks(stack: Stack) -> None:
    """A worker that was started is ready: its process polls the stack's task queue, under a fixed hash seed."""
    worker = await stack.start_worker(reload=True)
    assert await stack._takes_tasks(worker)
    environment = Path(f"/proc/{worker.pid}/environ").read_text().split("\0")
    assert "PYTHONHASHSEED=0" in environment
    assert f"TEMPORAL_ADDRESS={stack.temporal.address}" in environment
    assert not any(line.startswith("TEMPORAL_API_KEY=") for line in environment)
    await worker.kill()
    assert await worker.wait() == -signal.SIGKILL
    assert not await stack._takes_tasks(worker)


async def test_a_shell_is_connected_by_the_env_file(stack: Stack) -> None:
    """Sourced, it replaces the user's own connection; it holds Vault's token, so nobody else can read it."""
    assert stat.S_IMODE(stack.env_file.stat().st_mode) == 0o600
    shell = await asyncio.create_subprocess_exec("/bin/sh", "-c", f". {stack.env_file} && env", stdout=-1)
    out, _ = await shell.communicate()
    found = dict(line.split("=", 1) for line in out.decode().splitlines())
    assert found["TEMPORAL_ADDRESS"] == stack.temporal.address
    assert found["VAULT_TOKEN"] == stack.vault.token
    assert found["VAULT_CACERT"] == ""
    assert found["BIFROST_REVISIONS"] == str(stack.directory / "revisions")
    assert "TEMPORAL_API_KEY" not in found


async def test_organizations_are_led_to_the_simulators(stack: Stack) -> None:
    """URLs lead to simulators, secrets are in Vault, everything else is as it was written."""
    assert stack.graph is not None
    assert stack.user_api is not None
    assert stack.halopsa is not None
    before, after = YamlOrganizations(stack._source), YamlOrganizations(stack.settings.organizations)
    assert stack.settings.organizations == stack.directory / "organizations.yaml"
    assert after.global_config() == before.global_config()
    assert [(one.id, one.name, one.tenant_id, one.active) for one in after.all()] == [
        (one.id, one.name, one.tenant_id, one.active) for one in before.all()]
    acme = after.get("acme").config
    assert acme["msgraph"] == {**before.get("acme").config["msgraph"], "base_url": stack.graph.url,
                               "login_url": stack.graph.url}
    assert acme["user_management_api_url"] == stack.user_api.url
    assert acme["halopsa"] == {**before.get("acme").config["halopsa"], "base_url": stack.halopsa.url,
                               "auth_url": f"{stack.halopsa.url}/auth", "tenant": "acme"}
    secrets = VaultSecrets.from_settings(stack.settings)
    assert await secrets.read("acme", "msgraph_client_secret") == stack.secrets["acme", "msgraph_client_secret"]
    assert {org_id for org_id, _ in stack.secrets} == {"acme", "globex"}, "the inactive one needs none"
    assert len(set(stack.secrets.values())) == len(stack.secrets)


async def test_changes_of_the_organizations_are_carried_over(stack: Stack) -> None:
    """While followed, an edit reaches the workers' file; one that is wrong is logged and changes nothing."""
    source, seen = stack._source, stack.settings.organizations
    written = source.read_text()
    (source.parent / "unrelated.txt").touch()
    following = asyncio.create_task(stack.follow_organizations())

    async def carried_over(text: str) -> bool:
        # Written again and again: nothing tells when watching has begun.
        source.write_text(text)
        await asyncio.sleep(0.1)
        return "new@acme.example" in seen.read_text()

    try:
        with capture_logs() as log:
            await until(lambda: carried_over(written.replace("it@acme.example", "new@acme.example")))
            kept = seen.read_text()
            source.write_text("organizations: 7\n")
            (source.parent / "unrelated.txt").write_text("x")

            async def logged() -> bool:
                return any("Organizations cannot be read" in entry["event"] for entry in log)

            await until(logged)
            assert seen.read_text() == kept
            assert not following.done()
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        source.write_text(written)


async def test_a_worker_that_ended_is_replaced_with_growing_pauses(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each end is said with its status and the end of the log; the pause before the next start doubles."""
    monkeypatch.setattr(foreground, "FIRST_PAUSE", 0.01)
    said: list[str] = []
    worker = await stack.start_worker()
    monkeypatch.setattr(stack, "_worker_command", DEAD)
    keeping = asyncio.create_task(foreground.keep_worker(stack, worker, reload=False, say=said.append))

    async def three() -> bool:
        return len(said) >= 3

    try:
        await worker.kill()
        await until(three)
        monkeypatch.undo()

        async def replaced() -> bool:
            return len(said) >= 3 and await stack._takes_tasks(stack.workers[-1])

        await until(replaced)
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
    assert said[0].startswith("The worker ended by itself with status -9; another one is started in 0.01 s. The end of ")
    assert "with status 1; another one is started in 0.02 s" in said[1]
    assert said[1].endswith("no worker today")
    assert "another one is started in 0.04 s" in said[2]


async def test_what_was_kept_is_there_again_without_simulators_too(tmp_path: Path) -> None:
    """In the same folder, secrets stay what they are; without simulators, organizations are the people's own file."""
    settings = _settings(tmp_path)
    async with Stack(tmp_path / "kept", settings, ports=_ports()) as first:
        secret = first.secrets["acme", "user_management_api_key"]
    async with Stack(tmp_path / "kept", settings, ports=_ports(), simulators=False) as second:
        assert (list(second.simulators), second.secrets) == ([], {})
        assert second.settings.organizations == settings.organizations
        await second.follow_organizations()  # nothing to follow
        kept = VaultSecrets.from_settings(second.settings)
        assert await kept.read("acme", "user_management_api_key") == secret
