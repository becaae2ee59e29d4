"""What all tests share: the real servers, each started once, and an environment that is nobody's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bifrost import redaction
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.dev.vault_server import VaultServer
from bifrost.errors import ConfigurationError
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings

ROOT = Path(__file__).parents[1]
pytest_plugins = ["tests.coverage_gate", "tests.token_endpoint"]
_FOREIGN = ("TEMPORAL_", "VAULT_", "BAO_", "BIFROST_")


@pytest.fixture(scope="session", autouse=True)
def _nobodys_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's connection settings: variables, Temporal's profile file and Vault's token file."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
            patch.delenv(name)
        empty = tmp_path_factory.mktemp("environment") / "temporal.toml"
        empty.touch()
        patch.setenv("TEMPORAL_CONFIG_FILE", str(empty))
        patch.setenv("BIFROST_PAYLOADS", str(tmp_path_factory.mktemp("payloads")))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Forget the secrets that a test made known: in another test the same letters may be a plain word.

    What fixtures make known stays, as long as they do: the keys of the session's Vault are secrets in every test.
    """
    values, blocks = dict(redaction._values), {block: list(known) for block, known in redaction._by_block.items()}
    try:
        yield
    finally:
        redaction._values.clear()
        redaction._values.update(values)
        redaction._by_block.clear()
        redaction._by_block.update(blocks)


@pytest.fixture(scope="session")
async def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TemporalServer]:
    """A real Temporal server. Its `db_path` is a file (beside it the `-wal` file), so that tests can search it."""
    server = await _started(tmp_path_factory)
    yield server
    await server.stop()


async def _started(tmp_path_factory: pytest.TempPathFactory, tries: int = 3) -> TemporalServer:
    """A server that came up: between its choosing free ports and taking them another program may have taken one."""
    directory = tmp_path_factory.mktemp("temporal")
    try:
        return await TemporalServer(directory, db_path=directory / "temporal.db", port=free_port()).start()
    except ConfigurationError:
        if tries == 1:
            raise
    return await _started(tmp_path_factory, tries - 1)


@pytest.fixture(scope="session")
async def vault_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VaultServer]:
    """A real Vault API, unsealed, with a KV v2 engine at `secret`."""
    async with VaultServer(tmp_path_factory.mktemp("vault"), port=free_port()) as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty workspace in a folder of the test's own, with the sample organizations; no server behind."""
    (tmp_path / "workspace").mkdir()
    shutil.copy(ROOT / "deploy" / "organizations.yaml", tmp_path)
    return Settings(workspace=tmp_path / "workspace", organizations=tmp_path / "organizations.yaml",
                    revisions=str(tmp_path / "revisions"), payloads=str(tmp_path / "payloads"))


@pytest.fixture
def vault_settings(settings: Settings, vault_server: VaultServer) -> Settings:
    """The same, with the Vault of these tests behind."""
    return replace(settings, vault_addr=vault_server.address, vault_token=vault_server.token)


@pytest.fixture(scope="session")
def vault_secrets(vault_server: VaultServer) -> VaultSecrets:
    """The secret store over the Vault of these tests."""
    return VaultSecrets.from_settings(Settings(vault_addr=vault_server.address, vault_token=vault_server.token))
