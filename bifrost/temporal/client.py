"""Connecting to Temporal, starting executions and awaiting them: what every door does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import (
    Client,
    Interceptor,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    HeaderCodecBehavior,
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.exceptions import CancelledError as TemporalCancelledError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from bifrost import messages, tracing
from bifrost.errors import (
    ConfigurationError,
    NotFoundError,
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
    WorkflowException,
)
from bifrost.messages import ApprovalMessage, CallerMessage, StartMessage, Via
from bifrost.models import Caller
from bifrost.secrets.base import SecretStore
from bifrost.settings import Settings
from bifrost.temporal import attributes, failures, runtime
from bifrost.temporal.limits import rates
from bifrost.temporal.payloads import given_secrets
from bifrost.temporal.payloads.converter import data_converter
from bifrost.temporal.payloads.encryption import Envelopes, owned_by

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
    read = Settings.from_environment()
    try:
        return await Client.connect(**config, grpc_compression=_compression(config["target_host"]), **_codec(payloads or read.payloads, read))
    except (RuntimeError, RPCError) as error:
        raise ConfigurationError(
            f"Temporal does not answer at {config['target_host']}: {error}. Start one with `bifrost dev`, or set "
            "TEMPORAL_ADDRESS", config_key="TEMPORAL_ADDRESS") from error


def _compression(address: str) -> GrpcCompression:
    """None within this machine, where it saves nothing and costs a twentieth of an execution's time; elsewhere the SDK's own."""
    host = address.rpartition(":")[0].strip("[]")
    return GrpcCompression.NONE if host in ("localhost", "::1") or host.startswith("127.") else GrpcCompression.GZIP


def _codec(payloads: str | None, settings: Settings | None) -> dict[str, Any]:
    """How a client writes and reads payloads; headers too, which the SDK leaves as they are by itself."""
    envelopes = None if settings is None else Envelopes.from_settings(settings)
    encrypting = settings is not None and settings.encryption != "off"
    return {"data_converter": data_converter(payloads, envelopes, encrypting=encrypting),
            "header_codec_behavior": HeaderCodecBehavior.CODEC, "interceptors": _tracing()}


def _tracing() -> list[Interceptor]:
    """What carries a trace through executions, where the environment asks for traces; a worker has it from its client."""
    if not tracing.start():
        return []
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415 - an extra, and slow to import

    return [TracingInterceptor(tracing.tracer())]


async def connect_to(address: str, namespace: str, payloads: str | None = None, settings: Settings | None = None) -> Client:
    """A client of the server at this very address, without TLS, whatever the environment's configuration says.

    Args:
        address: `host:port`.
        namespace: The Temporal namespace.
        payloads: Where large payloads are; without it none can be read or written.
        settings: Where Vault is, and whether payloads are encrypted; without them they are not, and none that is can be read.

    Raises:
        RuntimeError: nothing answers there.
    """
    runtime.prepare()
    return await Client.connect(address, namespace=namespace, grpc_compression=_compression(address), **_codec(payloads, settings))


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


def summary(workflow: str, org_id: str | None) -> str:
    """What Temporal shows of an execution, beside its id."""
    return f"{workflow} for {org_id or 'no organization'}"


def fairness(org_id: str | None) -> Priority:
    """Where the server has fairness on, an organization's executions share what it gets, and do not starve another's."""
    return Priority.default if org_id is None else Priority(fairness_key=rates.fairness_key(org_id))


async def start(client: Client, workflow: str, *, task_queue: str, org_id: str | None, params: Mapping[str, Any],
                caller: Caller | None = None, execution_id: str | None = None,
                idempotency_key: str | None = None, via: Via | None = None, begin_at: datetime | None = None,
                secrets: Mapping[str, str] | None = None, store: SecretStore | None = None) -> WorkflowHandle[Any, Any]:
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
        via: The door it comes through; without one it is an operator's.
        begin_at: When it begins; at once where that is over. Until then it is scheduled, and may be cancelled.
        secrets: Values of parameters of type secret. They are kept in the store, as secrets of the organization, and the
            execution gets handles: no value goes to Temporal.
        store: Where they are kept.

    Raises:
        ValidationError: an execution of this id has ended, something in the parameters is no JSON, or they are too large.
        IntegrationError: there are secrets, and their store cannot be reached.
        PermissionError: there are secrets, and their store refuses.
    """
    if idempotency_key is not None:
        execution_id = execution_id_of(workflow, org_id, idempotency_key)
    who = CallerMessage(user_id=caller.user_id, email=caller.email, name=caller.name) if caller else None
    chosen = execution_id or new_execution_id(workflow)
    async with _kept(client, chosen, store, org_id, secrets or {}) as handles:
        message = StartMessage(org_id=org_id, params={**params, **handles}, caller=who, via=via, begin_at=begin_at)
        return await _started(client, workflow, message, chosen, task_queue, again=idempotency_key is not None)


async def _started(client: Client, workflow: str, message: StartMessage, execution_id: str, task_queue: str, *,
                   again: bool) -> WorkflowHandle[Any, Any]:
    org_id = message.org_id
    try:
        with owned_by(org_id):
            return await client.start_workflow(
                workflow, message.model_dump(exclude_none=True), id=execution_id, task_queue=task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=summary(workflow, org_id), static_details="Started through Bifrost",
                priority=fairness(org_id), **_put_off(message.begin_at, org_id))
    except WorkflowAlreadyStartedError as error:
        if again:
            return client.get_workflow_handle(execution_id)
        raise ValidationError(f"The execution '{execution_id}' has ended; choose another id", field="execution_id") from error


@contextlib.asynccontextmanager
async def _kept(client: Client, execution_id: str, store: SecretStore | None, org_id: str | None,
                values: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    """Handles of secret values, which are kept unless what is inside starts no execution with them."""
    if not values:
        yield {}
        return
    assert store is not None, "secrets have a store"
    handles = await given_secrets.keep(store, org_id, execution_id, values)
    used = False
    try:
        yield dict(handles)
        used = given_secrets.are_given(await _start_argument(client.get_workflow_handle(execution_id), client), handles)
    finally:
        if not used:
            await given_secrets.remove(store, handles)


async def _start_argument(handle: WorkflowHandle[Any, Any], client: Client) -> Any:
    """What an execution was started with, as JSON; None where that is nothing."""
    async for event in handle.fetch_history_events(page_size=1):
        given = await client.data_converter.decode(event.workflow_execution_started_event_attributes.input.payloads)
        return given[0] if given else None
    return None


def _put_off(begin_at: datetime | None, org_id: str | None) -> dict[str, Any]:
    delay = timedelta(0) if begin_at is None else begin_at - datetime.now(UTC)
    if delay <= timedelta(0):
        return {}
    # Until it begins, nothing but this tells whose it is.
    known = [SearchAttributePair(attributes.ORG, org_id)] if org_id else []
    return {"start_delay": delay, "search_attributes": TypedSearchAttributes(known)}


async def result(handle: WorkflowHandle[Any, Any]) -> Any:
    """Wait for an execution's end and answer its result.

    Raises:
        WorkflowException: it failed, with the error of user code; `error_type` is Cancelled or Terminated where it was.
    """
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        raise _of_failure(error, handle.id) from error.cause


async def organization_of(client: Client, execution_id: str) -> str | None:
    """The organization of an execution: as Temporal has it, or, before it has begun, as its start argument says it.

    Raises:
        RPCError: there is no such execution, or Temporal refuses.
    """
    handle = client.get_workflow_handle(execution_id)
    known = (await handle.describe()).typed_search_attributes.get(attributes.ORG)
    if known is not None:
        return known
    given = await _start_argument(handle, client)
    return given.get("org_id") if isinstance(given, dict) else None


async def signal(client: Client, execution_id: str, event: str, payload: Any) -> None:
    """Send an event to an execution that waits for it, or will.

    Raises:
        NotFoundError: there is no such execution, or it has ended.
    """
    try:
        with owned_by(await organization_of(client, execution_id)):
            await client.get_workflow_handle(execution_id).signal(event, payload)
    except RPCError as error:
        raise translate(error, execution_id) from error


async def approve(client: Client, execution_id: str, decision: ApprovalMessage) -> str:
    """Decide on an execution that waits for approval; answers `approved` or `rejected`.

    Raises:
        NotFoundError: there is no such execution, or it has ended.
        PermissionError: whoever started it cannot decide.
        ValidationError: it waits for no approval.
        TimeoutError: no worker took the decision in time.
    """
    try:
        with owned_by(await organization_of(client, execution_id)):
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
