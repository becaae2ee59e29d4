"""The schedules that Temporal has: listed, brought in line with what is wanted, and worked by hand.

Several workers do so at once, each by itself: what another has just made or taken away is no error, and the same schedule
made twice is the same schedule. Ours are those whose id and search attribute `BifrostOrg` say the same organization, on this
task queue; others are never touched.

The server's index follows within a second or so: a list may miss what has just been made, and making it again does nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleListActionStartWorkflow,
    ScheduleListDescription,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from bifrost import cron, messages
from bifrost.errors import ConfigurationError, NotFoundError, WorkflowException
from bifrost.messages import CallerMessage, StartMessage
from bifrost.models import SCHEDULER
from bifrost.organizations.base import OrganizationStore
from bifrost.temporal import attributes
from bifrost.temporal import client as executions
from bifrost.temporal.payloads.encryption import owned_by
from bifrost.temporal.schedules import plan as schedules
from bifrost.temporal.schedules.plan import Actual, Change, Desired
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.live import Workspace

T = TypeVar("T")
_log = structlog.stdlib.get_logger("bifrost.worker")

AT_ONCE: Final = 20
"""How many schedules are changed at once."""
PAGE: Final = 1000
"""How many schedules are read at once."""
LOOK_SECONDS: Final = 2.0
"""How often a worker looks whether its workspace or its organizations have changed."""
ANYWAY_SECONDS: Final = 600.0
"""How often a worker compares its schedules although nothing that it knows of has changed."""
AGAIN_SECONDS: Final = 30.0
"""How long a worker waits after it could not bring its schedules in line."""
_SHOWN: Final = 5


async def list_schedules(client: Client, task_queue: str, *, workflow: str | None = None, org_id: str | None = None) -> list[Actual]:
    """Bifrost's schedules on a task queue, in the order of their ids.

    Args:
        client: Made by `client.connect`.
        task_queue: Where workers serve what the schedules start.
        workflow: Only those of this workflow.
        org_id: Only those of this organization.

    Raises:
        ConfigurationError: Temporal refuses.
    """
    try:
        listed = [_actual(one, task_queue) async for one in await client.list_schedules(page_size=PAGE)]
    except RPCError as error:
        raise ConfigurationError(f"Temporal refuses to list the schedules of namespace '{client.namespace}': {error}") from error
    found = [one for one in listed if one and workflow in (None, one.workflow) and org_id in (None, one.org_id)]
    return sorted(found, key=lambda one: one.id)


def _actual(listed: ScheduleListDescription, task_queue: str) -> Actual | None:
    """A schedule as it is listed, or None if it is not ours."""
    scope = listed.typed_search_attributes.get(attributes.ORG)
    schedule, info = listed.schedule, listed.info
    if scope is None or schedule is None or info is None or not isinstance(schedule.action, ScheduleListActionStartWorkflow):
        return None
    workflow, org_id = schedule.action.workflow, None if scope == messages.GLOBAL_SCOPE else scope
    if listed.id != messages.schedule_id(task_queue, workflow, org_id):
        return None
    last = [result.scheduled_at for result in info.recent_actions]
    return Actual(listed.id, workflow, org_id, declared=next((one.comment for one in schedule.spec.calendars if one.comment), ""),
                  paused=schedule.state.paused, note=schedule.state.note or None, next_times=tuple(info.next_action_times),
                  last_time=max(last, default=None))


async def proposed(client: Client, catalog: Catalog, organizations: OrganizationStore, task_queue: str) -> list[Change]:
    """What `apply` would have to do now.

    Raises:
        ConfigurationError: Temporal refuses, or the organizations cannot be read.
    """
    actual = await list_schedules(client, task_queue)
    return schedules.plan(schedules.desired(catalog, organizations, task_queue), actual, schedules.why_gone(catalog, organizations))


async def apply(client: Client, changes: Iterable[Change], task_queue: str, progress: Callable[[Change], None] = lambda _: None) -> None:
    """Do what a plan says, many things at once; one that fails keeps no other from being done.

    Args:
        client: Made by `client.connect`.
        changes: The plan.
        task_queue: Where workers serve what the schedules start.
        progress: Told of each change that was done.

    Raises:
        ConfigurationError: some could not be done; names the first of them.
    """
    failed: list[str] = []
    waiting = iter(list(changes))

    async def work() -> None:
        for change in waiting:
            try:
                await _CHANGES[change.kind](client, change, task_queue)
            except (RPCError, WorkflowException) as error:
                failed.append(f"{change.kind} {change.id}: {error}")
            else:
                progress(change)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    if failed:
        more = [f"... and {len(failed) - _SHOWN} more"] if len(failed) > _SHOWN else []
        raise ConfigurationError("\n".join([f"{len(failed)} schedules could not be brought in line:", *sorted(failed)[:_SHOWN], *more]))


async def _create(client: Client, change: Change, task_queue: str) -> None:
    one = _needed(change)
    paused, note = schedules.rests(one, paused=False, note=None)
    known = TypedSearchAttributes([SearchAttributePair(attributes.ORG, one.org_id or messages.GLOBAL_SCOPE)])
    try:
        with owned_by(one.org_id):
            await client.create_schedule(one.id, _schedule(one, task_queue, ScheduleState(paused=paused, note=note)),
                                         search_attributes=known)
    except ScheduleAlreadyRunningError:
        _log.debug("another worker was quicker", schedule=one.id)


async def _update(client: Client, change: Change, task_queue: str) -> None:
    one = _needed(change)

    def changed(given: ScheduleUpdateInput) -> ScheduleUpdate:
        before = given.description.schedule.state
        paused, note = schedules.rests(one, paused=before.paused, note=before.note)
        return ScheduleUpdate(_schedule(one, task_queue, replace(before, paused=paused, note=note)))

    with owned_by(one.org_id):
        await _unless_gone(client.get_schedule_handle(one.id).update(changed))


async def _delete(client: Client, change: Change, task_queue: str) -> None:
    del task_queue
    await _unless_gone(client.get_schedule_handle(change.id).delete())


_CHANGES: Final[dict[str, Callable[[Client, Change, str], Any]]] = {"create": _create, "update": _update, "delete": _delete}


async def _unless_gone(work: Any) -> None:
    try:
        await work
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


def _needed(change: Change) -> Desired:
    assert change.desired is not None, "only what goes has none"
    return change.desired


def _schedule(one: Desired, task_queue: str, state: ScheduleState) -> Schedule:
    timing = one.timing
    start = StartMessage(org_id=one.org_id, caller=CallerMessage(user_id=SCHEDULER.user_id, name=SCHEDULER.name), via="schedule")
    known = TypedSearchAttributes([SearchAttributePair(attributes.ORG, one.org_id)] if one.org_id else [])
    return Schedule(
        # With a summary but no details `temporal schedule describe` fails, so both are given.
        action=ScheduleActionStartWorkflow(
            one.workflow, start.model_dump(exclude_none=True), id=one.id, task_queue=task_queue, typed_search_attributes=known,
            static_summary=executions.summary(one.workflow, one.org_id), static_details=f"Started by its schedule: {timing}",
            priority=executions.fairness(one.org_id)),
        spec=ScheduleSpec(cron_expressions=[f"{expression} # {one.declared}" for expression in cron.in_temporals_words(timing.cron)],
                          time_zone_name=timing.timezone,
                          jitter=timedelta(seconds=timing.jitter_seconds) if timing.jitter_seconds else None),
        policy=SchedulePolicy(overlap=_policy(timing.overlap) or ScheduleOverlapPolicy.SKIP,
                              catchup_window=timedelta(seconds=timing.catchup_seconds)),
        state=state)


async def keep_in_line(client: Client, workspace: Workspace, organizations: OrganizationStore, task_queue: str, *,
                       look_seconds: float = LOOK_SECONDS, again_seconds: float = AGAIN_SECONDS,
                       anyway_seconds: float = ANYWAY_SECONDS) -> None:
    """Bring the schedules in line now, whenever the workspace or the organizations have changed, and now and then; endless.

    What goes wrong is logged and tried again: a worker's executions do not depend on it. Now and then, because a worker that
    still has the workspace of before may have had the last word.
    """
    seen: tuple[Any, ...] = ()
    due = time.monotonic()
    while True:
        wait = look_seconds
        try:
            now = workspace.catalog, organizations.all(), organizations.global_schedules()
            if time.monotonic() >= due or any(one is not before for one, before in zip(now, seen, strict=True)):
                await _bring_in_line(client, now[0], organizations, task_queue)
                seen, due = now, time.monotonic() + anyway_seconds
        except Exception as error:  # noqa: BLE001 - whatever it is, executions go on
            _log.warning("schedules cannot be brought in line", reason=str(error), next_try_seconds=again_seconds)
            wait = again_seconds
        await asyncio.sleep(wait)


async def _bring_in_line(client: Client, catalog: Catalog, organizations: OrganizationStore, task_queue: str) -> None:
    for sentence in schedules.unknown_names(catalog, organizations):
        _log.warning("an organization's schedule means nothing", reason=sentence)
    changes = await proposed(client, catalog, organizations, task_queue)
    if changes:
        await apply(client, changes, task_queue)
        _log.info("schedules brought in line", **{kind: sum(one.kind == kind for one in changes) for kind in _CHANGES})


# --- by hand ------------------------------------------------------------------------------------------------------------


async def describe(client: Client, schedule_id: str) -> ScheduleDescription:
    """A schedule, whole.

    Raises:
        NotFoundError: it has gone.
    """
    return await _of(schedule_id, client.get_schedule_handle(schedule_id).describe())


async def pause(client: Client, schedule_id: str, note: str) -> None:
    """Let a schedule rest until somebody resumes it; no sync does."""
    await _of(schedule_id, client.get_schedule_handle(schedule_id).pause(note=note))


async def resume(client: Client, schedule_id: str, note: str) -> None:
    """Let a schedule go on."""
    await _of(schedule_id, client.get_schedule_handle(schedule_id).unpause(note=note))


async def trigger(client: Client, schedule_id: str, overlap: str | None = None) -> None:
    """Start an execution now, also where the schedule is paused. `overlap` is as `Schedule.overlap`; the schedule's own by default."""
    await _of(schedule_id, client.get_schedule_handle(schedule_id).trigger(overlap=_policy(overlap)))


async def backfill(client: Client, schedule_id: str, since: datetime, until: datetime, overlap: str | None = None) -> None:
    """Start the executions that the schedule has for a time that is over, or that it was not there yet.

    Args:
        client: Made by `client.connect`.
        schedule_id: Its id.
        since: The first moment.
        until: The last one.
        overlap: As `Schedule.overlap`; the schedule's own by default.
    """
    # Temporal leaves out the moment that a range starts with.
    span = ScheduleBackfill(since - timedelta(microseconds=1), until, _policy(overlap))
    await _of(schedule_id, client.get_schedule_handle(schedule_id).backfill(span))


async def delete(client: Client, schedule_id: str) -> None:
    """Take a schedule away; executions that it started stay. A sync makes it again while it is asked for."""
    await _of(schedule_id, client.get_schedule_handle(schedule_id).delete())


def _policy(overlap: str | None) -> ScheduleOverlapPolicy | None:
    return ScheduleOverlapPolicy[overlap.upper()] if overlap else None


async def _of(schedule_id: str, work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise NotFoundError(f"Schedule '{schedule_id}' not found", kind="schedule", name=schedule_id, near=[]) from error
        raise ConfigurationError(f"Temporal refused: {error}") from error


def chosen(found: Sequence[Actual], *, schedule: str | None = None, workflow: str | None = None, org_id: str | None = None) -> list[Actual]:
    """The schedules that a person names, by id (with or without its task queue), workflow or organization.

    Raises:
        NotFoundError: there is none; names similar ones.
    """
    for kind, name, names in (("Schedule", schedule, _ids), ("Scheduled workflow", workflow, lambda one: (one.workflow,)),
                              ("Organization with a schedule", org_id, lambda one: (one.org_id or messages.GLOBAL_SCOPE,))):
        if name is not None:
            known = [of_one for one in found for of_one in names(one)]
            found = [one for one in found if name in names(one)]
            if not found:
                raise NotFoundError.of(kind, name, dict.fromkeys(known))
    return list(found)


def _ids(one: Actual) -> tuple[str, ...]:
    return f"{one.workflow}/{one.org_id or messages.GLOBAL_SCOPE}", one.id
