"""Any small workflow comes to the same end with the same recorded calls, however often its worker is killed on the way."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from bifrost.dev.temporal_server import TemporalServer
from bifrost.temporal import client as executions
from tests.temporal.workers import Workers
from tests.waiting import until

TOOL = """
    import asyncio, os
    from bifrost import BaseIntegration, IntegrationError

    class Tool(BaseIntegration):
        integration_name = "tool"
        async def authenticate(self): ...

        async def do(self, run, label):
            with open(os.environ["JOURNAL"], "a") as journal:
                journal.write(f"{run} {label}\\n")
            await asyncio.sleep(0.02)
            return label

        async def fail(self, run, label):
            await self.do(run, label)
            raise IntegrationError("no", status_code=409)
"""
_labels = itertools.count()
EXAMPLES = int(os.environ.get("PROGRAM_EXAMPLES", "2"))
"""How many sets of programs are tried; more of them take a quarter of a minute each."""


def _label() -> str:
    return f"c{next(_labels)}"


def _lines(*lines: str) -> list[str]:
    return list(lines)


def _inside(head: str, body: list[str]) -> list[str]:
    return [head, *(f"    {line}" for line in body)]


calls = st.builds(lambda: _lines(f"out.append(await tool.do(run, f'{_label()} {{len(out)}}'))"))
leaves = st.one_of(
    calls, calls,
    st.builds(lambda: _lines(f"context.save_checkpoint(f'{_label()} {{len(out)}}', out[-3:])")),
    st.builds(lambda: _lines("await asyncio.sleep(0.03)")),
    st.builds(lambda: _lines("random.random(), uuid.uuid4(), datetime.now()")),
    st.builds(lambda: _lines("context.log('info', 'said', {'out': len(out)})")),
    st.builds(lambda: _lines("out.extend(await asyncio.gather(*(tool.do(run, f'" + _label() + " {len(out)} {n}') for n in range(3))))")),
    st.builds(lambda: _lines("try:", f"    await tool.fail(run, f'{_label()} {{len(out)}}')", "except IntegrationError as error:",
                             "    out.append(error.status_code)")),
    st.builds(lambda: _lines("try:", "    async with asyncio.timeout(0.02):", "        await asyncio.sleep(60)", "except TimeoutError:",
                             "    out.append('timeout')")))
statements = st.recursive(leaves, lambda inner: st.one_of(
    st.lists(inner, min_size=2, max_size=3).map(lambda many: [line for one in many for line in one]),
    inner.map(lambda body: _inside("for _ in range(2):", body)),
    st.tuples(st.integers(0, 99), inner, inner).map(lambda both: [
        *_inside(f"if random.Random({both[0]}).random() < 0.5:", both[1]), *_inside("else:", both[2])]),
    st.tuples(inner, inner).map(lambda both: [*_inside("try:", both[0]), *_inside("finally:", both[1])])), max_leaves=6)
programs = st.lists(statements, min_size=2, max_size=4).map(lambda many: [line for one in many for line in one])
HEAD = "import asyncio, random, uuid\nfrom datetime import datetime\nfrom bifrost import IntegrationError, workflow\n"


def _write(root: Path, written: list[list[str]]) -> None:
    (root / "workflows").mkdir(parents=True)
    (root / "integrations").mkdir()
    (root / "integrations" / "tool.py").write_text(textwrap.dedent(TOOL))
    for number, lines in enumerate(written):
        body = textwrap.indent("\n".join(lines), "    ")
        (root / "workflows" / f"p{number}.py").write_text(
            f"{HEAD}@workflow(name='p{number}', requires_org=False)\nasync def p{number}(context, run: str):\n"
            f"    tool, out = context.get_integration('tool'), []\n{body}\n    return out\n")


async def _recorded(handle: WorkflowHandle[Any, Any], run: str) -> list[Any]:
    """Type and input of every activity in the order of the history, without what differs from run to run."""
    found = []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            given_to = json.loads(scheduled.input.payloads[0].data)
            given_to.pop("at", None)
            given_to["log"] = [line["message"] for line in given_to.get("log", [])]
            found.append([scheduled.activity_type.name, scheduled.activity_id, json.dumps(given_to).replace(run, "RUN")])
    return found


class Stage:
    """Programs on a task queue of their own, run to their ends by worker processes."""

    def __init__(self, client: Client, directory: Path, written: list[list[str]]) -> None:
        self.client = client
        self.count = len(written)
        self.queue = f"programs-{directory.name}-{id(self)}"
        self.journal = directory / "journal"
        self.journal.touch()
        _write(directory / "workspace", written)
        (directory / "organizations.yaml").write_text(yaml.safe_dump({"organizations": []}))
        self.workers = Workers({
            "TEMPORAL_ADDRESS": client.service_client.config.target_host, "BIFROST_WORKSPACE": str(directory / "workspace"),
            "BIFROST_ORGANIZATIONS": str(directory / "organizations.yaml"), "BIFROST_REVISIONS": str(directory / "revisions"),
            "BIFROST_TASK_QUEUE": self.queue, "VAULT_TOKEN": "not asked", "JOURNAL": str(self.journal), "BIFROST_LOG_LEVEL": "error"}, directory)

    def made(self, run: str) -> Counter[str]:
        """How often each call was made in a run."""
        return Counter(line for line in self.journal.read_text().splitlines() if line.startswith(run))

    async def play(self, run: str, kills: list[int]) -> tuple[list[Any], list[list[Any]]]:
        """Results and recorded calls of all programs; the worker is killed after so many calls, again and again."""
        worker = await self.workers.spawn()
        handles = [await executions.start(self.client, f"p{number}", task_queue=self.queue, org_id=None, params={"run": run})
                   for number in range(self.count)]
        ends = asyncio.gather(*map(executions.result, handles))
        for after in kills:
            wanted = sum(self.made(run).values()) + after

            async def reached(wanted: int = wanted) -> bool:
                return ends.done() or sum(self.made(run).values()) >= wanted

            await until(reached, seconds=60)
            await self.workers.kill(worker)
            worker = await self.workers.spawn()
        results = await asyncio.wait_for(ends, 120)
        await self.workers.kill(worker)
        return results, [await _recorded(handle, run) for handle in handles]


@pytest.fixture(scope="module")
def client(temporal_server: TemporalServer) -> TemporalServer:
    """The session's server; each example connects for itself."""
    return temporal_server


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=list(HealthCheck))
@given(written=st.lists(programs, min_size=8, max_size=8), kills=st.lists(st.integers(1, 12), min_size=1, max_size=2))
async def test_a_killed_worker_changes_nothing(client: TemporalServer, tmp_path_factory: pytest.TempPathFactory,
                                               written: list[list[str]], kills: list[int]) -> None:
    """Random programs give the same results and record the same calls, undisturbed and with workers killed at random points.

    A call is made again only where a worker was killed while it was under way.
    """
    stage = Stage(await executions.connect(client.address), tmp_path_factory.mktemp("programs"), written)
    try:
        undisturbed = await stage.play("calm", [])
        disturbed = await stage.play("wild", kills)
    finally:
        await stage.workers.stop()
    assert disturbed == undisturbed
    calm, wild = stage.made("calm"), stage.made("wild")
    assert set(calm.values()) <= {1}
    assert {label.removeprefix("wild") for label in wild} == {label.removeprefix("calm") for label in calm}
    assert all(count <= 1 + len(kills) for count in wild.values())
