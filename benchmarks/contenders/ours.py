"""Bifrost as its users run it: the embedded server, `bifrost worker` with its default settings, an integration with one trivial method."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

from benchmarks.contenders import Driver
from benchmarks.contenders.standing import VERSIONS, driver, tuned_server, worker

SOURCE = """
import asyncio
from bifrost import BaseIntegration, OrganizationContext, operation, register_integration, workflow

class Counter(BaseIntegration):
    integration_name = "counter"

    async def authenticate(self): ...

    @operation({declared})
    async def step(self, number: int) -> int:
        return number + 1

register_integration("counter", Counter)

@workflow(name="steps", description="So many steps, one after the other or all at once.")
async def steps(context: OrganizationContext, calls: int, shape: str):
    counter = context.get_integration("counter")
    if shape == "gather":
        return len(await asyncio.gather(*(counter.step(number) for number in range(calls))))
    number = 0
    for _ in range(calls):
        number = await counter.step(number)
    return number
"""
SHORT = "repeatable=True, short=True"
"""What an operation says that is safe to repeat and takes little time."""


@dataclass(frozen=True)
class Bifrost:
    """Bifrost, with its defaults.

    Args:
        declared: What the operation declares besides: `SHORT`, for one.
        address: Of a server that stands already; by default it gets one of its own.
    """

    name: str = "bifrost"
    declared: str = ""
    address: str = ""

    @property
    def versions(self) -> Mapping[str, str]:
        return {"bifrost": version("bifrost"), **VERSIONS}

    @contextlib.asynccontextmanager
    async def standing(self, folder: Path) -> AsyncIterator[Driver]:
        """See `Contender`."""
        file = folder / "workspace" / "workflows" / "steps.py"
        file.parent.mkdir(parents=True)
        file.write_text(SOURCE.replace("{declared}", self.declared))
        async with tuned_server(folder, self.address) as address:
            environment = _environment(folder, address, self.name)
            async with (worker(folder, "-m", "bifrost", "worker", environment=environment),
                        driver("bifrost_driver.py", folder, address, self.name, environment=environment) as answering):
                yield answering


def _environment(folder: Path, address: str, task_queue: str) -> dict[str, str]:
    """Of the worker of the workspace in this folder, and of its client. There is no Vault, and no call that would need one."""
    organizations = folder / "organizations.yaml"
    organizations.write_text(yaml.safe_dump({"organizations": [{"id": "acme", "name": "Acme"}]}))
    return {"TEMPORAL_ADDRESS": address, "BIFROST_WORKSPACE": str(folder / "workspace"), "BIFROST_TASK_QUEUE": task_queue,
            "BIFROST_ORGANIZATIONS": str(organizations), "BIFROST_REVISIONS": str(folder / "revisions"),
            "BIFROST_PAYLOADS": str(folder / "payloads"), "VAULT_TOKEN": "unused", "PYTHONHASHSEED": "0"}
