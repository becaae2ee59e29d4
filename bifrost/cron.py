"""Cron expressions, as `@workflow(schedule=…)` takes them and Temporal Schedules understand them.

Temporal reads one almost as cron does: steps, ranges, lists and names are the same, Sunday is 0 or 7. What differs is met here:

* With both a day and a weekday, cron means either and Temporal both: `in_temporals_words` makes two expressions of such a one.
* `L`, `W`, `#` and `?` Temporal refuses, or takes for a comment: `fault` refuses them first.
* A time that a change of clocks leaves out does not come that day, and of one that it repeats Temporal takes either or both.

https://docs.temporal.io/schedule
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim, CronSimError

_SHORTHANDS = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
               "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}
_FIELDS = 5
_NOT_TEMPORALS = re.compile(r"[LW#?]", re.IGNORECASE)
_NAMES = re.compile(r"[A-Za-z]+")


def fault(expression: Any) -> str | None:
    """Why this is no schedule, or None if it is: five fields (minute, hour, day, month, weekday), or `@daily` and the like."""
    if not isinstance(expression, str):
        return f"{expression!r} is no text"
    if expression.strip().startswith("@"):
        known = expression.strip() in _SHORTHANDS
        return None if known else f"{expression!r} is none of {', '.join(_SHORTHANDS)}"
    fields = expression.split()
    if len(fields) != _FIELDS:
        return f'{expression!r} has {len(fields)} fields, not {_FIELDS}: minute hour day month weekday, such as "0 9 * * 1"'
    if odd := _NOT_TEMPORALS.search(_NAMES.sub(lambda name: "" if len(name[0]) > 1 else name[0], expression)):
        return f"{expression!r} uses '{odd[0]}', which Temporal does not know"
    try:
        next(CronSim(expression.upper(), datetime(2030, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        return f"{expression!r} never comes: {str(error) or 'there is no such day'}"
    return None


def zone_fault(name: Any) -> str | None:
    """Why this is no time zone, or None if it is one of the IANA database, such as `Europe/Berlin`.

    Where this system has no database at all, nothing is known here and nothing refused: Temporal's server has its own.
    """
    if not isinstance(name, str):
        return f"{name!r} is no text"
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return f"there is no time zone {name!r}; they are called such as 'Europe/Berlin' or 'UTC'" if _has_zones() else None
    return None


def _has_zones() -> bool:
    try:
        zoneinfo.ZoneInfo("Europe/London")
    except zoneinfo.ZoneInfoNotFoundError:
        return False
    return True


def in_temporals_words(expression: str) -> list[str]:
    """The expressions that together mean to Temporal what this one means to cron."""
    minute, hour, day, month, weekday = _SHORTHANDS.get(expression.strip(), expression).split()
    if day.startswith("*") or weekday.startswith("*"):
        return [f"{minute} {hour} {day} {month} {weekday}"]
    return [f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}"]


def next_times(expression: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The times after a moment, by the clock of the time zone; of those that the clock shows twice, the first.

    Raises:
        ZoneInfoNotFoundError: this system does not know the time zone.
    """
    zone = zoneinfo.ZoneInfo(timezone)
    # From a day before, whatever clocks may change by.
    since = after.astimezone(zone).replace(tzinfo=None) - timedelta(days=1)
    for wall in CronSim(_SHORTHANDS.get(expression.strip(), expression).upper(), since):
        moment = wall.replace(tzinfo=zone).astimezone(UTC)
        if moment > after and moment.astimezone(zone).replace(tzinfo=None) == wall:
            yield moment.astimezone(zone)
