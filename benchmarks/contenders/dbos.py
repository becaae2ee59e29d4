"""DBOS: a library that keeps its state in a database; in a process of its own behind a queue, or in the process that starts executions."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.contenders import Contender, Driver
from benchmarks.contenders.installing import python_with
from benchmarks.contenders.postgres import postgres, postgres_versions
from benchmarks.contenders.serving import driver, worker

PACKAGES = {"dbos": "3.4.0"}


@dataclass(frozen=True)
class Dbos:
    """DBOS, with steps that are coroutines. Who polls does so every 20 ms, where the default is a second.

    https://docs.dbos.dev/python/reference/queues, https://docs.dbos.dev/python/reference/client

    Args:
        name: In tables.
        database: PostgreSQL as it comes, or a SQLite file. The file is in WAL mode, which DBOS leaves to whoever makes it: it triples
            the throughput of a queue.
        queue: Whether the driver puts executions into a queue, from which a worker process takes them; otherwise there is no worker,
            and the driver runs what it starts.
    """

    name: str
    database: Literal["postgres", "sqlite"]
    queue: bool = True

    @property
    def versions(self) -> Mapping[str, str]:
        return {**PACKAGES, **(postgres_versions() if self.database == "postgres" else {})}

    @contextlib.asynccontextmanager
    async def standing(self, folder: Path) -> AsyncIterator[Driver]:
        """See `Contender`."""
        python = await python_with("dbos", PACKAGES)
        async with contextlib.AsyncExitStack() as stack:
            url = f"postgresql://{await stack.enter_async_context(postgres())}/dbos" if self.database == "postgres" else _sqlite(folder)
            if self.queue:
                await stack.enter_async_context(worker(python, "dbos_worker.py", folder, url))
            yield await stack.enter_async_context(driver(python, "dbos_driver.py", folder, "queue" if self.queue else "process", url))


def _sqlite(folder: Path) -> str:
    file = folder / "dbos.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # stays with the file
    return f"sqlite:///{file}"


CONTENDERS: tuple[Contender, ...] = (
    Dbos("dbos-postgres-queue", "postgres"), Dbos("dbos-postgres", "postgres", queue=False), Dbos("dbos-sqlite", "sqlite"))
