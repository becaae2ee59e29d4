"""What a test may look at afterwards. Each is a named tuple, so that a plain tuple equals it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Call(NamedTuple):
    """A call that was made.

    Attributes:
        name: `<integration>.<method>`, the name of an `@activity`, or `workflow <name>`.
        arguments: By name, as they reached the other side; those without a name are a list under `*`.
    """

    name: str
    arguments: dict[str, Any]


class Checkpoint(NamedTuple):
    """A checkpoint that was passed, with its data as it is written down: sensitive values hidden, long ones cut."""

    name: str
    data: Any


class LogEntry(NamedTuple):
    """A line of the log, with its data as it is written down."""

    level: str
    message: str
    data: Any
