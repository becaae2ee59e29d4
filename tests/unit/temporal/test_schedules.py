"""Which schedules there should be, and the plan that leads there: without any server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bifrost.models import Organization, Schedule, ScheduleOverride, SourceLocation, WorkflowMetadata
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.temporal.schedules import plan as schedules
from bifrost.temporal.schedules.plan import PAUSED_NOTE, Actual, Desired, desired, plan, unknown_names, why_gone
from bifrost.workspace.catalog import Catalog, Failure, WorkflowEntry

WEEKLY = Schedule("0 9 * * 1")


def _catalog(*workflows: tuple[str, Any], failures: tuple[Failure, ...] = (), **more: Any) -> Catalog:
    return Catalog("r", {name: WorkflowEntry(WorkflowMetadata(name, "", lambda: None, SourceLocation("a.py", 1), schedule=schedule, **more),
                                             "a.py") for name, schedule in workflows}, failures=failures)


def _organizations(everybodys: dict[str, ScheduleOverride] | None = None, **schedules: dict[str, ScheduleOverride]) -> MemoryOrganizations:
    return MemoryOrganizations([Organization(org_id, org_id.title(), schedules=said) for org_id, said in schedules.items()]
                               + [Organization("initech", "Initech", active=False)], {}, everybodys)


def _as_made(one: Desired, **more: Any) -> Actual:
    """The schedule as Temporal would list it."""
    return replace(Actual(one.id, one.workflow, one.org_id, one.declared, paused=one.paused, note=PAUSED_NOTE if one.paused else None), **more)


def test_one_for_each_organization_that_has_not_opted_out() -> None:
    """Active organizations have one each, with their own cron, zone and pause; off by default, one has it that asks for it."""
    catalog = _catalog(("audit", WEEKLY), ("rare", Schedule("@yearly", enabled=False)), ("plain", None))
    organizations = _organizations(
        acme={"audit": ScheduleOverride("0 6 * * 1", "Europe/Berlin", paused=True)}, globex={"audit": ScheduleOverride(enabled=False)},
        hooli={"rare": ScheduleOverride(enabled=True)})
    found = desired(catalog, organizations, "bifrost")
    assert [(one.id, str(one.timing), one.paused) for one in found] == [
        ("bifrost/audit/acme", "0 6 * * 1 Europe/Berlin", True), ("bifrost/audit/hooli", "0 9 * * 1", False),
        ("bifrost/rare/hooli", "@yearly", False)]


def test_what_a_schedule_is_made_from_is_told_exactly() -> None:
    """Two that differ in anything are told apart, also where the numbers are long."""
    one = Desired("q/audit/acme", "audit", "acme", replace(WEEKLY, catchup_seconds=1_234_567, jitter_seconds=0.5))
    assert one.declared == "bifrost 1 | cron 0 9 * * 1 | timezone UTC | overlap skip | catchup_seconds 1234567 | jitter_seconds 0.5"


def test_one_alone_without_organizations() -> None:
    """A workflow that needs no organization has one schedule, of which `global` may say something."""
    organizations = _organizations({"audit": ScheduleOverride(timezone="Asia/Tokyo")}, acme={}, globex={})
    [one] = desired(_catalog(("audit", "@daily"), requires_org=False), organizations, "queue")
    assert (one.id, one.org_id, str(one.timing)) == ("queue/audit/GLOBAL", None, "@daily Asia/Tokyo")


def test_what_is_said_of_no_schedule_is_told() -> None:
    """A wrong name, with the near ones; once where it is said for all, and not where the workflow only could not be loaded."""
    catalog = _catalog(("audit", WEEKLY), ("plain", None), failures=(Failure("b.py", 1, "broken", ("broken",)),))
    everybodys = {"audits": ScheduleOverride(paused=True)}
    organizations = _organizations(everybodys, acme={**everybodys, "plain": ScheduleOverride(), "broken": ScheduleOverride()})
    assert unknown_names(catalog, organizations) == [
        "The schedules of all organizations: Scheduled workflow 'audits' not found. Did you mean 'audit'?",
        "The schedules of organization 'acme': Scheduled workflow 'plain' not found."]


@pytest.mark.parametrize(("workflow", "org_id", "why"), [
    ("gone", "acme", "there is no workflow 'gone' any more"), ("plain", "acme", "the workflow 'plain' has no schedule any more"),
    ("audit", None, "the workflow 'audit' needs an organization"), ("audit", "umbrella", "there is no organization 'umbrella' any more"),
    ("audit", "initech", "organization 'initech' is inactive"), ("audit", "acme", "it is not enabled")])
def test_why_a_schedule_goes(workflow: str, org_id: str | None, why: str) -> None:
    """The plan says what is missing."""
    one = Actual(f"q/{workflow}/{org_id}", workflow, org_id, "", paused=False)
    gone = why_gone(_catalog(("audit", WEEKLY), ("plain", None)), _organizations(acme={}))
    assert [str(change) for change in plan([], [one], gone)] == [f"delete {one.id}: {why}"]


def test_a_broken_file_ends_no_schedule() -> None:
    """While something cannot be loaded, a schedule stays whose workflow is not known; others go."""
    catalog = _catalog(("audit", WEEKLY), failures=(Failure("b.py", 1, "broken"),))
    there = [Actual(f"q/{name}/hooli", name, "hooli", "", paused=False) for name in ("audit", "gone")]
    assert [change.id for change in plan([], there, why_gone(catalog, _organizations(acme={})))] == ["q/audit/hooli"]


def test_the_plan_is_the_difference() -> None:
    """What is missing is made, what differs is changed with the reason, what is as it should be is left alone."""
    new, same, other, touched, older = (Desired(f"q/{name}/acme", name, "acme", WEEKLY) for name in ("new", "same", "other", "touched", "older"))
    there = [_as_made(same), _as_made(replace(other, timing=Schedule("0 6 * * 1", "Asia/Tokyo", "allow_all"))),
             _as_made(touched, declared=""), _as_made(older, declared=older.declared.replace(schedules.FORM, "bifrost 0"))]
    changes = plan([older, touched, other, same, new], there, lambda _: None)
    assert [str(change) for change in changes] == [
        "create q/new/acme: 0 9 * * 1", "update q/older/acme: it has an older form",
        "update q/other/acme: cron 0 6 * * 1 becomes 0 9 * * 1, timezone Asia/Tokyo becomes UTC, overlap allow_all becomes skip",
        "update q/touched/acme: somebody has changed it"]
    assert [change.desired for change in changes] == [new, older, other, touched]


@pytest.mark.parametrize(("wanted", "paused", "note", "why", "then"), [
    (False, True, "an operator's", "", (True, "an operator's")), (True, False, None, "it is to be paused", (True, PAUSED_NOTE)),
    (False, True, PAUSED_NOTE, "it is to go on", (False, None)), (True, True, "an operator's", "", (True, "an operator's")),
    (False, False, "an operator's", "", (False, "an operator's"))])
def test_whose_pause_it_is(wanted: bool, paused: bool, note: str | None, why: str, then: tuple[bool, str | None]) -> None:
    """An operator's pause and note stay; a pause that a file says ends when it says so no more."""
    one = Desired("q/audit/acme", "audit", "acme", WEEKLY, paused=wanted)
    changes = plan([one], [_as_made(one, paused=paused, note=note)], lambda _: None)
    assert [change.why for change in changes] == ([why] if why else [])
    assert schedules.rests(one, paused=paused, note=note) == then
