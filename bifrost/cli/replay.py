"""`bifrost replay`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click
from temporalio.client import WorkflowHistory

from bifrost.cli import output, parts
from bifrost.temporal import client as executions
from bifrost.temporal import replay as replays
from bifrost.temporal.payloads.encryption import Envelopes
from bifrost.temporal.payloads.store import PayloadStore, references
from bifrost.temporal.replay import Replayed
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import open_store

_FOLDER = click.Path(path_type=Path, file_okay=False)
REVISIONS, PAYLOADS = "revisions", "payloads"
"""The folders of revisions and of large payloads beside kept histories."""


@click.command()
@click.argument("execution_ids", metavar="[ID]...", nargs=-1)
@click.option("--query", help="Executions that this query of Temporal's finds, instead of the open and the recent ones.")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="At most so many that have ended.")
@click.option("--histories", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Histories kept in this folder, instead of Temporal's.")
@click.option("--save", type=_FOLDER, help="Keep the histories, and the revisions and payloads they need, in this folder.")
@output.json_option
def replay(execution_ids: Sequence[str], query: str | None, limit: int, histories: Path | None, save: Path | None,
           as_json: bool) -> None:
    r"""Replay executions against this version of Bifrost, each with the code of its own revision.

    \b
    Without an ID: every open execution, and those that ended last. Nothing is executed outside.
    Before an upgrade: install the new version beside the old one, and run its `bifrost replay`.
    The exit status is 0 only if every execution comes the same way again.
    """
    parts.fix_hash_seed()
    read = parts.settings()
    if histories and (execution_ids or query or save):
        raise click.UsageError("--histories takes neither IDs, nor --query, nor --save")
    files = sorted(histories.glob("*.json")) if histories else []
    if histories and not files:
        raise click.UsageError(f"There are no histories (*.json) in {histories}")
    store = str(histories / REVISIONS) if histories and (histories / REVISIONS).is_dir() else read.revisions
    payloads = str(histories / PAYLOADS) if histories and (histories / PAYLOADS).is_dir() else read.payloads
    workspace = Workspace(None, open_store(store), read.workflow_safe)
    found = replays.kept_histories(files) if files else _asked(execution_ids, query, limit)
    done = parts.run(_replay(workspace, found, payloads, save, Envelopes.from_settings(read)))
    failed = [one for one in done if one.failure]
    if as_json:
        output.print_json({"replayed": len(done), "failed": len(failed), "executions": [dataclasses.asdict(one) for one in done]})
    else:
        output.print_table(("EXECUTION", "WORKFLOW", "EVENTS", "REPLAY"), [
            (one.execution_id, one.workflow, one.events, one.failure or "same") for one in done], "No executions.")
    if failed:
        raise click.exceptions.Exit(1)


async def _replay(workspace: Workspace, found: AsyncIterator[WorkflowHistory], payloads: str, save: Path | None,
                  envelopes: Envelopes) -> list[Replayed]:
    if save:
        found = _saving(found, workspace, payloads, save)
    done: list[Replayed] = []
    async for one in replays.replay(workspace, found, payloads, envelopes=envelopes):
        done.append(one)
        if sys.stderr.isatty():
            click.echo(f"\r{len(done)} replayed, {sum(bool(each.failure) for each in done)} failed", err=True, nl=False)
    if done and sys.stderr.isatty():
        click.echo(err=True)
    return done


async def _asked(execution_ids: Sequence[str], query: str | None, limit: int) -> AsyncIterator[WorkflowHistory]:
    client = await executions.connect()
    for execution_id in execution_ids:
        yield await replays.history_of(client, execution_id)
    if execution_ids:
        return
    for each, bound in ((query, limit),) if query else ((replays.OPEN, None), (replays.CLOSED, limit)):
        async for history in replays.histories(client, each, bound):
            yield history


async def _saving(found: AsyncIterator[WorkflowHistory], workspace: Workspace, payloads: str, folder: Path) -> AsyncIterator[WorkflowHistory]:
    kept, kept_payloads = open_store(str(folder / REVISIONS)), PayloadStore(str(folder / PAYLOADS))
    async for history in found:
        replays.save(history, folder)
        for revision_id in replays.revisions_of(history):
            kept.put(workspace.revisions.get(revision_id))
        for digest in {digest for event in history.events for digest in references(event)}:
            kept_payloads.put(PayloadStore(payloads).get(digest))
        yield history
