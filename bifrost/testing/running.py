"""`run_workflow`: a workflow of the workspace, executed for real on the tests' Temporal server, and replayed."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from bifrost.decorators import WORKFLOW_ATTRIBUTE
from bifrost.errors import (
    DeterminismError,
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
)
from bifrost.messages import ApprovalMessage, CallerMessage
from bifrost.models import GLOBAL, ExecutionStatus
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.settings import Settings
from bifrost.temporal import client as executions
from bifrost.temporal import history, worker
from bifrost.temporal.history import Execution
from bifrost.temporal.replay import replay
from bifrost.testing import served
from bifrost.testing.memory import InMemoryContext
from bifrost.testing.recorded import Checkpoint, LogEntry
from bifrost.testing.server import SharedServer
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision import snapshot
from bifrost.workspace.revision_stores import MemoryRevisions

NAMESPACE: Final = "default"
APPROVER: Final = CallerMessage(user_id="test-approver", name="Test Approver")
_POLL: Final = 0.02
_SKIPS: Final = 10_000
"""How often an execution may skip time; as shipped, the server would stop at 200."""


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """What became of an execution.

    Attributes:
        status: Success, CompletedWithErrors, Failed or Timeout.
        result: What the workflow answered.
        error: What it failed with, or None.
        execution: Everything that its history says, with times, which are those of the skipped clock.
    """

    status: ExecutionStatus
    result: Any
    error: Exception | None
    execution: Execution

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints passed, as `(name, data)`."""
        return [Checkpoint(one.name, one.data) for one in self.execution.checkpoints]

    @property
    def logs(self) -> list[LogEntry]:
        """The lines written, as `(level, message, data)`."""
        return [LogEntry(one.level, one.message, one.data) for one in self.execution.log]

    @property
    def calls(self) -> Sequence[history.Call]:
        """The calls made, each with its `name`, `attempts` and `status`. The context's `calls` have their arguments."""
        return self.execution.calls


class RunWorkflow:
    """The fixture `run_workflow`: call it to execute a workflow.

    Args:
        server: Where.
        root: The workspace's folder.
        context: What the execution's context is made of, where a call names no other.
    """

    def __init__(self, server: SharedServer, root: Path, context: InMemoryContext) -> None:
        self._server = server
        self._root = root
        self._context = context

    async def __call__(self, workflow: str | Callable[..., Any], params: Mapping[str, Any] | None = None, *,
                       context: InMemoryContext | None = None, check: bool = True, check_replay: bool = True,
                       approve: bool = True, timeout: float = 30) -> WorkflowRun:  # noqa: ASYNC109 - a bound with a message of its own
        """Execute a workflow and answer what became of it.

        Worker, retries, timers and history are real; time that nothing happens in passes at once. Organization, configuration,
        secrets and events are those of the context; an integration that it fakes is fake, every other one real. When the
        execution has ended it is replayed, so that code which would go another way fails the test and not a customer.

        Args:
            workflow: Its name, or its function.
            params: Its parameters.
            context: In the place of the fixture `bifrost_context`.
            check: Whether a failure is raised; otherwise it is in the answer's `error`.
            check_replay: Whether the execution is replayed.
            approve: Whether an execution that waits for approval is approved or rejected.
            timeout: How long it may take, in seconds of this machine's clock.

        Raises:
            NotFoundError: the workspace has no such workflow; names similar ones.
            ConfigurationError: its file cannot be loaded; says where and why.
            DeterminismError: a replay went another way.
            TimeoutError: it did not end in time; says where it stands.
            Exception: what the workflow failed with.
        """
        chosen = context or self._context
        with _local_time():
            workspace = _workspace(self._root, chosen)
            entry = workspace.catalog.workflow(_name_of(workflow))
            client = await executions.connect_to(self._server.address, NAMESPACE, str(self._server.payloads))
            queue = executions.new_execution_id("test")
            handle = await _started(client, chosen, entry.metadata.name, params or {}, queue)
            async with _serving(client, workspace, chosen, queue):
                approval = _decide(client, handle.id, approve=approve) if entry.metadata.requires_approval else None
                result, error = await _ended(client, handle, timeout, approval)
            if check_replay:
                await _replayed(workspace, handle, str(self._server.payloads))
        if check and error is not None:
            raise error
        execution = await history.read_execution(client, handle.id)
        return WorkflowRun(execution.status, result, error, execution)


def _name_of(workflow: str | Callable[..., Any]) -> str:
    if isinstance(workflow, str):
        return workflow
    metadata = getattr(workflow, WORKFLOW_ATTRIBUTE, None)
    if metadata is None:
        raise ValidationError(f"{workflow!r} is no workflow: give its name, or a function decorated with @workflow", field="workflow")
    return str(metadata.name)


def _workspace(root: Path, context: InMemoryContext) -> Workspace:
    """The workspace as it is now, with the context's fakes among its integrations."""
    workspace = copy.copy(_discovered(root, snapshot(root).id))
    fakes = {name: fake.as_class() for name, fake in context.fakes.items()}
    workspace.catalog = replace(workspace.catalog, integrations={**workspace.catalog.integrations, **fakes})
    return workspace


@functools.lru_cache(maxsize=8)
def _discovered(root: Path, revision: str) -> Workspace:
    """The workspace at that revision: discovered once, whichever test comes first."""
    del revision
    with served.set_aside():
        return Workspace(root, MemoryRevisions(), Settings.from_environment().workflow_safe)


async def _started(client: Client, context: InMemoryContext, name: str, params: Mapping[str, Any], queue: str) -> WorkflowHandle[Any, Any]:
    """The execution, and its events: no worker serves it yet, so no time can pass before they are there."""
    skipping = TimeSkipper(client, config=TimeSkippingConfig(max_session_skip_count=_SKIPS)).client
    handle = await executions.start(skipping, name, task_queue=queue, org_id=context.org_id, params=params, caller=context.caller)
    for event, payloads in context.events.items():
        for payload in payloads:
            await handle.signal(event, payload)
    return handle


@contextlib.asynccontextmanager
async def _serving(client: Client, workspace: Workspace, context: InMemoryContext, queue: str) -> AsyncIterator[None]:
    organizations = MemoryOrganizations([context.org] if context.org else [], context.global_config)
    own = {context.org_id: context.secrets} if context.org_id else {}
    async with worker.serving(client, workspace, organizations, MemorySecrets({GLOBAL: context.global_secrets, **own}), task_queue=queue):
        yield


async def _ended(client: Client, handle: WorkflowHandle[Any, Any], timeout: float,  # noqa: ASYNC109 - the caller's
                 approval: Any) -> tuple[Any, Exception | None]:
    """The execution's result and its error.

    Raises:
        TimeoutError: it did not end; it is terminated, so that the worker is not waited for.
    """
    under_way = [asyncio.ensure_future(one) for one in (executions.result(handle), approval) if one]
    ending = under_way[0]
    try:
        await asyncio.wait([ending], timeout=timeout)
        if ending.done():
            return _outcome(ending)
        stands = await _where(client, handle)
        await handle.terminate("the test's time is up")
        raise TimeoutError(f"{handle.id} did not end within {timeout:g} seconds: {stands}", timeout_seconds=timeout)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def _outcome(ended: asyncio.Future[Any]) -> tuple[Any, Exception | None]:
    try:
        return ended.result(), None
    except Exception as error:  # noqa: BLE001 - whatever the workflow failed with
        return None, error


async def _decide(client: Client, execution_id: str, *, approve: bool) -> None:
    """Approve or reject the execution, as soon as it asks."""
    while True:
        try:
            await executions.approve(client, execution_id, ApprovalMessage(by=APPROVER, approved=approve))
        except ValidationError:  # it does not ask yet
            await asyncio.sleep(_POLL)
        else:
            return


async def _where(client: Client, handle: WorkflowHandle[Any, Any]) -> str:
    """Where an execution stands that does not end."""
    execution = await history.read_execution(client, handle.id)
    faults = _task_failures(await handle.fetch_history())
    parts = [f"its last checkpoint is '{execution.checkpoints[-1].name}'" if execution.checkpoints else "it has passed no checkpoint"]
    parts += [f"{call.name} is {call.status}" + (f" after {call.error}" if call.error else "")
              for call in execution.calls if call.duration_ms is None]
    parts += [f"its code could not go on: {faults[-1]}"] if faults else []
    return "; ".join([*parts, "an event that it waits for is sent by context.send_event(name, payload)"])


def _task_failures(found: WorkflowHistory) -> list[str]:
    return [event.workflow_task_failed_event_attributes.failure.message for event in found.events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]


async def _replayed(workspace: Workspace, handle: WorkflowHandle[Any, Any], payloads: str) -> None:
    async def ended() -> AsyncIterator[WorkflowHistory]:
        yield await handle.fetch_history()

    async for one in replay(workspace, ended(), payloads):
        if one.failure is not None:
            raise DeterminismError(
                f"'{one.workflow}' went another way when it was replayed: {_said(one.failure)}. Its code depends on something that is "
                "not the same the second time, such as what another run left behind: pass it in as a parameter, or read it by an "
                "integration or an @activity", execution_id=one.execution_id)


def _said(failure: str) -> str:
    """Temporal's own sentence, out of what its native part says around it."""
    found = re.search(r"\[TMPRL\d+\] ([^\"]+)", failure)
    return found[1] if found else failure


@contextlib.contextmanager
def _local_time() -> Iterator[None]:
    """Keep this process's time zone: a worker lives in UTC, and tests that come later need not."""
    zone = os.environ.get("TZ")
    try:
        yield
    finally:
        os.environ.pop("TZ", None) if zone is None else os.environ.update(TZ=zone)
        time.tzset()
