"""Connecting to Temporal, starting executions and awaiting them: what every door does."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.exceptions import CancelledError as TemporalCancelledError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.service import RPCError, RPCStatusCode

from bifrost.errors import (
    ConfigurationError,
    NotFoundError,
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
    WorkflowException,
)
from bifrost.messages import CallerMessage, StartMessage
from bifrost.models import Caller
from bifrost.temporal import failures, runtime
from bifrost.temporal.converter import DATA_CONVERTER

DEFAULT_ADDRESS = "localhost:7233"


async def connect(address: str | None = None, namespace: str | None = None) -> Client:
    """A client, by Temporal's own environment configuration (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, TLS, profiles, …).

    Args:
        address: Goes before the configured one; localhost:7233 where neither is given.
        namespace: Goes before the configured one.

    Raises:
        ConfigurationError: the configuration is wrong, or nothing answers there.
    """
    try:
        config: dict[str, Any] = {"target_host": DEFAULT_ADDRESS, **ClientConfig.load_client_connect_config()}
    except Exception as error:
        raise ConfigurationError(f"Temporal's configuration cannot be read: {error}") from error
    runtime.prepare()
    config |= {key: value for key, value in (("target_host", address), ("namespace", namespace)) if value}
    try:
        return await Client.connect(**config, data_converter=DATA_CONVERTER)
    except (RuntimeError, RPCError) as error:
        raise ConfigurationError(
            f"Temporal does not answer at {config['target_host']}: {error}. Start one with `bifrost dev`, or set "
            "TEMPORAL_ADDRESS", config_key="TEMPORAL_ADDRESS") from error


async def connect_to(address: str, namespace: str) -> Client:
    """A client of the server at this very address, without TLS, whatever the environment's configuration says.

    Raises:
        RuntimeError: nothing answers there.
    """
    runtime.prepare()
    return await Client.connect(address, namespace=namespace, data_converter=DATA_CONVERTER)


def new_execution_id(workflow: str) -> str:
    """An id for an execution that was not given one."""
    return f"{workflow}-{uuid.uuid4().hex[:12]}"


async def start(client: Client, workflow: str, *, task_queue: str, org_id: str | None, params: Mapping[str, Any],
                caller: Caller | None = None, execution_id: str | None = None) -> WorkflowHandle[Any, Any]:
    """Start an execution, or answer the one that runs under this id.

    Raises:
        ValidationError: an execution of this id has ended.
    """
    who = CallerMessage(user_id=caller.user_id, email=caller.email, name=caller.name) if caller else None
    message = StartMessage(org_id=org_id, params=dict(params), caller=who)
    chosen = execution_id or new_execution_id(workflow)
    try:
        return await client.start_workflow(
            workflow, message.model_dump(exclude_none=True), id=chosen, task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=f"{workflow} for {org_id or 'no organization'}", static_details="Started through Bifrost")
    except WorkflowAlreadyStartedError as error:
        raise ValidationError(f"The execution '{chosen}' has ended; choose another id", field="execution_id") from error


async def result(handle: WorkflowHandle[Any, Any]) -> Any:
    """Wait for an execution's end and answer its result.

    Raises:
        WorkflowException: it failed, with the error of user code; `error_type` is Cancelled or Terminated where it was.
    """
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        raise _of_failure(error, handle.id) from error.cause


def _of_failure(error: WorkflowFailureError, execution_id: str) -> Exception:
    match error.cause:
        case ApplicationError() as cause:
            return failures.from_application_error(cause)
        case TemporalCancelledError():
            return WorkflowException(f"Execution {execution_id} was cancelled", error_type="Cancelled")
        case TerminatedError() as cause:
            return WorkflowException(f"Execution {execution_id} was terminated: {cause.message}", error_type="Terminated")
        case TemporalTimeoutError():
            return TimeoutError(f"Execution {execution_id} exceeded its run timeout")
        case cause:
            return WorkflowException(f"Execution {execution_id} failed: {cause}")


def translate(error: RPCError, what: str) -> Exception:
    """Temporal's refusal, renamed: `what` is the execution that was asked for."""
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotFoundError(f"Execution '{what}' not found", kind="execution", name=what, near=[])
    return ConfigurationError(f"Temporal refused: {error}")
