"""The demo: an execution survives the death of its worker, and everything it claims is checked.

`create_user_sync` creates a user in two systems. Microsoft Graph (a simulator) throttles the first call. Between the two
systems the worker process is killed with SIGKILL; another one goes on where it was.
"""

from __future__ import annotations

import asyncio
import builtins
import signal
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from bifrost.dev.narration import Narrator
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.journal import Entry
from bifrost.dev.stack import Stack
from bifrost.errors import TimeoutError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.models import ExecutionStatus
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.temporal import client as executions
from bifrost.temporal.history import Execution, read_execution

T = TypeVar("T")
WORKFLOW: Final = "create_user_sync"
ORG: Final = "acme"
OTHER: Final = "globex"
PARAMS: Final = {"email": "ada@acme.example", "name": "Ada Lovelace", "department": "IT",
                 "license_sku": "ENTERPRISEPACK"}
_GRAPH_USERS: Final = "/v1.0/users"
_USERS: Final = "/users"
_STEP_SECONDS: Final = 30.0
"""How long anything that the demo waits for may take."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the simulators saw, and when the worker was killed."""

    graph: list[Entry]
    user_api: list[Entry]
    killed_at: datetime


async def tell(stack: Stack, narrator: Narrator) -> Execution:
    """The demo on a stack that was started with simulators; answers the execution as it ended.

    Raises:
        WorkflowException: something was not as it should; `error_type` is DemoFailed where a check says so.
    """
    organizations = YamlOrganizations(stack.settings.organizations)
    names = [organizations.get(org_id).name for org_id in (ORG, OTHER)]
    assert stack.graph is not None
    assert stack.user_api is not None
    async with AsyncExitStack() as opened:
        graph, user_api = [await opened.enter_async_context(SimulatorControl(one.url))
                           for one in (stack.graph, stack.user_api)]
        narrator.step(f"Two organizations, {' and '.join(names)}, have accounts and secrets of their own in both systems")
        worker = await stack.start_worker()
        narrator.step(f"A worker serves the workspace (process {worker.pid})")
        await graph.fail("POST", _GRAPH_USERS, exact=True, status=429, retry_after="1")
        await user_api.fail("POST", _USERS, exact=True, hold=True)

        handle = await executions.start(stack.client, WORKFLOW, task_queue=stack.settings.task_queue, org_id=ORG,
                                        params=PARAMS)
        narrator.step(f"Started for {names[0]}: {handle.id}")
        killed_at = await _while_it_runs(handle, _until_killed(stack, narrator, graph, user_api, handle.id))
        worker = await stack.start_worker()
        narrator.step(f"Another worker is started (process {worker.pid})")
        await _ended(handle)
        execution = await read_execution(stack.client, handle.id)
        evidence = Evidence(await graph.journal(), await user_api.journal(), killed_at)
    _check_execution(narrator, execution)
    _check_effects(narrator, evidence, names)
    await _check_secrets(narrator, stack)
    narrator.title(f"Timeline of {handle.id}")
    narrator.timeline(execution)
    return execution


# --- the story -------------------------------------------------------------------------------------------------------


async def _throttled(narrator: Narrator, graph: SimulatorControl) -> None:
    """See the first call refused and made again, not before it may."""
    answered = partial(graph.wait_for, method="POST", path=_GRAPH_USERS, exact=True, state="answered",
                       timeout_seconds=_STEP_SECONDS)
    [refused] = await answered(1)
    narrator.check("Microsoft Graph throttles: POST /v1.0/users is answered 429, Retry-After: 1", refused.status, 429)
    _, repeated = await answered(2)
    waited = (repeated.at - refused.at).total_seconds()
    narrator.check(f"The call is made again {waited:.1f} s later, and Microsoft Graph creates the user",
                   (repeated.status, waited >= 1), (201, True))


async def _killed(stack: Stack, narrator: Narrator, user_api: SimulatorControl, execution_id: str) -> datetime:
    """Kill the worker while the second system has the call and has done nothing; answers when."""
    await user_api.wait_for(method="POST", path=_USERS, exact=True, state="held", timeout_seconds=_STEP_SECONDS)
    before = await read_execution(stack.client, execution_id)
    narrator.check("Temporal's history has the checkpoint m365_user_created, and no later one",
                   [checkpoint.name for checkpoint in before.checkpoints], ["m365_user_created"])
    worker = stack.workers[-1]
    killed_at, pid = datetime.now(UTC), worker.pid
    await worker.kill()
    narrator.check(f"kill -9 {pid}: the worker dies while its call to the internal system is under way",
                   await worker.wait(), -signal.SIGKILL)
    left = await user_api.wait_for(method="POST", path=_USERS, exact=True, state="abandoned", timeout_seconds=_STEP_SECONDS)
    narrator.check("The internal system has created nobody", [entry.status for entry in left], [None])
    return killed_at


async def _until_killed(stack: Stack, narrator: Narrator, graph: SimulatorControl, user_api: SimulatorControl,
                        execution_id: str) -> datetime:
    await _throttled(narrator, graph)
    return await _killed(stack, narrator, user_api, execution_id)


async def _while_it_runs(handle: Any, story: Coroutine[Any, Any, T]) -> T:
    """The story, unless the execution ends under it: then nothing that it waits for would come."""
    told, ended = tasks = asyncio.ensure_future(story), asyncio.ensure_future(executions.result(handle))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            return told.result()
        raise WorkflowException(f"Execution {handle.id} ended before its worker was killed: "
                                f"{ended.exception() or 'with a result'}", error_type="DemoFailed")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(handle: Any) -> None:
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            await executions.result(handle)
    except builtins.TimeoutError as error:
        if isinstance(error, WorkflowException):  # the run's own
            raise
        raise TimeoutError(f"Execution {handle.id} did not end within {_STEP_SECONDS:g} seconds", _STEP_SECONDS) from error


# --- what is checked at the end --------------------------------------------------------------------------------------


def _check_execution(narrator: Narrator, execution: Execution) -> None:
    assert execution.closed_at is not None
    took = (execution.closed_at - execution.started_at).total_seconds()
    narrator.check(f"The execution ends {took:.1f} s after its start: {execution.status}", execution.status,
                   ExecutionStatus.SUCCESS)
    narrator.check("Both checkpoints are in the history, each once", [one.name for one in execution.checkpoints],
                   ["m365_user_created", "internal_user_created"])
    narrator.check("Calls were attempted: msgraph.create_user twice (429), msgraph.assign_license once, "
                   "user_management_api.create_user twice (kill -9)",
                   [(call.name, call.attempts, call.status) for call in execution.calls],
                   [("msgraph.create_user", 2, "success"), ("msgraph.assign_license", 1, "success"),
                    ("user_management_api.create_user", 2, "success")])


def _check_effects(narrator: Narrator, evidence: Evidence, names: list[str]) -> None:
    """What the simulators' journals prove: who was created, where, when and how often."""
    for system, entries, path in (("Microsoft 365", evidence.graph, _GRAPH_USERS),
                                  ("the internal system", evidence.user_api, _USERS)):
        created = [entry.tenant for entry in entries if entry.method == "POST" and entry.path == path
                   and entry.status == 201 and not entry.replayed]
        others = [entry.path for entry in entries if entry.tenant == OTHER]
        narrator.check(f"Journal of {system}: one user was created for {names[0]}, and {names[1]} was never touched",
                       (created, others), ([ORG], []))
    narrator.check("What was recorded before the kill was not called again",
                   [entry.path for entry in evidence.graph if entry.at > evidence.killed_at], [])
    narrator.check("The internal user was created after the kill, by the second worker",
                   [entry.at > evidence.killed_at for entry in evidence.user_api if entry.status == 201
                    and entry.method == "POST"], [True])


async def _check_secrets(narrator: Narrator, stack: Stack) -> None:
    """Search what was written for the secrets, and for something that must be there: so the search can find."""
    database = stack.temporal.db_path
    assert database is not None
    files = [*sorted(database.parent.glob(f"{database.name}*")), *(worker.log_file for worker in stack.workers)]
    values = [value for (org_id, _), value in stack.secrets.items() if org_id == ORG]
    leaks, known = await asyncio.to_thread(_search, files, values)
    readable = stack.settings.encryption == "off"
    narrator.check(f"None of {ORG}'s {len(values)} secrets is in Temporal's database (where the user's email address is, "
                   f"{known} times) or in the workers' logs", (leaks, known > 0, len(values) >= 2), ([], readable, True))


def _search(files: Iterable[Path], values: list[str]) -> tuple[list[str], int]:
    """The names of the files that hold one of the values, and how often the user's email address was found."""
    leaks, known = [], 0
    for file in files:
        content = file.read_bytes()
        known += content.count(PARAMS["email"].encode())
        if any(value.encode() in content for value in values):
            leaks.append(file.name)
    return leaks, known
