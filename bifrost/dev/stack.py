"""Everything that Bifrost needs, on one machine: Temporal, a Vault API, simulators of other systems, and workers.

What is kept lies in one folder: Temporal's database, Vault's storage, revisions of the workspace, large payloads, logs, and
`env`, a file of `export` lines that connects a shell to the stack. Only simulators forget everything when they end.

With simulators, organizations are redirected: `organizations.yaml` in the folder says what the organizations' own file
says, except that its URLs lead to the simulators, and it follows changes of that file. See `bifrost.dev.samples`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog
import watchfiles
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from bifrost.dev import samples
from bifrost.dev.ports import free_port
from bifrost.dev.processes import ServerProcess
from bifrost.dev.simulators.halopsa import HaloSimulator
from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.simulators.user_api import UserAPISimulator
from bifrost.dev.temporal_server import TemporalServer
from bifrost.dev.vault_server import VaultServer
from bifrost.errors import ConfigurationError
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.secrets.vault import VaultSecrets
from bifrost.settings import Settings
from bifrost.temporal.client import connect_to

PREFERRED_UI_PORT: Final = 8233
PREFERRED_GRAPH_PORT: Final = 8401
PREFERRED_USER_API_PORT: Final = 8402
PREFERRED_HALOPSA_PORT: Final = 8403
WORKER: Final = (sys.executable, "-m", "bifrost", "worker")
"""The command that is a worker."""

_FOREIGN: Final = ("TEMPORAL_", "VAULT_", "BAO_")
_QUEUES: Final = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Ports that were asked for; one that is None is the usual one, or any free one where that is taken."""

    temporal: int | None = None
    ui: int | None = None
    vault: int | None = None


class Stack:
    """The stack in one folder; use it with `async with`. Whatever part of it was started is ended, in reverse order.

    Args:
        directory: Where everything is kept; created if absent.
        settings: Workspace, organizations, task queue and logs; where Vault, revisions and payloads are is the stack's own affair.
        ports: Ports that were asked for.
        simulators: Whether organizations are redirected to simulators, with secrets made up for them.
        worker_command: The command that is a worker.
    """

    def __init__(self, directory: Path, settings: Settings, *, ports: Ports = Ports(), simulators: bool = True,
                 worker_command: Sequence[str] = WORKER) -> None:
        self.directory = directory.absolute()
        self.settings = dataclasses.replace(
            settings, workspace=settings.workspace.absolute(), organizations=settings.organizations.absolute(),
            revisions=str(self.directory / "revisions"), payloads=str(self.directory / "payloads"))
        self.workers: list[ServerProcess] = []
        self.secrets: samples.SampleSecrets = {}
        self.graph: SimulatorServer | None = None
        self.user_api: SimulatorServer | None = None
        self.halopsa: SimulatorServer | None = None
        self._ports = ports
        self._simulated = simulators
        self._source = self.settings.organizations
        self._worker_command = worker_command
        self._opened = contextlib.AsyncExitStack()

    @property
    def simulators(self) -> Sequence[SimulatorServer]:
        """The simulators that run."""
        return [one for one in (self.graph, self.user_api, self.halopsa) if one]

    @property
    def env_file(self) -> Path:
        """The file that a shell can source to be connected to the stack. It holds Vault's token; only its owner can read it."""
        return self.directory / "env"

    async def __aenter__(self) -> Self:
        """Start everything but workers.

        Raises:
            ConfigurationError: workspace or organizations are missing or wrong, another stack has the folder, a program is
                not installed, a port is taken, or a server ended; with the end of its log.
            TimeoutError: a server did not answer in time.
        """
        async with self._opened:  # ends what was started, if what follows does not come through
            _require_sources(self.settings)
            self._opened.enter_context(_only_one_in(self.directory))
            await self._start_servers()
            if self._simulated:
                await self._start_simulators()
            self._write_env_file()
            self._opened.push_async_callback(self._stop_workers)
            self._opened = self._opened.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self._opened.aclose()

    # --- servers -------------------------------------------------------------------------------------------------

    async def _start_servers(self) -> None:
        ui_port = free_port(PREFERRED_UI_PORT) if self._ports.ui is None else self._ports.ui
        folder = self.directory / "temporal"
        self.temporal = TemporalServer(folder, db_path=folder / "temporal.db", port=self._ports.temporal, ui_port=ui_port)
        self.vault = VaultServer(self.directory / "vault", port=self._ports.vault, mount=self.settings.vault_mount,
                                 transit=self.settings.vault_transit)
        self._opened.push_async_callback(self._stop_servers)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.temporal.start())
                group.create_task(self.vault.start())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        self.settings = self.settings.with_vault(self.vault.address, self.vault.token)
        # Not by the environment's configuration, which may lead to another cluster.
        self.client = await connect_to(self.temporal.address, self.temporal.namespace, self.settings.payloads, self.settings)

    async def _stop_servers(self) -> None:
        await asyncio.gather(self.temporal.stop(), self.vault.stop())

    # --- simulators ----------------------------------------------------------------------------------------------

    async def _start_simulators(self) -> None:
        organizations = YamlOrganizations(self._source)
        self.secrets = await samples.seed(organizations, VaultSecrets.from_settings(self.settings))
        accounts = samples.accounts(organizations, self.secrets)
        self.graph = SimulatorServer(GraphSimulator(accounts.graph), port=free_port(PREFERRED_GRAPH_PORT))
        self.user_api = SimulatorServer(UserAPISimulator(accounts.user_api), port=free_port(PREFERRED_USER_API_PORT))
        self.halopsa = SimulatorServer(HaloSimulator(accounts.halopsa), port=free_port(PREFERRED_HALOPSA_PORT))
        for simulator in self.simulators:
            await self._opened.enter_async_context(simulator)
        self.settings = dataclasses.replace(self.settings, organizations=self.directory / "organizations.yaml")
        self._redirect()

    def _redirect(self) -> None:
        assert self.graph is not None
        assert self.user_api is not None
        assert self.halopsa is not None
        text = samples.redirected(YamlOrganizations(self._source), graph=self.graph.url, user_api=self.user_api.url,
                                  halopsa=self.halopsa.url)
        part = self.settings.organizations.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(self.settings.organizations)  # a worker never reads half of it

    async def follow_organizations(self) -> None:
        """With simulators: carry every change of the organizations' own file over, until cancelled.

        One that cannot be read is logged, and changes nothing. The simulators know the accounts of new organizations after
        the next start.
        """
        if not self._simulated:
            return
        folder = self._source if self._source.is_dir() else self._source.parent  # an editor puts a new file in the place
        async for _ in watchfiles.awatch(
                folder, watch_filter=lambda _change, path: self._source in (Path(path), Path(path).parent),
                recursive=False, debounce=400):
            try:
                self._redirect()
            except ConfigurationError as error:
                _log.warning("Organizations cannot be read; what they said before stays in force", error=error.message)

    # --- environment ---------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The variables that connect another process to this stack. Vault's token is among them."""
        # An empty file, so that profiles of the user's, with TLS or API keys for another cluster, stay out of it.
        no_profiles = self.directory / "temporal.toml"
        no_profiles.touch()
        return {**self.settings.to_environment(), "TEMPORAL_ADDRESS": self.temporal.address,
                "TEMPORAL_NAMESPACE": self.temporal.namespace, "TEMPORAL_CONFIG_FILE": str(no_profiles)}

    def _write_env_file(self) -> None:
        ours = self.environment()
        lines = [f"unset {name}" for name in sorted(os.environ) if name.startswith(_FOREIGN) and name not in ours]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(ours.items())]
        self.env_file.unlink(missing_ok=True)
        self._opened.callback(self.env_file.unlink, missing_ok=True)
        with os.fdopen(os.open(self.env_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))

    # --- workers -------------------------------------------------------------------------------------------------

    async def start_worker(self, *, reload: bool = False) -> ServerProcess:
        """Start a worker process, and wait until it takes tasks. The stack ends it, unless somebody does so before.

        Raises:
            ConfigurationError: it ended instead; with the end of its log.
            TimeoutError: it took no task in time.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        environment |= {**self.environment(), "PYTHONHASHSEED": "0"}
        worker = ServerProcess(f"worker-{len(self.workers) + 1}", [*self._worker_command, *(["--reload"] if reload else [])],
                               directory=self.directory / "logs", environment=environment)
        worker.log_file.unlink(missing_ok=True)  # of an earlier stack in this folder
        self.workers.append(worker)
        await worker.start()
        await worker.wait_ready(lambda: self._takes_tasks(worker))
        return worker

    async def _takes_tasks(self, worker: ServerProcess) -> bool:
        """Whether the task queue is polled by this process: an SDK calls itself by process id and host, if not told else."""
        identity = f"{worker.pid}@{socket.gethostname()}"
        for queue in _QUEUES:
            described = await self.client.workflow_service.describe_task_queue(DescribeTaskQueueRequest(
                namespace=self.temporal.namespace, task_queue=TaskQueue(name=self.settings.task_queue),
                task_queue_type=queue))
            if not any(poller.identity == identity for poller in described.pollers):
                return False
        return True

    async def _stop_workers(self) -> None:
        await asyncio.gather(*(worker.stop() for worker in self.workers))


def _require_sources(settings: Settings) -> None:
    """Refuse to start without user code and organizations: with one sentence for each that is missing."""
    missing = []
    if not settings.workspace.is_dir():
        missing.append(f"There is no workspace at {settings.workspace}: create that folder, with your code in "
                       "workflows/, data_providers/ and integrations/, or set BIFROST_WORKSPACE to where it is")
    if not settings.organizations.exists():
        missing.append(f"There are no organizations at {settings.organizations}: write that file (it may begin with "
                       "'organizations: []'), or set BIFROST_ORGANIZATIONS to where they are")
    if missing:
        raise ConfigurationError(".\n".join(missing))
    YamlOrganizations(settings.organizations)


@contextlib.contextmanager
def _only_one_in(directory: Path) -> Iterator[None]:
    """Hold the folder: two servers on one database would spoil it.

    Raises:
        ConfigurationError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"Another `bifrost dev` or `bifrost demo` runs in {directory}: end it, or choose another "
                                     "folder with --data") from error
        yield
