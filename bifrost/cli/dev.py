"""`bifrost dev`, `bifrost demo` and `bifrost simulate`: everything on one machine."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from bifrost.cli import output, parts
from bifrost.dev import foreground
from bifrost.dev.demo import PARAMS, WORKFLOW, tell
from bifrost.dev.narration import Narrator
from bifrost.dev.narration import timeline as timeline_of
from bifrost.dev.processes import ServerProcess
from bifrost.dev.simulators.server import SIMULATORS, serve
from bifrost.dev.stack import Ports, Stack
from bifrost.temporal.history import Execution

DATA = Path(".bifrost/dev")


def _addresses(stack: Stack) -> dict[str, Any]:
    return {"temporal": stack.temporal.address, "web_ui": stack.temporal.ui_url, "vault": stack.vault.address,
            "msgraph": stack.graph.url if stack.graph else None, "user_api": stack.user_api.url if stack.user_api else None,
            "env": str(stack.env_file), "task_queue": stack.settings.task_queue}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=DATA, show_default=True,
              help="Where databases, logs and revisions are kept.")
@click.option("--port", type=int, help="Temporal's port.  [default: 7233, or a free one]")
@click.option("--ui-port", type=int, help="The Web UI's port.  [default: 8233, or a free one]")
@click.option("--vault-port", type=int, help="Vault's port.  [default: 8200, or a free one]")
@click.option("--simulators/--no-simulators", default=True, show_default=True,
              help="Send the organizations' calls to simulators, with secrets made up for them.")
@click.option("--reload/--no-reload", default=True, show_default=True, help="Follow edits of the workspace.")
@output.json_option
def dev(data: Path, port: int | None, ui_port: int | None, vault_port: int | None, simulators: bool, reload: bool,
        as_json: bool) -> None:
    """Run everything on this machine: Temporal with its Web UI, a Vault API, simulators, a worker.

    Ctrl-C stops it all. What was written stays in the data folder, for the next time.
    """
    stack = Stack(data, parts.settings(), ports=Ports(temporal=port, ui=ui_port, vault=vault_port), simulators=simulators)

    def ready(_worker: ServerProcess) -> None:
        if as_json:
            output.print_json(_addresses(stack))
        else:
            _print_ready(stack)
        sys.stdout.flush()

    parts.run(foreground.until_signalled(lambda stopped: foreground.serve(
        stack, stopped, reload=reload, on_ready=ready, say=lambda text: click.echo(text, err=True))))


def _print_ready(stack: Stack) -> None:
    for label, value in (("Temporal", stack.temporal.address), ("Web UI", stack.temporal.ui_url),
                         ("Vault", stack.vault.address), ("Graph", stack.graph and f"{stack.graph.url}  (simulated)"),
                         ("User API", stack.user_api and f"{stack.user_api.url}  (simulated)")):
        if value:
            click.echo(f"{label:<10} {value}")
    example = " ".join(f"-p {key}={value.split()[0]}" for key, value in PARAMS.items())
    click.echo(f"\nIn another shell:\n  . {stack.env_file}\n  bifrost run {WORKFLOW} --org acme {example}\n\n"
               "Ctrl-C stops everything.")


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything up afterwards, with the Web UI, until Ctrl-C.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False),
              help="Where databases and logs are kept.  [default: a temporary folder]")
@output.json_option
def demo(keep: bool, data: Path | None, as_json: bool) -> None:
    """Run the main job on an embedded stack, kill its worker in the middle, and check what came of it.

    The exit status is 0 only if everything that is told was checked.
    """
    read = parts.settings()
    with ExitStack() as opened:
        folder = data or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="bifrost-demo-")))
        stack = Stack(folder, read)
        narrator = Narrator(sys.stderr if as_json else sys.stdout)
        told: list[Execution] = []

        async def work(stopped: asyncio.Event) -> None:
            narrator.title("Bifrost: a user is created in two systems, and the worker dies between them")
            async with stack:
                narrator.step("Temporal, a Vault API and two simulated systems are up")
                told.append(await tell(stack, narrator))
                if as_json:
                    output.print_json({"execution_id": told[0].execution_id, "status": told[0].status,
                                       "steps": [step.what for step in narrator.steps], "timeline": timeline_of(told[0])})
                if keep:
                    narrator.note(f"Web UI: {stack.temporal.ui_url}/namespaces/default/workflows/{told[0].execution_id}\n"
                                  "Ctrl-C stops everything.")
                    await stopped.wait()

        parts.run(foreground.until_signalled(work))
        if not told:
            raise click.exceptions.Exit(130)
        narrator.note("Everything above was checked.")


@click.command()
@click.argument("name", type=click.Choice(sorted(SIMULATORS)))
@click.option("--port", type=int, default=0, help="The port.  [default: a free one]")
def simulate(name: str, port: int) -> None:
    """Serve the simulator NAME of another system until Ctrl-C; its address is printed first."""
    parts.settings()
    serve(name, port, on_ready=lambda url: click.echo(url))
