"""The command line: `bifrost`.

Commands are loaded when they are used, so that `bifrost --help` is quick. A command raises; what a person or a program sees
of an error, and the exit status, is decided here: 0 success, 1 an error, 2 a wrong call, 130 interrupted.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import sys
from typing import NoReturn

import click

COMMANDS = {
    "check": ("bifrost.cli.check", "Find in the workspace what a run would refuse, before anything runs."),
    "codec": ("bifrost.cli.codec", "Decrypt payloads for Temporal's Web UI and command line."),
    "demo": ("bifrost.cli.dev", "Run the main job on an embedded stack, kill its worker in the middle, and check."),
    "dev": ("bifrost.cli.dev", "Run everything on this machine: Temporal, Vault, simulators, a worker."),
    "diagram": ("bifrost.cli.diagram", "Draw a workflow as a Mermaid flowchart, from its code."),
    "doctor": ("bifrost.cli.doctor", "Look at everything that an installation needs, and say what is wrong."),
    "executions": ("bifrost.cli.executions", "List, show, cancel, signal and resume executions."),
    "new": ("bifrost.cli.new", "Write a new workflow, integration or data provider, with its test."),
    "orgs": ("bifrost.cli.orgs", "List, show and check organizations."),
    "payloads": ("bifrost.cli.payloads", "Remove large arguments and results that no execution needs any more."),
    "providers": ("bifrost.cli.providers", "List data providers, and what they offer."),
    "replay": ("bifrost.cli.replay", "Replay executions against this version, before it is put to work."),
    "revisions": ("bifrost.cli.revisions", "List, show and prune the snapshots that executions run."),
    "run": ("bifrost.cli.run", "Start an execution and await its result."),
    "schedules": ("bifrost.cli.schedules", "Bring schedules in line, list, pause, trigger and backfill them."),
    "secrets": ("bifrost.cli.secrets", "Set, list, rotate and delete secrets in Vault."),
    "setup": ("bifrost.cli.setup", "Prepare Temporal: namespace, retention, search attributes, rates."),
    "simulate": ("bifrost.cli.dev", "Serve a simulator of another system."),
    "worker": ("bifrost.cli.worker", "Serve the workspace's executions."),
    "workflows": ("bifrost.cli.workflows", "List and show the workspace's workflows."),
}
"""Each command's module, in which it has the command's name, and what `--help` says of it."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bifrost", message="%(prog)s %(version)s")
def cli() -> None:
    """Durable workflows for managed service providers, on Temporal.

    Temporal and Vault are found by their own variables (TEMPORAL_ADDRESS, VAULT_ADDR, ...); `bifrost dev` starts both.
    """


def main() -> NoReturn:
    """Run the command line and end the process."""
    code = 1
    try:
        code = cli(prog_name="bifrost", standalone_mode=False) or 0  # click answers the status of `Exit`
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stdout = None
    except Exception as error:  # noqa: BLE001 - the last place that can say anything
        _show(error)
    _end(code)


def _show(error: Exception) -> None:
    described = error.to_dict() if hasattr(error, "to_dict") else None
    if "--json" in sys.argv:
        click.echo(json.dumps(described or {"error": type(error).__name__, "message": str(error), "details": {}}, default=str))
    if described:
        click.echo(f"Error: {error}", err=True)
        return
    if os.environ.get("BIFROST_LOG_LEVEL", "").lower() == "debug":
        importlib.import_module("traceback").print_exception(error)
    click.echo(f"Error: {type(error).__name__}: {error} (BIFROST_LOG_LEVEL=debug shows where)", err=True)


def _end(code: int) -> NoReturn:
    """End the process now, with the status that the work had.

    A process that used a Temporal client sometimes dies while the interpreter shuts down (a fatal error of the SDK's native
    part), when everything is done and printed. So what has to be done at exit is done here, and the interpreter does not get
    to shut down. The handlers run first: coverage of a measured process is written by one.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError:
                code = code or 1
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to run them
    os._exit(code)

