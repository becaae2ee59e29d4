"""`bifrost executions`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import click
from temporalio.service import RPCError

from bifrost.cli import output, parts
from bifrost.models import ExecutionStatus
from bifrost.temporal import client as temporal_client
from bifrost.temporal.history import Execution, ExecutionSummary, list_executions, read_execution


@click.group()
def executions() -> None:
    """Executions, as Temporal has recorded them; no worker is needed to read them."""


@executions.command("list")
@click.option("--workflow", help="Only executions of this workflow.")
@click.option("--org", "org_id", help="Only executions of this organization.")
@click.option("--status", type=click.Choice([status.value for status in ExecutionStatus], case_sensitive=False),
              help="Only executions of this status.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@output.json_option
def list_(workflow: str | None, org_id: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List executions, those under way first, then the ones that ended last."""
    parts.settings()
    found = parts.run(_list(workflow, org_id, ExecutionStatus(status) if status else None, limit))
    if as_json:
        output.print_json([dataclasses.asdict(one) for one in found])
        return
    output.print_table(("EXECUTION", "WORKFLOW", "ORG", "STATUS", "STARTED (UTC)", "TOOK"), [
        (one.execution_id, one.workflow, one.org_id, one.status, one.started_at, _took(one)) for one in found],
        "No executions.")


async def _list(workflow: str | None, org_id: str | None, status: ExecutionStatus | None,
                limit: int) -> Sequence[ExecutionSummary]:
    client = await temporal_client.connect()
    return await list_executions(client, workflow=workflow, org_id=org_id, status=status, limit=limit)


def _took(execution: ExecutionSummary | Execution) -> str:
    if execution.closed_at is None:
        return "-"
    return output.duration_of((execution.closed_at - execution.started_at).total_seconds() * 1000)


async def _read(execution_id: str) -> Execution:
    return await read_execution(await temporal_client.connect(), execution_id)


@executions.command()
@click.argument("execution_id", metavar="ID")
@output.json_option
def show(execution_id: str, as_json: bool) -> None:
    """Show one execution: its state, its checkpoints and its calls in the order they came."""
    parts.settings()
    execution = parts.run(_read(execution_id))
    if as_json:
        shown = dataclasses.asdict(execution)
        del shown["log"]
        output.print_json(shown)
        return
    _print_head(execution)
    click.echo()
    output.print_table(("AT (UTC)", "WHAT", "STATUS", "ATTEMPTS", "TOOK"), _timeline(execution), "Nothing happened yet.")
    if execution.error:
        click.echo("\n" + "\n".join(output.error_lines(execution.error)))
    elif execution.result is not None:
        click.echo(f"\n{json.dumps(execution.result, indent=2, ensure_ascii=False, default=str)}")


def _print_head(execution: Execution) -> None:
    for label, value in (("Execution", execution.execution_id), ("Workflow", execution.workflow),
                         ("Organization", execution.org_id), ("Status", execution.status),
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
@output.json_option
def logs(execution_id: str, as_json: bool) -> None:
    """Print an execution's log; with --json one object a line."""
    parts.settings()
    for line in parts.run(_read(execution_id)).log:
        if as_json:
            output.print_json(dataclasses.asdict(line))
        else:
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
    handle = (await temporal_client.connect()).get_workflow_handle(execution_id)
    try:
        await handle.signal(event, payload)
    except RPCError as error:
        raise temporal_client.translate(error, execution_id) from error
