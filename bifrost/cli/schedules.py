"""`bifrost schedules`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click
from temporalio.client import Client

from bifrost.cli import output, parts, times
from bifrost.messages import GLOBAL_SCOPE
from bifrost.models import OVERLAPS
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.schedules import scheduler
from bifrost.temporal.schedules.plan import Actual, Change, unknown_names
from bifrost.workspace.catalog import Catalog

F = TypeVar("F", bound=Callable[..., Any])
_DONE = {"create": "created", "update": "updated", "delete": "deleted"}


@click.group()
def schedules() -> None:
    """The schedules of workflows, one for each organization, as Temporal has them."""


# --- sync ---------------------------------------------------------------------------------------------------------------


@schedules.command()
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@output.json_option
def sync(dry_run: bool, as_json: bool) -> None:
    """Bring Temporal's schedules in line with the workspace and the organizations.

    Workers do so by themselves when they start, and when either changes. Only Bifrost's own schedules are touched, and an
    operator's pause stays. Where something in the workspace cannot be loaded, no schedule goes for the lack of a workflow.
    """
    read = parts.settings()
    catalog, organizations = parts.catalog(read), YamlOrganizations(read.organizations)
    parts.warn_of_failures(catalog)
    for sentence in unknown_names(catalog, organizations):
        click.echo(f"Warning: {sentence}", err=True)
    changes = parts.run(_sync(read, catalog, organizations, apply=not dry_run, shown=not as_json))
    if as_json:
        output.print_json([{"change": one.kind, "schedule": one.id, "workflow": one.workflow, "org_id": one.org_id, "why": one.why}
                           for one in changes])
        return
    for kind, done in _DONE.items():
        if count := sum(one.kind == kind for one in changes):
            click.echo(f"{count:,} {f'to {kind}' if dry_run else done}", err=True)
    if not changes:
        click.echo("Everything is in line", err=True)


async def _sync(read: Settings, catalog: Catalog, organizations: YamlOrganizations, *, apply: bool, shown: bool) -> list[Change]:
    client = await executions.connect()
    changes = await scheduler.proposed(client, catalog, organizations, read.task_queue)
    if shown:
        for change in changes:
            click.echo(str(change))
    if apply and changes:
        visible = sys.stderr.isatty()
        with click.progressbar(length=len(changes), label="Schedules", file=sys.stderr, hidden=not visible) as bar:
            await scheduler.apply(client, changes, read.task_queue, lambda _: bar.update(1))
    return changes


# --- which ones ---------------------------------------------------------------------------------------------------------


def _filters(command: F) -> F:
    """`--workflow` and `--org`."""
    command = click.option("--org", "org_id", help=f"Only schedules of this organization ({GLOBAL_SCOPE}: of none).")(command)
    return click.option("--workflow", help="Only schedules of this workflow.")(command)


def _selection(command: F) -> F:
    """An id, `--workflow` or `--org`; at least one of them."""
    return click.argument("schedule", required=False, metavar="[ID]")(_filters(command))


async def _chosen(client: Client, read: Settings, schedule: str | None, workflow: str | None, org_id: str | None) -> list[Actual]:
    return scheduler.chosen(await scheduler.list_schedules(client, read.task_queue), schedule=schedule, workflow=workflow, org_id=org_id)


def _each(selection: tuple[str | None, str | None, str | None], work: Callable[[Client, Actual], Coroutine[Any, Any, None]],
          done: str, *, as_json: bool) -> None:
    """Do something with every schedule that was chosen, and say so."""
    read = parts.settings()
    if not any(selection):
        raise click.UsageError("Say which schedules: give an ID, --workflow or --org")

    async def all_of_them() -> Sequence[Actual]:
        client = await executions.connect()
        found = await _chosen(client, read, *selection)
        slots = asyncio.Semaphore(scheduler.AT_ONCE)

        async def one(actual: Actual) -> None:
            async with slots:
                await work(client, actual)

        async with asyncio.TaskGroup() as group:
            for actual in found:
                group.create_task(one(actual))
        return found

    found = parts.run(all_of_them())
    if as_json:
        output.print_json([{"schedule": one.id, "workflow": one.workflow, "org_id": one.org_id} for one in found])
        return
    for one in found:
        click.echo(f"{one.id} {done}")


@schedules.command("list")
@_filters
@output.json_option
def list_(workflow: str | None, org_id: str | None, as_json: bool) -> None:
    """List schedules with the time of their next execution."""
    read = parts.settings()
    found = parts.run(_list(read, workflow, org_id))
    if as_json:
        output.print_json([_as_dict(one) for one in found])
        return
    output.print_table(("SCHEDULE", "CRON", "TIMEZONE", "STATE", "LAST (UTC)", "NEXT (UTC)"), [
        (one.id, one.said("cron"), one.said("timezone"), _state(one), one.last_time, _next(one)) for one in found], "No schedules.")


async def _list(read: Settings, workflow: str | None, org_id: str | None) -> list[Actual]:
    return await _chosen(await executions.connect(), read, None, workflow, org_id)


def _as_dict(one: Actual) -> dict[str, Any]:
    return {"schedule": one.id, "workflow": one.workflow, "org_id": one.org_id, "cron": one.said("cron"), "timezone": one.said("timezone"),
            "overlap": one.said("overlap"), "paused": one.paused, "note": one.note, "last_time": one.last_time,
            "next_times": list(one.next_times)}


def _state(one: Actual) -> str:
    return (f"paused: {one.note}" if one.note else "paused") if one.paused else "active"


def _next(one: Actual) -> datetime | None:
    return one.next_times[0] if one.next_times and not one.paused else None


@schedules.command()
@_selection
@output.json_option
def show(schedule: str | None, workflow: str | None, org_id: str | None, as_json: bool) -> None:
    """Show schedules whole: how they were made, and what they started."""
    read = parts.settings()
    if not (schedule or workflow or org_id):
        raise click.UsageError("Say which schedules: give an ID, --workflow or --org")
    shown = parts.run(_show(read, schedule, workflow, org_id))
    if as_json:
        output.print_json(shown)
        return
    for number, one in enumerate(shown):
        click.echo("\n" if number else "", nl=False)
        for label, value in (("Schedule", one["schedule"]), ("Workflow", one["workflow"]), ("Organization", one["org_id"]),
                             ("Cron", one["cron"]), ("Time zone", one["timezone"]), ("Overlap", one["overlap"]),
                             ("Catch-up", f"{one['catchup_seconds']:.12g} s"), ("Jitter", f"{one['jitter_seconds']:.12g} s"),
                             ("State", f"paused: {one['note'] or '-'}" if one["paused"] else "active"),
                             ("Started", one["started"]), ("Left out", f"{one['left_out']} for overlap, {one['missed']} too late"),
                             ("Next (UTC)", ", ".join(output.time_of(moment) for moment in one["next_times"][:3]))):
            click.echo(f"{label:<13} {'-' if value in (None, '') else value}")
        click.echo()
        output.print_table(("SCHEDULED (UTC)", "EXECUTION"), [(run["scheduled_at"], run["execution_id"]) for run in one["executions"]],
                           "It has started nothing yet.")


async def _show(read: Settings, schedule: str | None, workflow: str | None, org_id: str | None) -> list[dict[str, Any]]:
    client = await executions.connect()
    return [await _whole(client, one) for one in await _chosen(client, read, schedule, workflow, org_id)]


async def _whole(client: Client, one: Actual) -> dict[str, Any]:
    described = await scheduler.describe(client, one.id)
    policy, spec, info, state = (described.schedule.policy, described.schedule.spec, described.info, described.schedule.state)
    started = [{"scheduled_at": result.scheduled_at, "execution_id": getattr(result.action, "workflow_id", None)}
               for result in info.recent_actions]
    return {**_as_dict(one), "overlap": policy.overlap.name.lower(), "catchup_seconds": _seconds(policy.catchup_window),
            "jitter_seconds": _seconds(spec.jitter), "paused": state.paused, "note": state.note,
            "next_times": list(info.next_action_times), "started": info.num_actions, "left_out": info.num_actions_skipped_overlap,
            "missed": info.num_actions_missed_catchup_window, "executions": started}


def _seconds(span: timedelta | None) -> float:
    return span.total_seconds() if span else 0


# --- by hand ------------------------------------------------------------------------------------------------------------


@schedules.command()
@_selection
@click.option("--note", default="paused through bifrost", show_default=True, help="Why; shown beside it.")
@output.json_option
def pause(schedule: str | None, workflow: str | None, org_id: str | None, note: str, as_json: bool) -> None:
    """Let schedules rest until they are resumed."""
    _each((schedule, workflow, org_id), lambda client, one: scheduler.pause(client, one.id, note), "paused", as_json=as_json)


@schedules.command()
@_selection
@click.option("--note", default="resumed through bifrost", show_default=True, help="Why; shown beside it.")
@output.json_option
def resume(schedule: str | None, workflow: str | None, org_id: str | None, note: str, as_json: bool) -> None:
    """Let schedules go on. What a file says is paused the next sync pauses again."""
    _each((schedule, workflow, org_id), lambda client, one: scheduler.resume(client, one.id, note), "resumed", as_json=as_json)


_OVERLAP = click.option("--overlap", type=click.Choice(OVERLAPS), help="What becomes of it while another one runs; as the schedule says, "
                        "by default.")


@schedules.command()
@_selection
@_OVERLAP
@output.json_option
def trigger(schedule: str | None, workflow: str | None, org_id: str | None, overlap: str | None, as_json: bool) -> None:
    """Start an execution of each schedule now, paused or not."""
    _each((schedule, workflow, org_id), lambda client, one: scheduler.trigger(client, one.id, overlap), "triggered", as_json=as_json)


@schedules.command()
@_selection
@click.option("--from", "since", required=True, metavar="TIME", help="The first moment, such as 2026-11-01T00:00Z.")
@click.option("--to", "until", metavar="TIME", help="The last one; now by default.")
@_OVERLAP
@output.json_option
def backfill(schedule: str | None, workflow: str | None, org_id: str | None, since: str, until: str | None, overlap: str | None,
             as_json: bool) -> None:
    """Start the executions that schedules have for a time that is over."""
    first, last = times.moment(since, "--from"), times.moment(until, "--to") if until else times.now()
    if last < first:
        raise click.BadParameter(f"{since} is after {until or 'now'}", param_hint="--from")
    _each((schedule, workflow, org_id), lambda client, one: scheduler.backfill(client, one.id, first, last, overlap), "backfilled",
          as_json=as_json)


@schedules.command()
@_selection
@output.json_option
def delete(schedule: str | None, workflow: str | None, org_id: str | None, as_json: bool) -> None:
    """Take schedules away. The next sync makes those again that the code and the organization still ask for."""
    _each((schedule, workflow, org_id), lambda client, one: scheduler.delete(client, one.id), "deleted", as_json=as_json)
