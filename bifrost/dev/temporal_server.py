"""Temporal's own server as a child process, with a database file or in memory.

`temporal server start-dev` is the real server with SQLite, set here for running workflows rather than for trying Temporal:

- Polling limits: as shipped, they round every step of a workflow up to 50 ms and every timer up to a second, and a one-step
  execution takes a third of the time without them. Timers are due within 20 ms; at 1 ms the database is read three times as
  often for a call, most often for time-outs that nobody waits for.
- `start-dev` reads the search attributes from the database wherever one is used, 16 reads for an execution, so that a new one
  can be used at once. Here it keeps them as servers in production do, and a new one can be used within seconds.
- It is fair among organizations (`Priority.fairness_key`), which takes a single partition for each task queue; that costs
  nothing that could be measured.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest

from bifrost.dev.ports import LOOPBACK, free_port, require_free
from bifrost.dev.processes import ServerProcess
from bifrost.errors import ConfigurationError
from bifrost.messages import SEARCH_ATTRIBUTES
from bifrost.temporal.client import connect_to
from bifrost.temporal.operating.setup import RETENTION

PREFERRED_PORT: Final = 7233

_DYNAMIC_CONFIG: Final[Mapping[str, Any]] = {
    "history.transferProcessorMaxPollRPS": 5000,
    "history.timerProcessorMaxPollRPS": 5000,
    "history.visibilityProcessorMaxPollRPS": 10,
    "history.timerProcessorMaxTimeShift": "20ms",
    "system.forceSearchAttributesCacheRefreshOnRead": False,
    "matching.enableFairness": True,
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
}
_PRAGMAS: Final = ("journal_mode=wal", "synchronous=1")


def find_temporal() -> Path:
    """The `temporal` program: beside this Python, else on the PATH.

    Raises:
        ConfigurationError: it is in neither place.
    """
    beside = shutil.which("temporal", path=Path(sys.executable).parent)
    found = beside or shutil.which("temporal")
    if found is None:
        raise ConfigurationError("The program 'temporal' is neither beside this Python nor on the PATH. "
                                 "Install it with: pip install 'bifrost[embedded]'")
    return Path(found)


class TemporalServer:
    """A Temporal server for one machine; use it with `async with`, or call `start` and `stop`.

    It knows Bifrost's search attributes and keeps closed executions for 30 days.

    Args:
        directory: Where its log goes.
        db_path: The database file, kept between starts; None keeps everything in memory.
        port: Where it answers gRPC; by default 7233, or any free port where that is taken.
        ui_port: Where the web interface answers; None for no web interface.
        namespace: The Temporal namespace; created if absent.
        extra_dynamic_config: More of Temporal's dynamic configuration, values as JSON.
    """

    def __init__(self, directory: Path, *, db_path: Path | None = None, port: int | None = None,
                 ui_port: int | None = None, namespace: str = "default",
                 extra_dynamic_config: Mapping[str, Any] | None = None) -> None:
        self.namespace = namespace
        self._directory = directory
        self.db_path = db_path
        self._port = free_port(PREFERRED_PORT) if port is None else port
        self._ui_port = ui_port
        self._dynamic_config = {**_DYNAMIC_CONFIG, **(extra_dynamic_config or {})}
        self._process: ServerProcess | None = None

    @property
    def address(self) -> str:
        """`host:port`, as `TEMPORAL_ADDRESS` takes it."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def ui_url(self) -> str | None:
        """The address of the web interface, or None without one."""
        return None if self._ui_port is None else f"http://{LOOPBACK}:{self._ui_port}"

    async def start(self, timeout: float = 60) -> Self:  # noqa: ASYNC109 - the bound of a start that polls
        """Start the server and wait, at most `timeout` seconds, until it can run workflows.

        Raises:
            ConfigurationError: the program is not installed, a port is taken, or it ended; with the end of its log.
            TimeoutError: it did not answer in time.
        """
        program = find_temporal()
        for port in filter(None, (self._port, self._ui_port)):
            require_free(port, "Temporal")
        if self.db_path is not None:
            self.db_path.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
        self._process = ServerProcess("temporal", [str(program), *self._arguments()], directory=self._directory,
                                      environment=environment)
        await self._process.start()
        try:
            await self._process.wait_ready(self._prepared, timeout)
        except BaseException:
            await self._process.kill()
            raise
        return self

    async def stop(self) -> None:
        """End the server in order. No error if it does not run."""
        if self._process is not None:
            await self._process.stop()

    async def kill(self) -> None:
        """End the server as a crash would."""
        if self._process is not None:
            await self._process.kill()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.stop()

    def _arguments(self) -> list[str]:
        arguments = ["server", "start-dev", "--ip", LOOPBACK, "--port", str(self._port), "--namespace", self.namespace,
                     "--log-level", "warn", "--log-format", "json", "--color", "never"]
        arguments += ["--headless"] if self._ui_port is None else ["--ui-port", str(self._ui_port)]
        if self.db_path is not None:
            arguments += ["--db-filename", str(self.db_path)]
            arguments += [part for pragma in _PRAGMAS for part in ("--sqlite-pragma", pragma)]
        for name, value in self._dynamic_config.items():
            arguments += ["--dynamic-config-value", f"{name}={json.dumps(value)}"]
        for name in SEARCH_ATTRIBUTES:
            arguments += ["--search-attribute", f"{name}=Keyword"]
        return arguments

    async def _prepared(self) -> bool:
        """Whether the namespace exists with its search attributes; sets its retention on the way."""
        client = await connect_to(self.address, self.namespace)
        service = client.workflow_service
        healthy = await client.service_client.check_health()
        described = await service.describe_namespace(DescribeNamespaceRequest(namespace=self.namespace))
        if described.config.workflow_execution_retention_ttl.ToTimedelta() != RETENTION:
            retention = Duration()
            retention.FromTimedelta(RETENTION)
            await service.update_namespace(UpdateNamespaceRequest(
                namespace=self.namespace, config=NamespaceConfig(workflow_execution_retention_ttl=retention)))
            return False  # asked again, so that what counts is what the server says
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=self.namespace))
        return healthy and set(SEARCH_ATTRIBUTES) <= set(listed.custom_attributes)
