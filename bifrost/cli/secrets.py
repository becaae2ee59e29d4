"""`bifrost secrets`."""

from __future__ import annotations

import dataclasses
import string
import sys
from secrets import choice
from typing import Final

import click

from bifrost import redaction
from bifrost.cli import output, parts
from bifrost.errors import NotFoundError, ValidationError
from bifrost.models import GLOBAL
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.secrets.base import check_segment
from bifrost.secrets.vault import VaultSecrets

LENGTH: Final = 32
"""How many characters a generated value has, of 62: 190 bits."""
_SHORTEST, _LONGEST = 16, 4096
_org = click.option("--org", "org_id", required=True, help=f"The organization's id, or {GLOBAL} for all.")


@click.group()
def secrets() -> None:
    """Secrets in Vault. Values go in and are never shown."""


def _store(org_id: str) -> VaultSecrets:
    read = parts.settings()
    if org_id != GLOBAL:
        YamlOrganizations(read.organizations).get(org_id)
    return VaultSecrets.from_settings(read, patience=0)  # a person sees at once what is wrong, and tries again


def _value() -> str:
    """The value that a person types twice, or that is on standard input."""
    if sys.stdin.isatty():
        value: str = click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
    else:
        try:
            value = sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise ValidationError("The value is not UTF-8 text: nothing was set", field="value") from None
    if not value:
        raise ValidationError("The value is empty: nothing was set", field="value")
    redaction.remember(value)
    return value


@secrets.command("set")
@click.argument("name")
@_org
@output.json_option
def set_(name: str, org_id: str, as_json: bool) -> None:
    """Set a secret; the value is asked for, or read from standard input."""
    check_segment("secret name", name)
    store = _store(org_id)
    version = parts.run(store.write(org_id, name, _value()))
    _report(name, org_id, version, "set", as_json=as_json)


@secrets.command("list")
@_org
@output.json_option
def list_(org_id: str, as_json: bool) -> None:
    """List the names of an organization's secrets, with versions and times.

    As JSON it is an object: the names, and of each its version and when that was set; null where somebody removed that version
    by other means.
    """
    found = parts.run(_store(org_id).listed(org_id))
    if as_json:
        output.print_json({kept.name: {"version": kept.version, "set_at": kept.set_at} for kept in found})
        return
    output.print_table(("NAME", "VERSION", "SET (UTC)"), [dataclasses.astuple(kept) for kept in found], "No secrets.")


@secrets.command()
@click.argument("name")
@_org
@click.option("--generate", type=click.IntRange(_SHORTEST, _LONGEST), is_flag=False, flag_value=LENGTH, metavar="[LENGTH]",
              help=f"Make up a value of letters and digits, {LENGTH} if not said otherwise.")
@click.option("--show", is_flag=True, help="Print the value that was made up.")
@output.json_option
def rotate(name: str, org_id: str, generate: int | None, show: bool, as_json: bool) -> None:
    """Give a secret that is there a new value: asked for, read from standard input, or made up.

    Running workers use the new value as soon as they have forgotten the one before (BIFROST_SECRET_CACHE_SECONDS).
    """
    check_segment("secret name", name)
    if show and generate is None:
        raise click.UsageError("--show goes with --generate: a value that you know already is not shown")
    store = _store(org_id)
    known = parts.run(store.names(org_id))
    if name not in known:
        raise NotFoundError.of("Secret", name, known, f"`bifrost secrets set {name} --org {org_id}` makes a new one")
    value = _value() if generate is None else "".join(choice(string.ascii_letters + string.digits) for _ in range(generate))
    version = parts.run(store.write(org_id, name, value))
    _report(name, org_id, version, "rotated", as_json=as_json, **({"value": value} if show else {}))


@secrets.command()
@click.argument("name")
@_org
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
def delete(name: str, org_id: str, yes: bool, as_json: bool) -> None:
    """Delete a secret, with all its versions. On a terminal it is asked for whether to."""
    check_segment("secret name", name)
    store = _store(org_id)
    if not yes and sys.stdin.isatty() and not click.confirm(f"Delete {store.place(org_id, name)} with all its versions?", err=True):
        click.echo("Nothing was deleted", err=True)
        raise click.exceptions.Exit(1)
    parts.run(store.delete(org_id, name))
    _report(name, org_id, None, "deleted", as_json=as_json)


def _report(name: str, org_id: str, version: int | None, what: str, *, as_json: bool, **more: str) -> None:
    if as_json:
        output.print_json({"name": name, "org_id": org_id, **({"version": version} if version else {}), **more})
        return
    click.echo(f"{name} of {org_id} {what}" + (f", version {version}" if version else ""))
    for value in more.values():
        click.echo(value)
