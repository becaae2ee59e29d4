"""Rates that hold over all workers: Temporal's matching hands an organization's calls out so many a second, retries included.

Calls with a rate go through a task queue of their own. Its configuration allows every fairness key one task a second, times the
weight that the task brings; so the key says whose budget it is, and the weight is the rate. What waits there waits in the
server, holds no worker and uses up no attempt. It needs a server that has fairness on (`matching.enableFairness`, and a single
partition for exact rates: `matching.numTaskqueueReadPartitions`, `…WritePartitions`); the embedded one does.

https://docs.temporal.io/develop/task-queue-priority-fairness
"""

from __future__ import annotations

import hashlib

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.service import RPCError

_log = structlog.stdlib.get_logger("bifrost.worker")
_KEY_BYTES = 64
"""How long a fairness key may be, in bytes."""


def fairness_key(name: str) -> str:
    """The fairness key of whoever has this name: the name itself, or a hash of one that is too long."""
    encoded = name.encode(errors="surrogatepass")
    return name if len(encoded) <= _KEY_BYTES else hashlib.sha256(encoded).hexdigest()


def queue_of(task_queue: str) -> str:
    """The task queue of the calls that have a rate."""
    return f"{task_queue}-rates"


def priority(budget: str, per_second: float) -> Priority:
    """What a call brings with it: whose budget it uses, and how large that is."""
    return Priority(fairness_key=fairness_key(budget), fairness_weight=per_second)


def request(client: Client, task_queue: str) -> UpdateTaskQueueConfigRequest:
    """What tells the server to keep the rates of these workers' calls."""
    return UpdateTaskQueueConfigRequest(
        namespace=client.namespace, identity=client.identity, task_queue=queue_of(task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        update_fairness_key_rate_limit_default=UpdateTaskQueueConfigRequest.RateLimitUpdate(
            rate_limit=RateLimit(requests_per_second=1), reason="times the weight of each task: Bifrost's rate_per_second"))


async def enforce(client: Client, task_queue: str) -> None:
    """Have the server keep the rates of this worker's calls. One that cannot is warned of: its calls have no rate then."""
    try:
        await client.workflow_service.update_task_queue_config(request(client, task_queue), retry=True)
    except RPCError as error:
        _log.warning("the server keeps no rates: calls with a rate_per_second are made as fast as they come", reason=str(error))
