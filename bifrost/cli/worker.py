"""`bifrost worker`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import click
import structlog
import watchfiles
from temporalio.client import Client

from bifrost.cli import parts
from bifrost.cli.health import Health, answering
from bifrost.errors import ConfigurationError
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal import runtime
from bifrost.temporal.payloads.store import PayloadStore
from bifrost.temporal.schedules.scheduler import keep_in_line
from bifrost.temporal.worker import alongside, serving
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision import SHORT

_log = structlog.stdlib.get_logger("bifrost.worker")
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
"""How long to wait before Temporal is asked again, in seconds."""


@click.command()
@click.option("--reload", is_flag=True, help="Follow edits of the workspace; runs in flight keep their code.")
def worker(reload: bool) -> None:
    """Serve the workspace's executions until stopped (Ctrl-C or SIGTERM; calls under way may end)."""
    parts.fix_hash_seed()
    read = parts.settings()
    parts.run(_serve(read, reload=reload))


async def _serve(read: Settings, *, reload: bool) -> None:
    stopped = _stop_signals()
    workspace = parts.workspace(read)
    parts.warn_of_failures(workspace.catalog)
    organizations = YamlOrganizations(read.organizations)
    organizations.all()  # a mistake in there is said now, not by the first execution
    PayloadStore(read.payloads)  # and so is a store of payloads that cannot be reached
    secrets = VaultSecrets.from_settings(read)
    if read.metrics_address:
        runtime.expose_metrics(read.metrics_address)
    health = Health({"vault": secrets.answers})
    async with answering(health, read.health_address):
        client = await _connected(stopped)
        if client is None:
            return
        health.looks["temporal"] = client.service_client.check_health
        async with serving(client, workspace, organizations, secrets, task_queue=read.task_queue,
                           max_cached_workflows=read.cached_executions, calls_at_once=read.calls_at_once, drain=True):
            runtime.settle()
            health.serving = True
            _log.info("worker ready", task_queue=read.task_queue, revision=workspace.catalog.revision[:SHORT],
                      workflows=list(workspace.catalog.workflows), integrations=list(workspace.catalog.integrations))
            async with (alongside(keep_in_line(client, workspace, organizations, read.task_queue)),
                        alongside(_follow(workspace, read.workspace)) if reload else contextlib.nullcontext()):
                await stopped.wait()
            health.stopping = True
            _log.info("worker stopping")


def _stop_signals() -> asyncio.Event:
    """An event that the first SIGINT or SIGTERM sets; the second ends the process at once."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopped.is_set():
            os._exit(130)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopped


async def _connected(stopped: asyncio.Event) -> Client | None:
    """A client, however long Temporal takes to answer; None when the worker is stopped before it does."""
    wait = _FIRST_WAIT
    while not stopped.is_set():
        try:
            return await executions.connect()
        except ConfigurationError as error:
            if error.config_key != "TEMPORAL_ADDRESS":
                raise
            _log.warning("waiting for Temporal", reason=str(error), next_try_seconds=wait)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stopped.wait()
        wait = min(wait * 2, _LONGEST_WAIT)
    return None


async def _follow(workspace: Workspace, root: Path) -> None:
    # A look every second besides: nothing tells of an edit between discovery and the beginning of this watch.
    async for _ in watchfiles.awatch(root, step=50, debounce=200, rust_timeout=1000, yield_on_timeout=True):
        try:
            changed = workspace.refresh()
        except ConfigurationError as error:  # such as a file half written; the next change is tried again
            _log.warning("workspace cannot be read", reason=str(error))
            continue
        if changed:
            parts.warn_of_failures(workspace.catalog)
            _log.info("workspace reloaded", revision=workspace.catalog.revision[:SHORT],
                      workflows=list(workspace.catalog.workflows))
