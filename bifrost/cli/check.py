"""`bifrost check`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

import click

from bifrost import cron
from bifrost.authoring.check import check as find
from bifrost.cli import output, parts
from bifrost.models import Schedule
from bifrost.workspace.catalog import Catalog

_SHOWN: Final = 3


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
@output.json_option
def check(path: Path | None, as_json: bool) -> None:
    r"""Find in the workspace what a run would refuse, before anything runs.

    \b
    PATH is a workspace, or a file or folder in the one that BIFROST_WORKSPACE names.
    Found are: files that cannot be loaded, imports that are not allowed, calls that a run refuses (clocks, files,
    sockets, threads), arguments that do not fit, and unknown integrations, workflows, data providers.
    The next times of each schedule are shown too, by its own clock.
    The exit status is 0 only if nothing is found.
    """
    read = parts.settings()
    inside = path is not None and path.resolve().is_relative_to(read.workspace.resolve())
    root = read.workspace if path is None or inside else path if path.is_dir() else path.parent
    catalog, found = find(root, frozenset(read.workflow_safe))
    wanted = Path() if path is None else path.resolve().relative_to(root.resolve())
    found = [one for one in found if Path(one.file).is_relative_to(wanted)]
    schedules = _schedules(catalog, wanted)
    if as_json:
        output.print_json({"revision": catalog.revision, "workflows": list(catalog.workflows),
                           "data_providers": list(catalog.data_providers), "findings": [dataclasses.asdict(one) for one in found],
                           "schedules": [{"workflow": name, **dataclasses.asdict(schedule), "next_times": times}
                                         for name, schedule, times in schedules]})
    else:
        for one in found:
            click.echo(f"{root / one.file}:{one.line}: {one.rule}: {one.message}")
        for name, schedule, times in schedules:
            shown = ", ".join(f"{moment:%a %Y-%m-%d %H:%M %Z}" for moment in times)
            click.echo(f"{name}: {schedule}: {shown or f'the time zones of this system lack {schedule.timezone}'}", err=True)
        click.echo(f"{len(catalog.workflows)} workflows, {len(catalog.data_providers)} data providers: "
                   f"{len(found) or 'nothing'} found", err=True)
    if found:
        raise click.exceptions.Exit(1)


def _schedules(catalog: Catalog, folder: Path) -> list[tuple[str, Schedule, list[datetime]]]:
    """Each workflow in the folder that has a schedule, with its next times."""
    now = datetime.now(UTC)
    return [(name, schedule, _next_times(schedule, now)) for name, entry in sorted(catalog.workflows.items())
            if (schedule := entry.metadata.timing) and Path(entry.path).is_relative_to(folder)]


def _next_times(schedule: Schedule, now: datetime) -> list[datetime]:
    with contextlib.suppress(ZoneInfoNotFoundError):
        return list(itertools.islice(cron.next_times(schedule.cron, schedule.timezone, now), _SHOWN))
    return []
