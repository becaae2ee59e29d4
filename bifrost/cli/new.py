"""`bifrost new`."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from bifrost.authoring import scaffold
from bifrost.authoring.scaffold import Scaffold
from bifrost.cli import output, parts
from bifrost.errors import ConfigurationError, ValidationError
from bifrost.workspace.catalog import Catalog


@click.group()
def new() -> None:
    """New workflows, integrations and data providers, each with a test that passes. Nothing is ever overwritten."""


@new.command()
@click.argument("name")
@click.option("--category", default="general", show_default=True,
              help="The folder below workflows, and where lists show it.")
@click.option("--description", default="", help="What it does.  [default: the name as words]")
@output.json_option
def workflow(name: str, category: str, description: str, as_json: bool) -> None:
    """Write a workflow NAME with its diagram and its test."""
    made = scaffold.workflow(name, category, description)
    _create(name, made, ["bifrost check", _pytest(made), f"bifrost run {name} --org ID -p email=ada@example.com"], as_json)


@new.command()
@click.argument("name")
@output.json_option
def integration(name: str, as_json: bool) -> None:
    """Write an integration NAME over HTTP, with its test."""
    made = scaffold.integration(name)
    _create(name, made, [f"bifrost secrets set {name}_api_key --org ID", "bifrost check", _pytest(made)], as_json,
            needs=f"An organization ID needs {name}_url in its config, and the secret {name}_api_key.")


@new.command()
@click.argument("name")
@click.option("--description", default="", help="What it lists.  [default: the name as words]")
@output.json_option
def provider(name: str, description: str, as_json: bool) -> None:
    """Write a data provider NAME with its test."""
    made = scaffold.provider(name, description)
    _create(name, made, ["bifrost check", _pytest(made)], as_json)


def _pytest(made: Scaffold) -> str:
    return f"pytest {shlex.quote(str(parts.settings().workspace / made.tests))}"


def _create(name: str, made: Scaffold, next_steps: list[str], as_json: bool, needs: str = "") -> None:
    """Write the files and say what to do next.

    Raises:
        ValidationError: the name is taken, or a file would be in the way; nothing was written.
        ConfigurationError: there is no workspace, or it cannot be written to; what had been written is gone again.
    """
    read = parts.settings()
    kind = _known(parts.catalog(read)).get(name)
    if kind:
        raise ValidationError(f"'{name}' is the name of {kind} already: choose another name", field="name")
    in_the_way = next(_in_the_way(read.workspace, made.files), None)
    if in_the_way:
        raise ValidationError(f"{in_the_way} exists already: remove it, or choose another name. Nothing was written",
                              field="name", file=str(in_the_way))
    _write(read.workspace, made.files)
    created = [str(read.workspace / path) for path in made.files]
    if as_json:
        output.print_json({"created": created, "next": next_steps})
        return
    click.echo("\n".join([*created, "", *([needs, ""] if needs else []), "Next:", *(f"  {step}" for step in next_steps)]))


def _known(catalog: Catalog) -> dict[str, str]:
    """The names that are taken, with what has them; a workflow that cannot be loaded has its name, too."""
    broken = [name for failure in catalog.failures for name in failure.workflows]
    return {**dict.fromkeys(catalog.integrations, "an integration"), **dict.fromkeys(catalog.data_providers, "a data provider"),
            **dict.fromkeys([*catalog.workflows, *broken], "a workflow")}


def _in_the_way(root: Path, files: Mapping[str, str]) -> Iterator[Path]:
    """What exists in a file's place, or would be hidden: of `x.py` and a folder `x`, an import finds the folder."""
    for file in [root / path for path in files]:
        if os.path.lexists(file):
            yield file
        if file.with_suffix("").is_dir():
            yield file.with_suffix("")
        for folder in _missing_folders(root, file):
            module = folder.with_name(f"{folder.name}.py")
            if os.path.lexists(module):
                yield module


def _missing_folders(root: Path, file: Path) -> list[Path]:
    """The folders to make for a file, the uppermost first."""
    return [folder for folder in reversed(file.parents) if folder.is_relative_to(root) and not folder.exists()]


def _write(root: Path, files: Mapping[str, str]) -> None:
    """Write all files or none."""
    made: list[Path] = []
    try:
        for path, text in files.items():
            for folder in _missing_folders(root, root / path):
                folder.mkdir()
                made.append(folder)
            with (root / path).open("x", encoding="utf-8") as file:
                made.append(root / path)
                file.write(text)
    except BaseException as error:
        for one in reversed(made):
            with contextlib.suppress(OSError):  # a folder in which somebody else has put something meanwhile
                one.rmdir() if one.is_dir() else one.unlink()
        if isinstance(error, OSError):
            raise ConfigurationError(f"The files cannot be written, and none was: {error}") from error
        raise
