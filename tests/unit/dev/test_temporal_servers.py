"""The embedded Temporal server: real, tuned, and kept between starts."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import sqlite3
import sys
import uuid
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError

from bifrost.dev.ports import LOOPBACK, free_port
from bifrost.dev.temporal_server import RETENTION, TemporalServer, find_temporal
from bifrost.errors import ConfigurationError
from bifrost.messages import ORG_ATTRIBUTE, SEARCH_ATTRIBUTES, TASK_QUEUE


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def test_the_namespace_keeps_executions_for_a_month(temporal_server: TemporalServer) -> None:
    """The server itself says that the retention is 30 days and not the day that it ships with."""
    client = await Client.connect(temporal_server.address)
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert answer.config.workflow_execution_retention_ttl.ToTimedelta() == RETENTION
    assert RETENTION.days == 30


async def test_bifrosts_search_attributes_are_there(temporal_server: TemporalServer) -> None:
    """All of them are keywords, and executions can carry them."""
    client = await Client.connect(temporal_server.address)
    answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    for name in SEARCH_ATTRIBUTES:
        assert answer.custom_attributes[name] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    handle = await client.start_workflow("nobody", id=uuid.uuid4().hex, task_queue=TASK_QUEUE, search_attributes=TypedSearchAttributes(
        [SearchAttributePair(SearchAttributeKey.for_keyword(ORG_ATTRIBUTE), "acme")]))
    await handle.terminate()


async def test_the_database_is_written_ahead(temporal_server: TemporalServer) -> None:
    """The file's journal is the quick one; it is beside the file, as tests that search it have to know."""
    assert temporal_server.db_path is not None
    with closing(sqlite3.connect(f"file:{temporal_server.db_path}?mode=ro", uri=True)) as database:
        assert database.execute("pragma journal_mode").fetchone() == ("wal",)


async def test_executions_survive_a_crash_of_the_server(tmp_path: Path) -> None:
    """After SIGKILL and a start over the same file, an execution is still there."""
    server = TemporalServer(tmp_path, db_path=tmp_path / "data" / "temporal.db", port=free_port())
    execution_id = uuid.uuid4().hex
    await server.start()
    client = await Client.connect(server.address)
    await client.start_workflow("nobody", id=execution_id, task_queue=TASK_QUEUE)
    await server.kill()
    async with server:
        client = await Client.connect(server.address)
        described = await client.get_workflow_handle(execution_id).describe()
        assert described.status == WorkflowExecutionStatus.RUNNING
    await server.stop()


async def test_in_memory_with_web_interface_and_a_namespace_of_its_own(tmp_path: Path) -> None:
    """Without a file nothing is kept; the web interface answers where it says; more configuration is passed on as JSON."""
    server = TemporalServer(tmp_path, port=free_port(), ui_port=free_port(), namespace="acceptance",
                            extra_dynamic_config={"limit.maxIDLength": 20})
    async with server:
        assert server.ui_url is not None
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(server.ui_url, follow_redirects=True)).status_code == 200
        client = await Client.connect(server.address, namespace="acceptance")
        answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="acceptance"))
        assert answer.config.workflow_execution_retention_ttl.ToTimedelta() == RETENTION
        with pytest.raises(RPCError, match="exceeds maximum allowed length"):
            await client.start_workflow("nobody", id="x" * 21, task_queue=TASK_QUEUE)
    assert _names(tmp_path) == ["temporal.log"]


def test_the_server_is_set_for_running(tmp_path: Path) -> None:
    """Every dynamic value is passed as JSON, as the program wants it, durations in quotes."""
    arguments = TemporalServer(tmp_path, port=1, extra_dynamic_config={"extra": True})._arguments()
    given = dict(argument.split("=", 1) for before, argument in itertools.pairwise(arguments)
                 if before == "--dynamic-config-value")
    assert {name: json.loads(value) for name, value in given.items()} == {
        "history.transferProcessorMaxPollRPS": 5000, "history.timerProcessorMaxPollRPS": 5000,
        "history.visibilityProcessorMaxPollRPS": 10, "history.timerProcessorMaxTimeShift": "20ms",
        "system.forceSearchAttributesCacheRefreshOnRead": False,
        "matching.enableFairness": True, "matching.numTaskqueueReadPartitions": 1, "matching.numTaskqueueWritePartitions": 1, "extra": True}


def test_without_a_port_it_takes_the_usual_one_or_another(tmp_path: Path) -> None:
    """The address is known before the start; without a web interface there is no URL."""
    server = TemporalServer(tmp_path)
    assert server.address.startswith(f"{LOOPBACK}:")
    assert server.ui_url is None


@pytest.mark.parametrize("which", ["port", "ui_port"])
async def test_a_taken_port_is_refused(tmp_path: Path, which: str) -> None:
    """Another server on the port is never taken for this one."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        ports = {"port": free_port(), which: taken.getsockname()[1]}
        with pytest.raises(ConfigurationError, match="is taken"):
            await TemporalServer(tmp_path, **ports).start()


async def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """A server that cannot open its database is an error with the end of its log."""
    (tmp_path / "temporal.db").mkdir()
    server = TemporalServer(tmp_path, db_path=tmp_path / "temporal.db", port=free_port())
    with pytest.raises(ConfigurationError, match="temporal ended with status"):
        await server.start()
    assert server._process is not None
    assert server._process.pid is None


async def test_stopping_one_that_was_never_started_is_no_error(tmp_path: Path) -> None:
    """`stop` and `kill` are safe in every state."""
    server = TemporalServer(tmp_path, port=1)
    await server.stop()
    await server.kill()


def test_the_program_is_found_beside_python_or_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's own program goes before the PATH; where there is none, the error says what to install."""
    beside, on_path = tmp_path / "beside", tmp_path / "path"
    for folder in (beside, on_path):
        folder.mkdir()
        shutil.copy("/bin/true", folder / "temporal")
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    monkeypatch.setenv("PATH", str(on_path))
    assert find_temporal() == beside / "temporal"
    (beside / "temporal").unlink()
    assert find_temporal() == on_path / "temporal"
    (on_path / "temporal").unlink()
    with pytest.raises(ConfigurationError, match=r"pip install 'bifrost\[embedded\]'"):
        find_temporal()
