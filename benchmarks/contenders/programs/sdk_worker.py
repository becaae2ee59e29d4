"""A worker by hand: `sdk_worker.py stock|tuned ADDRESS TASK_QUEUE`. It says `worker ready`, and ends with SIGTERM."""

import asyncio
import signal
import sys
from typing import Any

from sdk_workflow import Steps, step
from temporalio.client import Client
from temporalio.service import GrpcCompression
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

KINDS: dict[str, dict[str, Any]] = {
    "stock": {},
    "tuned": {"workflow_runner": UnsandboxedWorkflowRunner(), "max_concurrent_activities": 1000,
              "workflow_task_poller_behavior": PollerBehaviorAutoscaling(), "activity_task_poller_behavior": PollerBehaviorAutoscaling()}}


async def main(kind: str, address: str, task_queue: str) -> None:
    """Serve until the signal."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    client = await Client.connect(address, grpc_compression=GrpcCompression.NONE if kind == "tuned" else GrpcCompression.GZIP)
    async with Worker(client, task_queue=task_queue, workflows=[Steps], activities=[step], **KINDS[kind]):
        print("worker ready", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
