"""A worker: everything in this folder, serving a task queue."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, PollerBehaviorSimpleMaximum, Worker

from bifrost import metrics
from bifrost.live import live_pool
from bifrost.organizations.base import OrganizationStore
from bifrost.secrets.base import SecretStore
from bifrost.temporal import runtime, workflow
from bifrost.temporal.activities import Activities
from bifrost.temporal.interceptors import ContextInterceptor
from bifrost.temporal.limits import rates
from bifrost.temporal.limits.turnstile import Turnstile, TurnstileActivities
from bifrost.temporal.operating import measures
from bifrost.temporal.operating.observed import Observing, leave_out_repetitions
from bifrost.temporal.operating.setup import ensure_search_attributes
from bifrost.temporal.payloads import passing
from bifrost.temporal.payloads.converter import require_key
from bifrost.temporal.providers.options import OptionsRun
from bifrost.temporal.providers.serving import ProviderActivities
from bifrost.temporal.resuming.resets import FetchedResets, ResetInterceptor
from bifrost.temporal.run.blocked import WatchfulRunner
from bifrost.temporal.slots import Slots, Tuner
from bifrost.workspace import audit
from bifrost.workspace.live import Workspace

_log = structlog.stdlib.get_logger("bifrost.worker")

STICKY_TIMEOUT = timedelta(milliseconds=750)
"""How long a workflow task waits for the worker that has the run cached; the SDK's 10 s is what a killed worker costs."""
GRACEFUL_SHUTDOWN = timedelta(seconds=10)
"""How long calls under way may take to end when a worker is stopped."""
CALLS_AT_ONCE = 1000
"""How many calls a worker has under way at once. They wait for others most of the time; the SDK's 100 one organization would fill."""
STEPS_AT_ONCE = 100
"""How many executions take a step at once; the SDK's default."""
STEP_POLLS = PollerBehaviorSimpleMaximum(20)
"""How many polls for steps are open. A poll answers only once its step is recorded as started, so under load a few polls leave
steps waiting for longer than `STICKY_TIMEOUT`, each of which costs a time-out and a replay; the SDK's autoscaling begins with five."""
POLLS_FOR_ANY = 0.1
"""Which part of them is for steps of runs that no worker has cached: few, because those are what a worker that stops takes from others."""
RENEWAL = timedelta(minutes=10)
"""How often a worker puts its revision again; much less than `retention.GRACE`, so that no revision that is served is pruned."""


@contextlib.asynccontextmanager
async def serving(client: Client, workspace: Workspace, organizations: OrganizationStore, secrets: SecretStore, *,
                  task_queue: str, max_cached_workflows: int = 1000, calls_at_once: int = CALLS_AT_ONCE,
                  drain: bool = False) -> AsyncIterator[Worker]:
    """Serve the workspace's executions until the block ends.

    Args:
        client: Made by `client.connect`.
        workspace: User code.
        organizations: Tenants.
        secrets: Their secrets.
        task_queue: The Temporal task queue.
        max_cached_workflows: How many runs are kept in memory between their tasks; 0 replays every time.
        calls_at_once: How many calls are under way at once; as many again of those that have a rate.
        drain: Whether to take up nothing new for a moment before the end, so that nothing is lost that Temporal hands out just then.

    Raises:
        ConfigurationError: the namespace is not set up for Bifrost, or there are no keys to encrypt with.
        PermissionError: Vault refuses keys to encrypt with.
    """
    audit.install()
    passing.install()
    runtime.live_in_utc()
    leave_out_repetitions()
    measures.begin(workspace.catalog.integrations, workspace.catalog.workflows)
    await ensure_search_attributes(client)
    await require_key(client.data_converter)
    await rates.enforce(client, task_queue)  # before the first call is taken, which would be one without a rate
    pool = live_pool(lambda: workspace.catalog.integrations, organizations, secrets)
    activities = Activities(workspace, organizations, secrets, pool)
    resets = FetchedResets(client)
    steps, calls, rated_calls = Slots(STEPS_AT_ONCE if max_cached_workflows else 1), Slots(calls_at_once), Slots(calls_at_once)
    worker_of = functools.partial(
        Worker, client, interceptors=[ContextInterceptor(), Observing(), ResetInterceptor(resets)], graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
        max_heartbeat_throttle_interval=timedelta(seconds=1), default_heartbeat_throttle_interval=timedelta(seconds=1),
        activity_task_poller_behavior=PollerBehaviorAutoscaling())
    calls_with_rates = worker_of(task_queue=rates.queue_of(task_queue), activities=[activities.call], tuner=Tuner(steps, rated_calls))
    # Without a cache a second run would evict the first in the middle of its local activity, which is then cancelled and the
    # task lost for its whole time-out: so `steps` has one task after the other then.
    worker = worker_of(
        task_queue=task_queue, tuner=Tuner(steps, calls),
        workflows=[*_generated(workspace, resets), Turnstile, OptionsRun],
        activities=[*activities.all(), *TurnstileActivities().all(), *ProviderActivities(workspace, organizations, pool).all()],
        unsandboxed_workflow_runner=WatchfulRunner(), max_cached_workflows=max_cached_workflows,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT, workflow_task_poller_behavior=STEP_POLLS,
        nonsticky_to_sticky_poll_ratio=POLLS_FOR_ANY)
    try:
        async with worker, calls_with_rates, alongside(_renew(workspace)), alongside(_count_revisions(workspace)):
            yield worker
            if drain:
                await asyncio.gather(steps.drained(), calls.drained(idle=False), rated_calls.drained(idle=False))
    finally:
        await pool.aclose()


def _generated(workspace: Workspace, resets: FetchedResets) -> Iterator[type[workflow.Run]]:
    yield from (workflow.generate(name, workspace, resets) for name in workspace.catalog.workflows)
    yield workflow.fallback(workspace, resets)


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


async def _count_revisions(workspace: Workspace) -> None:
    while metrics.recorded():
        try:
            metrics.record(metrics.REVISIONS, len(await asyncio.to_thread(workspace.revisions.times)))
        except Exception as error:  # noqa: BLE001 - the same
            _log.warning("revisions cannot be counted", reason=str(error))
        await asyncio.sleep(RENEWAL.total_seconds())


async def _renew(workspace: Workspace) -> None:
    while True:
        await asyncio.sleep(RENEWAL.total_seconds())
        try:
            await asyncio.to_thread(workspace.renew)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the store, executions go on
            _log.warning("revision cannot be renewed: prune may take it for unused", reason=str(error))
