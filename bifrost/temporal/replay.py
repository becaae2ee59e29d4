"""Replaying what executions did, against this engine: would it still come the same way, before it is put to work?

Each history is replayed with the source of its own revision, so an edit of the workspace changes nothing here; what is tried
is this version of Bifrost, of Temporal's SDK, and this store of revisions.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client, WorkflowHistory
from temporalio.common import HeaderCodecBehavior
from temporalio.service import RPCError
from temporalio.worker import Replayer

from bifrost import messages
from bifrost.errors import ConfigurationError
from bifrost.messages import ResumeMessage
from bifrost.temporal import runtime, workflow
from bifrost.temporal.history import refusal
from bifrost.temporal.interceptors import ContextInterceptor
from bifrost.temporal.limits.turnstile import Turnstile
from bifrost.temporal.payloads import passing
from bifrost.temporal.payloads.converter import data_converter
from bifrost.temporal.payloads.encryption import Envelopes
from bifrost.temporal.providers.options import OptionsRun
from bifrost.temporal.resuming.resets import KnownResets
from bifrost.temporal.run.blocked import WatchfulRunner
from bifrost.workspace import audit
from bifrost.workspace.live import Workspace

BEGUN = f"{messages.REVISION_ATTRIBUTE} IS NOT NULL"
"""The query for executions that Bifrost has begun."""
OPEN = f"ExecutionStatus = 'Running' AND {BEGUN}"
"""Those of them that have not ended."""
CLOSED = f"ExecutionStatus != 'Running' AND {BEGUN}"
"""Those that have."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one replay. `failure` says why it went another way; None where it went the same."""

    execution_id: str
    run_id: str
    workflow: str
    events: int
    failure: str | None


async def histories(client: Client, query: str, limit: int | None = None) -> AsyncIterator[WorkflowHistory]:
    """The histories of the executions that a query finds, those started last first.

    Raises:
        ConfigurationError: Temporal refuses the query.
    """
    try:
        async for execution in client.list_workflows(query, limit=limit):
            handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
            yield await handle.fetch_history()
    except RPCError as error:
        raise refusal(error, client) from error


async def history_of(client: Client, execution_id: str) -> WorkflowHistory:
    """The history of an execution's last run.

    Raises:
        NotFoundError: Temporal knows none of this id.
    """
    try:
        return await client.get_workflow_handle(execution_id).fetch_history()
    except RPCError as error:
        raise refusal(error, client, execution_id) from error


def revisions_of(history: WorkflowHistory) -> list[str]:
    """The revisions that an execution has run, as its history says."""
    found = [event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
             for event in history.events if event.HasField("upsert_workflow_search_attributes_event_attributes")]
    return [json.loads(fields[messages.REVISION_ATTRIBUTE].data) for fields in found if messages.REVISION_ATTRIBUTE in fields]


async def kept_histories(files: Iterable[Path]) -> AsyncIterator[WorkflowHistory]:
    """Histories in files, as `save` and Temporal's own tools write them: `<execution id>.json`.

    Raises:
        ConfigurationError: a file is no history.
    """
    for file in files:
        try:
            yield WorkflowHistory.from_json(file.stem, json.loads(file.read_text("utf-8")))
        except Exception as error:
            raise ConfigurationError(f"{file} is no history: {error}") from error


def save(history: WorkflowHistory, folder: Path) -> Path:
    """Write a history into a folder, and answer the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{history.workflow_id}.json"
    file.write_text(json.dumps(json.loads(history.to_json()), indent=1, sort_keys=True) + "\n", "utf-8")
    return file


async def replay(workspace: Workspace, found: AsyncIterator[WorkflowHistory],
                 payloads: str | None = None, note: ResumeMessage | None = None,
                 envelopes: Envelopes | None = None) -> AsyncIterator[Replayed]:
    """Replay histories one after the other; answers each as soon as it is done.

    Args:
        workspace: Whose store has the revisions that the executions began with.
        found: Their histories.
        payloads: Where their large payloads are, as `BIFROST_PAYLOADS` says it; None where there are none.
        note: What they would be resumed with, to try it; None to replay them as they came.
        envelopes: Open what is encrypted in them; None where nothing is.
    """
    known = KnownResets(note)
    audit.install()
    passing.install()
    runtime.live_in_utc()
    runtime.prepare()
    with ThreadPoolExecutor(max_workers=1) as executor:
        replayer = Replayer(
            workflows=[workflow.fallback(workspace, known), Turnstile, OptionsRun], workflow_task_executor=executor,
            data_converter=data_converter(payloads, envelopes), header_codec_behavior=HeaderCodecBehavior.CODEC,
            unsandboxed_workflow_runner=WatchfulRunner(), interceptors=[ContextInterceptor()])
        async with replayer.workflow_replay_iterator(known.following(found)) as results:
            async for result in results:
                first = result.history.events[0].workflow_execution_started_event_attributes
                yield Replayed(
                    result.history.workflow_id, result.history.run_id, first.workflow_type.name, len(result.history.events),
                    None if result.replay_failure is None else _said(result.replay_failure))


def _said(failure: BaseException) -> str:
    lines: Iterable[str] = (line.strip() for line in str(failure).splitlines())
    return " ".join(line for line in lines if line)
