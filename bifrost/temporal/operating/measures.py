"""Where calls and executions are measured."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from temporalio import workflow

from bifrost import metrics
from bifrost.errors import IntegrationError
from bifrost.integrations.call import current_call
from bifrost.messages import NotNow
from bifrost.models import ExecutionStatus
from bifrost.temporal import attributes, failures

_ENDS = (ExecutionStatus.SUCCESS, ExecutionStatus.COMPLETED_WITH_ERRORS, ExecutionStatus.FAILED, ExecutionStatus.TIMEOUT,
         ExecutionStatus.CANCELLED)


def begin(integrations: Iterable[str], workflows: Iterable[str]) -> None:
    """Expose counters that stand at nothing: whoever watches the first failure must have seen none before."""
    for integration in integrations:
        for metric in (metrics.CALL_RETRIES, metrics.CALL_THROTTLES, metrics.CIRCUIT_OPENINGS):
            metrics.record(metric, 0, integration=integration)
    for name in workflows:
        for end in _ENDS:
            metrics.record(metrics.EXECUTIONS, 0, workflow=name, outcome=end.value)
    for outcome in ("hit", "miss", "error"):
        metrics.record(metrics.SECRET_READS, 0, outcome=outcome)


@contextlib.contextmanager
def attempt(integration: str, configured_class: Callable[[], object]) -> Iterator[None]:
    """What is inside is one attempt of a call; what class its organization has is only asked where somebody records."""
    if not metrics.recorded():
        yield
        return
    organization_class = metrics.organization_class(configured_class())
    began, outcome = time.monotonic(), "success"
    try:
        yield
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    except Exception as error:
        outcome = _outcome(error)
        raise
    finally:
        metrics.record(metrics.CALLS, integration=integration, outcome=outcome, organization_class=organization_class)
        if outcome != "held":
            metrics.record(metrics.CALL_DURATION, time.monotonic() - began, integration=integration)
        if outcome != "held" and current_call.get().attempt > 1:
            metrics.record(metrics.CALL_RETRIES, integration=integration)
        if outcome == "throttled":
            metrics.record(metrics.CALL_THROTTLES, integration=integration)


def _outcome(error: Exception) -> str:
    if isinstance(error, IntegrationError) and error.status_code == 429:
        return "throttled"
    if isinstance(error, IntegrationError) and error.status_code is None and NotNow.KEY in error.details:
        return "held"
    if failures.is_down(error):
        return "down"
    return "refused" if isinstance(error, IntegrationError) and error.status_code else "error"


def checkpoint(at: str) -> None:
    """A checkpoint that was passed at this time, in ISO format, is being recorded as done."""
    metrics.record(metrics.CHECKPOINT_LAG, max((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds(), 0))


def execution_began() -> None:
    """Inside a run: it begins."""
    if scheduled := workflow.info().typed_search_attributes.get(attributes.SCHEDULED_TIME):
        metrics.record(metrics.SCHEDULE_LAG, max((workflow.now() - scheduled).total_seconds(), 0))


def execution_ended(workflows: Iterable[str]) -> None:
    """Inside a run that has closed: it ends. Names of no workflow are one to the metric: anybody may start anything."""
    if outcome := workflow.info().typed_search_attributes.get(attributes.OUTCOME):
        name = workflow.info().workflow_type
        metrics.record(metrics.EXECUTIONS, workflow=name if name in workflows else "other", outcome=outcome)
