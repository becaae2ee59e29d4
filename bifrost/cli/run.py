"""`bifrost run`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from bifrost.cli import output, parts, times
from bifrost.errors import ValidationError
from bifrost.models import ExecutionStatus
from bifrost.secrets.vault import VaultSecrets
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


SECRET = "-"
"""In place of a parameter's value: it is a secret, which does not stand on a command line."""


@click.command()
@click.argument("name")
@click.option("--org", "org_id", help="The organization to run for.")
@click.option("-p", "--param", "pairs", multiple=True, metavar="KEY=VALUE", help="A parameter; may be given many times.")
@click.option("--params-json", metavar="FILE|-", help="Parameters as one JSON object, from a file or standard input.")
@click.option("--no-wait", is_flag=True, help="Do not await the result.")
@click.option("--execution-id", help="The id to run under. The same id twice is one execution.")
@click.option("--idempotency-key", metavar="KEY", help="In place of an id: the same key for the same workflow and organization is one "
              "execution, and its result is answered also when it has ended.")
@click.option("--at", metavar="TIME", help="When it begins, such as 2026-12-01T09:00+01:00; its result is not awaited.")
@click.option("--in", "delay", metavar="DURATION", help="In what time it begins, such as 2h30m; its result is not awaited.")
@output.json_option
def run(name: str, org_id: str | None, pairs: Sequence[str], params_json: str | None, no_wait: bool, execution_id: str | None,
        idempotency_key: str | None, at: str | None, delay: str | None, as_json: bool) -> None:
    r"""Start the workflow NAME and await its result.

    \b
    Example: bifrost run create_user_sync --org acme -p email=ada@acme.example -p name=Ada
    `-p api_token=-` asks for a secret value, or reads it from standard input, and keeps it in Vault.
    The exit status is 0 only if the execution ends Success (with --no-wait, --at or --in: if it was started).
    """
    if execution_id is not None and idempotency_key is not None:
        raise click.UsageError("--execution-id and --idempotency-key exclude each other")
    begin_at = _begin_at(at, delay)
    no_wait = no_wait or begin_at is not None
    given = from_pairs(pairs)
    secrets = _ask_for([key for key, value in given.items() if value == SECRET], params_json)
    params = {**_from_json(params_json), **{key: value for key, value in given.items() if key not in secrets}}
    answer = parts.run(_run(parts.settings(), name, org_id, params, secrets, execution_id, idempotency_key, begin_at, wait=not no_wait))
    if as_json:
        output.print_json(dataclasses.asdict(answer))
    else:
        _print(answer, waited=not no_wait)
    if not no_wait and (answer.status is not ExecutionStatus.SUCCESS or answer.error is not None):
        raise click.exceptions.Exit(1)


async def _run(read: Settings, name: str, org_id: str | None, params: dict[str, Any], secrets: dict[str, str],
               execution_id: str | None, idempotency_key: str | None, begin_at: datetime | None, *, wait: bool) -> _Answer:
    client = await executions.connect()
    handle = await executions.start(client, name, task_queue=read.task_queue, org_id=org_id, params=params,
                                    execution_id=execution_id, idempotency_key=idempotency_key, begin_at=begin_at,
                                    secrets=secrets, store=VaultSecrets.from_settings(read) if secrets else None)
    if handle.result_run_id is None:
        click.echo(f"{handle.id} has ended before", err=True)
    elif begin_at is not None:  # of this id there may have been one before
        execution = await read_execution(client, handle.id)
        if execution.begins_at:
            click.echo(f"{handle.id} begins at {output.time_of(execution.begins_at)} UTC", err=True)
        return _Answer(handle.id, execution.run_id, execution.status)
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


def _begin_at(at: str | None, delay: str | None) -> datetime | None:
    if at is not None and delay is not None:
        raise click.UsageError("--at and --in exclude each other")
    if delay is not None:
        return times.now() + times.duration(delay, "--in")
    if at is None:
        return None
    begin_at = times.moment(at, "--at")
    if begin_at <= times.now():
        raise click.BadParameter(f"{at} is over", param_hint="--at")
    return begin_at


def from_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """What `-p KEY=VALUE` said, by key."""
    params: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"'{pair}' is not of the form KEY=VALUE", param_hint="-p")
        params[key] = value
    return params


def _ask_for(names: Sequence[str], params_json: str | None) -> dict[str, str]:
    """Secret values: asked for on a terminal, or the one of standard input. Nothing shows them."""
    if sys.stdin.isatty():
        return {name: click.prompt(name, hide_input=True, err=True) for name in names}
    if len(names) + (params_json == "-") > 1:
        raise click.UsageError("Standard input has one value: on a terminal, each is asked for")
    return {name: sys.stdin.read().removesuffix("\n") for name in names}


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
