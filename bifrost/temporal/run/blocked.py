"""Code that does not yield, or exits: it ends its run, instead of being tried for ever, or ending the worker.

The SDK gives up on a workflow task whose code has not yielded for two seconds, and Temporal hands the task out again, for
ever. So a run that has used up those seconds more than once is failed here, with the line that it was in. A machine that is
merely busy must not fail runs: seconds in which the thread did not compute count less.

What wraps each run for that also answers the SDK for what each of its payloads is, which nothing of ours looks at.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import Any, Final

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import StorageDriverStoreContext
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from bifrost.errors import TimeoutError  # noqa: A004 - the name is the guide's
from bifrost.temporal import failures
from bifrost.temporal.run.tasks import number_tasks
from bifrost.workspace.guard import PACKAGE

PATIENCE: Final = 2.0
"""Seconds without yielding after which the SDK gives up: https://docs.temporal.io/troubleshooting, TMPRL1101."""
_COMPUTING: Final = 1.0
"""Seconds of computing in them that make them the code's fault."""
_TIMES_COMPUTING, _TIMES_AT_ALL = 2, 5
"""How often a run may come to that before it fails."""
_NO_TARGET: Final = StorageDriverStoreContext()


@dataclass
class _Seen:
    """What was seen of a run that did not yield."""

    computing: int = 0
    at_all: int = 0
    line: str = "workflow code"

    @property
    def enough(self) -> bool:
        return self.computing >= _TIMES_COMPUTING or self.at_all >= _TIMES_AT_ALL


_seen: dict[str, _Seen] = {}


def note(run_id: str, error: BaseException) -> None:
    """Keep the line in which the SDK interrupted a run."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(f"{PACKAGE}/")]
    if frames:
        _seen.setdefault(run_id, _Seen()).line = f"{frames[-1].filename}:{frames[-1].lineno}"


class WatchfulRunner(WorkflowRunner):
    """Runs workflows unsandboxed, with numbered tasks, and fails those that do not yield, again and again."""

    def __init__(self) -> None:
        self._runner = UnsandboxedWorkflowRunner()

    def prepare_workflow(self, defn: Any) -> None:
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._runner.create_instance(det)
        number_tasks(instance)
        return _Watched(instance)


class _Watched(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        super().__init__()
        self._instance = instance

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        if any(job.HasField("remove_from_cache") for job in act.jobs):
            return self._instance.activate(act)
        seen = _seen.get(act.run_id)
        if seen and seen.enough and not act.is_replaying:
            del _seen[act.run_id]
            # The SDK fails the run, not the task, for an error that is not to be retried.
            raise failures.application_error(TimeoutError(
                f"{seen.line}: the workflow did not yield for {PATIENCE:g} seconds, in {seen.at_all} attempts: await a timer in "
                "long loops, such as `asyncio.sleep(0.01)`, or move the work into an integration or an `@activity`", line=seen.line), retry=False)
        began, computed = time.monotonic(), time.thread_time()
        try:
            return self._instance.activate(act)
        except SystemExit as error:  # `exit()` in a workflow must not end the worker, and then the next one
            raise failures.application_error(RuntimeError(f"The workflow raised SystemExit: {error}"), retry=False) from error
        finally:
            if time.monotonic() - began >= PATIENCE:
                seen = _seen.setdefault(act.run_id, _Seen())
                seen.at_all += 1
                seen.computing += time.thread_time() - computed >= _COMPUTING
            elif not act.is_replaying:
                _seen.pop(act.run_id, None)

    def get_serialization_context(self, command_info: Any) -> None:
        del command_info  # the SDK asks three times for each payload, and our converter is the same for all (`payloads.converter`)

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        del command_info
        return _NO_TARGET

    def get_info(self) -> Any:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
