"""`bifrost dev`, `bifrost demo` and `bifrost simulate`: everything on this machine."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import structlog

from bifrost.cli import output, parts
from bifrost.dev import demo as story
from bifrost.dev.foreground import serve, until_signalled
from bifrost.dev.narration import Narrator, timeline
from bifrost.dev.ports import LOOPBACK
from bifrost.dev.processes import ServerProcess
from bifrost.dev.simulators.server import SIMULATORS
from bifrost.dev.simulators.server import serve as serve_simulator
from bifrost.dev.stack import Ports, Stack
from bifrost.organizations.yaml import YamlOrganizations

_log = structlog.stdlib.get_logger("bifrost.dev")
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
_FOLDER = click.Path(path_type=Path, file_okay=False)
_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--data", type=_FOLDER, default=Path(".bifrost/dev"), show_default=True, help="Where everything is kept.")
@click.option("--port", type=_PORT, help="Temporal's port.  [default: 7233, or a free one]")
@click.option("--ui-port", type=_PORT, help="The port of Temporal's Web UI.  [default: 8233, or a free one]")
@click.option("--vault-port", type=_PORT, help="Vault's port.  [default: 8200, or a free one]")
@click.option("--simulators/--no-simulators", default=True, show_default=True,
              help="Lead the organizations to simulators of Microsoft Graph, HaloPSA and the user API.")
@click.option("--reload/--no-reload", default=True, show_default=True, help="Follow changes of the workspace.")
@output.json_option
def dev(data: Path, port: int | None, ui_port: int | None, vault_port: int | None, simulators: bool, reload: bool,
        as_json: bool) -> None:
    """Run everything on this machine: Temporal, Vault, simulators and a worker.

    With --json, one line is printed when everything is ready. Ctrl-C stops all of it. What Temporal and Vault hold is
    there again at the next start; simulators forget.
    """
    read = parts.settings()
    if read.log_format == "auto":  # workers write to files, which are shown here
        read = dataclasses.replace(read, log_format="console" if sys.stderr.isatty() else "json")
    stack = Stack(data, read, simulators=simulators,
                  ports=Ports(temporal=port, ui=ui_port, vault=vault_port))

    def show(worker: ServerProcess) -> None:
        if as_json:
            output.print_json({**_addresses(stack), "worker_pid": worker.pid})
        else:
            click.echo(_block(stack, reload=reload))

    parts.run(_until_stopped(stack, reload=reload, show=show))


async def _until_stopped(stack: Stack, *, reload: bool, show: Any) -> None:
    await until_signalled(lambda stopped: serve(stack, stopped, reload=reload, on_ready=show, say=_log.warning))
    _log.info("Everything has ended")


def _addresses(stack: Stack) -> dict[str, Any]:
    simulators = {one.simulator.name: one.url for one in stack.simulators}
    return {"temporal_address": stack.temporal.address, "ui_url": stack.temporal.ui_url, "vault_addr": stack.vault.address,
            "simulators": simulators, "task_queue": stack.settings.task_queue, "workspace": stack.settings.workspace,
            "organizations": stack.settings.organizations, "env_file": stack.env_file}


def _block(stack: Stack, *, reload: bool) -> str:
    """What `bifrost dev` prints when it is ready."""
    rows = {"Temporal": stack.temporal.address, "Web UI": str(stack.temporal.ui_url), "Vault": stack.vault.address,
            **{f"Simulator {one.simulator.name}": one.url for one in stack.simulators},
            "Workspace": _shown(stack.settings.workspace) + (", followed" if reload else ""),
            "Organizations": _shown(stack.settings.organizations), "Kept in": _shown(stack.directory)}
    width = max(map(len, rows))
    return "\n".join([
        "Bifrost is ready.", "", *(f"  {name:<{width}}  {value}" for name, value in rows.items()), "",
        "In another shell:", "", f"  . {shlex.quote(_dotted(stack.env_file))}", f"  {_program()} {_example(stack)}", "",
        "Ctrl-C stops everything."])


def _example(stack: Stack) -> str:
    """A command that works in this workspace, as it is printed."""
    active = [one.id for one in YamlOrganizations(stack.settings.organizations).all() if one.active]
    sample = stack.settings.workspace / "workflows" / "user_management" / story.WORKFLOW / "workflow.py"
    if not active or not sample.is_file():
        return "workflows list"
    given = " ".join(f"-p {shlex.quote(f'{name}={value}')}" for name, value in story.PARAMS.items())
    return f"run {story.WORKFLOW} --org {shlex.quote(story.ORG if story.ORG in active else active[0])} {given}"


def _program() -> str:
    """How a shell finds this program."""
    if shutil.which("bifrost"):
        return "bifrost"
    return f"{shlex.quote(_shown(Path(sys.executable)))} -m bifrost"


def _shown(path: Path) -> str:
    """The path from here where it is below, else whole."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _dotted(path: Path) -> str:
    """The path as a shell's `.` takes it: with a slash, or it would be looked for on the PATH."""
    shown = _shown(path)
    return shown if os.sep in shown else f"./{shown}"


@click.command()
@click.option("--data", type=_FOLDER, help="Where everything is kept.  [default: a temporary folder]")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
@output.json_option
def demo(data: Path | None, keep: bool, as_json: bool) -> None:
    """See an execution survive kill -9.

    Creates a user in two systems for one of two organizations, on the embedded stack with simulators, kills the worker
    half-way, and checks what came of it. The exit status is 0 only if every check was passed. With --json, the outcome is
    printed as JSON, and the story is told on standard error.
    """
    read = parts.settings()
    # Where standard error is promised to be JSON, the story is told by the outcome alone.
    silent = as_json and read.log_format == "json"
    narrator = Narrator(io.StringIO() if silent else sys.stderr if as_json else sys.stdout)
    with _folder(data) as directory:
        if not parts.run(_demo(Stack(directory, read), narrator, keep=keep, as_json=as_json)):
            raise click.exceptions.Exit(_INTERRUPTED)


async def _demo(stack: Stack, narrator: Narrator, *, keep: bool, as_json: bool) -> bool:
    passed = False

    async def tell(stopped: asyncio.Event) -> None:
        nonlocal passed
        narrator.title("A user is created in two systems, and the worker is killed in between")
        async with stack:
            narrator.step(f"Temporal ({stack.temporal.address}), Vault ({stack.vault.address}) and simulators of two systems")
            execution = await story.tell(stack, narrator)
            passed = True
            narrator.note("Every line above was checked as it was told.")
            if as_json:
                output.print_json({
                    "execution_id": execution.execution_id, "run_id": execution.run_id, "status": execution.status,
                    "result": execution.result, "steps": [step.what for step in narrator.steps],
                    "timeline": timeline(execution)})
            if keep:
                narrator.note(_kept(stack, execution.execution_id))
                await stopped.wait()

    await until_signalled(tell)
    return passed


def _kept(stack: Stack, execution_id: str) -> str:
    return "\n".join([
        f"Look at it:  {stack.temporal.ui_url}/namespaces/{stack.temporal.namespace}/workflows/{execution_id}",
        f"In a shell:  . {shlex.quote(_dotted(stack.env_file))} && {_program()} executions show {execution_id}",
        "Ctrl-C ends it."])


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen:
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="bifrost-demo-", ignore_cleanup_errors=True) as made:
        yield Path(made)


@click.command()
@click.argument("name", metavar="|".join(sorted(SIMULATORS)))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port.  [default: a free one]")
@click.option("--host", default=LOOPBACK, show_default=True, help="The address to listen on; in a container 0.0.0.0.")
@output.json_option
def simulate(name: str, port: int, host: str, as_json: bool) -> None:
    """Serve a simulator of another system, until Ctrl-C.

    It accepts any credentials. GET /_journal answers the requests that it received; POST /_faults makes it fail.
    """
    parts.settings()

    def show(url: str) -> None:
        if as_json:
            output.print_json({"simulator": name, "url": url})
        else:
            click.echo(f"{name} answers at {url}")

    serve_simulator(name, port, host=host, on_ready=show)
