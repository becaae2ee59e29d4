"""`bifrost payloads`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from bifrost.cli import output, parts
from bifrost.temporal import client as temporal_client
from bifrost.temporal.payloads.store import GRACE, PayloadStore, needed


@click.group()
def payloads() -> None:
    """Large arguments and results, which lie outside Temporal, as BIFROST_PAYLOADS says.

    A file is needed as long as Temporal has an execution that refers to it: open, or closed for less than the retention of
    its namespace.
    """


@payloads.command()
@click.option("--older-than", type=click.IntRange(1), required=True, metavar="DAYS", help="Leave those that were put in the last DAYS days.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@output.json_option
def prune(older_than: int, dry_run: bool, as_json: bool) -> None:
    """Remove payloads that no execution of the Temporal namespace refers to any more.

    The history of every execution is read, so it takes a while where there are many. Without Temporal nothing is removed.
    Where several namespaces share one store of payloads, do not prune it.
    """
    read = parts.settings()
    store = PayloadStore(read.payloads)
    before = datetime.now(UTC) - max(timedelta(days=older_than), GRACE)
    old = {digest: put_at for digest, put_at in store.times().items() if put_at < before}
    kept = parts.run(_needed()) if old else set()
    doomed = sorted(old.keys() - kept)
    if not dry_run:
        for digest in doomed:
            store.remove(digest)
    if as_json:
        output.print_json({"dry_run": dry_run, "removed": doomed, "kept": sorted(old.keys() & kept)})
        return
    click.echo(f"Payloads {'that would be ' if dry_run else ''}removed: {len(doomed)}; of that age and needed: {len(old) - len(doomed)}")


async def _needed() -> set[str]:
    return await needed(await temporal_client.connect())
