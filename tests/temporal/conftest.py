"""Executions on a real Temporal server: a workspace of the test's own, a worker, two simulated systems."""

from __future__ import annotations

import contextlib
import itertools
import textwrap
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from temporalio.client import Client, WorkflowHandle

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.simulators.user_api import UserAPISimulator
from bifrost.dev.temporal_server import TemporalServer
from bifrost.dev.vault_server import VaultServer
from bifrost.models import Caller, Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.secrets.vault import VaultSecrets
from bifrost.temporal import client as executions
from bifrost.temporal import worker
from bifrost.workspace import finder
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import FolderRevisions
from tests.temporal.till import SHOP, TillSimulator

SAMPLE = Path(__file__).parents[2] / "workspace"
GRAPH_SECRETS = {"acme": "canary-graph-secret-acme", "globex": "canary-graph-secret-globex"}
API_KEYS = {"acme": "canary-api-key-acme", "globex": "canary-api-key-globex"}
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def client(temporal_server: TemporalServer) -> Client:
    """A client of the session's Temporal server."""
    return await executions.connect(temporal_server.address)


@pytest.fixture(scope="session")
async def graph_server() -> AsyncIterator[SimulatorServer]:
    """Microsoft Graph, simulated over HTTP."""
    async with SimulatorServer(GraphSimulator(GRAPH_SECRETS)) as server:
        yield server


@pytest.fixture(scope="session")
async def user_api_server() -> AsyncIterator[SimulatorServer]:
    """The internal user API, simulated over HTTP."""
    async with SimulatorServer(UserAPISimulator({key: org for org, key in API_KEYS.items()})) as server:
        yield server


@contextlib.asynccontextmanager
async def _empty(server: SimulatorServer) -> AsyncIterator[SimulatorControl]:
    """A simulator's journal and faults, with nothing in them."""
    async with SimulatorControl(server.url) as control:
        await control.clear()
        yield control


@pytest.fixture
async def graph(graph_server: SimulatorServer) -> AsyncIterator[SimulatorControl]:
    """The Graph simulator's journal and faults, empty."""
    async with _empty(graph_server) as control:
        yield control


@pytest.fixture
async def user_api(user_api_server: SimulatorServer) -> AsyncIterator[SimulatorControl]:
    """The user API simulator's journal and faults, empty."""
    async with _empty(user_api_server) as control:
        yield control


@pytest.fixture(scope="session")
async def till_server() -> AsyncIterator[SimulatorServer]:
    """The till, over HTTP."""
    async with SimulatorServer(TillSimulator()) as server:
        yield server


@pytest.fixture
async def till(till_server: SimulatorServer) -> AsyncIterator[SimulatorControl]:
    """The till's journal and faults, empty."""
    async with _empty(till_server) as control:
        yield control


@dataclass
class House:
    """One workspace, its organizations and its task queue."""

    client: Client
    root: Path
    revisions: FolderRevisions
    organizations: MemoryOrganizations
    secrets: MemorySecrets
    cached: int
    task_queue: str
    workspace: Workspace | None = field(default=None)

    def write(self, path: str, source: str) -> None:
        """Write a file of the workspace."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))

    @contextlib.asynccontextmanager
    async def serving(self, cached: int | None = None, *, drain: bool = False) -> AsyncIterator[Workspace]:
        """A worker for the workspace as it is now."""
        self.workspace = Workspace(self.root, self.revisions)
        async with worker.serving(self.client, self.workspace, self.organizations, self.secrets,
                                  task_queue=self.task_queue, drain=drain,
                                  max_cached_workflows=self.cached if cached is None else cached):
            yield self.workspace

    async def start(self, workflow: str, params: dict[str, Any] | None = None, *, org_id: str | None = "acme",
                    execution_id: str | None = None, caller: Caller | None = None) -> WorkflowHandle[Any, Any]:
        """Start an execution."""
        return await executions.start(self.client, workflow, task_queue=self.task_queue, org_id=org_id,
                                      params=params or {}, execution_id=execution_id, caller=caller)

    async def run(self, workflow: str, params: dict[str, Any] | None = None, *, org_id: str | None = "acme") -> Any:
        """Start an execution and await its result."""
        return await executions.result(await self.start(workflow, params, org_id=org_id))


@pytest.fixture(params=[1000, 0], ids=["cached", "replayed"])
def cached(request: pytest.FixtureRequest) -> int:
    """How many runs the worker caches: with 0 every workflow task replays the history from its start."""
    return int(request.param)


def config_of(tenant: str, graph_url: str, user_api_url: str) -> dict[str, Any]:
    """An organization's configuration that points at the simulators."""
    return {"msgraph": {"tenant_id": tenant, "client_id": "app", "client_secret": {"secret_ref": "msgraph_client_secret"},
                        "base_url": graph_url, "login_url": graph_url},
            "user_management_api_url": user_api_url, "admin_email": f"it@{tenant}.example"}


def write_organizations(directory: Path, graph_url: str, user_api_url: str) -> Path:
    """A file of organizations, acme and globex, that point at the simulators."""
    file = directory / "organizations.yaml"
    file.write_text(yaml.safe_dump({"organizations": [
        {"id": tenant, "name": tenant.title(), "tenant_id": tenant, "config": config_of(tenant, graph_url, user_api_url)}
        for tenant in GRAPH_SECRETS]}))
    return file


@pytest.fixture
async def sample_environment(tmp_path: Path, vault_server: VaultServer, vault_secrets: VaultSecrets, graph_server: SimulatorServer,
                             user_api_server: SimulatorServer) -> dict[str, str]:
    """What a worker process of the sample workspace needs beside Temporal: organizations in YAML, secrets in a real Vault."""
    for tenant, secret in GRAPH_SECRETS.items():
        await vault_secrets.write(tenant, "msgraph_client_secret", secret)
        await vault_secrets.write(tenant, "user_management_api_key", API_KEYS[tenant])
    organizations = write_organizations(tmp_path, graph_server.url, user_api_server.url)
    return {"VAULT_ADDR": vault_server.address, "VAULT_TOKEN": vault_server.token, "BIFROST_WORKSPACE": str(SAMPLE),
            "BIFROST_ORGANIZATIONS": str(organizations), "BIFROST_REVISIONS": str(tmp_path / "revisions")}


@pytest.fixture
def house(client: Client, tmp_path: Path, cached: int, graph_server: SimulatorServer,
          user_api_server: SimulatorServer) -> Iterator[House]:
    """A house with an empty workspace, the organizations acme and globex, and an inactive one."""
    root = tmp_path / "workspace"
    root.mkdir()
    organizations = [Organization(tenant, tenant.title(), tenant, config=config_of(tenant, graph_server.url,
                                                                                  user_api_server.url))
                     for tenant in GRAPH_SECRETS]
    yield House(
        client, root, FolderRevisions(tmp_path / "revisions"),
        MemoryOrganizations([*organizations, Organization("initech", "Initech", active=False)],
                            {"support_email": "help@msp.example"}),
        MemorySecrets({tenant: {"msgraph_client_secret": GRAPH_SECRETS[tenant], "user_management_api_key": API_KEYS[tenant]}
                       for tenant in GRAPH_SECRETS}),
        cached, f"house-{next(_numbers)}")
    finder.uninstall()


@pytest.fixture
def sample(house: House) -> House:
    """A house whose workspace is the sample workspace."""
    house.root = SAMPLE
    return house


@pytest.fixture
def shop(house: House, till: SimulatorControl) -> House:
    """A house that sells by the till."""
    house.write("integrations/shop.py", SHOP.format(url=till.url))
    return house
