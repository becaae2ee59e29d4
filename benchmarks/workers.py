"""Worker processes, Bifrost's as they run in production beside one that is written by hand, on one Temporal server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import GrpcCompression

from benchmarks.by_hand import READY, SOURCE
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.dev.vault_server import VaultServer
from bifrost.temporal import client as executions

LOOK_SECONDS = 0.01
"""How often a process is asked whether it is ready."""
BY_HAND, BIFROST = "sdk-by-hand", "bifrost"
_FOREIGN = ("BIFROST_", "TEMPORAL_", "VAULT_")
_DEVELOPERS = ("rich",)
"""What only tools for developers bring, and structlog imports wherever it is: no worker in production has it."""


async def until(so: Callable[[], Awaitable[bool]], seconds: float = LOOK_SECONDS) -> None:
    """Ask again and again, until it is so."""
    while not await so():  # noqa: ASYNC110 - another process makes it so
        await asyncio.sleep(seconds)


async def answers(port: int) -> bool:
    """Whether a worker of Bifrost's says that it is ready."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")
    answer = await reader.readline()
    writer.close()
    return b" 200 " in answer


def pss(pid: int) -> float:
    """The proportional set size of a process, in MB: what is its own, and its part of what others have loaded too."""
    return _megabytes(pid, "smaps_rollup", "Pss:")


def resident(pid: int) -> float:
    """What a process has resident, in MB, its own or not."""
    return _megabytes(pid, "status", "VmRSS:")


def peak_memory(pid: int) -> float:
    """The most that a process has had resident so far, in MB."""
    return _megabytes(pid, "status", "VmHWM:")


def _megabytes(pid: int, file: str, name: str) -> float:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000


class WorkerProcess:
    """A worker that was launched, and is perhaps not ready yet."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, port: int | None) -> None:
        self._process = process
        self._log = log
        self._port = port

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ready(self) -> None:
        """Return when it polls for work.

        Raises:
            RuntimeError: it has ended instead; with the end of its log.
        """
        if self._port is None:
            assert self._process.stdout is not None
            if await self._process.stdout.readline() == f"{READY}\n".encode():
                return
        elif await self._says_so(self._port):
            return
        raise RuntimeError(f"The worker has ended. The end of its log:\n{self._log.read_text()[-4000:]}")

    async def _says_so(self, port: int) -> bool:
        while self._process.returncode is None:
            if await answers(port):
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def stop(self) -> int:
        """End it in order, and answer its exit status. No error if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        return await self._process.wait()

    async def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        await self._process.wait()


class Side:
    """One of the two that are compared: how its worker is launched, and how its executions are started.

    Args:
        name: What figures call it; the task queue has its name.
        client: Starts executions.
        command: The worker's program and its arguments.
        environment: The worker's variables.
        folder: Where its log goes.
        health: Whether it says over HTTP that it is ready, rather than on its standard output.
    """

    def __init__(self, name: str, client: Client, command: Sequence[str], environment: Mapping[str, str], folder: Path, *, health: bool) -> None:
        self.name = name
        self._client = client
        self._command = command
        self._environment = {**{key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)},
                             "PYTHONPATH": os.pathsep.join([str(_hidden(folder)), *filter(None, [os.environ.get("PYTHONPATH")])]), **environment}
        self._log = folder / f"{name}.log"
        self._health = health
        self._launched: list[WorkerProcess] = []

    async def launch(self) -> WorkerProcess:
        """Start a worker; it is not ready yet."""
        port = free_port() if self._health else None
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command, stderr=log, stdout=log if self._health else asyncio.subprocess.PIPE,
                env={**self._environment, **({"BIFROST_HEALTH_ADDRESS": f"127.0.0.1:{port}"} if self._health else {})})
        self._launched.append(worker := WorkerProcess(process, self._log, port))
        return worker

    async def serve(self) -> WorkerProcess:
        """Start a worker; returns when it is ready."""
        await (worker := await self.launch()).ready()
        return worker

    async def start(self, workflow: str, org_id: str = "acme", **params: Any) -> WorkflowHandle[Any, Any]:
        """Start an execution."""
        if self._health:
            return await executions.start(self._client, workflow, task_queue=self.name, org_id=org_id, params=params)
        return await self._client.start_workflow(workflow, params, id=f"{workflow}-{uuid.uuid4().hex[:12]}", task_queue=self.name)

    async def stop(self) -> None:
        """Stop every worker that still runs."""
        await asyncio.gather(*(worker.stop() for worker in self._launched))


class Stage:
    """One Temporal server, one Vault, and the sides that stand on them; made by `stage`.

    Attributes:
        client: Bifrost's, of the server.
        sides: Those that were added so far.
    """

    def __init__(self, folder: Path, server: TemporalServer, vault: VaultServer, client: Client, plain: Client) -> None:
        self._folder = folder
        self._server = server
        self._vault = vault
        self.client = client
        self._plain = plain
        self.sides: list[Side] = []

    @property
    def server_pid(self) -> int:
        """The process id of Temporal's server."""
        process = self._server._process  # noqa: SLF001 - nobody else looks at a server's memory
        assert process is not None
        assert process.pid is not None
        return process.pid

    def by_hand(self) -> Side:
        """The worker of `benchmarks.by_hand`."""
        return self._added(Side(BY_HAND, self._plain, [sys.executable, "-m", "benchmarks.by_hand", self._server.address, BY_HAND], {},
                                self._folder, health=False))

    def bifrost(self, name: str = BIFROST, files: Mapping[str, str] | None = None, organizations: Sequence[str] = ("acme",), *,
                reload: bool = False, environment: Mapping[str, str] | None = None) -> Side:
        """`bifrost worker`, with the settings that it has by itself and a hash seed, as every deployment gives it one.

        Args:
            name: What figures call it.
            files: Its workspace, by path; the chores of `benchmarks.by_hand` where it is not given.
            organizations: The ids of its organizations.
            reload: Whether it follows edits of the workspace.
            environment: More of its variables.
        """
        folder = self._folder / name
        write(folder / "workspace", files or {"workflows/chores.py": SOURCE})
        write(folder, {"organizations.yaml": "\n".join(["organizations:", *(f"  - id: {one}\n    name: The company {one}" for one in organizations)])})
        return self._added(Side(name, self.client, [sys.executable, "-m", "bifrost", "worker", *(["--reload"] if reload else [])], {
            "PYTHONHASHSEED": "0", "TEMPORAL_ADDRESS": self._server.address, "VAULT_ADDR": self._vault.address, "VAULT_TOKEN": self._vault.token,
            "BIFROST_TASK_QUEUE": name, "BIFROST_WORKSPACE": str(folder / "workspace"), "BIFROST_ORGANIZATIONS": str(folder / "organizations.yaml"),
            "BIFROST_REVISIONS": str(folder / "revisions"), "BIFROST_PAYLOADS": str(folder / "payloads"), "BIFROST_LOG_LEVEL": "warning",
            **(environment or {}),
        }, self._folder, health=True))

    def workspace(self, side: Side) -> Path:
        """The folder of a side's workspace."""
        return self._folder / side.name / "workspace"

    def _added(self, side: Side) -> Side:
        self.sides.append(side)
        return side


def _hidden(folder: Path) -> Path:
    """What keeps a Python that has it on its path from importing what production has not."""
    write(folder / "hidden", {f"{name}.py": 'raise ImportError("not in production")\n' for name in _DEVELOPERS})
    return folder / "hidden"


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write files, by their paths below a folder."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """A stage of its own; every worker that was launched on it is stopped with it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with (TemporalServer(folder, db_path=folder / "temporal.db", port=free_port()) as server,
                    VaultServer(folder / "vault", port=free_port()) as vault):
            standing = Stage(folder, server, vault, await executions.connect_to(server.address, server.namespace),
                             await Client.connect(server.address, grpc_compression=GrpcCompression.NONE))
            try:
                yield standing
            finally:
                await asyncio.gather(*(side.stop() for side in standing.sides))
