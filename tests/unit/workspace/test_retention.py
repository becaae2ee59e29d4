"""Which revisions may go, and why the others stay."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from bifrost.workspace.retention import GRACE, Plan, Reason, plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _plan(ages: dict[str, float], *, current: str = "none", needed: frozenset[str] | set[str] = frozenset(), newest: int = 0,
          older_than: timedelta = timedelta(0)) -> Plan:
    """A plan for revisions that were put so many hours ago."""
    return plan({revision: NOW - timedelta(hours=age) for revision, age in ages.items()}, current=current, needed=needed,
                newest=newest, older_than=older_than, now=NOW)


def test_what_nobody_needs_goes() -> None:
    """The current one, those of open executions, the newest and the young stay, each with its reason."""
    ages = {"young": 0.5, "newest": 2, "old": 3, "current": 4, "open": 5, "older": 6}
    planned = _plan(ages, current="current", needed={"open"}, newest=2)
    assert planned.remove == ["old", "older"]
    assert planned.keep == {"young": Reason.NEWEST, "newest": Reason.NEWEST, "current": Reason.CURRENT, "open": Reason.OPEN}


def test_what_was_put_within_the_last_hour_stays() -> None:
    """Whatever is asked for: an execution that Temporal's index does not show yet may need it. So with clocks that differ."""
    assert timedelta(hours=1) == GRACE
    assert _plan({"future": -1, "now": 0, "young": 0.99, "old": 1}).keep == dict.fromkeys(("future", "now", "young"), Reason.RECENT)


def test_the_newest_are_counted_by_time() -> None:
    """Of those that stay anyway each counts: ten newest are ten revisions."""
    assert _plan({"a": 2, "b": 3, "c": 4}, newest=2, current="a", needed={"b"}).remove == ["c"]
    assert _plan({"a": 2, "b": 3}, newest=9).remove == []


def test_younger_than_asked_for_stays() -> None:
    """`older_than` makes the hour longer, never shorter."""
    assert _plan({"a": 23, "b": 25}, older_than=timedelta(days=1)).remove == ["b"]
    assert _plan({"a": 0.5}, older_than=timedelta(minutes=1)).remove == []


def test_nothing_that_must_stay_ever_goes() -> None:
    """Over many stores: removed and kept are all there are, and what is removed is none of those that must stay."""
    dice = random.Random(0)
    for _ in range(500):
        ages = {str(number): dice.uniform(-1, 50) for number in range(dice.randint(0, 12))}
        needed, newest = {one for one in ages if dice.random() < 0.3}, dice.randint(0, 5)
        planned = _plan(ages, current="3", needed=needed, newest=newest)
        assert sorted([*planned.remove, *planned.keep]) == sorted(ages)
        assert not {*needed, "3", *sorted(ages, key=lambda one: ages[one])[:newest]} & set(planned.remove)
        assert all(ages[one] >= 1 for one in planned.remove)
