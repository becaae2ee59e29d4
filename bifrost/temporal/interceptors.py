"""Who runs for whom, carried from a run to its activities in one header.

The activities' own arguments stay what the caller wrote, so that Temporal's Web UI shows them and nothing else.
"""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from typing import Any

from temporalio import activity, workflow
from temporalio.converter import PayloadConverter
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from bifrost.integrations.call import Call, current_call
from bifrost.messages import CONTEXT_HEADER, CallContext
from bifrost.models import Caller
from bifrost.temporal.converter import DATA_CONVERTER

_KEYS = uuid.UUID("6f3c7a0e-5d0b-5c3e-9a53-4c8f2f6a1b7d")
"""The name space of idempotency keys; never change it."""


def idempotency_key(context: CallContext, activity_id: str) -> str:
    """One key for every attempt of one call, also after a reset: derived from the execution's first run."""
    return str(uuid.uuid5(_KEYS, f"{context.execution_id}/{context.origin_run_id}/{activity_id}"))


carried_context: ContextVar[CallContext | None] = ContextVar("carried_context", default=None)
"""The context that the activity being executed was sent."""


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 - the port's name
        input.headers = self._with_context(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = self._with_context(input.headers)
        return super().start_local_activity(input)

    @staticmethod
    def _with_context(headers: Any) -> Any:
        context = getattr(workflow.instance(), "call_context", None)
        return headers if context is None else {**headers, CONTEXT_HEADER: workflow.payload_converter().to_payload(context)}


class _WorkflowInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _ActivityInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the port's name
        payload = input.headers.get(CONTEXT_HEADER)
        if payload is None:
            return await super().execute_activity(input)
        context = _converter().from_payload(payload, CallContext)
        info = activity.info()
        token = current_call.set(Call(
            execution_id=context.execution_id, caller=Caller(**context.caller.model_dump()), workflow=context.workflow,
            idempotency_key=idempotency_key(context, info.activity_id), activity=info.activity_type, attempt=info.attempt))
        carried_token = carried_context.set(context)
        try:
            return await super().execute_activity(input)
        finally:
            carried_context.reset(carried_token)
            current_call.reset(token)


def _converter() -> PayloadConverter:
    return DATA_CONVERTER.payload_converter


class ContextInterceptor(Interceptor):
    """Sends the context header from runs and makes it the activities' `current_call`."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _ActivityInbound(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        del input
        return _WorkflowInbound
