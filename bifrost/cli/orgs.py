"""`bifrost orgs`."""

from __future__ import annotations

import dataclasses

import click

from bifrost.cli import output, parts
from bifrost.organizations.yaml import YamlOrganizations


@click.group()
def orgs() -> None:
    """Organizations and their configuration, as BIFROST_ORGANIZATIONS has them."""


def _store() -> YamlOrganizations:
    return YamlOrganizations(parts.settings().organizations)


@orgs.command("list")
@output.json_option
def list_(as_json: bool) -> None:
    """List organizations."""
    found = _store().all()
    if as_json:
        output.print_json([{"id": one.id, "name": one.name, "tenant_id": one.tenant_id, "active": one.active} for one in found])
        return
    output.print_table(("ID", "NAME", "TENANT", "ACTIVE"), [
        (one.id, one.name, one.tenant_id, "yes" if one.active else "no") for one in found], "No organizations.")


@orgs.command()
@click.argument("org_id", metavar="ID")
@output.json_option
def show(org_id: str, as_json: bool) -> None:
    """Show one organization and its configuration; secrets are references there."""
    organization = _store().get(org_id)
    if as_json:
        output.print_json(dataclasses.asdict(organization))
        return
    for label, value in (("Id", organization.id), ("Name", organization.name), ("Tenant", organization.tenant_id),
                         ("Active", "yes" if organization.active else "no")):
        click.echo(f"{label:<13} {value or '-'}")
    for name, limit in dataclasses.asdict(organization.limits).items():
        if limit is not None:
            click.echo(f"At most       {limit} {name.replace('_', ' ')}")
    click.echo()
    output.print_table(("KEY", "VALUE"), list(organization.config.items()), "No configuration.")


@orgs.command()
@output.json_option
def check(as_json: bool) -> None:
    """Check the organizations' file or folder; a mistake is named with file, line and key."""
    found = _store().all()
    if as_json:
        output.print_json({"organizations": len(found), "active": sum(one.active for one in found)})
    else:
        click.echo(f"{len(found)} organizations, {sum(one.active for one in found)} of them active: no mistakes")
