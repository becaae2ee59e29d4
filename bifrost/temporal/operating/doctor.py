"""Whether an installation has what it needs, looked at from where this process runs; what is wrong, and how to mend it.

Nothing is changed, but for a file that is written to each store and removed again; secrets are read, and never shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
    PollActivityTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from bifrost import places
from bifrost.errors import ConfigurationError
from bifrost.models import GLOBAL, Organization
from bifrost.organizations.base import OrganizationStore
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.secrets.base import SecretStore
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import VARIABLES, Settings
from bifrost.temporal import client as temporal_client
from bifrost.temporal.operating import setup
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import MemoryRevisions

SKEW: Final = timedelta(seconds=5)
"""How far this machine's clock may be from Temporal's."""
OLDEST_TRIED: Final = (1, 32)
"""The oldest version of Temporal's server that Bifrost was tried with; fairness and rates, at least, want a recent one."""
_POLL: Final = timedelta(seconds=10)  # the server refuses polls that are much shorter
_LISTED_WITHIN: Final = 2.0
_QUEUE: Final = "bifrost-doctor"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        ok: Whether it is as it has to be; None where that cannot be said.
        said: How it is.
        mend: What to do about it; empty where nothing is to be done.
    """

    name: str
    ok: bool | None
    said: str
    mend: str = ""


async def examine(settings: Settings, *, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Look at everything.

    Args:
        settings: The installation's; Temporal is found by its own environment configuration.
        clock: This machine's, in seconds since 1970.
    """
    found = [_versions(), _workspace(settings), *_stores(settings)]
    found += await _temporal(settings, clock)
    organizations = _organizations(settings, found)
    return [*found, *[one async for one in _vault(settings, organizations)]]


def _versions() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    return Finding("versions", ok=True, said=f"Bifrost {version('bifrost')}, Python {python}, temporalio {version('temporalio')}")


# --- what lies on this machine, or beside it ---------------------------------------------------------------------------


def _workspace(settings: Settings) -> Finding:
    try:
        catalog = Workspace(settings.workspace, MemoryRevisions(), settings.workflow_safe).catalog
    except ConfigurationError as error:
        return Finding("workspace", ok=False, said=str(error), mend=f"Set {VARIABLES['workspace']} to the folder of your code")
    if catalog.failures:
        reasons = "; ".join(f"{failure.file}:{failure.line}: {failure.reason}" for failure in catalog.failures)
        return Finding("workspace", ok=False, said=f"Cannot be loaded: {reasons}", mend="Mend these files; `bifrost check` says more")
    return Finding("workspace", ok=True, said=f"{len(catalog.workflows)} workflows and {len(catalog.integrations)} integrations "
                                              f"in {settings.workspace}")


def _stores(settings: Settings) -> Iterator[Finding]:
    for name in ("revisions", "payloads"):
        location = getattr(settings, name)
        shown, probe = places.without_credentials(location), f"doctor-{uuid.uuid4().hex}.probe"
        try:
            place = places.open_place(location, VARIABLES[name])
            place.write(probe, b"")
            place.erase(probe)
        except (ConfigurationError, OSError) as error:
            yield Finding(f"store of {name}", ok=False, said=f"{shown} cannot be written: {error}",
                          mend=f"Let this user write there, or set {VARIABLES[name]} to a place that all workers can write to")
        else:
            yield Finding(f"store of {name}", ok=True, said=f"{shown} can be written")


def _organizations(settings: Settings, found: list[Finding]) -> OrganizationStore | None:
    try:
        store = YamlOrganizations(settings.organizations)
    except ConfigurationError as error:
        found.append(Finding("organizations", ok=False, said=str(error), mend="Mend that line; `bifrost orgs check` looks again"))
        return None
    active = sum(one.active for one in store.all())
    found.append(Finding("organizations", ok=True, said=f"{len(store.all())}, {active} of them active"))
    return store


# --- Temporal ----------------------------------------------------------------------------------------------------------


async def _temporal(settings: Settings, clock: Callable[[], float]) -> list[Finding]:
    try:
        client = await temporal_client.connect(payloads=settings.payloads)
    except ConfigurationError as error:
        return [Finding("Temporal", ok=False, said=str(error), mend="Set TEMPORAL_ADDRESS (and TLS or an API key) to a server that runs"),
                *(Finding(name, ok=None, said="Temporal does not answer") for name in ("namespace", "clock", "workers"))]
    try:
        server = (await client.workflow_service.get_system_info(GetSystemInfoRequest())).server_version
        needs = await setup.check(client, settings.task_queue)
        found = [_server(server), *(_need(need) for need in needs)]
        if any(need.name.startswith("namespace") and need.state is setup.State.MISSING for need in needs):
            return found
        return [*found, await _clock(client, clock), await _workers(client, settings.task_queue)]
    except (RPCError, ConfigurationError) as error:
        return [Finding("Temporal", ok=False, said=str(error), mend="Give this client's credentials access to the namespace")]


def _server(said: str) -> Finding:
    numbers = tuple(int(part) for part in said.partition("-")[0].split(".")[:2] if part.isdecimal())
    if numbers and numbers < OLDEST_TRIED:
        return Finding("Temporal", ok=None, said=f"The server is version {said}, older than any that Bifrost was tried with",
                       mend=f"Upgrade it to {'.'.join(map(str, OLDEST_TRIED))} or later")
    return Finding("Temporal", ok=True, said=f"Server {said} answers")


def _need(need: setup.Need) -> Finding:
    said = f"{need.found or 'missing'} (wanted: {need.wanted})"
    if need.state is setup.State.UNKNOWN:
        return Finding(need.name, ok=None, said=f"The server does not say: {need.found}")
    return Finding(need.name, need.state is not setup.State.MISSING, said,
                   "bifrost setup --apply" if need.state is setup.State.MISSING else "")


async def _clock(client: Client, clock: Callable[[], float]) -> Finding:
    """The server's time is when it saw somebody poll last: so somebody polls a queue that nothing is ever put on."""
    queue = TaskQueue(name=f"{_QUEUE}-{uuid.uuid4().hex}")
    sent = clock()
    polling = asyncio.create_task(client.workflow_service.poll_activity_task_queue(PollActivityTaskQueueRequest(
        namespace=client.namespace, task_queue=queue, identity=client.identity), timeout=_POLL))
    try:
        seen = await _last_poll(client, queue)
    finally:
        polling.cancel()
        with contextlib.suppress(asyncio.CancelledError, RPCError):
            await polling
    took = clock() - sent
    if seen is None:
        return Finding("clock", ok=None, said="The server does not say what time it has")
    ahead = sent - seen.timestamp()
    if abs(ahead) > SKEW.total_seconds() + took:
        return Finding("clock", ok=False, said=f"This machine's clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} "
                                               "Temporal's", mend="Let both machines follow a time server (chrony, systemd-timesyncd)")
    return Finding("clock", ok=True, said=f"Within {SKEW.total_seconds():.0f} seconds of Temporal's")


async def _last_poll(client: Client, queue: TaskQueue) -> datetime | None:
    deadline = time.monotonic() + _LISTED_WITHIN
    while time.monotonic() < deadline:
        for poller in await _pollers(client, queue, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
            seen: datetime = poller.last_access_time.ToDatetime(UTC)
            return seen
        await asyncio.sleep(0.02)
    return None


async def _pollers(client: Client, queue: TaskQueue, kind: TaskQueueType.ValueType) -> list[Any]:
    described = await client.workflow_service.describe_task_queue(DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=queue, task_queue_type=kind))
    return list(described.pollers)


async def _workers(client: Client, task_queue: str) -> Finding:
    found = {poller.identity for poller in await _pollers(client, TaskQueue(name=task_queue), TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)}
    # None is no mistake: whoever sets an installation up asks before the first worker runs.
    return Finding("workers", ok=True, said=f"{len(found)} polled '{task_queue}' within the last minutes")


# --- Vault -------------------------------------------------------------------------------------------------------------


async def _vault(settings: Settings, organizations: OrganizationStore | None) -> AsyncIterator[Finding]:
    try:
        store = VaultSecrets.from_settings(settings, patience=0)
        await store.answers()
        await store.names(GLOBAL)
    except Exception as error:  # noqa: BLE001 - every error of it says what is wrong
        yield Finding("Vault", ok=False, said=str(error), mend="Mend what it says; deploy/vault has policies and a set-up script")
        yield Finding("secrets", ok=None, said="Vault cannot be asked")
        return
    yield Finding("Vault", ok=True, said=f"{settings.vault_addr} answers and accepts the login")
    if organizations is None:
        yield Finding("secrets", ok=None, said="The organizations cannot be read")
        return
    checked = 0
    for one in organizations.all():
        for name in sorted(set(_references(one, organizations.global_config()))) if one.active else ():
            checked += 1
            if wrong := await _unreadable(store, one.id, name):
                yield wrong
    yield Finding("secrets", ok=True, said=f"{checked} that active organizations refer to were looked at")


async def _unreadable(store: SecretStore, org_id: str, name: str) -> Finding | None:
    what = f"secret {name} of {org_id}"
    try:
        await store.get(org_id, name)
    except KeyError as error:
        return Finding(what, ok=False, said=str(error.args[0]), mend=f"bifrost secrets set {name} --org {org_id}")
    except Exception as error:  # noqa: BLE001 - the same
        return Finding(what, ok=False, said=str(error), mend="Let the policy of the workers' login read it; see deploy/vault")
    return None


def _references(organization: Organization, global_config: Mapping[str, Any]) -> Iterator[str]:
    """The names of the secrets that an organization's configuration refers to, and what it takes from the one for all."""
    for key, value in {**global_config, **organization.config}.items():
        everybodys = global_config.get(key)
        yield from _named({**everybodys, **value} if isinstance(value, Mapping) and isinstance(everybodys, Mapping) else value)


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _named(item)
    elif isinstance(value, Mapping):
        if isinstance(value.get("secret_ref"), str):
            yield value["secret_ref"]
        for item in value.values():
            yield from _named(item)
