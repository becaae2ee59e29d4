"""`bifrost check`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from bifrost.authoring.check import check as find
from bifrost.cli import output, parts


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
@output.json_option
def check(path: Path | None, as_json: bool) -> None:
    r"""Find in the workspace what a run would refuse, before anything runs.

    \b
    PATH is a workspace, or a file or folder in the one that BIFROST_WORKSPACE names.
    Found are: files that cannot be loaded, imports that are not allowed, calls that a run refuses (clocks, files,
    sockets, threads), arguments that do not fit, and unknown integrations, workflows, data providers.
    The exit status is 0 only if nothing is found.
    """
    read = parts.settings()
    inside = path is not None and path.resolve().is_relative_to(read.workspace.resolve())
    root = read.workspace if path is None or inside else path if path.is_dir() else path.parent
    catalog, found = find(root, frozenset(read.workflow_safe))
    if path is not None and path.resolve() != root.resolve():
        wanted = path.resolve().relative_to(root.resolve())
        found = [one for one in found if Path(one.file).is_relative_to(wanted)]
    if as_json:
        output.print_json({"revision": catalog.revision, "workflows": list(catalog.workflows),
                           "data_providers": list(catalog.data_providers), "findings": [dataclasses.asdict(one) for one in found]})
    else:
        for one in found:
            click.echo(f"{root / one.file}:{one.line}: {one.rule}: {one.message}")
        click.echo(f"{len(catalog.workflows)} workflows, {len(catalog.data_providers)} data providers: "
                   f"{len(found) or 'nothing'} found", err=True)
    if found:
        raise click.exceptions.Exit(1)
