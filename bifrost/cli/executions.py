"""`bifrost executions`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click
from temporalio.service import RPCError

from bifrost.cli import output, parts
from bifrost.cli.resume import rerun, resume
from bifrost.messages import ApprovalMessage, CallerMessage
from bifrost.models import ExecutionStatus
from bifrost.temporal import client as temporal_client
from bifrost.temporal.history import Execution, ExecutionSummary, LogEntry, list_executions, read_execution

_FOLLOW_SECONDS = 0.5
"""How often `--follow` asks for new lines."""


@click.group()
def executions() -> None:
    """Executions, as Temporal has recorded them; no worker is needed to read them."""


executions.add_command(resume)
executions.add_command(rerun)

@executions.command("list")
@click.option("--workflow", help="Only executions of this workflow.")
@click.option("--org", "org_id", help="Only executions of this organization.")
@click.option("--status", type=click.Choice([status.value for status in ExecutionStatus], case_sensitive=False),
              help="Only executions of this status.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@output.json_option
def list_(workflow: str | None, org_id: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List executions, those under way first, then the ones that ended last."""
    left = parts.left_organizations(parts.settings())
    found = parts.run(_list(workflow, org_id, ExecutionStatus(status) if status else None, limit))
    if as_json:
        output.print_json([{**dataclasses.asdict(one), "org_left": left(one.org_id)} for one in found])
        return
    output.print_table(("EXECUTION", "WORKFLOW", "ORG", "STATUS", "STARTED (UTC)", "TOOK"), [
        (one.execution_id, one.workflow, _org(one, left), _status(one), one.started_at, _took(one)) for one in found],
        "No executions.")


async def _list(workflow: str | None, org_id: str | None, status: ExecutionStatus | None,
                limit: int) -> Sequence[ExecutionSummary]:
    client = await temporal_client.connect()
    return await list_executions(client, workflow=workflow, org_id=org_id, status=status, limit=limit)


def _org(execution: ExecutionSummary | Execution, left: parts.Left) -> str | None:
    """The organization, with a word where it is none any more that executions start for."""
    how = left(execution.org_id)
    return f"{execution.org_id} ({how})" if how else execution.org_id


def _status(execution: ExecutionSummary | Execution) -> str:
    if execution.status is ExecutionStatus.SCHEDULED:
        return f"{execution.status} for {output.time_of(execution.begins_at)}"
    return execution.status


def _took(execution: ExecutionSummary | Execution) -> str:
    if execution.closed_at is None:
        return "-"
    return output.duration_of(max(execution.closed_at - (execution.begins_at or execution.started_at), timedelta(0)) / timedelta(milliseconds=1))


async def _read(execution_id: str) -> Execution:
    return await read_execution(await temporal_client.connect(), execution_id)


@executions.command()
@click.argument("execution_id", metavar="ID")
@output.json_option
def show(execution_id: str, as_json: bool) -> None:
    """Show one execution: its state, its checkpoints and its calls in the order they came."""
    left = parts.left_organizations(parts.settings())
    execution = parts.run(_read(execution_id))
    if as_json:
        shown = {**dataclasses.asdict(execution), "org_left": left(execution.org_id)}
        del shown["log"]
        output.print_json(shown)
        return
    _print_head(execution, left)
    click.echo()
    output.print_table(("AT (UTC)", "WHAT", "STATUS", "ATTEMPTS", "TOOK"), _timeline(execution), "Nothing happened yet.")
    if execution.error:
        click.echo("\n" + "\n".join(output.error_lines(execution.error)))
    elif execution.result is not None:
        click.echo(f"\n{output.indented(execution.result)}")


def _print_head(execution: Execution, left: parts.Left) -> None:
    for label, value in (("Execution", execution.execution_id), ("Workflow", execution.workflow),
                         ("Organization", _org(execution, left)), ("Status", _status(execution)),
                         ("Caller", execution.caller.email or execution.caller.user_id),
                         ("Started", output.time_of(execution.started_at)), ("Took", _took(execution))):
        click.echo(f"{label:<13} {value or '-'}")


def _timeline(execution: Execution) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [(point.at, f"checkpoint {point.name}", "passed", None, None)
                                   for point in execution.checkpoints]
    rows += [(call.started_at, call.name, call.status, call.attempts,
              None if call.duration_ms is None else output.duration_of(call.duration_ms)) for call in execution.calls]
    return sorted(rows, key=lambda row: row[0])


@executions.command()
@click.argument("execution_id", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines until the execution ends.")
@output.json_option
def logs(execution_id: str, follow: bool, as_json: bool) -> None:
    """Print an execution's log; with --json one object a line."""
    parts.settings()
    parts.run(_logs(execution_id, follow=follow, as_json=as_json))


async def _logs(execution_id: str, *, follow: bool, as_json: bool) -> None:
    client = await temporal_client.connect()
    shown = 0
    while True:
        execution = await read_execution(client, execution_id)
        for line in execution.log[shown:]:
            _print_line(line, as_json=as_json)
        shown = max(shown, len(execution.log))
        if not follow or execution.closed_at is not None:
            return
        await asyncio.sleep(_FOLLOW_SECONDS)


def _print_line(line: LogEntry, *, as_json: bool) -> None:
    if as_json:
        output.print_json(dataclasses.asdict(line))
        return
    data = f"  {json.dumps(line.data, ensure_ascii=False)}" if line.data else ""
    click.echo(f"{output.time_of(line.at)}  {line.level:<7}  {line.message}{data}")


@executions.command()
@click.argument("execution_id", metavar="ID")
def cancel(execution_id: str) -> None:
    """Ask an execution to stop; its clean-up code runs."""
    parts.settings()
    parts.run(_ask(execution_id, terminate=False, reason=""))
    click.echo(f"Cancellation of {execution_id} requested")


@executions.command()
@click.argument("execution_id", metavar="ID")
@click.option("--reason", default="terminated by bifrost", show_default=True, help="Recorded with it.")
def terminate(execution_id: str, reason: str) -> None:
    """End an execution at once; no clean-up code runs."""
    parts.settings()
    parts.run(_ask(execution_id, terminate=True, reason=reason))
    click.echo(f"{execution_id} terminated")


async def _ask(execution_id: str, *, terminate: bool, reason: str) -> None:
    handle = (await temporal_client.connect()).get_workflow_handle(execution_id)
    try:
        await (handle.terminate(reason=reason) if terminate else handle.cancel())
    except RPCError as error:
        raise temporal_client.translate(error, execution_id) from error


@executions.command()
@click.argument("execution_id", metavar="ID")
@click.argument("event")
@click.option("--data", help="The event's payload, as JSON.")
def signal(execution_id: str, event: str, data: str | None) -> None:
    """Send EVENT to an execution that waits for it, or will."""
    parts.settings()
    try:
        payload = None if data is None else json.loads(data)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--data") from error
    parts.run(_signal(execution_id, event, payload))
    click.echo(f"{event} sent to {execution_id}")


async def _signal(execution_id: str, event: str, payload: Any) -> None:
    await temporal_client.signal(await temporal_client.connect(), execution_id, event, payload)


@executions.command()
@click.argument("execution_id", metavar="ID")
@click.option("--by", required=True, help="Who decides: an email address, or another id of a person.")
@click.option("--reject", is_flag=True, help="Reject it instead; the execution then fails.")
@click.option("--note", default="", help="Why; recorded with it.")
def approve(execution_id: str, by: str, reject: bool, note: str) -> None:
    """Approve an execution that waits for it. Whoever started it cannot."""
    parts.settings()
    who = CallerMessage(user_id=by, email=by if "@" in by else "")
    decision = ApprovalMessage(by=who, approved=not reject, note=note)
    click.echo(f"{execution_id} {parts.run(_approve(execution_id, decision))}")


async def _approve(execution_id: str, decision: ApprovalMessage) -> str:
    return await temporal_client.approve(await temporal_client.connect(), execution_id, decision)
