"""The policies for Vault and the script that applies them, on a real server."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bifrost.dev.vault_server import VaultServer, find_bao
from bifrost.errors import PermissionError  # noqa: A004 - the name is the guide's
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings
from tests.vault_api import Api

FOLDER = Path(__file__).parents[3] / "deploy" / "vault"


@dataclass
class Ended:
    """A run of the script that has ended."""

    status: int
    out: str
    err: str


async def _setup(server: VaultServer, home: Path, **environment: str) -> Ended:
    """Run the script with nothing but the server's CLI and the system's own commands."""
    process = await asyncio.create_subprocess_exec(
        str(FOLDER / "setup.sh"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={
            "PATH": f"{find_bao().parent}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": str(home), "VAULT_ADDR": server.address,
            "VAULT_TOKEN": server.token, **environment})
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return Ended(process.returncode if process.returncode is not None else -1, out.decode(), err.decode())


@pytest.fixture(scope="module")
async def prepared(vault_server: VaultServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """What the script printed for workers, at a mount and a prefix of these tests; it ran twice, the second time to no effect."""
    places = {"BIFROST_VAULT_MOUNT": "kv/msp", "BIFROST_VAULT_PREFIX": "apps/bifrost"}
    home = tmp_path_factory.mktemp("home")
    runs = [await _setup(vault_server, home, **places) for _ in range(2)]
    assert [run.status for run in runs] == [0, 0], runs
    assert "Enabled the kv secrets engine" in runs[0].out
    role_ids = {found for run in runs for found in re.findall(r"VAULT_ROLE_ID=(\S+)", run.out)}
    assert len(role_ids) == 1
    assert vault_server.token not in runs[0].out + runs[0].err
    assert list(home.iterdir()) == []
    yield {"role_id": role_ids.pop()}
    await Api(vault_server).ask("DELETE", "sys/mounts/kv/msp")


@pytest.fixture
def operator_settings(vault_settings: Settings) -> Settings:
    return replace(vault_settings, vault_mount="kv/msp", vault_prefix="apps/bifrost", vault_token="")


async def _operator(settings: Settings, api: Api) -> VaultSecrets:
    made = await api.ask("POST", "auth/token/create", {"policies": ["bifrost-operator"], "no_default_policy": True, "ttl": "60s"})
    return VaultSecrets.from_settings(replace(settings, vault_token=made.json()["auth"]["client_token"]), cache_seconds=0)


async def test_a_worker_reads_secrets_and_does_nothing_else(prepared: dict[str, str], operator_settings: Settings, vault_server: VaultServer,
                                                            tmp_path: Path) -> None:
    """By the AppRole and the policy that the script made: no list, no write, no delete, no metadata, no path beside the prefix."""
    api = Api(vault_server)
    for path in ("kv/msp/data/apps/bifrost/acme/a", "kv/msp/data/apps/bifrosting/acme/a", "kv/msp/data/acme/a", "secret/data/bifrost/acme/a"):
        await api.ask("POST", path, {"data": {"value": path}})
    made = await api.ask("POST", "auth/approle/role/bifrost-worker/secret-id")
    (tmp_path / "secret-id").write_text(made.json()["data"]["secret_id"])
    settings = replace(operator_settings, vault_role_id=prepared["role_id"], vault_secret_id_file=str(tmp_path / "secret-id"))
    store = VaultSecrets.from_settings(settings, cache_seconds=0)
    assert await store.get("acme", "a") == "kv/msp/data/apps/bifrost/acme/a"
    elsewhere = [VaultSecrets.from_settings(replace(settings, **place), cache_seconds=0) for place in (
        {"vault_prefix": "apps/bifrosting"}, {"vault_prefix": ""}, {"vault_mount": "secret", "vault_prefix": "bifrost"})]
    for refused in (store.names("acme"), store.listed("acme"), store.write("acme", "a", "x"), store.write("acme", "new", "x"),
                    store.delete("acme", "a"), *(other.read("acme", "a") for other in elsewhere)):
        with pytest.raises(PermissionError, match="no policy of its token allows this"):
            await refused
    renewed = await store.connection.ask(lambda vault: vault.auth.token.renew_self(), store._access("data", "x", "update"))
    assert renewed.content["auth"]["token_policies"] == ["bifrost-worker"]
    assert renewed.content["auth"]["lease_duration"] == 3600


async def test_an_operator_sets_lists_and_deletes_and_reads_no_value(prepared: dict[str, str], operator_settings: Settings,
                                                                     vault_server: VaultServer) -> None:
    """Everything that `bifrost secrets` does works; values cannot be read back, and nothing beside the prefix can be changed."""
    store = await _operator(operator_settings, Api(vault_server))
    assert [await store.write("globex", "a", value) for value in ("first", "second")] == [1, 2]
    assert [(kept.name, kept.version) for kept in await store.listed("globex")] == [("a", 2)]
    outside = VaultSecrets(store.connection, mount="kv/msp", prefix="apps")
    for refused in (store.read("globex", "a"), outside.write("globex", "a", "x"), outside.names("globex"), outside.delete("globex", "a")):
        with pytest.raises(PermissionError, match="no policy of its token allows this"):
            await refused
    await store.delete("globex", "a")
    assert await store.names("globex") == []


@pytest.mark.parametrize(("environment", "said"), [
    ({"VAULT_TOKEN": "s.invented"}, "no valid token for Vault: set VAULT_ADDR and VAULT_TOKEN"),
    ({"BIFROST_VAULT_MOUNT": "identity"}, "what is mounted at identity is no KV v2 engine: set BIFROST_VAULT_MOUNT"),
    ({"BIFROST_VAULT_PREFIX": 'x" { }'}, "may have letters, digits"), ({"PATH": "/usr/bin:/bin"}, "neither bao nor vault is on the PATH")])
async def test_the_script_says_what_is_wrong(vault_server: VaultServer, tmp_path: Path, environment: dict[str, str], said: str) -> None:
    """It ends with a sentence and an exit status, before it has changed anything."""
    ended = await _setup(vault_server, tmp_path, **environment)
    assert ended.status == 1
    assert said in ended.err


def test_the_page_beside_it_is_short() -> None:
    """One page of at most 60 lines, which names both policies."""
    page = (FOLDER / "README.md").read_text()
    assert page.count("\n") <= 60
    assert all(file.name in page for file in FOLDER.glob("*.hcl"))
