"""Schedules on a real Temporal server: made, changed and taken away, and what they start."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from click.testing import CliRunner, Result
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import Client, ScheduleHandle

from bifrost import cron
from bifrost.cli import parts
from bifrost.cli.executions import executions as executions_command
from bifrost.cli.run import run as run_command
from bifrost.cli.schedules import schedules as schedules_command
from bifrost.dev.ports import free_port
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import ConfigurationError, NotFoundError, PermissionError, ValidationError  # noqa: A004 - the name is the guide's
from bifrost.messages import ApprovalMessage, CallerMessage, Via
from bifrost.models import SCHEDULER, Caller, ExecutionStatus, Organization, Schedule, ScheduleOverride
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal.history import list_executions, read_execution
from bifrost.temporal.schedules import scheduler
from bifrost.temporal.schedules.plan import Actual, Change, Desired
from bifrost.temporal.worker import alongside
from bifrost.workspace.live import Workspace
from tests.temporal.conftest import GRAPH_SECRETS, House
from tests.waiting import until

AUDIT = """
    from bifrost import Schedule, activity, workflow

    @activity
    async def time_of(context):
        return context.scheduled_at

    @workflow(name="{name}"{schedule}, requires_org={requires_org})
    async def audit(context):
        return {{"for": context.org_id, "at": [context.scheduled_at, await time_of(context)], "by": context.executed_by}}
"""


@pytest.fixture
def cached() -> int:
    """Schedules do not depend on the worker's cache."""
    return 1000


@pytest.fixture(autouse=True)
async def _no_schedule_is_left(house: House) -> AsyncIterator[None]:
    yield
    for one in await scheduler.list_schedules(house.client, house.task_queue):
        with contextlib.suppress(NotFoundError):
            await scheduler.delete(house.client, one.id)


def _write(house: House, schedule: str | None = '"0 9 * * 1"', name: str = "audit", *, requires_org: bool = True) -> None:
    house.write("workflows/audit.py", AUDIT.format(name=name, schedule=f", schedule={schedule}" if schedule else "", requires_org=requires_org))


async def _proposed(house: House) -> list[Change]:
    catalog = Workspace(house.root, house.revisions).catalog
    return await scheduler.proposed(house.client, catalog, house.organizations, house.task_queue)


async def _sync(house: House) -> list[str]:
    """Bring the schedules in line, until the server's index says that they are; what was done, without the task queue."""
    changes = await _proposed(house)
    await scheduler.apply(house.client, changes, house.task_queue)

    async def in_line() -> bool:
        return not await _proposed(house)

    await until(in_line)
    return [str(change).replace(f"{house.task_queue}/", "") for change in changes]


async def _listed(house: House) -> dict[str, Actual]:
    return {one.id.removeprefix(f"{house.task_queue}/"): one for one in await scheduler.list_schedules(house.client, house.task_queue)}


async def _ended(house: House, count: int, **filters: Any) -> list[Any]:
    """The executions of the house's schedules, when so many have ended; ordered by id."""
    async def ended() -> list[Any]:
        found = [one for one in await list_executions(house.client, limit=1000, **filters) if one.execution_id.startswith(f"{house.task_queue}/")]
        return found if len([one for one in found if one.closed_at]) >= count else []

    return sorted(await until(ended, seconds=60), key=lambda one: one.execution_id)


# --- in line ------------------------------------------------------------------------------------------------------------


async def test_sync_says_and_does_exactly_the_difference(house: House) -> None:
    """A schedule more, changed, gone from the code, renamed; an organization inactive, new, opted out. A second sync does nothing."""
    _write(house)
    assert await _sync(house) == ["create audit/acme: 0 9 * * 1", "create audit/globex: 0 9 * * 1"]
    assert await _sync(house) == []
    _write(house, 'Schedule("0 6 * * 1", timezone="Europe/Berlin", overlap="allow_all", catchup_seconds=60, jitter_seconds=90)')
    changed = ("cron 0 9 * * 1 becomes 0 6 * * 1, timezone UTC becomes Europe/Berlin, overlap skip becomes allow_all, "
               "catchup_seconds 86400 becomes 60, jitter_seconds 0 becomes 90")
    assert await _sync(house) == [f"update audit/acme: {changed}", f"update audit/globex: {changed}"]
    described = await scheduler.describe(house.client, f"{house.task_queue}/audit/acme")
    assert (described.schedule.policy.overlap.name, described.schedule.policy.catchup_window, described.schedule.spec.jitter) == (
        "ALLOW_ALL", timedelta(seconds=60), timedelta(seconds=90))

    acme, globex, _ = house.organizations.all()
    house.organizations = MemoryOrganizations([acme, replace(globex, active=False), Organization("hooli", "Hooli")])
    assert await _sync(house) == ["delete audit/globex: organization 'globex' is inactive", "create audit/hooli: 0 6 * * 1 Europe/Berlin"]
    house.organizations = MemoryOrganizations([acme, Organization("hooli", "Hooli", schedules={"audit": ScheduleOverride(enabled=False)})])
    assert await _sync(house) == ["delete audit/hooli: it is not enabled"]
    _write(house, '"@daily"', "licences", requires_org=False)
    assert await _sync(house) == ["delete audit/acme: there is no workflow 'audit' any more", "create licences/GLOBAL: @daily"]
    _write(house, None, "licences")
    assert await _sync(house) == ["delete licences/GLOBAL: the workflow 'licences' has no schedule any more"]


async def test_an_operators_pause_survives(house: House) -> None:
    """And so does the note; a pause that a file says ends with it; what somebody has changed by hand is put right."""
    _write(house)
    await _sync(house)
    acme, globex = (f"{house.task_queue}/audit/{org_id}" for org_id in GRAPH_SECRETS)
    await scheduler.pause(house.client, acme, "until the contract is signed")
    _write(house, '"0 6 * * 1"')
    one, two, _ = house.organizations.all()
    house.organizations = MemoryOrganizations([one, replace(two, schedules={"audit": ScheduleOverride(paused=True)})])
    assert (await _sync(house))[1].endswith("becomes 0 6 * * 1, it is to be paused")
    found = await _listed(house)
    assert [(each.paused, each.note) for each in found.values()] == [
        (True, "until the contract is signed"), (True, "paused by the organization's settings")]
    house.organizations = MemoryOrganizations([one, two])
    assert await _sync(house) == ["update audit/globex: it is to go on"]
    assert [each.paused for each in (await _listed(house)).values()] == [True, False]

    async def by_hand(handle: ScheduleHandle) -> None:
        def changed(given: Any) -> Any:
            given.description.schedule.spec.calendars = []
            given.description.schedule.spec.cron_expressions = ["0 0 * * *"]
            return scheduler.ScheduleUpdate(given.description.schedule)

        await handle.update(changed)

    await by_hand(house.client.get_schedule_handle(globex))
    await until(lambda: _proposed(house))
    assert await _sync(house) == ["update audit/globex: somebody has changed it"]


async def test_only_bifrosts_own_are_touched(house: House) -> None:
    """Not one that is called like ours, nor one of another task queue."""
    _write(house)
    await _sync(house)
    theirs = f"{house.task_queue}/audit/hooli"
    described = await scheduler.describe(house.client, f"{house.task_queue}/audit/acme")
    foreign = await house.client.create_schedule(theirs, described.schedule)
    _write(house, None)
    try:
        assert [change.kind for change in await _proposed(replace(house, task_queue="other"))] == []
        assert len(await _sync(house)) == 2
        assert (await foreign.describe()).id == theirs
    finally:
        await foreign.delete()


async def test_several_workers_at_once(house: House) -> None:
    """Each makes, changes and deletes by itself; none fails, and the schedules are as if one had."""
    _write(house)
    for schedule, expected in (('"0 9 * * 1"', 2), ('"0 6 * * 1"', 2), (None, 0)):
        _write(house, schedule)
        changes = await _proposed(house)
        await asyncio.gather(*(scheduler.apply(house.client, changes, house.task_queue) for _ in range(3)))
        await _sync(house)
        assert len(await _listed(house)) == expected


async def test_a_worker_keeps_schedules_in_line(house: House) -> None:
    """At its start, and when organizations or workspace change; a failure is told, tried again, and stops nothing."""
    _write(house)
    workspace = Workspace(house.root, house.revisions)
    organizations = MemoryOrganizations(house.organizations.all()[:1])
    broken: list[Any] = ["down"]

    class Store(MemoryOrganizations):
        def all(self) -> Any:
            if broken:
                raise ConfigurationError(broken.pop())
            return organizations.all()

        def global_schedules(self) -> Any:
            return {"audits": ScheduleOverride(paused=True)}

    async def there(*names: str) -> None:
        async def as_wanted() -> bool:
            return sorted(await _listed(house)) == sorted(names)

        await until(as_wanted)

    store = Store([])
    said = store.global_schedules()
    store.global_schedules = lambda: said  # type: ignore[method-assign]  # the same object each time, as a store answers

    def told() -> list[tuple[int, int, int]]:
        return [(one["create"], one["update"], one["delete"]) for one in logs if one["event"] == "schedules brought in line"]

    async def told_thrice() -> bool:  # the schedules are listed a moment before they are told
        return len(told()) >= 3

    with capture_logs() as logs:
        async with alongside(scheduler.keep_in_line(house.client, workspace, store, house.task_queue, look_seconds=0.05, again_seconds=0.05)):
            await there("audit/acme")
            organizations = MemoryOrganizations(house.organizations.all())
            await there("audit/acme", "audit/globex")
            _write(house, name="licences")
            workspace.refresh()
            await there("licences/acme", "licences/globex")
            await until(told_thrice)
    events = [one["event"] for one in logs]
    assert events[0] == "schedules cannot be brought in line"
    assert "an organization's schedule means nothing" in events
    assert told() == [(1, 0, 0), (1, 0, 0), (2, 0, 2)]


async def test_what_temporal_refuses_is_told(house: House) -> None:
    """The others are done; the first few failures are named with the server's reason."""
    zones = [Desired(f"{house.task_queue}/audit/{number}", "audit", str(number), Schedule("@daily", "Mars/Base" if number else "UTC"))
             for number in range(7)]
    changes = [Change("create", one.id, one.workflow, one.org_id, "", one) for one in zones]
    done: list[Change] = []
    with pytest.raises(ConfigurationError, match=r"6 schedules could not(?s:.*)audit/1: .*unknown time zone Mars/Base(?s:.*)and 1 more"):
        await scheduler.apply(house.client, changes, house.task_queue, done.append)
    assert done == changes[:1]
    with pytest.raises(NotFoundError, match="audit/1' not found"):
        await scheduler.pause(house.client, zones[1].id, "")
    with pytest.raises(ConfigurationError, match="Temporal refused"):
        await scheduler.delete(house.client, "")
    with pytest.raises(ConfigurationError, match="1 schedules could not be brought in line"):
        await scheduler.apply(house.client, [Change("delete", "", "audit", None, "")], house.task_queue)
    nowhere = await executions.connect(house.client.service_client.config.target_host, "nowhere")
    with pytest.raises(ConfigurationError, match="refuses to list the schedules of namespace 'nowhere'"):
        await scheduler.list_schedules(nowhere, house.task_queue)


# --- times --------------------------------------------------------------------------------------------------------------


async def _servers_times(client: Client, schedule_id: str, since: datetime, until_: datetime) -> list[datetime]:
    first, last = Timestamp(), Timestamp()
    first.FromDatetime(since)
    last.FromDatetime(until_)
    answer = await client.workflow_service.list_schedule_matching_times(ListScheduleMatchingTimesRequest(
        namespace=client.namespace, schedule_id=schedule_id, start_time=first, end_time=last))
    return [moment.ToDatetime(tzinfo=UTC) for moment in answer.start_time]


FORMS = ["*/5 * * * *", "0 0 1 1 *", "0 9-17/2 * * MON-FRI", "0 9 * jan,jul sun", "15,45 0 * * 0", "@daily", "@hourly", "@weekly", "@monthly",
         "@yearly", "@annually", "@midnight", " 0  9 * * 1 ", "0 0 29 2 *", "0 9 * * wed", "0 9 * * 5-7", "5/15 3 * * *", "*/90 * * * *",
         "0 9 1 * 1", "0 9 30 2 1", "0 9 */2 * 1", "0 9 1 * */2", "0 9 * JAN-MAR/2 1,3-5/2", "00 09 01 * 7"]
ZONES = [("30 2 * * *", "Europe/Berlin", 3), ("*/30 1-3 * * *", "America/New_York", 3), ("0 9 * * *", "Europe/Berlin", 3, 10),
         ("0 9 * * *", "America/New_York", 3, 11), ("0 0 * * *", "America/Santiago", 4, 9), ("15 3 * * *", "Australia/Lord_Howe", 4, 10)]
"""A cron expression, a zone, and the months with a change of clocks: of times that it repeats, which Temporal takes is its own affair."""


async def test_temporal_reads_cron_as_we_do(house: House) -> None:
    """Every form that is accepted here is accepted there, and comes at the same times: also where clocks change."""
    wanted = [(expression, "UTC", [(datetime(2031, 1, 31, 23, 59, tzinfo=UTC), timedelta(days=800))]) for expression in FORMS]
    wanted += [(expression, zone, [(datetime(2031, month, 1, tzinfo=UTC), timedelta(days=31)) for month in months])
               for expression, zone, *months in ZONES]
    assert [cron.fault(expression) or cron.zone_fault(zone) for expression, zone, _ in wanted] == [None] * len(wanted)
    made = [Desired(f"{house.task_queue}/audit/{number}", "audit", str(number), Schedule(expression, zone))
            for number, (expression, zone, _) in enumerate(wanted)]
    await scheduler.apply(house.client, [Change("create", one.id, one.workflow, one.org_id, "", one) for one in made], house.task_queue)
    for one, (expression, zone, spans) in zip(made, wanted, strict=True):
        for since, span in spans:
            theirs = await _servers_times(house.client, one.id, since, since + span)
            ours = takewhile(lambda moment, end=since + span: moment <= end, cron.next_times(expression, zone, since))  # type: ignore[misc]
            assert theirs[:500], expression
            assert [moment.astimezone(UTC) for moment in islice(ours, len(theirs[:500]))] == theirs[:500], (expression, zone)


@pytest.mark.parametrize(("zone", "spring", "autumn"), [("Europe/Berlin", "0 9 24-31 3 *", "0 9 24-31 10 *"),
                                                        ("America/New_York", "0 9 7-15 3 *", "0 9 1-8 11 *")])
async def test_nine_oclock_is_nine_oclock(house: House, zone: str, spring: str, autumn: str) -> None:
    """Over a change of clocks in either direction, the next times are at the same local time, of two different offsets."""
    for number, expression in enumerate((spring, autumn)):
        one = Desired(f"{house.task_queue}/audit/{number}", "audit", str(number), Schedule(expression, zone))
        await scheduler.apply(house.client, [Change("create", one.id, "audit", one.org_id, "", one)], house.task_queue)
        local = [moment.astimezone(ZoneInfo(zone)) for moment in (await scheduler.describe(house.client, one.id)).info.next_action_times]
        assert {(moment.hour, moment.minute) for moment in local} == {(9, 0)}
        assert len(local) == 10
        assert len({moment.utcoffset() for moment in local}) == 2


# --- executions ---------------------------------------------------------------------------------------------------------


def _ticks(first: datetime, count: int) -> list[str]:
    """Expressions of Temporal's, with seconds and a year, that come at these seconds and never again."""
    return [f"{moment:%-S %-M %-H %-d %-m} * {moment.year}" for moment in (first + timedelta(seconds=number) for number in range(count))]


async def _make(client: Client, task_queue: str, monkeypatch: pytest.MonkeyPatch, ticks: list[str], *timings: tuple[str, Schedule]) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cron, "in_temporals_words", lambda _: ticks)
        made = [Desired(f"{task_queue}/audit/{name}", "audit", name, timing) for name, timing in timings]
        await scheduler.apply(client, [Change("create", one.id, one.workflow, one.org_id, "", one) for one in made], task_queue)


async def test_a_worker_that_was_down_catches_up_as_declared(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three ticks without a worker `skip` has one execution, `buffer_one` two, the others all; each knows its own time."""
    _write(house)
    expected = {"skip": 1, "buffer_one": 2, "buffer_all": 3, "allow_all": 3}
    house.organizations = MemoryOrganizations([Organization(overlap, overlap) for overlap in expected])
    first = (datetime.now(UTC) + timedelta(seconds=2.5)).replace(microsecond=0)
    await _make(house.client, house.task_queue, monkeypatch, _ticks(first, 3),
                *((overlap, Schedule("* * * * *", overlap=overlap)) for overlap in expected))

    async def over() -> bool:
        infos = [(await scheduler.describe(house.client, f"{house.task_queue}/audit/{name}")).info for name in ("skip", "allow_all")]
        return (infos[0].num_actions_skipped_overlap, infos[1].num_actions) == (2, 3)

    await until(over)
    async with house.serving():
        found = await _ended(house, sum(expected.values()))
    ticks = [first + timedelta(seconds=number) for number in range(3)]
    for overlap, count in expected.items():
        results = [await house.client.get_workflow_handle(one.execution_id).result() for one in found if one.org_id == overlap]
        assert [(one["for"], one["by"]) for one in results] == [(overlap, "system:scheduler")] * count
        assert [[datetime.fromisoformat(moment) for moment in one["at"]] for one in results] == [[tick, tick] for tick in ticks[:count]]
    assert {one.status for one in found} == {ExecutionStatus.SUCCESS}


async def test_a_server_that_was_down_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before their time and started after it, the server starts all of them, each with its own time."""
    server = TemporalServer(tmp_path, db_path=tmp_path / "temporal.db", port=free_port())
    await server.start()
    try:
        first = (datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0)
        before = await executions.connect(server.address)
        await _make(before, "lost", monkeypatch, _ticks(first, 2), ("acme", Schedule("* * * * *", overlap="allow_all")))
        assert len((await scheduler.describe(before, "lost/audit/acme")).info.next_action_times) == 2
        await server.kill()

        async def over() -> bool:
            return datetime.now(UTC) > first + timedelta(seconds=2)

        await until(over)
        await server.start()
        client = await executions.connect(server.address)

        async def all_of_them() -> list[Any]:
            found = [one.id async for one in client.list_workflows("WorkflowType = 'audit'")]
            return found if len(found) == 2 else []

        assert sorted(await until(all_of_them, seconds=60)) == [
            f"lost/audit/acme-{first + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}" for number in range(2)]
    finally:
        await server.stop()


async def _subscribed(url: str, tenant: str) -> dict[str, int]:
    """How many licences of each kind the tenant uses, as Graph itself says."""
    async with httpx.AsyncClient(base_url=url) as http:
        token = (await http.post(f"/{tenant}/oauth2/v2.0/token", data={
            "grant_type": "client_credentials", "client_id": "app", "client_secret": GRAPH_SECRETS[tenant],
            "scope": "https://graph.microsoft.com/.default"})).json()["access_token"]
        skus = (await http.get("/v1.0/subscribedSkus", headers={"Authorization": f"Bearer {token}"})).json()["value"]
    return {sku["skuPartNumber"]: sku["consumedUnits"] for sku in skus}


async def test_the_guides_audit_runs_by_its_schedule(sample: House, graph: SimulatorControl, graph_server: Any, user_api: SimulatorControl) -> None:
    """For each organization, as the scheduler, with a report of its own licences."""
    assert await _sync(sample) == ["create weekly_license_audit/acme: 0 9 * * 1", "create weekly_license_audit/globex: 0 9 * * 1"]
    assert all(one.next_times[0].strftime("%a %H:%M") == "Mon 09:00" for one in (await _listed(sample)).values())
    async with sample.serving():
        await sample.run("create_user_sync", {"email": "licensed@acme.example", "name": "Ada", "department": "IT", "license_sku": "ENTERPRISEPACK"})
        for org_id in GRAPH_SECRETS:
            await scheduler.trigger(sample.client, f"{sample.task_queue}/weekly_license_audit/{org_id}")
        found = await _ended(sample, 2, workflow="weekly_license_audit")
    reports = {}
    for summary in found:
        read = await read_execution(sample.client, summary.execution_id)
        assert (read.caller, read.status, read.calls[0].name) == (SCHEDULER, ExecutionStatus.SUCCESS, "msgraph.get_subscribed_skus")
        assert next(one.data for one in read.log if one.message == "License report sent")["recipient"] == f"it@{read.org_id}.example"
        reports[read.org_id] = {one["sku_part_number"]: one["consumed"] for one in read.result["licenses"]}
    assert reports == {tenant: await _subscribed(graph_server.url, tenant) for tenant in GRAPH_SECRETS}
    assert reports["acme"] != reports["globex"]


@pytest.mark.parametrize(("via", "declared", "refused"), [
    ("form", 'execution_mode="scheduled", schedule="@daily"', "runs by its schedule and cannot be started by a caller"),
    ("api", 'execution_mode="scheduled", schedule="@daily"', "runs by its schedule"), ("form", "expose_in_forms=False", "is not offered as a form"),
    ("api", "expose_in_forms=False", None), ("operator", 'execution_mode="scheduled", schedule="@daily", expose_in_forms=False', None),
    (None, 'execution_mode="scheduled", schedule="@daily"', None), ("form", 'schedule="@daily"', None)])
async def test_which_doors_are_open(house: House, via: Via | None, declared: str, refused: str | None) -> None:
    """A scheduled workflow is not for callers, and one that no form shows not for forms; operators may start any."""
    house.write("workflows/audit.py", f"""
        from bifrost import workflow

        @workflow(name="audit", {declared})
        async def audit(context):
            return "ran"
    """)
    async with house.serving():
        handle = await executions.start(house.client, "audit", task_queue=house.task_queue, org_id="acme", params={}, via=via)
        if refused is None:
            assert await executions.result(handle) == "ran"
        else:
            with pytest.raises(PermissionError, match=refused):
                await executions.result(handle)


# --- once, later --------------------------------------------------------------------------------------------------------


LATER = """
    from bifrost import param, workflow

    @workflow(name="later", timeout_seconds=1, requires_approval={approval})
    async def later(context):
        return context.scheduled_at
"""


async def _later(house: House, seconds: float, *, approval: bool = False) -> tuple[Any, datetime]:
    house.write("workflows/later.py", LATER.format(approval=approval))
    begin_at = datetime.now(UTC) + timedelta(seconds=seconds)
    handle = await executions.start(house.client, "later", task_queue=house.task_queue, org_id="acme", params={}, begin_at=begin_at,
                                    caller=Caller("u1"))
    return handle, begin_at


async def test_a_start_that_is_put_off_is_scheduled_and_can_be_cancelled(house: House) -> None:
    """It is found as what it is before it begins; cancelled, it ends at once, without any of its code."""
    handle, begin_at = await _later(house, 3600)
    read = await read_execution(house.client, handle.id)
    assert (read.status, read.org_id, read.calls) == (ExecutionStatus.SCHEDULED, "acme", [])
    assert read.begins_at is not None
    assert abs(read.begins_at - begin_at) < timedelta(seconds=5)

    async def listed(status: ExecutionStatus) -> list[str]:
        return [one.execution_id for one in await list_executions(house.client, workflow="later", org_id="acme", status=status)]

    await until(lambda: listed(ExecutionStatus.SCHEDULED))
    assert handle.id not in await listed(ExecutionStatus.PENDING)
    async with house.serving():
        await handle.cancel()
        with pytest.raises(Exception, match="cancelled"):
            await executions.result(handle)
    ended = await read_execution(house.client, handle.id)
    assert (ended.status, ended.checkpoints, ended.result) == (ExecutionStatus.CANCELLED, [], None)


@pytest.mark.parametrize("approval", [False, True])
async def test_a_start_that_is_put_off_begins_at_its_time(house: House, approval: bool) -> None:
    """Its time-out counts from then, and it knows the time; an approval that comes too early does not let it begin early."""
    handle, begin_at = await _later(house, 1.5, approval=approval)

    async def approved() -> bool:
        with contextlib.suppress(ValidationError):
            await executions.approve(house.client, handle.id, ApprovalMessage(by=CallerMessage(user_id="u2")))
            return True
        return False

    async with house.serving():
        if approval:
            assert not await approved()
            await until(approved)
        assert datetime.fromisoformat(await executions.result(handle)) == begin_at
    assert datetime.now(UTC) >= begin_at


# --- the command line ---------------------------------------------------------------------------------------------------


Command = Callable[..., Awaitable[Result]]


@pytest.fixture
def bifrost(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, for the house with acme and globex."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", house.client.service_client.config.target_host)
    file = tmp_path / "organizations.yaml"
    file.write_text(json.dumps({"organizations": [{"id": org_id, "name": org_id, "schedules": {"audits": {"paused": True}} if org_id == "acme" else {}}
                                                  for org_id in GRAPH_SECRETS]}))
    settings = Settings(workspace=house.root, organizations=file, task_queue=house.task_queue)
    monkeypatch.setattr(parts, "settings", lambda: settings)

    async def run(*arguments: str) -> Result:
        command = {"run": run_command, "executions": executions_command, "schedules": schedules_command}[arguments[0]]
        return await asyncio.to_thread(CliRunner().invoke, command, arguments[1:])

    return run


async def test_schedules_at_the_command_line(house: House, bifrost: Command) -> None:
    """What sync would do and does; listed, shown, paused, resumed, triggered, backfilled and deleted, for people and programs."""
    _write(house)
    queue = house.task_queue
    ran = await bifrost("schedules", "sync", "--dry-run")
    assert ran.stdout.splitlines() == [f"create {queue}/audit/{org_id}: 0 9 * * 1" for org_id in GRAPH_SECRETS]
    assert "Warning: The schedules of organization 'acme': Scheduled workflow 'audits' not found. Did you mean 'audit'?" in ran.stderr
    assert "2 to create" in ran.stderr
    assert (await bifrost("schedules", "list")).stdout == "No schedules.\n"
    done = json.loads((await bifrost("schedules", "sync", "--json")).stdout)
    assert done[0] == {"change": "create", "schedule": f"{queue}/audit/acme", "workflow": "audit", "org_id": "acme", "why": "0 9 * * 1"}
    await until(lambda: _is_listed(house, 2))
    assert "Everything is in line" in (await bifrost("schedules", "sync")).stderr

    assert (await bifrost("schedules", "pause", "audit/acme", "--note", "asked for")).stdout == f"{queue}/audit/acme paused\n"
    await until(lambda: _is_paused(house))
    header, first, second = (await bifrost("schedules", "list")).stdout.splitlines()
    assert header.split()[:4] == ["SCHEDULE", "CRON", "TIMEZONE", "STATE"]
    assert first.split()[1:] == ["0", "9", "*", "*", "1", "UTC", "paused:", "asked", "for", "-", "-"]
    assert second.endswith("09:00:00")
    assert [one["paused"] for one in json.loads((await bifrost("schedules", "list", "--org", "acme", "--json")).stdout)] == [True]
    assert (await bifrost("schedules", "resume", "--workflow", "audit", "--json")).stdout.count("audit/") == 2

    assert (await bifrost("schedules", "trigger", f"{queue}/audit/globex")).stdout == f"{queue}/audit/globex triggered\n"
    assert (await bifrost("schedules", "backfill", "--org", "acme", "--from", "2026-11-02T09:00Z", "--to", "2026-11-16T10:00+01:00",
                          "--overlap", "allow_all")).exit_code == 0
    async with house.serving():
        found = await _ended(house, 4)
    assert [one.execution_id.rpartition("-2026-")[2] for one in found[:3]] == ["11-02T09:00:00Z", "11-09T09:00:00Z", "11-16T09:00:00Z"]

    [acme, globex] = json.loads((await bifrost("schedules", "show", "--workflow", "audit", "--json")).stdout)
    assert (acme["started"], acme["overlap"], acme["catchup_seconds"], acme["jitter_seconds"], len(acme["executions"])) == (3, "skip", 86_400, 0, 3)
    assert globex["executions"][0]["execution_id"].startswith(f"{queue}/audit/globex-")
    assert "Catch-up      86400 s" in (await bifrost("schedules", "show", "audit/acme")).stdout
    assert (await bifrost("schedules", "delete", "--workflow", "audit")).stdout.count("deleted") == 2


async def _is_listed(house: House, count: int) -> bool:
    return len(await _listed(house)) == count


async def _is_paused(house: House) -> bool:
    return any(one.paused for one in (await _listed(house)).values())


@pytest.mark.parametrize(("arguments", "why"), [
    (("schedules", "pause"), "give an ID, --workflow or --org"), (("schedules", "show"), "give an ID, --workflow or --org"),
    (("schedules", "trigger", "audit/acm"), "Schedule 'audit/acm' not found. Did you mean 'audit/acme'"),
    (("schedules", "list", "--workflow", "audits"), "Scheduled workflow 'audits' not found. Did you mean 'audit'?"),
    (("schedules", "backfill", "audit/acme", "--from", "2026-11-02"), "'2026-11-02' does not say by which clock"),
    (("schedules", "backfill", "audit/acme", "--from", "2030-11-02T09:00Z"), "is after now"),
    (("run", "audit", "--at", "tomorrow"), "'tomorrow' is no time: write it like 2026-12-01T09:00+01:00"),
    (("run", "audit", "--at", "2020-12-01T09:00Z"), "2020-12-01T09:00Z is over"), (("run", "audit", "--in", "2 h"), "'2 h' is no duration"),
    (("run", "audit", "--in", "2h", "--at", "2030-12-01T09:00Z"), "exclude each other")])
async def test_wrong_calls_are_told(house: House, bifrost: Command, arguments: tuple[str, ...], why: str) -> None:
    """What is wrong and how to write it; similar names where there is none of that name."""
    _write(house)
    if arguments[0] == "schedules":
        await _sync(house)
    ran = await bifrost(*arguments)
    assert ran.exit_code != 0
    assert why in ran.stderr + str(ran.exception)


async def test_a_run_later_at_the_command_line(house: House, bifrost: Command) -> None:
    """It is not awaited; the answer says that it is scheduled, and for when."""
    ran = await bifrost("run", "later", "--org", "acme", "--in", "1w2h30m", "--json")
    answer = json.loads(ran.stdout)
    assert (answer["status"], answer["result"]) == ("Scheduled", None)
    assert f"{answer['execution_id']} begins at 20" in ran.stderr
    for command in (("executions", "show", answer["execution_id"]), ("executions", "list", "--workflow", "later", "--status", "scheduled")):
        await until(lambda command=command: _shows(bifrost, command, " Scheduled for 20"))  # type: ignore[misc]
    at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    again = await bifrost("run", "later", "--execution-id", answer["execution_id"], "--at", at)
    assert again.stdout == f"{answer['execution_id']}\n"  # one execution, whose time stays
    await house.client.get_workflow_handle(answer["execution_id"]).terminate()


async def _shows(bifrost: Command, command: tuple[str, ...], text: str) -> bool:
    return text in (await bifrost(*command)).stdout
