"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from bifrost.models import BYTES_KEY

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """The `--json` option, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def print_json(value: Any) -> None:
    """One JSON document on standard output, on one line."""
    click.echo(json.dumps(value, default=_otherwise, ensure_ascii=False))


def indented(value: Any) -> str:
    """JSON for people, on many lines."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_otherwise)


def _otherwise(value: Any) -> Any:
    if isinstance(value, bytes):
        return {BYTES_KEY: base64.b64encode(value).decode()}
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Columns as wide as their widest cell; the sentence `empty` where there are no rows."""
    if not rows:
        click.echo(empty)
        return
    cells = [[_cell(value) for value in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return time_of(value)
    return "-" if value is None or value == "" else str(value)


def error_lines(error: Mapping[str, Any]) -> list[str]:
    """An execution's error for people: type and message, then a line for each of its details."""
    details = [f"  {key}: {value}" for key, value in error["details"].items() if key != "errors"]
    return [f"{error['error']}: {error['message']}", *details]


def time_of(moment: datetime | None) -> str:
    """A moment, to the second, in UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def size_of(size: int | None) -> str:
    """A number of bytes as people say it: 340 B, 12.3 kB, 4.5 MB."""
    if size is None:
        return "-"
    for unit, bytes_of_it in (("MB", 1_000_000), ("kB", 1000)):
        if size >= bytes_of_it:
            return f"{size / bytes_of_it:.1f} {unit}"
    return f"{size} B"


def duration_of(milliseconds: float | None) -> str:
    """A duration as people say it: 340 ms, 12.3 s, 4 min 5 s."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} min {seconds} s"
