"""What every call of a run passes through: who runs for whom, and how much goes into one message to Temporal.

Who runs for whom is carried from a run to its activities in one header. The activities' own arguments stay what the caller
wrote, so that Temporal's Web UI shows them and nothing else.

What a run asks for without waiting goes to Temporal in one message, and one of more than 4 MiB ends the run. So when much is
asked for at once, arguments are stored outside as if they were large.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from bifrost.integrations.call import Call, current_call
from bifrost.messages import BEGIN, CONTEXT_HEADER, CallContext
from bifrost.models import Caller
from bifrost.temporal.payloads import store as payloads
from bifrost.temporal.payloads.converter import CONVERTER
from bifrost.temporal.payloads.encryption import owner

_KEYS = uuid.UUID("6f3c7a0e-5d0b-5c3e-9a53-4c8f2f6a1b7d")
"""The name space of idempotency keys; never change it."""


def idempotency_key(context: CallContext, activity_id: str) -> str:
    """One key for every attempt of one call, also after a reset: derived from the execution's first run."""
    return str(uuid.uuid5(_KEYS, f"{context.execution_id}/{context.origin_run_id}/{activity_id}"))


carried_context: ContextVar[CallContext | None] = ContextVar("carried_context", default=None)
"""The context that the activity being executed was sent."""


attempts_before: ContextVar[int] = ContextVar("attempts_before", default=0)
"""Set inside a run while it makes a call once more: how many attempts of it there were."""

AT_ONCE = 2 * 1024 * 1024
"""How many bytes of arguments go to Temporal in one message; half of what it takes."""
_REFERENCE = 512
"""How many bytes a reference to a stored argument takes, about; what is smaller than two is not stored."""


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(self, next: WorkflowOutboundInterceptor) -> None:  # noqa: A002 - the port's name
        super().__init__(next)
        self._task = -1
        self._bytes = 0
        self._header: tuple[CallContext, str | None, Payload] | None = None

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 - the port's name
        input.headers = self._with_context(input.headers)
        input.args = self._counted(input.args)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = self._with_context(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:  # noqa: A002
        input.args = self._counted(input.args)
        return await super().start_child_workflow(input)

    def _counted(self, args: Sequence[Any]) -> list[RawValue]:
        """The arguments as they are sent; what is too much for this workflow task's message is marked to be stored outside."""
        task = workflow.info().get_current_history_length()
        if task != self._task:
            self._task, self._bytes = task, 0
        counted = []
        for argument in args:
            payload = argument.payload if isinstance(argument, RawValue) else workflow.payload_converter().to_payload(argument)
            size = payload.ByteSize()
            if size > 2 * _REFERENCE and self._bytes + size > AT_ONCE:
                payload, size = payloads.to_store(payload), _REFERENCE
            self._bytes += size
            counted.append(RawValue(payload))
        return counted

    def _with_context(self, headers: Any) -> Any:
        context: CallContext | None = getattr(workflow.instance(), "call_context", None)
        if context is None:
            return headers
        if before := attempts_before.get():
            return {**headers, CONTEXT_HEADER: workflow.payload_converter().to_payload(context.model_copy(update={"attempts_before": before}))}
        whose = getattr(workflow.instance(), "owner", None)  # as the payload is marked with it
        if self._header is None or self._header[0] is not context or self._header[1] != whose:
            self._header = context, whose, workflow.payload_converter().to_payload(context)
        sent = Payload()
        sent.CopyFrom(self._header[2])  # the codec changes what it is given
        return {**headers, CONTEXT_HEADER: sent}


class _WorkflowInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _ActivityInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the port's name
        payload = input.headers.get(CONTEXT_HEADER)
        if payload is None:
            return await super().execute_activity(input)
        (context, caller), info = _read(payload.data), activity.info()
        # All of this for good: each attempt has a task of its own, in which its answer is encoded when all else is done.
        current_call.set(Call(
            execution_id=context.execution_id, caller=caller, workflow=context.workflow, idempotency_key=idempotency_key(context, info.activity_id),
            activity=info.activity_type, attempt=info.attempt + context.attempts_before, scheduled_at=context.scheduled_at))
        carried_context.set(context)
        if info.activity_type != BEGIN:  # which finds out whether there is such an organization
            owner.set(context.org_id)
        return await super().execute_activity(input)


@functools.lru_cache(maxsize=1024)
def _read(header: bytes) -> tuple[CallContext, Caller]:
    """A header, which is the same in most calls of a run, and who it says started that."""
    context: CallContext = CONVERTER.from_payload(Payload(metadata={"encoding": b"json/plain"}, data=header), CallContext)
    return context, Caller(**context.caller.model_dump())


class ContextInterceptor(Interceptor):
    """Sends the context header from runs and makes it the activities' `current_call`."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _ActivityInbound(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        del input
        return _WorkflowInbound
