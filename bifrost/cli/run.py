"""`bifrost run`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bifrost.cli import output, parts
from bifrost.errors import ValidationError
from bifrost.models import ExecutionStatus
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.history import ending, read_execution


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """What `--json` prints of an execution."""

    execution_id: str
    run_id: str | None
    status: ExecutionStatus
    result: Any = None
    error: dict[str, Any] | None = None


@click.command()
@click.argument("name")
@click.option("--org", "org_id", help="The organization to run for.")
@click.option("-p", "--param", "pairs", multiple=True, metavar="KEY=VALUE", help="A parameter; may be given many times.")
@click.option("--params-json", metavar="FILE|-", help="Parameters as one JSON object, from a file or standard input.")
@click.option("--no-wait", is_flag=True, help="Do not await the result.")
@click.option("--execution-id", help="The id to run under. The same id twice is one execution.")
@click.option("--idempotency-key", metavar="KEY", help="In place of an id: the same key for the same workflow and organization is one "
              "execution, and its result is answered also when it has ended.")
@output.json_option
def run(name: str, org_id: str | None, pairs: Sequence[str], params_json: str | None, no_wait: bool,
        execution_id: str | None, idempotency_key: str | None, as_json: bool) -> None:
    r"""Start the workflow NAME and await its result.

    \b
    Example: bifrost run create_user_sync --org acme -p email=ada@acme.example -p name=Ada
    The exit status is 0 only if the execution ends Success (with --no-wait: if it was started).
    """
    if execution_id is not None and idempotency_key is not None:
        raise click.UsageError("--execution-id and --idempotency-key exclude each other")
    params = {**_from_json(params_json), **_from_pairs(pairs)}
    answer = parts.run(_run(parts.settings(), name, org_id, params, execution_id, idempotency_key, wait=not no_wait))
    if as_json:
        output.print_json(dataclasses.asdict(answer))
    else:
        _print(answer, waited=not no_wait)
    if not no_wait and (answer.status is not ExecutionStatus.SUCCESS or answer.error is not None):
        raise click.exceptions.Exit(1)


async def _run(read: Settings, name: str, org_id: str | None, params: dict[str, Any], execution_id: str | None,
               idempotency_key: str | None, *, wait: bool) -> _Answer:
    client = await executions.connect()
    handle = await executions.start(client, name, task_queue=read.task_queue, org_id=org_id, params=params,
                                    execution_id=execution_id, idempotency_key=idempotency_key)
    if handle.result_run_id is None:
        click.echo(f"{handle.id} has ended before", err=True)
    elif not wait:
        return _Answer(handle.id, handle.result_run_id, ExecutionStatus.RUNNING)
    else:
        click.echo(f"{handle.id} started", err=True)
    result, error = await ending(handle)
    execution = await read_execution(client, handle.id)
    return _Answer(handle.id, execution.run_id, execution.status, result, error)


def _print(answer: _Answer, *, waited: bool) -> None:
    if not waited:
        click.echo(answer.execution_id)
        return
    if answer.error is not None:
        click.echo(f"{answer.status}: " + "\n".join(output.error_lines(answer.error)), err=True)
        return
    click.echo(f"{answer.status}", err=True)
    click.echo(output.indented(answer.result))


def _from_pairs(pairs: Sequence[str]) -> dict[str, str]:
    params: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"'{pair}' is not of the form KEY=VALUE", param_hint="-p")
        params[key] = value
    return params


def _from_json(source: str | None) -> dict[str, Any]:
    if source is None:
        return {}
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        params = json.loads(text)
    except (OSError, ValueError) as error:
        raise ValidationError(f"The parameters cannot be read from {source}: {error}", field="params_json") from error
    if not isinstance(params, dict):
        raise ValidationError(f"The parameters in {source} are no JSON object", field="params_json")
    return params
