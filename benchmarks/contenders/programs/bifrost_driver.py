"""The client of Bifrost's worker: `bifrost_driver.py ADDRESS TASK_QUEUE`."""

import asyncio
import functools
import sys

from benchmarks.contenders.driver import Result, drive
from bifrost.temporal import client as executions


async def main(address: str, task_queue: str) -> None:
    """Drive."""
    client = await executions.connect(address)

    async def start(calls: int, shape: str) -> Result:
        handle = await executions.start(client, "steps", task_queue=task_queue, org_id="acme", params={"calls": calls, "shape": shape})
        return functools.partial(executions.result, handle)

    await drive(start)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
