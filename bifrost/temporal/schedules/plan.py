"""Which Temporal Schedules there should be, and what has to be done so that there are: pure, and printed before it is done.

There is one for each workflow with a schedule and each active organization that has not opted out, or one alone where the
workflow needs no organization. What a schedule was made from stands in it, as the comment of its times, which Temporal shows
in lists: so thousands are compared by listing them, and none has to be described.

A worker knows of its own revision only. Where something in the workspace cannot be loaded, the schedules of workflows that it
does not know stay: a broken file is no reason to end them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from bifrost import messages
from bifrost.errors import NotFoundError
from bifrost.models import Schedule, ScheduleOverride
from bifrost.organizations.base import OrganizationStore
from bifrost.workspace.catalog import Catalog

FORM: Final = "bifrost 1"
"""How every comment begins. The number counts forms of the schedules themselves: with another one, all are made anew."""
PAUSED_NOTE: Final = "paused by the organization's settings"
"""The note of a schedule that rests because a file says so; any other pause is an operator's, and is left alone."""
_SEPARATOR: Final = " | "


@dataclass(frozen=True, slots=True)
class Desired:
    """A schedule that there should be. `paused` says that it should rest; without it, an operator decides."""

    id: str
    workflow: str
    org_id: str | None
    timing: Schedule
    paused: bool = False

    @property
    def declared(self) -> str:
        """What the schedule is made from, as its comment says it; equal only if the schedule is."""
        timing = self.timing
        return _SEPARATOR.join((FORM, f"cron {timing.cron}", f"timezone {timing.timezone}", f"overlap {timing.overlap}",
                                f"catchup_seconds {timing.catchup_seconds:.12g}", f"jitter_seconds {timing.jitter_seconds:.12g}"))


@dataclass(frozen=True, slots=True)
class Actual:
    """A schedule that there is, as Temporal lists it. `declared` is empty where somebody has changed its times by hand."""

    id: str
    workflow: str
    org_id: str | None
    declared: str
    paused: bool
    note: str | None = None
    next_times: Sequence[datetime] = ()
    last_time: datetime | None = None

    def said(self, key: str) -> str | None:
        """What the schedule was made with: its `cron`, `timezone` and so on."""
        return _said(self.declared).get(key)


@dataclass(frozen=True, slots=True)
class Change:
    """Something to be done. `why` is a phrase; `desired` is None where a schedule goes."""

    kind: Literal["create", "update", "delete"]
    id: str
    workflow: str
    org_id: str | None
    why: str
    desired: Desired | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.why}"


def desired(catalog: Catalog, organizations: OrganizationStore, task_queue: str) -> list[Desired]:
    """The schedules that this workspace and these organizations ask for, in the order of their ids.

    Raises:
        ConfigurationError: the organizations cannot be read.
    """
    active = [organization for organization in organizations.all() if organization.active]
    found = []
    for entry in catalog.workflows.values():
        metadata = entry.metadata
        if (timing := metadata.timing) is None:
            continue
        name = metadata.name
        wanted: Iterable[tuple[str | None, Mapping[str, ScheduleOverride]]] = (
            [(one.id, one.schedules) for one in active] if metadata.requires_org else [(None, organizations.global_schedules())])
        for org_id, overrides in wanted:
            override = overrides.get(name, ScheduleOverride())
            if timing.enabled if override.enabled is None else override.enabled:
                found.append(Desired(messages.schedule_id(task_queue, name, org_id), name, org_id, override.applied_to(timing),
                                     bool(override.paused)))
    return sorted(found, key=lambda one: one.id)


def unknown_names(catalog: Catalog, organizations: OrganizationStore) -> list[str]:
    """A sentence for each thing that is said of the schedule of a workflow that has none, or that there is not."""
    known = {name for name, entry in catalog.workflows.items() if entry.metadata.schedule}
    expected = known.union(*(failure.workflows for failure in catalog.failures))
    everybodys = organizations.global_schedules()
    places = [("all organizations", everybodys)] + [
        (f"organization '{one.id}'", {name: said for name, said in one.schedules.items() if name not in everybodys})
        for one in organizations.all()]
    return [f"The schedules of {place}: {NotFoundError.of('Scheduled workflow', name, known)}"
            for place, overrides in places for name in overrides if name not in expected]


def why_gone(catalog: Catalog, organizations: OrganizationStore) -> Callable[[Actual], str | None]:
    """What says of a schedule why nothing asks for it any more, as a phrase; None where that cannot be known and it stays."""
    active = {organization.id: organization.active for organization in organizations.all()}

    def why(one: Actual) -> str | None:
        entry = catalog.workflows.get(one.workflow)
        if entry is None:
            return None if catalog.failures else f"there is no workflow '{one.workflow}' any more"
        if entry.metadata.schedule is None:
            return f"the workflow '{one.workflow}' has no schedule any more"
        if entry.metadata.requires_org == (one.org_id is None):
            return f"the workflow '{one.workflow}' {'needs an organization' if one.org_id is None else 'needs no organization any more'}"
        if one.org_id is not None and one.org_id not in active:
            return f"there is no organization '{one.org_id}' any more"
        if one.org_id is not None and not active[one.org_id]:
            return f"organization '{one.org_id}' is inactive"
        return "it is not enabled"

    return why


def plan(wanted: Iterable[Desired], actual: Iterable[Actual], gone: Callable[[Actual], str | None]) -> list[Change]:
    """What has to be done, in the order of the ids.

    Args:
        wanted: What there should be.
        actual: What there is.
        gone: Says why nothing asks for a schedule any more; None where it is to stay.
    """
    there = {one.id: one for one in actual}
    changes = []
    for one in wanted:
        before = there.pop(one.id, None)
        if before is None:
            changes.append(Change("create", one.id, one.workflow, one.org_id, str(one.timing), one))
        elif why := _difference(before, one):
            changes.append(Change("update", one.id, one.workflow, one.org_id, why, one))
    changes += [Change("delete", one.id, one.workflow, one.org_id, reason) for one in there.values() if (reason := gone(one))]
    return sorted(changes, key=lambda change: change.id)


def rests(one: Desired, *, paused: bool, note: str | None) -> tuple[bool, str | None]:
    """Whether the schedule is to be paused, and with which note, by how it is now: an operator's word stays."""
    if one.paused:
        return True, note if paused else PAUSED_NOTE
    return (False, None) if paused and note == PAUSED_NOTE else (paused, note)


def _difference(actual: Actual, one: Desired) -> str:
    """What is different, as a phrase; empty where nothing is."""
    phrases = []
    if actual.declared != one.declared:
        before, after = _said(actual.declared), _said(one.declared)
        phrases = [f"{key} {before[key]} becomes {value}" for key, value in after.items() if before.get(key, value) != value]
        phrases = phrases or ["it has an older form" if actual.declared.startswith(FORM.split()[0]) else "somebody has changed it"]
    pause, _ = rests(one, paused=actual.paused, note=actual.note)
    if pause != actual.paused:
        phrases.append("it is to be paused" if pause else "it is to go on")
    return ", ".join(phrases)


def _said(declared: str) -> dict[str, str]:
    return {key: value for part in declared.split(_SEPARATOR)[1:] for key, _, value in (part.partition(" "),)}
