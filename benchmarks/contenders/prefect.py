"""Prefect: an API server that keeps the state, and flows that run in the process which starts them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, Driver
from benchmarks.contenders.installing import python_with
from benchmarks.contenders.postgres import postgres, postgres_versions
from benchmarks.contenders.serving import answers, driver, serving
from bifrost.dev.ports import LOOPBACK, free_port

PACKAGES = {"prefect": "3.9.1"}
SETTINGS = {
    # A task whose result is persisted does not run again when its flow does: https://docs.prefect.io/v3/advanced/results
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # So that many executions at once are slow rather than failed; the defaults are 60, 10 and 5 seconds.
    "PREFECT_API_REQUEST_TIMEOUT": "600",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "600",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "600"}


@dataclass(frozen=True)
class Prefect:
    """Prefect on PostgreSQL, as it advises for production, with flows in the driver's process.

    A deployment would start a process for each run, after up to ten seconds of polling; a SQLite file, which is the default, takes
    several times as long. https://docs.prefect.io/v3/concepts/server
    """

    name: str = "prefect"

    @property
    def versions(self) -> Mapping[str, str]:
        return {**PACKAGES, **postgres_versions()}

    @contextlib.asynccontextmanager
    async def standing(self, folder: Path) -> AsyncIterator[Driver]:
        """See `Contender`."""
        python, port = await python_with("prefect", PACKAGES), free_port()
        api = f"http://{LOOPBACK}:{port}/api"
        async with postgres() as database:
            environment = {**SETTINGS, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": api,
                           "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database}/postgres"}
            server = [str(python), "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)]
            async with (serving("prefect", server, folder, answers("GET", f"{api}/health"), environment),
                        driver(python, "prefect_driver.py", folder, environment=environment) as answering):
                yield answering


CONTENDERS: tuple[Contender, ...] = (Prefect(),)
