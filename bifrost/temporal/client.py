"""Connecting to Temporal, starting executions and awaiting them: what every door does."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.exceptions import CancelledError as TemporalCancelledError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.service import RPCError, RPCStatusCode

from bifrost import messages
from bifrost.errors import (
    ConfigurationError,
    NotFoundError,
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
    WorkflowException,
)
from bifrost.messages import ApprovalMessage, CallerMessage, StartMessage
from bifrost.models import Caller
from bifrost.settings import Settings
from bifrost.temporal import failures, rates, runtime
from bifrost.temporal.converter import data_converter

DEFAULT_ADDRESS = "localhost:7233"
ANSWER_TIMEOUT = timedelta(seconds=20)
"""How long whoever decides on an execution waits for its worker."""


async def connect(address: str | None = None, namespace: str | None = None, payloads: str | None = None) -> Client:
    """A client, by Temporal's own environment configuration (`TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, TLS, profiles, …).

    Args:
        address: Goes before the configured one; localhost:7233 where neither is given.
        namespace: Goes before the configured one.
        payloads: Where large payloads are; `BIFROST_PAYLOADS` where it is not given.

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
        return await Client.connect(**config, data_converter=data_converter(payloads or Settings.from_environment().payloads))
    except (RuntimeError, RPCError) as error:
        raise ConfigurationError(
            f"Temporal does not answer at {config['target_host']}: {error}. Start one with `bifrost dev`, or set "
            "TEMPORAL_ADDRESS", config_key="TEMPORAL_ADDRESS") from error


async def connect_to(address: str, namespace: str, payloads: str | None = None) -> Client:
    """A client of the server at this very address, without TLS, whatever the environment's configuration says.

    Args:
        address: `host:port`.
        namespace: The Temporal namespace.
        payloads: Where large payloads are; without it none can be read or written.

    Raises:
        RuntimeError: nothing answers there.
    """
    runtime.prepare()
    return await Client.connect(address, namespace=namespace, data_converter=data_converter(payloads))


def new_execution_id(workflow: str) -> str:
    """An id for an execution that was not given one."""
    return f"{workflow}-{uuid.uuid4().hex[:12]}"


def execution_id_of(workflow: str, org_id: str | None, idempotency_key: str) -> str:
    """The id of the one execution that this workflow has for this organization and key.

    Raises:
        ValidationError: the key is empty.
    """
    if not idempotency_key:
        raise ValidationError("The idempotency key is empty", field="idempotency_key")
    derived_from = json.dumps([workflow, org_id or messages.GLOBAL_SCOPE, idempotency_key])  # never change it
    return f"{workflow}-{hashlib.sha256(derived_from.encode(errors='surrogatepass')).hexdigest()[:24]}"


def _fairness(org_id: str | None) -> Priority:
    """Where the server has fairness on, an organization's executions share what it gets, and do not starve another's."""
    return Priority.default if org_id is None else Priority(fairness_key=rates.fairness_key(org_id))


async def start(client: Client, workflow: str, *, task_queue: str, org_id: str | None, params: Mapping[str, Any],
                caller: Caller | None = None, execution_id: str | None = None,
                idempotency_key: str | None = None) -> WorkflowHandle[Any, Any]:
    """Start an execution, or answer the one that runs under this id.

    Args:
        client: Made by `connect`.
        workflow: Its name.
        task_queue: Where workers serve it.
        org_id: The organization to run for.
        params: The parameters.
        caller: Who starts it.
        execution_id: The id to run under; a new one where it is not given.
        idempotency_key: In place of an id. The same key for the same workflow and organization is one execution, which is
            answered also when it has ended, whatever the parameters are this time; its `result_run_id` is None then.

    Raises:
        ValidationError: an execution of this id has ended, something in the parameters is no JSON, or they are too large.
    """
    if idempotency_key is not None:
        execution_id = execution_id_of(workflow, org_id, idempotency_key)
    who = CallerMessage(user_id=caller.user_id, email=caller.email, name=caller.name) if caller else None
    message = StartMessage(org_id=org_id, params=dict(params), caller=who)
    chosen = execution_id or new_execution_id(workflow)
    try:
        return await client.start_workflow(
            workflow, message.model_dump(exclude_none=True), id=chosen, task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            static_summary=f"{workflow} for {org_id or 'no organization'}", static_details="Started through Bifrost",
            priority=_fairness(org_id))
    except WorkflowAlreadyStartedError as error:
        if idempotency_key is not None:
            return client.get_workflow_handle(chosen)
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


async def approve(client: Client, execution_id: str, decision: ApprovalMessage) -> str:
    """Decide on an execution that waits for approval; answers `approved` or `rejected`.

    Raises:
        NotFoundError: there is no such execution, or it has ended.
        PermissionError: whoever started it cannot decide.
        ValidationError: it waits for no approval.
        TimeoutError: no worker took the decision in time.
    """
    try:
        answer: str = await client.get_workflow_handle(execution_id).execute_update(
            messages.APPROVE, decision, rpc_timeout=ANSWER_TIMEOUT)
    except WorkflowUpdateFailedError as error:
        raise (failures.from_application_error(error.cause) if isinstance(error.cause, ApplicationError) else error) from error.cause
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise TimeoutError(f"No worker answered for execution '{execution_id}' within {ANSWER_TIMEOUT.total_seconds():g} seconds",
                           timeout_seconds=ANSWER_TIMEOUT.total_seconds()) from error
    except RPCError as error:
        raise translate(error, execution_id) from error
    return answer


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
