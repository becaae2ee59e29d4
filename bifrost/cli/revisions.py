"""`bifrost revisions`."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import structlog

from bifrost.cli import output, parts
from bifrost.errors import ConfigurationError, NotFoundError, ValidationError
from bifrost.settings import Settings
from bifrost.temporal import client as temporal_client
from bifrost.temporal.revisions import open_executions
from bifrost.workspace.retention import Plan, Reason, plan
from bifrost.workspace.revision import SHORT, RevisionStore, snapshot

SHORTEST: Final = 6
"""How many characters of an id, at least, name a revision."""
_log = structlog.stdlib.get_logger("bifrost.cli")


@click.group()
def revisions() -> None:
    """Revisions: the snapshots of the workspace that executions run, as BIFROST_REVISIONS keeps them.

    An execution goes on with the revision that it began with. A closed one, too, can be replayed or resumed only while its
    revision is kept.
    """


async def _open() -> Counter[str]:
    return await open_executions(await temporal_client.connect())


@revisions.command("list")
@click.option("--temporal/--no-temporal", "ask_temporal", default=True, show_default=True,
              help="Ask Temporal how many open executions need each revision.")
@output.json_option
def list_(ask_temporal: bool, as_json: bool) -> None:
    """List revisions, the newest first.

    CURRENT is the workspace as it is now. OPEN is how many open executions of the Temporal namespace need the revision;
    nothing where Temporal was not asked, or does not answer.
    """
    read = parts.settings()
    opened = _opened_if_known() if ask_temporal else None
    current = _current_if_known(read)
    rows = [{**dataclasses.asdict(kept), "current": None if current is None else kept.id == current,
             "open_executions": None if opened is None else opened[kept.id]} for kept in parts.revisions(read).listed()]
    if as_json:
        output.print_json(rows)
        return
    output.print_table(("REVISION", "PUT (UTC)", "FILES", "SIZE", "CURRENT", "OPEN"), [
        (row["id"][:SHORT], row["put_at"], "damaged" if row["files"] is None else row["files"], output.size_of(row["size"]),
         {None: None, True: "yes", False: "no"}[row["current"]], row["open_executions"]) for row in rows], "No revisions.")


def _opened_if_known() -> Counter[str] | None:
    try:
        return parts.run(_open())
    except ConfigurationError as error:
        _log.warning("open executions are not counted", reason=str(error))
        return None


def _current_if_known(read: Settings) -> str | None:
    try:
        return snapshot(read.workspace).id
    except ConfigurationError as error:
        _log.warning("the workspace is not compared", reason=str(error))
        return None


@revisions.command()
@click.argument("revision_id", metavar="ID")
@click.option("--file", "path", help="Print the source of this file, such as workflows/onboarding/workflow.py.")
@output.json_option
def show(revision_id: str, path: str | None, as_json: bool) -> None:
    """Show a revision's files, or the source of one.

    The first characters of the ID are enough, six or more, if no other revision begins so.
    """
    store = parts.revisions(parts.settings())
    found, put_at = find(store, revision_id)
    files = store.get(found).files
    if path is not None:
        if path not in files:
            raise NotFoundError.of("File", path, files)
        if as_json:
            output.print_json({"id": found, "path": path, "source": files[path]})
        else:
            click.echo(files[path], nl=False)
        return
    sizes = {name: len(source.encode()) for name, source in sorted(files.items())}
    if as_json:
        output.print_json({"id": found, "put_at": put_at, "size": sum(sizes.values()),
                           "files": [{"path": name, "size": size} for name, size in sizes.items()]})
        return
    for label, value in (("Revision", found), ("Put", f"{output.time_of(put_at)} (UTC)"),
                         ("Size", output.size_of(sum(sizes.values())))):
        click.echo(f"{label:<13} {value}")
    click.echo()
    output.print_table(("FILE", "SIZE"), [(name, output.size_of(size)) for name, size in sizes.items()], "No files.")


def find(store: RevisionStore, beginning: str) -> tuple[str, datetime]:
    """The one revision whose id begins so, and when it was put.

    Raises:
        NotFoundError: there is none.
        ValidationError: there are several, or the beginning is too short.
    """
    if len(beginning) < SHORTEST:
        raise ValidationError(f"'{beginning}' is too short: give at least {SHORTEST} characters of the revision's id",
                              field="id")
    found = [(one, put_at) for one, put_at in store.times().items() if one.startswith(beginning.lower())]
    if not found:
        raise NotFoundError.of("Revision", beginning, (), "`bifrost revisions list` lists them")
    if len(found) > 1:
        raise ValidationError(f"'{beginning}' is the beginning of {len(found)} revisions: "
                              f"{', '.join(sorted(one for one, _ in found))}", field="id")
    return found[0]


@revisions.command()
@click.option("--keep", type=click.IntRange(0), default=10, show_default=True, metavar="N", help="Leave the N newest.")
@click.option("--older-than", type=click.IntRange(0), default=0, metavar="DAYS",
              help="Leave those that were put in the last DAYS days.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
def prune(keep: int, older_than: int, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove revisions that are not needed any more.

    Never removed are the workspace as it is now, a revision that an open execution needs, one that was put within the last
    hour (an execution that has just begun with it may not be in Temporal's index yet; what a worker serves it puts again
    every ten minutes), and the N newest. Without Temporal nothing is removed.

    A closed execution can be replayed or resumed only while its revision is kept. Executions are looked for in one Temporal
    namespace: where several share one store of revisions, do not prune it.
    """
    if not (dry_run or yes or sys.stdin.isatty()):
        raise ValidationError("There is no terminal to ask on, and nothing was removed: give --yes, or --dry-run",
                              field="yes")
    read = parts.settings()
    store = parts.revisions(read)
    times, found = _plan(read, store, keep, timedelta(days=older_than))
    doomed = list(found.remove)
    if doomed and not dry_run:
        if not yes:
            _ask(times, doomed)
            doomed = _still(doomed, _plan(read, store, keep, timedelta(days=older_than))[1])
        for revision in doomed:
            store.remove(revision)
    _report(times, doomed, found, dry_run=dry_run, as_json=as_json)


def _plan(read: Settings, store: RevisionStore, keep: int, older_than: timedelta) -> tuple[Mapping[str, datetime], Plan]:
    try:
        needed = parts.run(_open())  # before the times are read: see `plan`
    except ConfigurationError as error:
        raise ConfigurationError(f"Without Temporal nobody knows which revisions are needed; nothing was removed. {error}",
                                 details=error.details) from error
    times = store.times()
    return times, plan(times, current=snapshot(read.workspace).id, needed=needed, newest=keep, older_than=older_than,
                       now=datetime.now(UTC))


def _ask(times: Mapping[str, datetime], doomed: list[str]) -> None:
    for revision in doomed:
        click.echo(f"{revision[:SHORT]}  {output.time_of(times[revision])}", err=True)
    if not click.confirm(f"Remove {_counted(len(doomed))}?", err=True):
        click.echo("Nothing was removed", err=True)
        raise click.exceptions.Exit(1)


def _still(doomed: list[str], found: Plan) -> list[str]:
    """Those that may still go: somebody took a while to answer."""
    return [revision for revision in doomed if revision in found.remove]


def _report(times: Mapping[str, datetime], doomed: list[str], found: Plan, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        kept: list[dict[str, Any]] = [{"id": revision, "put_at": times[revision], "reason": reason.name.lower()}
                                      for revision, reason in found.keep.items()]
        output.print_json({"dry_run": dry_run, "kept": kept,
                           "removed": [{"id": revision, "put_at": times[revision]} for revision in doomed]})
        return
    for revision in doomed:
        click.echo(f"{revision[:SHORT]}  {output.time_of(times[revision])}  {'would be removed' if dry_run else 'removed'}")
    reasons = Counter(found.keep.values())
    for reason in Reason:
        if reasons[reason]:
            click.echo(f"{_counted(reasons[reason])} kept: {reason}")
    if not doomed:
        click.echo("Nothing to remove")


def _counted(number: int) -> str:
    return "1 revision" if number == 1 else f"{number} revisions"
