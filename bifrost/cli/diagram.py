"""`bifrost diagram`."""

from __future__ import annotations

from pathlib import PurePosixPath

import click

from bifrost.authoring import diagram as charts
from bifrost.cli import output, parts
from bifrost.errors import ValidationError
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.revision import snapshot

FILE = "diagram.mmd"


@click.command()
@click.argument("name")
@click.option("--write", is_flag=True, help=f"Write {FILE} beside the workflow's file, and print its path.")
@output.json_option
def diagram(name: str, write: bool, as_json: bool) -> None:
    """Draw the workflow NAME as a Mermaid flowchart, from its code.

    Calls, checkpoints and waiting, and the branches, loops and errors around them; everything else is left out.
    """
    read = parts.settings()
    catalog = parts.catalog(read)
    path = catalog.workflow(name).path
    chart = charts.diagram(snapshot(read.workspace), path, name, frozenset(read.workflow_safe))
    file = read.workspace / PurePosixPath(path).with_name(FILE)
    if write:
        _check_alone(catalog, name, path)
        file.write_text(chart, "utf-8")
    if as_json:
        output.print_json({"workflow": name, "diagram": chart, **({"file": file} if write else {})})
    else:
        click.echo(file if write else chart, nl=write)


def _check_alone(catalog: Catalog, name: str, path: str) -> None:
    """Refuse to write one file for two workflows.

    Raises:
        ValidationError: another workflow lies in the same folder.
    """
    folder = PurePosixPath(path).parent
    others = [other for other, entry in catalog.workflows.items() if other != name and PurePosixPath(entry.path).parent == folder]
    if others:
        raise ValidationError(f"'{name}' and '{others[0]}' lie in the same folder, {folder}: give each a folder of its own, or "
                              f"write the diagram elsewhere: `bifrost diagram {name} > {name}.mmd`", field="name")
