"""Tells what the demo does as it happens, one line for each step, and keeps record of what was checked."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from bifrost.errors import WorkflowException
from bifrost.temporal.history import Execution

_GREEN, _RED, _DIM, _BOLD, _PLAIN = (f"\033[{code}m" for code in (32, 31, 2, 1, 0))


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done or checked, and when: in seconds from the beginning."""

    what: str
    at: float


class Narrator:
    """Writes steps to a stream; in colour on a terminal, unless NO_COLOR is set (https://no-color.org).

    Attributes:
        steps: What was told so far.
    """

    def __init__(self, out: TextIO) -> None:
        self.steps: list[Step] = []
        self._out = out
        self._colour = out.isatty() and not os.environ.get("NO_COLOR")
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        """A heading, with a line before it unless it is the first."""
        self._write(("\n" if self.steps else "") + self._in(_BOLD, text))

    def step(self, what: str) -> None:
        """Something was done, or found to be as it should."""
        step = Step(what, round(time.monotonic() - self._began, 3))
        self.steps.append(step)
        self._write(f"{self._in(_GREEN, '✓')} {self._in(_DIM, f'{step.at:5.1f} s')}  {what}")

    def check(self, what: str, found: Any, expected: Any = True) -> None:
        """Tell that something is as it should, or tell that it is not and end there.

        Raises:
            WorkflowException: of type DemoFailed: `found` is not what was expected.
        """
        if found == expected:
            self.step(what)
            return
        self._write(f"{self._in(_RED, '✗')}          {what}")
        raise WorkflowException(f"This was to be seen, and was not: {what}. Expected {expected!r}, found {found!r}",
                                error_type="DemoFailed")

    def timeline(self, execution: Execution) -> None:
        """The execution's calls and checkpoints, in the order in which they began."""
        for row in _columns(timeline(execution)):
            self._write(f"  {row}")

    def note(self, text: str) -> None:
        """Something to know, in a paragraph of its own."""
        self._write(f"\n{text}")

    def _in(self, style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if self._colour else text

    def _write(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def timeline(execution: Execution) -> list[dict[str, Any]]:
    """Checkpoints and calls in the order in which they began, as JSON; `at` counts seconds from the execution's start."""
    rows: list[tuple[datetime, dict[str, Any]]] = [
        (one.at, {"kind": "checkpoint", "name": one.name}) for one in execution.checkpoints]
    rows += [(one.started_at, {"kind": "call", "name": one.name, "attempts": one.attempts, "status": one.status,
                               "duration_ms": one.duration_ms}) for one in execution.calls]
    rows.sort(key=lambda row: row[0])
    return [{"at": round((at - execution.started_at).total_seconds(), 3), **row} for at, row in rows]


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    width = max((len(row["name"]) for row in rows), default=0)
    lines = []
    for row in rows:
        line = f"{row['at']:+6.2f} s  {row['kind']:<10}  {row['name']:<{width}}"
        if row["kind"] == "call":
            attempts = f"{row['attempts']} attempt{'' if row['attempts'] == 1 else 's'}"
            took = "" if row["duration_ms"] is None else f"{row['duration_ms'] / 1000:.2f} s"
            line += f"  {attempts:<10}  {took:>7}  {row['status']}"
        lines.append(line.rstrip())
    return lines
