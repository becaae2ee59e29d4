"""`bifrost secrets`."""

from __future__ import annotations

import sys

import click

from bifrost.cli import output, parts
from bifrost.errors import ValidationError
from bifrost.models import GLOBAL
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.secrets.base import check_segment
from bifrost.secrets.vault import VaultSecrets

_org = click.option("--org", "org_id", required=True, help=f"The organization's id, or {GLOBAL} for all.")


@click.group()
def secrets() -> None:
    """Secrets in Vault. Values go in and are never shown."""


def _store(org_id: str) -> VaultSecrets:
    read = parts.settings()
    if org_id != GLOBAL:
        YamlOrganizations(read.organizations).get(org_id)
    return VaultSecrets.from_settings(read)


@secrets.command("set")
@click.argument("name")
@_org
def set_(name: str, org_id: str) -> None:
    """Set a secret; the value is asked for, or read from standard input."""
    check_segment("secret name", name)
    store = _store(org_id)
    value = (click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True) if sys.stdin.isatty()
             else sys.stdin.read().removesuffix("\n"))
    if not value:
        raise ValidationError("The value is empty: nothing was set", field="value")
    parts.run(store.write(org_id, name, value))
    click.echo(f"{name} of {org_id} set")


@secrets.command("list")
@_org
@output.json_option
def list_(org_id: str, as_json: bool) -> None:
    """List the names of an organization's secrets."""
    names = parts.run(_store(org_id).names(org_id))
    if as_json:
        output.print_json(names)
        return
    output.print_table(("NAME",), [(name,) for name in names], "No secrets.")


@secrets.command()
@click.argument("name")
@_org
def delete(name: str, org_id: str) -> None:
    """Delete a secret, with all its versions."""
    check_segment("secret name", name)
    parts.run(_store(org_id).delete(org_id, name))
    click.echo(f"{name} of {org_id} deleted")
