"""What Temporal's core says of code that comes another way than a history, in words that a person understands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bifrost import messages

_SAID: Final = re.compile(r'Nondeterminism error: (.*?)(?:", source|$)')
_ID: Final = re.compile(r"Activity id of scheduled event '(.*?)' does not match activity id of activity command '(.*?)'")
_TYPE: Final = re.compile(r"Activity type of scheduled event '(.*?)' does not match activity type of activity command '(.*?)'")
_EVENT: Final = re.compile(r"HistoryEvent\(id: (\d+)")


def difference(events: Sequence[HistoryEvent], failure: str) -> str:
    """The first difference that a replay found; what core said, where it is none that is known.

    Args:
        events: The history that was replayed.
        failure: What `replay` says of it.
    """
    found = _SAID.search(failure)
    said = (found[1] if found else failure).replace("\\'", "'").rstrip(". ")
    if names := _TYPE.search(said):
        return f"where the execution called {names[1]}, it calls {names[2]}"
    if ids := _ID.search(said):
        passed = ids[2].removeprefix("checkpoint:")
        return f"where the execution {_of_activity(events, ids[1])}, it {'makes another call' if passed == ids[2] else f'passes checkpoint {passed}'}"
    if (at := _EVENT.search(said)) and (event := next((one for one in events if one.event_id == int(at[1])), None)):
        return f"where the execution {_of_event(event)} (event {event.event_id}), it does something else, or fails"
    return said


def _of_activity(events: Sequence[HistoryEvent], activity_id: str) -> str:
    """What the call of this number was."""
    return next((_of_event(event) for event in events if event.activity_task_scheduled_event_attributes.activity_id == activity_id),
                f"made call {activity_id}")


def _of_event(event: HistoryEvent) -> str:
    scheduled = event.activity_task_scheduled_event_attributes
    if scheduled.activity_type.name == messages.CHECKPOINT:
        return f"passed {scheduled.activity_id.replace(':', ' ', 1)}"
    if scheduled.activity_type.name:
        return f"called {scheduled.activity_type.name}"
    return f"came to '{EventType.Name(event.event_type).removeprefix('EVENT_TYPE_').replace('_', ' ').lower()}'"
