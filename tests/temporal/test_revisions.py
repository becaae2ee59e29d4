"""`bifrost revisions`, as a person and a program use it, and which revisions are needed: on a real Temporal server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from structlog.testing import capture_logs
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError

from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import ConfigurationError
from bifrost.messages import REVISION_ATTRIBUTE
from bifrost.temporal import client as executions
from bifrost.temporal import worker
from bifrost.temporal.revisions import open_executions
from bifrost.workspace.revision import Revision, snapshot
from bifrost.workspace.revision_stores import FolderRevisions, open_store
from tests.temporal.conftest import House
from tests.temporal.test_cli import Ended, Shell
from tests.waiting import until

NOWHERE = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
WORKFLOWS = """
    from bifrost import workflow

    # {0}

    @workflow(name="patient", requires_org=False)
    async def patient(context):
        return await context.wait_for_event("go")

    @workflow(name="quick", requires_org=False)
    async def quick(context):
        return "done"
"""


@pytest.fixture
def cached() -> int:
    """What is pruned does not depend on the worker's cache."""
    return 1000


@pytest.fixture
async def shell(house: House, temporal_server: TemporalServer, tmp_path: Path) -> AsyncIterator[Shell]:
    """A shell in the house's workspace, with its revisions."""
    shell = Shell({"TEMPORAL_ADDRESS": temporal_server.address, "BIFROST_WORKSPACE": str(house.root),
                   "BIFROST_REVISIONS": str(tmp_path / "revisions"), "BIFROST_LOG_FORMAT": "json"}, tmp_path)
    yield shell
    for process in shell.started:
        if process.returncode is None:  # of a test that failed
            process.kill()
            await process.wait()


def deploy(house: House) -> str:
    """Write the workspace anew; the id that its revision will have, which no other test's has."""
    house.write("workflows/steps.py", WORKFLOWS.format(uuid.uuid4()))
    return snapshot(house.root).id


def age(house: House, hours: float = 2) -> None:
    """Make every revision one that was put so long ago."""
    then = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
    for revision_id in house.revisions.times():
        os.utime(house.revisions.place(revision_id), (then, then))


async def until_open(client: Client, revision_id: str, number: int) -> None:
    """Wait until Temporal's index shows so many open executions of the revision."""
    async def shown() -> bool:
        return (await open_executions(client))[revision_id] == number

    await until(shown)


# --- open executions -------------------------------------------------------------------------------------------------


async def test_open_executions_are_counted_by_revision(house: House) -> None:
    """Each counts for the revision that it began with, in however many pages they come; one that has ended does not."""
    first = deploy(house)
    async with house.serving():
        waiting = [await house.start("patient") for _ in range(3)]
        await until_open(house.client, first, 3)
    second = deploy(house)
    async with house.serving():
        assert await house.run("quick") == "done"
        waiting.append(await house.start("patient"))
        await until_open(house.client, second, 1)
        for page in (1, 2, 1000):
            counted = await open_executions(house.client, page=page)
            assert (counted[first], counted[second]) == (3, 1)
        for handle in waiting:
            await handle.signal("go")
            await handle.result()
        await until_open(house.client, first, 0)
        await until_open(house.client, second, 0)


async def test_a_paused_execution_is_open(tmp_path: Path) -> None:
    """Temporal does not call it running, and it will go on."""
    async with TemporalServer(tmp_path, port=free_port(), extra_dynamic_config={"frontend.WorkflowPauseEnabled": True}) as server:
        client = await executions.connect(server.address)
        await client.start_workflow("steady", id="paused", task_queue="nobody", search_attributes=TypedSearchAttributes([
            SearchAttributePair(SearchAttributeKey.for_keyword(REVISION_ATTRIBUTE), "some-revision")]))
        await client.workflow_service.pause_workflow_execution(PauseWorkflowExecutionRequest(
            namespace=client.namespace, workflow_id="paused", request_id="1"))

        async def paused() -> bool:
            return (await client.count_workflows("ExecutionStatus = 'Paused'")).count == 1

        await until(paused)
        assert await open_executions(client) == {"some-revision": 1}


async def test_a_namespace_that_is_not_there_is_no_empty_one(temporal_server: TemporalServer) -> None:
    """Where nothing can be known, nothing is answered."""
    with pytest.raises(ConfigurationError, match="There is no namespace 'nowhere'"):
        await open_executions(await executions.connect(temporal_server.address, namespace="nowhere"))


# --- workers ---------------------------------------------------------------------------------------------------------


async def test_a_worker_renews_the_revision_that_it_serves(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However old the deployment is, its revision is one that was put just now; an outage of the store only delays that."""
    monkeypatch.setattr(worker, "RENEWAL", timedelta(milliseconds=20))
    served = deploy(house)
    house.revisions = FolderRevisions(tmp_path / "link")

    def lead_to(name: str) -> None:
        (tmp_path / "next").symlink_to(name)
        (tmp_path / "next").replace(tmp_path / "link")  # at once: a worker would make a folder that is not there

    async def renewed() -> bool:
        return house.revisions.times().get(served, datetime.min.replace(tzinfo=UTC)) > datetime.now(UTC) - timedelta(hours=1)

    (tmp_path / "revisions").mkdir()
    lead_to("revisions")
    async with house.serving():
        age(house)
        await until(renewed)
        lead_to("nowhere")

        async def warned() -> bool:
            return any("revision cannot be renewed" in log["event"] for log in logs)

        with capture_logs() as logs:
            await until(warned)
        assert await house.run("quick") == "done"
        lead_to("revisions")
        age(house)
        await until(renewed)


class Slow(MemoryFileSystem):
    """A store of objects that answers when it is let."""

    protocol = "slow"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fetched: ClassVar[list[str]] = []
    may_answer: ClassVar[threading.Event] = threading.Event()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("slow://", "memory://"))

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        self.fetched.append(path)
        assert self.may_answer.wait(60)
        return super().cat_file(path, *arguments, **options)


async def test_a_revision_that_is_fetched_slowly_holds_nothing_up(house: House) -> None:
    """The workflow task is given up and repeated; the fetch goes on meanwhile, and is the only one."""
    fsspec.register_implementation("slow", Slow, clobber=True)
    house.revisions = open_store("slow://fleet")  # type: ignore[assignment]
    began = deploy(house)
    async with house.serving():
        handle = await house.start("patient")
        await until_open(house.client, began, 1)
    house.revisions = open_store("slow://fleet")  # type: ignore[assignment]  # another worker, which lacks it
    deploy(house)
    async with house.serving():
        await handle.signal("go", "went")

        async def task_failed() -> bool:
            history = await handle.fetch_history()
            return any("is still being fetched" in event.workflow_task_failed_event_attributes.failure.message
                       for event in history.events)

        await until(task_failed)
        Slow.may_answer.set()
        assert await handle.result() == "went"
    assert Slow.fetched == [f"/fleet/{began}.json"]


# --- the command line ------------------------------------------------------------------------------------------------


@dataclass
class Deployed:
    """Three revisions, put two hours ago: of an execution that is open, of one that has ended, and the current one."""

    opened: str
    closed: str
    current: str
    execution: WorkflowHandle[Any, Any]


@pytest.fixture
async def deployed(house: House) -> AsyncIterator[Deployed]:
    """Such revisions; the execution is open until the end of the test, at the latest."""
    opened = deploy(house)
    async with house.serving():
        execution = await house.start("patient")
        await until_open(house.client, opened, 1)
    closed = deploy(house)
    async with house.serving():
        await house.run("quick")
    current = deploy(house)
    house.revisions.put(snapshot(house.root))
    age(house)
    yield Deployed(opened, closed, current, execution)
    with contextlib.suppress(RPCError):  # it has ended
        await execution.terminate()


async def test_what_an_open_execution_needs_is_not_pruned(house: House, shell: Shell, deployed: Deployed) -> None:
    """The revision of a closed execution goes; the open one's stays, it goes on with it, and when it has ended that goes too."""
    opened, closed, current = deployed.opened, deployed.closed, deployed.current
    planned = await shell("revisions", "prune", "--keep", "0", "--dry-run", "--json")
    assert planned.json["dry_run"]
    assert [one["id"] for one in planned.json["removed"]] == [closed]
    assert {one["id"]: one["reason"] for one in planned.json["kept"]} == {opened: "open", current: "current"}
    people = await shell("revisions", "prune", "--keep", "0", "--dry-run")
    assert f"{closed[:12]}  " in people.out
    assert "would be removed\n1 revision kept: it is the workspace as it is now\n1 revision kept: an open execution needs it" in people.out
    assert len(house.revisions.times()) == 3

    pruned = await shell("revisions", "prune", "--keep", "0", "--yes")
    assert pruned.status == 0
    assert set(house.revisions.times()) == {opened, current}
    house.revisions = FolderRevisions(Path(house.revisions.place("x")).parent)  # nothing of it is loaded
    async with house.serving():
        await deployed.execution.signal("go", "went")
        assert await deployed.execution.result() == "went"
    await until_open(house.client, opened, 0)
    age(house)
    assert [one["id"] for one in (await shell("revisions", "prune", "--keep", "0", "--yes", "--json")).json["removed"]] == [opened]
    assert set(house.revisions.times()) == {current}
    assert "Nothing to remove" in (await shell("revisions", "prune", "--keep", "0", "--yes")).out


async def test_the_newest_and_the_young_are_not_pruned(house: House, shell: Shell) -> None:
    """Ten are left unless told otherwise, and whatever is asked for nothing that was put within the last hour, or DAYS, goes."""
    deploy(house)
    kept = [Revision({"a.py": str(number)}) for number in range(12)]
    for revision in kept:
        house.revisions.put(revision)
    young = await shell("revisions", "prune", "--keep", "0", "--yes", "--json")
    assert young.json["removed"] == []
    assert {one["reason"] for one in young.json["kept"]} == {"recent"}
    age(house, hours=30)
    assert (await shell("revisions", "prune", "--keep", "0", "--older-than", "2", "--yes", "--json")).json["removed"] == []
    pruned = (await shell("revisions", "prune", "--older-than", "1", "--yes", "--json")).json
    assert len(pruned["removed"]) == 2
    assert {one["reason"] for one in pruned["kept"]} == {"newest"}
    assert set(house.revisions.times()) == {one["id"] for one in pruned["kept"]}


async def test_without_temporal_nothing_is_pruned(house: House, shell: Shell, deployed: Deployed) -> None:
    """Nor in a namespace that is not there, nor without a workspace: what is needed cannot be known then."""
    for wrong, said in ((NOWHERE, "Temporal does not answer"), ({"TEMPORAL_NAMESPACE": "nowhere"}, "There is no namespace 'nowhere'")):
        refused = await shell("revisions", "prune", "--keep", "0", "--yes", "--json", **wrong)
        assert (refused.status, refused.json["error"]) == (1, "ConfigurationError")
        assert "nothing was removed" in refused.err
        assert said in refused.err
    lost = await shell("revisions", "prune", "--keep", "0", "--yes", BIFROST_WORKSPACE="nowhere")
    assert (lost.status, "There is no workspace" in lost.err) == (1, True)
    assert len(house.revisions.times()) == 3


async def _at_a_terminal(shell: Shell, answer: str, *arguments: str, first: Callable[[], Awaitable[None]] | None = None) -> Ended:
    """Run a command whose standard input is a terminal, on which somebody answers once asked."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bifrost", *arguments, env={**os.environ, **shell.environment}, cwd=shell.directory,
            stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        shell.started.append(process)
        assert process.stderr is not None
        asked = await asyncio.wait_for(process.stderr.readuntil(b"[y/N]: "), 60)
        if first:
            await first()
        os.write(ours, f"{answer}\n".encode())
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        os.close(ours)
        os.close(theirs)
    return Ended(process.returncode if process.returncode is not None else -1, out.decode(), (asked + err).decode())


async def test_prune_asks_first(house: House, shell: Shell, deployed: Deployed) -> None:
    """A person says yes or no; where nobody can be asked, `--yes` is missing, and that is refused."""
    opened, closed, current = deployed.opened, deployed.closed, deployed.current
    prune = ("revisions", "prune", "--keep", "0")
    refused = await shell(*prune)
    assert refused.status == 1
    assert "give --yes" in refused.err
    no = await _at_a_terminal(shell, "n", *prune)
    assert (no.status, no.out) == (1, "")
    assert f"{closed[:12]}  " in no.err
    assert "Remove 1 revision?" in no.err
    assert "Nothing was removed" in no.err
    assert len(house.revisions.times()) == 3
    yes = await _at_a_terminal(shell, "y", *prune, "--json")
    assert yes.status == 0
    assert [one["id"] for one in yes.json["removed"]] == [closed]
    assert set(house.revisions.times()) == {opened, current}


async def test_what_was_needed_while_prune_asked_stays(house: House, shell: Shell, deployed: Deployed) -> None:
    """A worker that was started with an old revision, while somebody thought about the answer, keeps it."""
    async def serve_it_again() -> None:
        house.revisions.put(house.revisions.get(deployed.closed))

    ended = await _at_a_terminal(shell, "y", "revisions", "prune", "--keep", "0", "--json", first=serve_it_again)
    assert ended.json["removed"] == []
    assert len(house.revisions.times()) == 3


async def test_revisions_are_listed(house: House, shell: Shell, deployed: Deployed) -> None:
    """With what the workspace is now, and the open executions that need each; unknown is unknown, and no error."""
    opened, closed, current = deployed.opened, deployed.closed, deployed.current
    listed = (await shell("revisions", "list", "--json")).json
    assert {one["id"]: (one["current"], one["open_executions"]) for one in listed} == {
        opened: (False, 1), closed: (False, 0), current: (True, 0)}
    size = (house.root / "workflows" / "steps.py").stat().st_size
    assert {(one["files"], one["size"]) for one in listed} == {(1, size)}
    assert {datetime.fromisoformat(one["put_at"]) for one in listed} == set(house.revisions.times().values())
    rows = {line.split()[0]: line.split() for line in (await shell("revisions", "list")).out.splitlines()}
    assert rows["REVISION"] == ["REVISION", "PUT", "(UTC)", "FILES", "SIZE", "CURRENT", "OPEN"]
    assert rows[opened[:12]][3:] == ["1", str(size), "B", "no", "1"]
    assert rows[current[:12]][3:] == ["1", str(size), "B", "yes", "0"]

    unasked = await shell("revisions", "list", "--no-temporal", "--json", **NOWHERE)
    unanswered = await shell("revisions", "list", "--json", BIFROST_WORKSPACE="nowhere", **NOWHERE)
    assert (unasked.status, unasked.err, unanswered.status) == (0, "", 0)
    assert {one["open_executions"] for one in unasked.json + unanswered.json} == {None}
    assert {one["current"] for one in unanswered.json} == {None}
    assert "open executions are not counted" in unanswered.err
    assert "Traceback" not in unanswered.err
    Path(house.revisions.place(closed)).write_text("{}")
    [spoiled] = [line for line in (await shell("revisions", "list", "--no-temporal")).out.splitlines() if closed[:12] in line]
    assert spoiled.split()[3:] == ["damaged", "-", "no", "-"]
    assert "No revisions." in (await shell("revisions", "list", BIFROST_REVISIONS="nowhere")).out


async def test_a_revision_is_shown(house: House, shell: Shell) -> None:
    """Its files with their sizes, or the source of one; the beginning of its id is enough."""
    source = "x = 'ü'\n" * 200
    revision = Revision({"workflows/a.py": source, "utils/b.py": ""})
    house.revisions.put(revision)
    shown = await shell("revisions", "show", revision.id[:6].upper(), **NOWHERE)
    assert shown.status == 0
    assert f"Revision      {revision.id}" in shown.out
    assert "Size          1.8 kB" in shown.out
    assert [line.split() for line in shown.out.splitlines()[-2:]] == [["utils/b.py", "0", "B"], ["workflows/a.py", "1.8", "kB"]]
    whole = (await shell("revisions", "show", revision.id, "--json")).json
    assert (whole["id"], whole["size"]) == (revision.id, len(source.encode()))
    assert whole["files"] == [{"path": "utils/b.py", "size": 0}, {"path": "workflows/a.py", "size": len(source.encode())}]
    assert datetime.fromisoformat(whole["put_at"]) == house.revisions.times()[revision.id]
    assert (await shell("revisions", "show", revision.id, "--file", "workflows/a.py")).out == source
    assert (await shell("revisions", "show", revision.id, "--file", "workflows/a.py", "--json")).json["source"] == source


async def test_a_revision_that_cannot_be_shown_is_refused(house: House, shell: Shell) -> None:
    """Too little of an id, one that is none, one of several, a file that is not in it, and a damaged one."""
    revision, number = Revision({"workflows/a.py": ""}), 0
    seen: dict[str, Revision] = {}
    while (twin := Revision({"a.py": str(number)})).id[:6] not in seen:  # found after some thousand tries, as birthdays go
        seen[twin.id[:6]], number = twin, number + 1
    for one in (revision, twin, seen[twin.id[:6]]):
        house.revisions.put(one)
    for arguments, kind, said in (
            (("abcde",), "ValidationError", "at least 6 characters"), (("abcdef",), "NotFoundError", "Revision 'abcdef' not found"),
            ((twin.id[:6],), "ValidationError", "is the beginning of 2 revisions"),
            ((revision.id, "--file", "workflows/b.py"), "NotFoundError", "Did you mean 'workflows/a.py'")):
        refused = await shell("revisions", "show", *arguments, "--json")
        assert (refused.status, refused.json["error"]) == (1, kind)
        assert said in refused.err
    Path(house.revisions.place(revision.id)).write_text("{}")
    damaged = await shell("revisions", "show", revision.id)
    assert (damaged.status, "was changed in the store" in damaged.err) == (1, True)


async def test_a_store_behind_a_url(house: House, shell: Shell) -> None:
    """BIFROST_REVISIONS may be a URL; one that cannot be used is an error with the cure, for a worker too."""
    folder = Path(house.revisions.place("x")).parent
    house.revisions.put(Revision({"a.py": ""}))
    assert len((await shell("revisions", "list", "--no-temporal", "--json", BIFROST_REVISIONS=f"file://{folder}")).json) == 1
    for command in (("revisions", "list", "--no-temporal"), ("worker",)):
        refused = await shell(*command, BIFROST_REVISIONS="s3://bucket/revisions")
        assert refused.status == 1
        assert "BIFROST_REVISIONS is 's3://bucket/revisions', and the package for its protocol is missing: Install s3fs" in refused.err
        assert "Traceback" not in refused.err
