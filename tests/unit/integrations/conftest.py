"""Simulators over real HTTP, and one organization that knows where they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.simulators.user_api import UserAPISimulator
from bifrost.integrations.base import BaseIntegration
from bifrost.integrations.call import Call, current_call
from bifrost.integrations.registry import BUILT_IN
from bifrost.live import live_pool
from bifrost.models import Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets

GRAPH_SECRET, API_KEY = "graph-canary-7f3a91", "api-key-canary-55d0c2"


@dataclass
class Tracked:
    """A context that keeps what it was told about HTTP calls."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def _track_integration_call(self, **call: Any) -> None:
        self.calls.append(call)


@pytest.fixture
def tracked() -> Tracked:
    return Tracked()


@pytest.fixture
def calling() -> Iterator[Any]:
    """Set the current call; what was set is undone at the end."""
    token = current_call.set(current_call.get())

    def call(**facts: Any) -> Call:
        made = Call(**facts)
        current_call.set(made)
        return made

    yield call
    current_call.reset(token)


@pytest.fixture
async def graph() -> AsyncIterator[GraphSimulator]:
    """Microsoft Graph, which knows no idempotency keys, at `graph.url`, with `graph.control`."""
    simulator = GraphSimulator(GRAPH_SECRET, idempotent=False)
    async with SimulatorServer(simulator) as server, SimulatorControl(server.url) as control:
        simulator.url, simulator.control = server.url, control
        yield simulator


@pytest.fixture
async def user_api() -> AsyncIterator[UserAPISimulator]:
    """The user API at `user_api.url`, with `user_api.control`."""
    simulator = UserAPISimulator({API_KEY: "acme"})
    async with SimulatorServer(simulator) as server, SimulatorControl(server.url) as control:
        simulator.url, simulator.control = server.url, control
        yield simulator


class World:
    """Two organizations with their secrets, and the pool of their clients."""

    def __init__(self, **config: Any) -> None:
        self.classes: dict[str, type[BaseIntegration]] = dict(BUILT_IN)
        self.secrets = MemorySecrets({"acme": {"msgraph_client_secret": GRAPH_SECRET, "user_management_api_key": API_KEY}})
        self.organizations = MemoryOrganizations([])
        self.configure(**config)
        self.pool = live_pool(lambda: self.classes, self._now(), self.secrets)

    def configure(self, *, tenant_id: str = "acme", **config: Any) -> None:
        self.organizations = MemoryOrganizations(
            [Organization("acme", "Acme Ltd", tenant_id=tenant_id, config=config), Organization("bolt", "Bolt Ltd")],
            {"support_email": "help@msp.example"})

    def _now(self) -> Any:
        world = self

        class Now(MemoryOrganizations):
            def all(self) -> Any:
                return world.organizations.all()

            def global_config(self) -> Any:
                return world.organizations.global_config()

        return Now([])


def msgraph_config(url: str, **more: Any) -> dict[str, Any]:
    return {"client_id": "app", "client_secret": {"secret_ref": "msgraph_client_secret"}, "base_url": url,
            "login_url": url, **more}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.pool.aclose()


@pytest.fixture
async def acme(graph: GraphSimulator, user_api: UserAPISimulator) -> AsyncIterator[World]:
    """The world with both simulators configured for Acme."""
    made = World(msgraph=msgraph_config(graph.url), user_management_api_url=user_api.url)
    yield made
    await made.pool.aclose()


