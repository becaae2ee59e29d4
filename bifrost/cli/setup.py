"""`bifrost setup`."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import click

from bifrost.cli import output, parts
from bifrost.settings import Settings
from bifrost.temporal import client as temporal_client
from bifrost.temporal.operating import setup as needs


@click.command()
@click.option("--check/--apply", "only_check", default=None, help="Only say what is missing, or make it.  [required]")
@click.option("--retention", type=click.IntRange(1), default=needs.RETENTION.days, show_default=True, metavar="DAYS",
              help="How long closed executions are kept at least; a longer time is left alone.")
@output.json_option
def setup(only_check: bool | None, retention: int, as_json: bool) -> None:
    """Prepare Temporal for Bifrost: namespace, retention, search attributes, rates.

    TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE say where. Both ways may be run as often as you like; nothing is ever taken away. With
    --check the exit status is 1 if anything is missing.
    """
    if only_check is None:
        raise click.UsageError("say --check or --apply")
    found = parts.run(_looked(parts.settings(), timedelta(days=retention), only_check=only_check))
    ready = all(need.state is not needs.State.MISSING for need in found)
    if as_json:
        output.print_json({"ready": ready, "needs": [dataclasses.asdict(need) for need in found]})
    else:
        output.print_table(("WHAT", "WANTED", "FOUND", "STATE"),
                           [(need.name, need.wanted, need.found, need.state) for need in found], "")
        if not ready:
            click.echo("\nSomething is missing. Make it with: bifrost setup --apply", err=True)
    if not ready:
        raise click.exceptions.Exit(1)


async def _looked(read: Settings, retention: timedelta, *, only_check: bool) -> list[needs.Need]:
    client = await temporal_client.connect()
    return await (needs.check if only_check else needs.apply)(client, read.task_queue, retention)
