"""How many reads of a secret a second: one that is remembered, and one that Vault is asked for each time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure
from bifrost.dev.ports import free_port
from bifrost.dev.vault_server import VaultServer
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings

CACHED, ASKED, ROUNDS = 20_000, 500, 7


async def _per_second(store: VaultSecrets, name: str, reads: int) -> list[float]:
    await store.get("acme", name)
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(reads):
            await store.get("acme", name)
        found.append(reads / (time.perf_counter() - began))
    return found


async def measure() -> list[Figure]:
    """Reads per second, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        async with VaultServer(Path(folder), port=free_port()) as server:
            settings = Settings(vault_addr=server.address, vault_token=server.token)
            remembering = VaultSecrets.from_settings(settings, cache_seconds=600)
            asking = VaultSecrets.from_settings(settings, cache_seconds=0)
            await remembering.write("acme", "name", "for acme")
            return [Figure("a secret that is remembered", "/s", await _per_second(remembering, "name", CACHED)),
                    Figure("a secret that Vault is asked for each time", "/s", await _per_second(asking, "name", ASKED))]
