"""`bifrost workflows`."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from bifrost import parameters
from bifrost.cli import output, parts
from bifrost.models import WorkflowMetadata
from bifrost.workspace.catalog import Catalog


@click.group()
def workflows() -> None:
    """The workspace's workflows, as the files are now; nothing else is needed to read them."""


def _as_dict(workflow: WorkflowMetadata, path: str) -> dict[str, Any]:
    described = {field.name: getattr(workflow, field.name) for field in dataclasses.fields(workflow)
                 if field.name not in ("function", "source", "parameters")}
    listed = [dataclasses.asdict(parameter) for parameter in workflow.parameters]
    for parameter in listed:
        parameter["validation"] = {key: value for key, value in parameter["validation"].items() if not callable(value)}
    return {**described, "file": path, "line": workflow.source.line, "parameters": listed}


@workflows.command("list")
@output.json_option
def list_(as_json: bool) -> None:
    """List workflows, and what cannot be loaded."""
    catalog = parts.catalog(parts.settings())
    entries = sorted(catalog.workflows.items())
    if as_json:
        output.print_json({"workflows": [_as_dict(entry.metadata, entry.path) for _, entry in entries],
                           "failures": [dataclasses.asdict(failure) for failure in catalog.failures]})
    else:
        output.print_table(("NAME", "CATEGORY", "MODE", "SCHEDULE", "DESCRIPTION"), [
            (name, entry.metadata.category, entry.metadata.execution_mode, entry.metadata.schedule, entry.metadata.description)
            for name, entry in entries], "No workflows.")
        for failure in catalog.failures:
            click.echo(f"Cannot be loaded: {failure}", err=True)
    _end_with(catalog)


def _end_with(catalog: Catalog) -> None:
    if catalog.failures:
        raise click.exceptions.Exit(1)


@workflows.command()
@click.argument("name")
@click.option("--schema", is_flag=True, help="Print the parameters as JSON Schema instead.")
@output.json_option
def show(name: str, schema: bool, as_json: bool) -> None:
    """Show one workflow and its parameters."""
    entry = parts.catalog(parts.settings()).workflow(name)
    workflow = entry.metadata
    if schema:
        output.print_json(parameters.json_schema(workflow.parameters))
        return
    if as_json:
        output.print_json(_as_dict(workflow, entry.path))
        return
    for label, value in (("Workflow", workflow.name), ("Description", workflow.description), ("Category", workflow.category),
                         ("Tags", ", ".join(workflow.tags)), ("Mode", workflow.execution_mode),
                         ("Schedule", workflow.schedule), ("Timeout", f"{workflow.timeout_seconds:g} s"
                                                           if workflow.timeout_seconds else "none"),
                         ("File", f"{entry.path}:{workflow.source.line}")):
        click.echo(f"{label:<13} {value or '-'}")
    click.echo()
    output.print_table(("PARAMETER", "TYPE", "REQUIRED", "DEFAULT", "OPTIONS FROM", "LABEL"), [
        (one.name, one.type, "yes" if one.required else "no", one.default_value, one.data_provider, one.label)
        for one in workflow.parameters], "No parameters.")
