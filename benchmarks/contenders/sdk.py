"""Temporal's SDK by hand: as it comes, and as well as it can be set."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Driver
from benchmarks.contenders.serving import PROGRAMS
from benchmarks.contenders.standing import VERSIONS, driver, stock_server, tuned_server, worker


@dataclass(frozen=True)
class Stock:
    """A stock development server with a database file, a worker with the SDK's defaults: its sandbox, its pollers."""

    name: str = "sdk-stock"

    @property
    def versions(self) -> Mapping[str, str]:
        return VERSIONS

    @contextlib.asynccontextmanager
    async def standing(self, folder: Path) -> AsyncIterator[Driver]:
        """See `Contender`."""
        async with (stock_server(folder) as address,
                    worker(folder, str(PROGRAMS / "sdk_worker.py"), "stock", address, self.name),
                    driver("sdk_driver.py", folder, "stock", address, self.name) as answering):
            yield answering


@dataclass(frozen=True)
class Tuned:
    """The server that Bifrost embeds, a worker without sandbox, with pollers that scale and as many slots as Bifrost's.

    Args:
        address: Of a server that stands already; by default it gets one of its own.
    """

    name: str = "sdk-tuned"
    address: str = ""

    @property
    def versions(self) -> Mapping[str, str]:
        return VERSIONS

    @contextlib.asynccontextmanager
    async def standing(self, folder: Path) -> AsyncIterator[Driver]:
        """See `Contender`."""
        async with (tuned_server(folder, self.address) as address,
                    worker(folder, str(PROGRAMS / "sdk_worker.py"), "tuned", address, self.name),
                    driver("sdk_driver.py", folder, "tuned", address, self.name) as answering):
            yield answering
