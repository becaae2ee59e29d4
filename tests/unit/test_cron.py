"""Cron expressions: what is one, and why something is none."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from bifrost import Schedule, cron, workflow
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


def test_either_a_day_or_a_weekday() -> None:
    """Where both are given cron means either, and Temporal is told so; where one of them is any, both."""
    assert cron.in_temporals_words("0 9 1 * mon") == ["0 9 1 * *", "0 9 * * mon"]
    assert cron.in_temporals_words("0 9 */2 * mon") == ["0 9 */2 * mon"]
    assert cron.in_temporals_words(" @weekly") == ["0 0 * * 0"]


@pytest.mark.parametrize(("expression", "after", "expected"), [
    ("30 2 * * *", "2031-03-29T12:00Z", ["03-31T02:30+02:00", "04-01T02:30+02:00"]),
    ("30 2 * * *", "2031-10-25T12:00Z", ["10-26T02:30+02:00", "10-27T02:30+01:00"]),
    ("0 9 * * 1", "2031-03-24T08:00Z", ["03-31T09:00+02:00", "04-07T09:00+02:00"]),
    ("@hourly", "2031-03-30T00:10Z", ["03-30T03:00+02:00", "03-30T04:00+02:00"])])
def test_next_times_by_a_clock(expression: str, after: str, expected: list[str]) -> None:
    """Berlin's clock leaves out two o'clock in spring; of those that it shows twice in autumn the first is told."""
    found = islice(cron.next_times(expression, "Europe/Berlin", datetime.fromisoformat(after)), len(expected))
    assert [moment.isoformat(timespec="minutes").removeprefix("2031-") for moment in found] == expected


def test_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the IANA database; without one on this system nothing is refused, because Temporal has its own."""
    assert (cron.zone_fault("Europe/Berlin"), cron.zone_fault("UTC")) == (None, None)
    assert all("there is no time zone" in str(cron.zone_fault(name)) for name in ("Europe/Berlim", "../etc", ""))
    assert cron.zone_fault(2) == "2 is no text"

    def none(key: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", none)
    assert cron.zone_fault("Europe/Berlim") is None
    with pytest.raises(zoneinfo.ZoneInfoNotFoundError):
        next(cron.next_times("@daily", "Europe/Berlin", datetime(2030, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize(("schedule", "why"), [
    (Schedule("0 9 * *"), "is no cron expression: '0 9 \\* \\*' has 4 fields"), (Schedule("@daily", timezone="CET/Berlin"), "has no time zone: there is"),
    (Schedule("@daily", overlap="both"), "has an unknown overlap 'both'; known: skip, buffer_one"),
    (Schedule("@daily", catchup_seconds=5), "needs catchup_seconds to be a number from 10"),
    (Schedule("@daily", jitter_seconds=-1), "needs jitter_seconds to be a number from 0"),
    (Schedule("@daily", jitter_seconds="1 h"), "needs jitter_seconds")])  # type: ignore[arg-type]
def test_a_schedule_that_cannot_be_is_refused(schedule: Schedule, why: str) -> None:
    """At decoration, with file, line and the field that is to blame."""
    with pytest.raises(DefinitionError, match=rf"test_cron.py:\d+: The schedule of workflow 'audit' {why}"):
        @workflow(name="audit", schedule=schedule)
        async def audit(context: Any) -> None: ...


def test_a_schedule_is_recorded_as_it_was_written() -> None:
    """A text stays one; whole, it has the defaults."""
    @workflow(name="audit", schedule="0 9 * * 1")
    async def audit(context: Any) -> None: ...

    @workflow(name="once", schedule=(said := Schedule("@daily", timezone="Europe/Berlin", enabled=False)))
    async def once(context: Any) -> None: ...

    plain, whole = audit._workflow_metadata, once._workflow_metadata  # type: ignore[attr-defined]
    assert (plain.schedule, plain.timing, str(plain.timing)) == ("0 9 * * 1", Schedule("0 9 * * 1"), "0 9 * * 1")
    assert (whole.schedule, whole.timing, str(whole.timing)) == (said, said, "@daily Europe/Berlin")


def test_a_workflow_with_a_wrong_schedule_is_refused() -> None:
    """At decoration, with the workflow, the expression and the reason."""
    with pytest.raises(DefinitionError, match=r"The schedule of workflow 'audit' is no cron expression: '99 9 \* \* 1' never comes: Bad minute"):
        @workflow(name="audit", schedule="99 9 * * 1")
        async def audit(context: Any) -> None: ...
