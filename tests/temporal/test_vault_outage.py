"""Vault sealed in the middle of an execution."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bifrost.dev.ports import free_port
from bifrost.dev.vault_server import VaultServer
from bifrost.secrets.vault import VaultSecrets
from bifrost.secrets.vault_connection import VaultConnection
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from tests.temporal.conftest import House
from tests.vault_api import Api
from tests.waiting import until

HEARTBEAT = 0.5
SOURCE = f"""
    from bifrost import BaseIntegration, register_integration, workflow

    class Till(BaseIntegration):
        integration_name = "till"
        heartbeat_seconds = {HEARTBEAT}

        async def authenticate(self): ...

        async def length(self, key: str) -> int:
            return len(key)

    register_integration("till", Till)

    @workflow(name="measures", description="Measures a secret.")
    async def measures(context):
        key = await context.get_secret("key")
        await context.wait_for_event("go")
        return await context.get_integration("till").length(key)
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[VaultServer]:
    """A Vault of the test's own, which may be sealed."""
    async with VaultServer(tmp_path / "vault", port=free_port()) as server:
        yield server


@pytest.mark.parametrize("cached", [1000])
async def test_a_call_waits_until_vault_is_unsealed(house: House, server: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt that finds Vault sealed waits, with signs of life for longer than its heartbeat allows, and is the only one."""
    began: list[float] = []
    attempt = VaultConnection._attempt
    monkeypatch.setattr(VaultConnection, "_attempt", lambda self, *args: (began.append(time.monotonic()), attempt(self, *args))[1])
    secrets = VaultSecrets.from_settings(Settings(vault_addr=server.address, vault_token=server.token), cache_seconds=0, patience=60)
    await secrets.write("acme", "key", "for acme")
    house.write("workflows/measures.py", SOURCE)
    house.secrets = secrets  # type: ignore[assignment]
    async with house.serving():
        handle = await house.start("measures")

        async def located() -> bool:
            return len(began) == 2

        await until(located)
        await Api(server).ask("PUT", "sys/seal")
        await handle.signal("go")

        async def outlasted() -> bool:
            return len(began) > 2 and began[-1] - began[2] > 2 * HEARTBEAT

        await until(outlasted)
        await Api(server).ask("PUT", "sys/unseal", {"key": server._read_keys()[0]})
        assert await asyncio.wait_for(executions.result(handle), 60) == len("for acme")
    [call] = [call for call in (await read_execution(house.client, handle.id)).calls if call.name == "till.length"]
    assert call.attempts == 1
