"""What payload encryption costs: the same executions from start to result, with and without, on one server and one Vault, in alternation."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from temporalio.client import Client

from benchmarks.comparing import alternating
from benchmarks.figures import Figure
from benchmarks.workspaces import workspace
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.dev.vault_server import VaultServer
from bifrost.logging import configure
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.worker import serving

CALLS, EXECUTIONS, ROUNDS = 10, 5, 8

SOURCE = """
from bifrost import activity, workflow

@activity
async def look(text: str):
    return {"text": text, "more": "x" * 1000}

@workflow(name="looks", description="Looks.")
async def looks(context, count: int):
    for number in range(count):
        context.save_checkpoint(f"at {number}", await look(f"number {number}"))
"""


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[dict[str, Client]]:
    """A client with each setting of `BIFROST_ENCRYPTION`, each with a worker of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        served = workspace(folder, "looks", SOURCE)
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(TemporalServer(folder, db_path=folder / "temporal.db", port=free_port()))
            vault = await stack.enter_async_context(VaultServer(folder / "vault", port=free_port()))
            clients = {}
            for encryption in ("off", "vault"):
                settings = Settings(vault_addr=vault.address, vault_token=vault.token, encryption=encryption)
                clients[encryption] = await executions.connect_to(server.address, server.namespace, settings=settings)
                await stack.enter_async_context(serving(
                    clients[encryption], served, MemoryOrganizations([Organization("acme", "Acme")]), MemorySecrets({}), task_queue=encryption))
            yield clients


async def _milliseconds(client: Client, task_queue: str) -> float:
    began = time.perf_counter()
    for _ in range(EXECUTIONS):
        await executions.result(await executions.start(client, "looks", task_queue=task_queue, org_id="acme", params={"count": CALLS}))
    return (time.perf_counter() - began) / EXECUTIONS * 1000


async def measure() -> list[Figure]:
    """Milliseconds from start to result, in alternation, and the ratio within each round."""
    configure(Settings(log_level="error"))
    async with _stage() as clients:
        clear, encrypted = await alternating(lambda: _milliseconds(clients["off"], "off"), lambda: _milliseconds(clients["vault"], "vault"), ROUNDS)
    return [Figure(f"{CALLS} calls, from start to result", "ms", clear), Figure("the same, encrypted", "ms", encrypted),
            Figure("encrypted over clear", "x", [a / b for a, b in zip(encrypted, clear, strict=True)], 1.25)]
