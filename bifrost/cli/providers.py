"""`bifrost providers`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import click

from bifrost.cli import output, parts
from bifrost.cli.run import from_pairs
from bifrost.models import DataProviderMetadata
from bifrost.settings import Settings
from bifrost.temporal import client as temporal_client
from bifrost.temporal.providers.options import Offered, options


@click.group()
def providers() -> None:
    """Data providers, whose options forms offer."""


def _as_dict(provider: DataProviderMetadata) -> dict[str, Any]:
    described = {field.name: getattr(provider, field.name) for field in dataclasses.fields(provider)
                 if field.name not in ("function", "source", "parameters")}
    return {**described, "parameters": [{"name": one.name, "type": one.type, "label": one.label, "required": one.required}
                                        for one in provider.parameters]}


@providers.command("list")
@output.json_option
def list_(as_json: bool) -> None:
    """List data providers, as the workspace's files are now."""
    catalog = parts.catalog(parts.settings())
    found = [provider for _, provider in sorted(catalog.data_providers.items())]
    if as_json:
        output.print_json({"data_providers": [_as_dict(one) for one in found],
                           "failures": [dataclasses.asdict(failure) for failure in catalog.failures]})
    else:
        output.print_table(("NAME", "CATEGORY", "INPUTS", "CACHED FOR", "DESCRIPTION"), [
            (one.name, one.category, ", ".join(parameter.name for parameter in one.parameters),
             f"{one.cache_ttl_seconds:g} s" if one.cache_ttl_seconds else "never", one.description) for one in found],
            "No data providers.")
        for failure in catalog.failures:
            click.echo(f"Cannot be loaded: {failure}", err=True)
    if catalog.failures:
        raise click.exceptions.Exit(1)


@providers.command("options")
@click.argument("name")
@click.option("--org", "org_id", required=True, help="The organization whose options they are; GLOBAL for none.")
@click.option("-p", "--param", "pairs", multiple=True, metavar="KEY=VALUE", help="An input; may be given many times.")
@click.option("--no-cache", is_flag=True, help="Have the list fetched anew; it is cached then.")
@output.json_option
def options_(name: str, org_id: str, pairs: Sequence[str], no_cache: bool, as_json: bool) -> None:
    r"""Show what the data provider NAME offers an organization. A worker asks it.

    \b
    Example: bifrost providers options get_available_licenses --org acme
    """
    offered = parts.run(_options(parts.settings(), name, org_id, from_pairs(pairs), fresh=no_cache))
    if as_json:
        output.print_json(dataclasses.asdict(offered))
        return
    if offered.stale:
        click.echo(f"The data provider fails; this list expired at {output.time_of(offered.cache_expires_at)} UTC", err=True)
    output.print_table(("LABEL", "VALUE"), [(one["label"], one["value"]) for one in offered.options], "No options.")


async def _options(read: Settings, name: str, org_id: str, inputs: dict[str, str], *, fresh: bool) -> Offered:
    client = await temporal_client.connect()
    return await options(client, name, task_queue=read.task_queue, org_id=org_id, inputs=inputs, fresh=fresh)
