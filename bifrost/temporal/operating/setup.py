"""What Bifrost needs of a Temporal namespace: that it exists, how long it keeps executions, search attributes, rates.

Each part can be looked at and made; what is there is never made again, and nothing is ever taken away: a longer retention stays.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from bifrost.errors import ConfigurationError
from bifrost.messages import SEARCH_ATTRIBUTES
from bifrost.temporal.limits import rates

RETENTION: Final = timedelta(days=30)
"""How long closed executions are kept at least."""
_KEYWORD: Final = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
_SETTLED_WITHIN: Final = 30.0
"""Seconds within which every server of a cluster knows what was changed; they look every ten."""
_ASKED_EVERY: Final = 0.1
_NOT_FOR_US: Final = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)

_log = structlog.stdlib.get_logger("bifrost.worker")


class State(enum.StrEnum):
    """What became of one thing that is needed."""

    PRESENT = "present"
    MISSING = "missing"
    MADE = "made"
    UNKNOWN = "unknown"
    """The server does not tell this client, or cannot have it; workers run all the same."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that is needed.

    Attributes:
        name: What it is.
        wanted: How it has to be.
        found: How it is; empty where there is none.
        state: Whether that will do.
    """

    name: str
    wanted: str
    found: str
    state: State


async def check(client: Client, task_queue: str, retention: timedelta = RETENTION) -> list[Need]:
    """What is there and what is missing; nothing is changed.

    Args:
        client: A client of the namespace, which need not exist.
        task_queue: The workers' task queue.
        retention: How long closed executions have to be kept at least.

    Raises:
        ConfigurationError: Temporal refused to answer.
    """
    return [need for part in _parts(client, task_queue, retention) for need in await _looked(part)]


async def apply(client: Client, task_queue: str, retention: timedelta = RETENTION) -> list[Need]:
    """Make what is missing, and wait until the server says that it is there.

    Args:
        client: A client of the namespace, which is made if it does not exist.
        task_queue: The workers' task queue.
        retention: How long closed executions have to be kept at least.

    Raises:
        ConfigurationError: this client may not make it, or a search attribute exists with another type.
    """
    needs: list[Need] = []
    for part in _parts(client, task_queue, retention):
        before = await _looked(part)
        needs += before if all(need.state is not State.MISSING for need in before) else await _made(part, before)
    return needs


async def ensure_search_attributes(client: Client) -> None:
    """Register Bifrost's search attributes in the namespace, unless they are.

    Raises:
        ConfigurationError: they are missing, and this client may not register them.
    """
    part = _SearchAttributes(client)
    try:
        missing = await part.missing()
    except RPCError as error:
        if error.status not in _NOT_FOR_US:
            raise ConfigurationError(f"Temporal refused to list the search attributes of '{client.namespace}': {error}") from error
        _log.warning("search attributes cannot be checked", namespace=client.namespace, needed=SEARCH_ATTRIBUTES)
        return
    if missing:
        await part.register(missing)


@dataclass(frozen=True, slots=True)
class _Part:
    """One or more needs that are looked at and made together."""

    names: Sequence[str]
    wanted: str
    look: Callable[[], Awaitable[list[Need]]]
    make: Callable[[], Awaitable[None]]


def _parts(client: Client, task_queue: str, retention: timedelta) -> list[_Part]:
    namespace, attributes, budget = _Namespace(client, retention), _SearchAttributes(client), _Rates(client, task_queue)
    return [
        _Part([f"namespace {client.namespace}"], "exists", namespace.look, namespace.register),
        _Part(["retention"], f"at least {_days(retention)}", namespace.look_at_retention, namespace.lengthen),
        _Part([f"search attribute {name}" for name in SEARCH_ATTRIBUTES], "Keyword", attributes.look, attributes.make),
        _Part([f"rates of {rates.queue_of(task_queue)}"], _Rates.WANTED, budget.look, budget.make)]


async def _looked(part: _Part) -> list[Need]:
    try:
        return await part.look()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:  # the namespace, and so whatever it would hold
            return [Need(name, part.wanted, "", State.MISSING) for name in part.names]
        if error.status in _NOT_FOR_US:
            return [Need(name, part.wanted, str(error), State.UNKNOWN) for name in part.names]
        raise ConfigurationError(f"Temporal refused to tell about {', '.join(part.names)}: {error}") from error


async def _made(part: _Part, before: list[Need]) -> list[Need]:
    """The needs of this part after it was made. What was just made may not be known everywhere yet, so it is asked for again."""
    deadline = time.monotonic() + _SETTLED_WITHIN
    while True:
        try:
            await part.make()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise ConfigurationError(f"Temporal refused to make {', '.join(part.names)}: {error}. Have an operator run "
                                         "`bifrost setup --apply`") from error
        after = await _looked(part)
        if all(need.state is not State.MISSING for need in after):
            missing = {need.name for need in before if need.state is State.MISSING}
            return [Need(need.name, need.wanted, need.found, State.MADE) if need.name in missing and need.state is State.PRESENT
                    else need for need in after]
        if time.monotonic() > deadline:
            raise ConfigurationError(f"Temporal was told to make {', '.join(part.names)}, and {_SETTLED_WITHIN:g} seconds later "
                                     "it is not there. Run `bifrost setup --check` again in a while")
        await asyncio.sleep(_ASKED_EVERY)


class _Namespace:
    """The namespace itself, and how long it keeps executions."""

    def __init__(self, client: Client, retention: timedelta) -> None:
        self._client = client
        self._retention = retention

    async def look(self) -> list[Need]:
        await self._kept()
        return [Need(f"namespace {self._client.namespace}", "exists", "exists", State.PRESENT)]

    async def register(self) -> None:
        try:
            await self._client.workflow_service.register_namespace(RegisterNamespaceRequest(
                namespace=self._client.namespace, workflow_execution_retention_period=_duration(self._retention)))
        except RPCError as error:
            if error.status is not RPCStatusCode.ALREADY_EXISTS:  # somebody else was quicker
                raise

    async def look_at_retention(self) -> list[Need]:
        kept = await self._kept()
        state = State.PRESENT if kept >= self._retention else State.MISSING
        return [Need("retention", f"at least {_days(self._retention)}", _days(kept), state)]

    async def lengthen(self) -> None:
        await self._client.workflow_service.update_namespace(UpdateNamespaceRequest(
            namespace=self._client.namespace,
            config=NamespaceConfig(workflow_execution_retention_ttl=_duration(self._retention))))

    async def _kept(self) -> timedelta:
        described = await self._client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=self._client.namespace))
        return described.config.workflow_execution_retention_ttl.ToTimedelta()


class _SearchAttributes:
    """What executions are found by."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def look(self) -> list[Need]:
        listed = await self._listed()
        return [Need(f"search attribute {name}", "Keyword", listed.get(name, ""),
                     State.PRESENT if listed.get(name) == "Keyword" else State.MISSING)
                for name in SEARCH_ATTRIBUTES]

    async def make(self) -> None:
        await self.register(await self.missing())

    async def missing(self) -> list[str]:
        """Those that are not there.

        Raises:
            ConfigurationError: one is there with another type.
        """
        listed = await self._listed()
        for name in SEARCH_ATTRIBUTES:
            if listed.get(name, "Keyword") != "Keyword":
                raise ConfigurationError(
                    f"The namespace '{self._client.namespace}' has the search attribute {name} with type {listed[name]}; Bifrost needs "
                    f"Keyword. Remove it (`temporal operator search-attribute remove --name {name}`) or use another namespace")
        return [name for name in SEARCH_ATTRIBUTES if name not in listed]

    async def register(self, missing: Sequence[str]) -> None:
        """Register those.

        Raises:
            ConfigurationError: this client may not.
        """
        try:
            await self._client.operator_service.add_search_attributes(AddSearchAttributesRequest(
                namespace=self._client.namespace, search_attributes=dict.fromkeys(missing, _KEYWORD)))
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise
            if error.status is not RPCStatusCode.ALREADY_EXISTS:  # another worker was quicker
                names = " ".join(f"--name {name} --type Keyword" for name in missing)
                raise ConfigurationError(
                    f"The namespace '{self._client.namespace}' lacks search attributes and this client may not register them "
                    f"({error}). Run: temporal operator search-attribute create {names}") from error

    async def _listed(self) -> dict[str, str]:
        listed = await self._client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=self._client.namespace))
        return {name: IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").title()
                for name, kind in listed.custom_attributes.items()}


class _Rates:
    """How many calls of one budget the server hands out; see `rates`."""

    WANTED: Final = "1 a second for each unit of weight"

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def look(self) -> list[Need]:
        described = await self._client.workflow_service.describe_task_queue(DescribeTaskQueueRequest(
            namespace=self._client.namespace, task_queue=TaskQueue(name=rates.queue_of(self._task_queue)),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, report_config=True))
        kept = described.config.fairness_keys_rate_limit_default.rate_limit.requests_per_second
        return [Need(f"rates of {rates.queue_of(self._task_queue)}", self.WANTED,
                     f"{kept:g} a second for each unit of weight" if kept else "", State.PRESENT if kept == 1 else State.MISSING)]

    async def make(self) -> None:
        await self._client.workflow_service.update_task_queue_config(rates.request(self._client, self._task_queue))


def _duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:g} day" if days == 1 else f"{days:g} days"
