"""`bifrost doctor`."""

from __future__ import annotations

import dataclasses

import click

from bifrost.cli import output, parts
from bifrost.errors import ConfigurationError
from bifrost.temporal.operating.doctor import Finding, examine


@click.command()
@output.json_option
def doctor(as_json: bool) -> None:
    """Look at everything that an installation needs, and say what is wrong and how to mend it.

    Temporal, its namespace, search attributes and clock; Vault, the login and every secret that active organizations refer to;
    organizations, the workspace, and the stores of revisions and payloads. The exit status is 1 if anything is wrong.
    """
    found = _findings()
    healthy = all(finding.ok is not False for finding in found)
    if as_json:
        output.print_json({"healthy": healthy, "findings": [dataclasses.asdict(finding) for finding in found]})
    else:
        for finding in found:
            click.echo(f"{_MARKS[finding.ok]}  {finding.name}: {finding.said}")
            if finding.mend:
                click.echo(f"     -> {finding.mend}")
        wrong = sum(finding.ok is False for finding in found)
        click.echo("\nNothing is wrong" if healthy else "\nOne thing is wrong" if wrong == 1 else f"\n{wrong} things are wrong")
    if not healthy:
        raise click.exceptions.Exit(1)


_MARKS = {True: "ok   ", False: "WRONG", None: "?    "}


def _findings() -> list[Finding]:
    try:
        read = parts.settings()
    except ConfigurationError as error:
        return [Finding("settings", ok=False, said=str(error), mend="Set that variable to a value that it can have, or to nothing")]
    return [Finding("settings", ok=True, said="Every variable has a value that it can have"), *parts.run(examine(read))]
