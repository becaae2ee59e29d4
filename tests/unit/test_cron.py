"""Cron expressions: what is one, and why something is none."""

from __future__ import annotations

from typing import Any

import pytest

from bifrost import cron, workflow
from bifrost.errors import DefinitionError


@pytest.mark.parametrize("expression", [
    "0 9 * * 1", "*/5 * * * *", "0 0 1 1 *", "0 9-17/2 * * MON-FRI", "0 9 * jan,jul sun", "15,45 0 * * 0", "@daily", "@hourly", "@weekly",
    " 0  9 * * 1 ", "0 0 29 2 *", "0 9 * * wed", "0 9 * jul mon"])
def test_schedules(expression: str) -> None:
    """Five fields with steps, ranges, lists and names in either case, and the shorthands."""
    assert cron.fault(expression) is None


@pytest.mark.parametrize(("expression", "why"), [
    ("not a cron", "has 3 fields, not 5: minute hour day month weekday"), ("", "has 0 fields"), ("0 9 * * 1 2030", "has 6 fields"),
    ("60 9 * * 1", "Bad minute"), ("0 24 * * 1", "Bad hour"), ("0 9 0 * 1", "Bad day-of-month"), ("0 9 * 13 *", "Bad month"),
    ("0 9 * * 8", "Bad day-of-week"), ("0 9 * * MUN", "Bad day-of-week"), ("0 9 31 2 *", "never comes"), ("0 9 5-1 * *", "Bad day-of-month"),
    ("0 9 L * *", "uses 'L', which Temporal does not know"), ("0 9 * * MON#1", "uses '#'"), ("0 9 15W * *", "uses 'W'"),
    ("@monday", "is none of @yearly"), ("@reboot", "is none of"), (5, "is no text")])
def test_what_is_no_schedule(expression: Any, why: str) -> None:
    """The reason names the field, or what Temporal does not know."""
    assert why in str(cron.fault(expression))


def test_a_workflow_with_a_wrong_schedule_is_refused() -> None:
    """At decoration, with the workflow, the expression and the reason."""
    with pytest.raises(DefinitionError, match=r"The schedule of workflow 'audit' is no cron expression: '99 9 \* \* 1' never comes: Bad minute"):
        @workflow(name="audit", schedule="99 9 * * 1")
        async def audit(context: Any) -> None: ...
