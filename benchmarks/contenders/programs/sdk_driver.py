"""The client of a worker by hand: `sdk_driver.py stock|tuned ADDRESS TASK_QUEUE`."""

import asyncio
import sys
import uuid

from temporalio.client import Client
from temporalio.service import GrpcCompression

from benchmarks.contenders.driver import Result, drive


async def main(kind: str, address: str, task_queue: str) -> None:
    """Drive."""
    client = await Client.connect(address, grpc_compression=GrpcCompression.NONE if kind == "tuned" else GrpcCompression.GZIP)

    async def start(calls: int, shape: str) -> Result:
        handle = await client.start_workflow("Steps", args=[calls, shape], id=f"steps-{uuid.uuid4().hex}", task_queue=task_queue)
        return handle.result

    await drive(start)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
