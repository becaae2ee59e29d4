"""Calls that were made within a step, as a history has them: Temporal records a marker for each local activity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import from_json
from temporalio.api.history.v1 import HistoryEvent

LOCAL_ACTIVITY: Final = "core_local_activity"
"""What the SDKs on Temporal's core call such a marker; `data` in its details says what ended, as JSON."""


@dataclass(frozen=True, slots=True)
class LocalActivity:
    """An end of a local activity.

    Attributes:
        name: Its type.
        started_at: When it was asked for.
        attempts: How many were begun.
        duration_ms: Until it ended, waits between attempts included; by two clocks, so 0 is less than a few milliseconds.
        error: Why it failed, or None.
        again: Whether the run waits, and tries it once more.
    """

    name: str
    started_at: datetime
    attempts: int
    duration_ms: int
    error: str | None
    again: bool


def local_activity(event: HistoryEvent) -> LocalActivity | None:
    """What the event tells, if it is such a marker."""
    marker = event.marker_recorded_event_attributes
    if marker.marker_name != LOCAL_ACTIVITY or not (told := marker.details["data"].payloads):
        return None
    said = from_json(told[0].data)
    written = event.event_time.ToDatetime(tzinfo=UTC)  # one that was cancelled before it began has no times
    began, ended = (_time(said[name]) or written for name in ("original_schedule_time", "complete_time"))
    return LocalActivity(
        name=said["activity_type"], started_at=began, attempts=said["attempt"], duration_ms=max(round((ended - began).total_seconds() * 1000), 0),
        error=marker.failure.message if marker.HasField("failure") else None, again=bool(said["backoff"]))


def _time(said: dict[str, Any] | None) -> datetime | None:
    return None if said is None else datetime.fromtimestamp(said["seconds"] + said["nanos"] / 1e9, UTC)
