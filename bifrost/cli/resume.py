"""`bifrost executions resume` and `rerun`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import click
from temporalio.client import Client

from bifrost.cli import output, parts
from bifrost.cli.revisions import find
from bifrost.errors import ValidationError, WorkflowException
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.resuming import resume as resuming
from bifrost.temporal.resuming.resume import CURRENT, ORIGINAL, Resumed
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision import SHORT


@click.command()
@click.argument("execution_id", metavar="[ID]", required=False)
@click.option("--query", help="Every execution that this query of Temporal's finds, such as \"BifrostOrg = 'acme' AND ExecutionStatus = 'Failed'\".")
@click.option("--from-checkpoint", metavar="NAME", help="Go on just before the last checkpoint of this name; what came after it is done again.")
@click.option("--revision", default=CURRENT, show_default=True, metavar="current|original|ID",
              help="The code to go on with: the workspace as it is now, the revision that it began with, or another that is kept.")
@click.option("--reason", default="resumed by bifrost", show_default=True, help="Recorded with it.")
@click.option("--yes", is_flag=True, help="Do not ask. For one execution: also if it still runs (with --from-checkpoint), or has made calls "
              "after its failure.")
@output.json_option
def resume(execution_id: str | None, query: str | None, from_checkpoint: str | None, revision: str, reason: str, yes: bool,
           as_json: bool) -> None:
    r"""Go on with an execution that failed, timed out, was stopped or is stuck.

    \b
    It keeps its id. What was done is not done again: it goes on at the call whose failure ended it, and calls made beside
    that one that had succeeded keep their results. A call that is made again has the same idempotency key, unless its
    arguments are others now. Its timeout counts from now.
    Code that does not come to that point the way the execution came is refused, and nothing is changed.
    """
    parts.fix_hash_seed()
    if (execution_id is None) == (query is None):
        raise click.UsageError("Give either an ID or --query")
    read = parts.settings()
    chosen = {"from_checkpoint": from_checkpoint, "reason": reason, "payloads": read.payloads}
    if execution_id is not None:
        workspace, chosen["revision"] = _code(read, revision)
        resumed = parts.run(_one(workspace, execution_id, {**chosen, "sure": yes}))
        _report(resumed, as_json=as_json)
        return
    if not (yes or sys.stdin.isatty()):
        raise ValidationError("There is no terminal to ask on, and nothing was resumed: give --yes", field="yes")
    found = parts.run(_found(str(query)))
    if found and not yes and not click.confirm(f"Resume {_counted(len(found))}?", err=True):
        click.echo("Nothing was resumed", err=True)
        raise click.exceptions.Exit(1)
    workspace, chosen["revision"] = _code(read, revision)
    if failed := parts.run(_all(workspace, found, chosen, as_json=as_json)):
        click.echo(f"{failed} of {_counted(len(found))} could not be resumed", err=True)
        raise click.exceptions.Exit(1)
    if not found and not as_json:
        click.echo("No executions.")


def _code(read: Settings, revision: str) -> tuple[Workspace, str]:
    """The workspace, with its code as far as that is asked for, and the revision's whole name."""
    if revision == CURRENT:
        return parts.workspace(read), revision
    store = parts.revisions(read)
    return Workspace(None, store, read.workflow_safe), revision if revision == ORIGINAL else find(store, revision)[0]


async def _one(workspace: Workspace, execution_id: str, chosen: dict[str, Any]) -> Resumed:
    return await resuming.resume(await executions.connect(), workspace, execution_id, **chosen)


async def _found(query: str) -> Sequence[str]:
    return await resuming.find(await executions.connect(), query)


async def _all(workspace: Workspace, found: Sequence[str], chosen: dict[str, Any], *, as_json: bool) -> int:
    """Resume one after the other, report each, and answer how many could not be."""
    client: Client = await executions.connect()
    failed = 0
    for number, execution_id in enumerate(found, 1):
        try:
            _report(await resuming.resume(client, workspace, execution_id, **chosen), as_json=as_json)
        except WorkflowException as error:
            failed += 1
            if as_json:
                output.print_json({"execution_id": execution_id, "run_id": None, "error": error.to_dict()})
            else:
                click.echo(f"{execution_id}  not resumed: {error}")
        if sys.stderr.isatty():
            click.echo(f"\r{number} of {len(found)}, {failed} not resumed", err=True, nl=number == len(found))
    return failed


def _report(resumed: Resumed, *, as_json: bool) -> None:
    if as_json:
        output.print_json({**dataclasses.asdict(resumed), "error": None})
        return
    code = f" with revision {resumed.revision[:SHORT]}" if resumed.revision else ""
    click.echo(f"{resumed.execution_id}  goes on at {resumed.at}{code}")


def _counted(number: int) -> str:
    return "1 execution" if number == 1 else f"{number} executions"


@click.command()
@click.argument("execution_id", metavar="ID")
@output.json_option
def rerun(execution_id: str, as_json: bool) -> None:
    """Start a new execution with the workflow and the argument of another, under a new id, with the code as it is now."""
    parts.settings()
    answer = parts.run(_rerun(execution_id))
    if as_json:
        output.print_json(answer)
    else:
        click.echo(answer["execution_id"])


async def _rerun(execution_id: str) -> dict[str, Any]:
    handle = await resuming.rerun(await executions.connect(), execution_id)
    return {"execution_id": handle.id, "run_id": handle.first_execution_run_id, "status": "Running", "rerun_of": execution_id}
