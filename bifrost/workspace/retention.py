"""Which revisions may go: what pruning removes, and why it leaves the others."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

GRACE: Final = timedelta(hours=1)
"""A revision that was put less than this ago is never removed.

Temporal's index follows an execution about a second behind, so one that has just begun may need a revision that nobody is
seen to need. But it began with what a worker serves, and a worker puts that again every few minutes.
"""


class Reason(StrEnum):
    """Why a revision stays. The first that applies is the one that is told."""

    CURRENT = "it is the workspace as it is now"
    OPEN = "an open execution needs it"
    NEWEST = "it is one of the newest"
    RECENT = "it was put not long ago"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with each revision, the newest first."""

    remove: Sequence[str]
    keep: Mapping[str, Reason]


def plan(times: Mapping[str, datetime], *, current: str, needed: Container[str], newest: int, older_than: timedelta,
         now: datetime) -> Plan:
    """Decide which revisions may go.

    Args:
        times: When each revision was put last.
        current: The revision of the workspace as it is now.
        needed: The revisions of open executions. They must have been asked for before `times`: whatever began since then
            began with a revision that was put not long ago.
        newest: How many of the newest stay.
        older_than: Those that were put less long ago than this stay; `GRACE` where it is shorter.
        now: The time.
    """
    ordered = sorted(times, key=lambda revision: (times[revision], revision), reverse=True)
    since = now - max(older_than, GRACE)

    def reason(place: int, revision: str) -> Reason | None:
        if revision == current:
            return Reason.CURRENT
        if revision in needed:
            return Reason.OPEN
        if place < newest:
            return Reason.NEWEST
        return Reason.RECENT if times[revision] > since else None

    reasons = {revision: reason(place, revision) for place, revision in enumerate(ordered)}
    return Plan([revision for revision, why in reasons.items() if why is None],
                {revision: why for revision, why in reasons.items() if why is not None})
