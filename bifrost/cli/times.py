"""Moments and durations as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"(?:\d+[wdhms])+")


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def moment(text: str, option: str) -> datetime:
    """A moment in ISO 8601 with its offset, in UTC.

    Raises:
        BadParameter: it is none, or has no offset.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        why = "is no time" if read is None else "does not say by which clock"
        raise click.BadParameter(f"'{text}' {why}: write it like 2026-12-01T09:00+01:00, or with Z for UTC", param_hint=option)
    return read.astimezone(UTC)


def duration(text: str, option: str) -> timedelta:
    """A duration such as `2h30m`, of weeks, days, hours, minutes and seconds.

    Raises:
        BadParameter: it is none.
    """
    if not _DURATION.fullmatch(text):
        raise click.BadParameter(f"'{text}' is no duration: write it like 2h30m, 90s or 7d (w, d, h, m, s)", param_hint=option)
    return sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in re.findall(r"(\d+)([wdhms])", text)), timedelta(0))
