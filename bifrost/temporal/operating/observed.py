"""What every execution and call is watched by: ids in the log lines that are written inside, and measurements."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from structlog.contextvars import bind_contextvars
from temporalio import activity, workflow
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from bifrost.integrations.call import current_call
from bifrost.temporal.interceptors import carried_context
from bifrost.temporal.operating import measures


class Observing(Interceptor):
    """Binds ids to log lines, and measures executions; to be listed after `ContextInterceptor`, by which a call knows its execution."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the port's name
        return _Activity(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        del input
        return _Workflow


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the port's name
        info, context = activity.info(), carried_context.get()
        ids = {"execution_id": info.workflow_id, "workflow": info.workflow_type, "activity": info.activity_type, "call_id": info.activity_id,
               "attempt": current_call.get().attempt if context else info.attempt, "org_id": context.org_id if context else None}
        bind_contextvars(**{name: value for name, value in ids.items() if value is not None})  # for good: its task is its own
        return await super().execute_activity(input)


class _Workflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the port's name
        first = input.args[0] if input.args else None
        _bind(first.get("org_id") if isinstance(first, dict) else None)
        measures.execution_began()
        try:
            result = await super().execute_workflow(input)
        except (Exception, asyncio.CancelledError):  # and nothing else: a run that is left to the garbage collector has no end
            _ended()
            raise
        _ended()
        return result

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002 - the port's name
        _bind(None)
        await super().handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002 - the port's name
        _bind(None)
        return await super().handle_update_handler(input)


def _ended() -> None:
    if workspace := getattr(workflow.instance(), "workspace", None):  # and no run of the engine's own, such as a turnstile
        measures.execution_ended(workspace.catalog.workflows)


def _bind(org_id: Any) -> None:
    info, context = workflow.info(), getattr(workflow.instance(), "call_context", None)
    org_id = context.org_id if context else org_id
    bind_contextvars(execution_id=info.workflow_id, workflow=info.workflow_type, **({"org_id": org_id} if org_id else {}))


class _Repetitions(logging.Filter):
    """Leaves out what a run says again while it is replayed. The SDK's own lines stay: they know, and tell of failed replays."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.startswith("temporalio") or not (workflow.in_workflow() and workflow.unsafe.is_replaying())


_REPETITIONS = _Repetitions()


def leave_out_repetitions() -> None:
    """Have every line that is written inside a run written once, whoever writes it and however often the run is replayed."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_REPETITIONS)
