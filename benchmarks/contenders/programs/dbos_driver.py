"""Puts executions into the worker's queue, or runs them itself: `dbos_driver.py queue|process DATABASE_URL`."""

import asyncio
import sys

from dbos import DBOS, DBOSClient
from dbos_workflow import APPLICATION, POLL_SECONDS, QUEUE, gather, launch, sequence

from benchmarks.contenders.driver import Result, drive

CONNECTIONS = 20
"""As many as a process that runs workflows has by default; a client has 5."""


async def queue(database_url: str) -> None:
    """Drive the worker."""
    client = DBOSClient(system_database_url=database_url, system_database_pool_size=CONNECTIONS, application_name=APPLICATION)

    async def start(calls: int, shape: str) -> Result:
        handle = await client.enqueue_async({"workflow_name": shape, "queue_name": QUEUE}, calls)
        return lambda: handle.get_result(polling_interval_sec=POLL_SECONDS)

    await drive(start)


async def process(database_url: str) -> None:
    """Drive this process."""
    launch(database_url)
    workflows = {"sequence": sequence, "gather": gather}

    async def start(calls: int, shape: str) -> Result:
        return (await DBOS.start_workflow_async(workflows[shape], calls)).get_result

    await drive(start)


if __name__ == "__main__":
    asyncio.run({"queue": queue, "process": process}[sys.argv[1]](sys.argv[2]))
