"""Cron expressions, as `@workflow(schedule=…)` takes them and Temporal Schedules understand them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim, CronSimError

_SHORTHANDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
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
