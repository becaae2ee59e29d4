"""`bifrost doctor`: what is wrong with an installation is named, with what to do; and a sound one is called so."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hvac
import pytest

from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.operating import setup
from bifrost.temporal.operating.doctor import Finding, examine

ORGANIZATIONS = """
global:
  config: {shared: {client_secret: {secret_ref: shared_key}}}
organizations:
  - {id: doctored, name: Doctored, config: {tool: {keys: [{secret_ref: tool_key}]}}}
  - {id: gone, name: Gone, active: false, config: {tool: {secret_ref: of_nobody}}}
"""
POLICY = 'path "secret/metadata/bifrost/*" { capabilities = ["list"] }\npath "secret/data/bifrost/GLOBAL/*" { capabilities = ["read"] }'


@pytest.fixture
async def sound(vault_settings: Settings, vault_secrets: VaultSecrets, temporal_server: TemporalServer,
                monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of an installation with nothing wrong."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    vault_settings.organizations.write_text(ORGANIZATIONS)
    (vault_settings.workspace / "workflows").mkdir()
    (vault_settings.workspace / "workflows" / "one.py").write_text(
        "from bifrost import workflow\n\n@workflow(name='one')\nasync def one(context):\n    return 1\n")
    await vault_secrets.write("GLOBAL", "shared_key", "canary-shared-key")
    await vault_secrets.write("doctored", "tool_key", "canary-tool-key")
    await setup.apply(await executions.connect(temporal_server.address), vault_settings.task_queue)
    return vault_settings


def _wrong(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.ok is False]


async def test_a_sound_installation(sound: Settings) -> None:
    """Nothing is wrong, everything was looked at, and neither a secret nor a file of the look is left anywhere."""
    found = await examine(sound)
    assert _wrong(found) == []
    assert {finding.name for finding in found} >= {"versions", "workspace", "store of revisions", "store of payloads", "organizations", "Temporal",
                                                   "namespace default", "retention", "clock", "workers", "Vault", "secrets"}
    assert "canary" not in repr(found)
    assert [file for folder in (sound.revisions, sound.payloads) for file in Path(folder).iterdir()] == []


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _token(settings: Settings, policy: str) -> str:
    admin = hvac.Client(url=settings.vault_addr, token=settings.vault_token)
    admin.sys.create_or_update_policy("doctored", policy)
    return str(admin.auth.token.create(policies=["doctored"])["auth"]["client_token"])


def _with(**changes: object) -> Callable[[Settings, pytest.MonkeyPatch], Settings]:
    return lambda settings, _: dataclasses.replace(settings, **changes)


def _environment(name: str, value: Callable[[], str]) -> Callable[[Settings, pytest.MonkeyPatch], Settings]:
    def breaks(settings: Settings, patch: pytest.MonkeyPatch) -> Settings:
        patch.setenv(name, value())
        return settings

    return breaks


def _file(path: Callable[[Settings], Path], text: str) -> Callable[[Settings, pytest.MonkeyPatch], Settings]:
    def breaks(settings: Settings, _: pytest.MonkeyPatch) -> Settings:
        path(settings).write_text(text)
        return settings

    return breaks


BROKEN: dict[str, tuple[Callable[[Settings, pytest.MonkeyPatch], Settings], str, str, str]] = {
    "Temporal is away": (_environment("TEMPORAL_ADDRESS", lambda: f"127.0.0.1:{free_port()}"), "Temporal", "does not answer", "TEMPORAL_ADDRESS"),
    "no namespace": (_environment("TEMPORAL_NAMESPACE", lambda: "nowhere"), "namespace nowhere", "missing", "bifrost setup --apply"),
    "Vault is away": (_with(vault_addr="http://127.0.0.1:9"), "Vault", "cannot be reached", "Mend"),
    "a token that is none": (_with(vault_token="s.none"), "Vault", "Vault refuses access", "policies"),
    "no KV engine": (_with(vault_mount="elsewhere"), "Vault", "elsewhere", "Mend"),
    "a policy that lacks an organization": (
        lambda settings, _: dataclasses.replace(settings, vault_token=_token(settings, POLICY)),
        "secret shared_key of doctored", "no policy of its token allows this", "policy"),
    "a secret that was never set": (
        _file(lambda settings: settings.organizations, ORGANIZATIONS.replace("tool_key", "never_set")), "secret never_set of doctored",
        "Secret 'never_set' not found; tried secret/bifrost/doctored/never_set and secret/bifrost/GLOBAL/never_set",
        "bifrost secrets set never_set --org doctored"),
    "a mistake in the organizations": (
        _file(lambda settings: settings.organizations, "organizations:\n  - {id: doctored, nmae: Doctored}\n"), "organizations",
        "organizations.yaml:2", "bifrost orgs check"),
    "no workspace": (_with(workspace=Path("/nowhere")), "workspace", "/nowhere", "BIFROST_WORKSPACE"),
    "code that cannot be loaded": (
        _file(lambda settings: settings.workspace / "workflows" / "broken.py", "import nothing_of_this_name\n"), "workspace",
        "broken.py:1: ", "bifrost check"),
    "revisions that cannot be written": (_with(revisions="/dev/null/revisions"), "store of revisions", "cannot be written", "BIFROST_REVISIONS"),
    "payloads behind a protocol that is none": (_with(payloads="nonsense://bucket"), "store of payloads", "nonsense", "BIFROST_PAYLOADS"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_broken_is_named(sound: Settings, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Exactly what was broken is wrong, with the reason and what to do about it."""
    breaks, name, said, mend = BROKEN[what]
    wrong = _wrong(await examine(breaks(sound, monkeypatch)))
    assert wrong[0].name == name
    assert said in wrong[0].said
    assert mend in wrong[0].mend
    assert len(wrong) == 1 or what in ("no namespace", "a policy that lacks an organization")


async def test_a_clock_that_is_wrong(sound: Settings) -> None:
    """A machine whose clock is off against Temporal's is told by how much."""
    [wrong] = _wrong(await examine(sound, clock=lambda: time.time() - 90))
    assert (wrong.name, wrong.said) == ("clock", "This machine's clock is 90 seconds behind Temporal's")
    assert "chrony" in wrong.mend


@pytest.mark.parametrize(("broken", "named"), [({}, None), ({"BIFROST_CACHED_EXECUTIONS": "many"}, "settings")])
async def test_the_command(sound: Settings, broken: dict[str, str], named: str | None) -> None:
    """As an operator runs it: the exit status says whether anything is wrong, a person gets lines and a program JSON."""
    environment = {**os.environ, **sound.to_environment(), **broken}
    arguments = ("--json",) if named is None else ()
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bifrost", "doctor", *arguments, env=environment,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    if named is None:
        assert (process.returncode, json.loads(printed)["healthy"]) == (0, True)
    else:
        assert process.returncode == 1
        assert b"WRONG  settings: BIFROST_CACHED_EXECUTIONS is 'many'; it must be a whole number" in printed
        assert printed.endswith(b"One thing is wrong\n")
