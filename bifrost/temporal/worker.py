"""A worker: everything in this folder, serving a task queue."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from typing import Any

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from bifrost.errors import ConfigurationError
from bifrost.live import live_pool
from bifrost.messages import SEARCH_ATTRIBUTES
from bifrost.organizations.base import OrganizationStore
from bifrost.secrets.base import SecretStore
from bifrost.temporal import rates, runtime, workflow
from bifrost.temporal.activities import Activities
from bifrost.temporal.blocked import WatchfulRunner
from bifrost.temporal.interceptors import ContextInterceptor
from bifrost.temporal.resets import FetchedResets, ResetInterceptor
from bifrost.temporal.turnstile import Turnstile, TurnstileActivities
from bifrost.workspace import audit
from bifrost.workspace.live import Workspace

_log = structlog.stdlib.get_logger("bifrost.worker")

STICKY_TIMEOUT = timedelta(seconds=1)
"""How long a workflow task waits for the worker that has the run cached; the SDK's 10 s is what a killed worker costs."""
GRACEFUL_SHUTDOWN = timedelta(seconds=10)
"""How long calls under way may take to end when a worker is stopped."""
CALLS_AT_ONCE = 1000
"""How many calls a worker has under way at once. They wait for others most of the time; the SDK's 100 one organization would fill."""
RENEWAL = timedelta(minutes=10)
"""How often a worker puts its revision again; much less than `retention.GRACE`, so that no revision that is served is pruned."""


async def ensure_search_attributes(client: Client) -> None:
    """Register Bifrost's search attributes in the namespace, unless they are.

    Raises:
        ConfigurationError: they are missing, and this client may not register them.
    """
    try:
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status not in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            raise ConfigurationError(f"Temporal refused to list the search attributes of '{client.namespace}': {error}") from error
        _log.warning("search attributes cannot be checked", namespace=client.namespace, needed=SEARCH_ATTRIBUTES)
        return
    missing = [name for name in SEARCH_ATTRIBUTES if name not in listed.custom_attributes]
    if not missing:
        return
    try:
        await client.operator_service.add_search_attributes(AddSearchAttributesRequest(
            namespace=client.namespace,
            search_attributes=dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)))
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:  # another worker was quicker
            names = " ".join(f"--name {name} --type Keyword" for name in missing)
            raise ConfigurationError(f"The namespace '{client.namespace}' lacks search attributes and this worker may not "
                                     f"register them ({error}). Run: temporal operator search-attribute create {names}") from error


@contextlib.asynccontextmanager
async def serving(client: Client, workspace: Workspace, organizations: OrganizationStore, secrets: SecretStore, *,
                  task_queue: str, max_cached_workflows: int = 1000) -> AsyncIterator[Worker]:
    """Serve the workspace's executions until the block ends.

    Args:
        client: Made by `client.connect`.
        workspace: User code.
        organizations: Tenants.
        secrets: Their secrets.
        task_queue: The Temporal task queue.
        max_cached_workflows: How many runs are kept in memory between their tasks; 0 replays every time.

    Raises:
        ConfigurationError: the namespace is not set up for Bifrost.
    """
    audit.install()
    runtime.live_in_utc()
    await ensure_search_attributes(client)
    pool = live_pool(lambda: workspace.catalog.integrations, organizations, secrets)
    activities = Activities(workspace, organizations, secrets, pool)
    resets = FetchedResets(client)
    worker_of = functools.partial(
        Worker, client, interceptors=[ContextInterceptor(), ResetInterceptor(resets)], graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
        max_heartbeat_throttle_interval=timedelta(seconds=1), default_heartbeat_throttle_interval=timedelta(seconds=1),
        max_concurrent_activities=CALLS_AT_ONCE, activity_task_poller_behavior=PollerBehaviorAutoscaling())
    calls_with_rates = worker_of(task_queue=rates.queue_of(task_queue), activities=[activities.call])
    worker = worker_of(
        task_queue=task_queue,
        workflows=[*(workflow.generate(name, workspace, resets) for name in workspace.catalog.workflows),
                   workflow.fallback(workspace, resets), Turnstile],
        activities=[*activities.all(), *TurnstileActivities().all()],
        unsandboxed_workflow_runner=WatchfulRunner(), max_cached_workflows=max_cached_workflows,
        # Without a cache a second run would evict the first in the middle of its local activity, which is then cancelled and the
        # task lost for its whole time-out: so one task after the other.
        max_concurrent_workflow_tasks=None if max_cached_workflows else 1,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT, workflow_task_poller_behavior=PollerBehaviorAutoscaling())
    try:
        async with worker, calls_with_rates, alongside(_renew(workspace)), alongside(rates.enforce(client, task_queue)):
            yield worker
    finally:
        await pool.aclose()


@contextlib.asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something endless beside what is inside, and stop it with that."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _renew(workspace: Workspace) -> None:
    while True:
        await asyncio.sleep(RENEWAL.total_seconds())
        try:
            await asyncio.to_thread(workspace.renew)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, executions go on
            _log.warning("revision cannot be renewed: prune may take it for unused", reason=str(error))
