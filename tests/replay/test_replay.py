"""Executions that earlier versions began come the same way with this one; `bifrost replay` says so, and sees what does not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bifrost.temporal import replay
from tests.temporal.conftest import House, client, graph_server, house, user_api_server  # noqa: F401 - fixtures
from tests.waiting import until

HISTORIES = sorted(path for path in (Path(__file__).parent / "histories").iterdir() if path.is_dir())


def _bifrost(*arguments: str, **environment: str) -> tuple[int, Any, str]:
    """Exit status, parsed standard output and standard error of a real process."""
    ran = subprocess.run([sys.executable, "-m", "bifrost", "replay", *arguments, "--json"], capture_output=True, text=True, check=False,
                         timeout=120, env={**os.environ, "PYTHONHASHSEED": "77", "BIFROST_LOG_LEVEL": "error", **environment})
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else None, ran.stderr


@pytest.mark.parametrize("folder", HISTORIES, ids=lambda folder: folder.name)
def test_recorded_histories_come_the_same_way(folder: Path) -> None:
    """Every history kept of a version is replayed by this one, with its revision, without a server."""
    status, answer, _ = _bifrost("--histories", str(folder))
    assert [(one["workflow"], one["failure"]) for one in answer["executions"]] == [
        (file.stem, None) for file in sorted(folder.glob("*.json"))]
    assert (status, answer["failed"]) == (0, 0)


@pytest.mark.parametrize(("old", "new"), [('"activityId": "checkpoint:begun"', '"activityId": "checkpoint:other"'),
                                          ('"name": "tool.say"', '"name": "tool.said"')])
def test_what_comes_another_way_is_found(tmp_path: Path, old: str, new: str) -> None:
    """A history that this engine would not write again is named with the difference, and the exit status says so."""
    for file in (HISTORIES[-1] / "calls.json", HISTORIES[-1] / "chance.json"):
        (tmp_path / file.name).write_text(file.read_text().replace(old, new))
    status, answer, _ = _bifrost("--histories", str(tmp_path), BIFROST_REVISIONS=str(HISTORIES[-1] / "revisions"))
    calls, chance = answer["executions"]
    assert (status, answer["failed"], chance["failure"]) == (1, 1, None)
    assert "does not match" in calls["failure"]
    assert "\n" not in calls["failure"]


def test_a_revision_that_is_missing_is_named(tmp_path: Path) -> None:
    """Without the revision that an execution began with it cannot be replayed, and the answer says which."""
    shutil.copy(HISTORIES[-1] / "fails.json", tmp_path)
    status, answer, _ = _bifrost("--histories", str(tmp_path), BIFROST_REVISIONS=str(tmp_path / "none"))
    [revision] = [file.stem for file in (HISTORIES[-1] / "revisions").iterdir()]
    assert (status, f"Revision '{revision}' not found" in answer["executions"][0]["failure"]) == (1, True)


@pytest.mark.parametrize(("arguments", "said"), [
    (("--histories", "{empty}"), "There are no histories"), (("--histories", "{folder}", "an-id"), "takes neither IDs"),
    (("--histories", "{odd}"), "odd.json is no history"), (("--limit", "0"), "Invalid value for '--limit'")])
def test_a_wrong_call_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Options that cannot go together, and folders without histories, are refused with a sentence."""
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.json").write_text("{]")
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "folder": HISTORIES[-1], "odd": tmp_path / "odd"}
    status, _, error = _bifrost(*(argument.format(**places) for argument in arguments))
    assert status != 0
    assert said in error


@pytest.fixture
def cached() -> int:
    """What is replayed does not depend on the worker's cache."""
    return 1000


WAITS = """
    from bifrost import workflow

    @workflow(name="waits")
    async def waits(context):
        context.save_checkpoint("waiting")
        return await context.wait_for_event("go")
"""


async def test_open_and_ended_executions_of_a_server(house: House, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    """From Temporal: by id, by query, or all that are open and the last that ended; what was fetched can be kept and replayed again."""
    house.write("workflows/waits.py", WAITS)
    async with house.serving():
        ended, waiting = await house.start("waits"), await house.start("waits")
        await ended.signal("go", 1)
        await ended.result()

        async def indexed() -> bool:
            query = f"TaskQueue = '{house.task_queue}' AND {replay.BEGUN}"
            return len([one async for one in house.client.list_workflows(query)]) == 2

        await until(indexed)
    environment = {"TEMPORAL_ADDRESS": house.client.service_client.config.target_host, "BIFROST_REVISIONS": str(tmp_path / "revisions")}

    async def run(*arguments: str) -> tuple[int, Any, str]:
        return await asyncio.to_thread(_bifrost, *arguments, **environment)

    status, answer, _ = await run(ended.id, waiting.id)
    assert (status, [one["execution_id"] for one in answer["executions"]]) == (0, [ended.id, waiting.id])
    status, answer, _ = await run("--query", f"TaskQueue = '{house.task_queue}'", "--save", str(tmp_path / "kept"))
    assert (status, answer["replayed"], answer["failed"]) == (0, 2, 0)
    status, answer, _ = await run("--histories", str(tmp_path / "kept"), "--json")
    assert (status, sorted(one["execution_id"] for one in answer["executions"])) == (0, sorted([ended.id, waiting.id]))
    status, _, error = await run("nobody")
    assert (status, "Execution 'nobody' not found" in error) == (1, True)
    status, _, error = await run("--query", "Nothing = 1")
    assert (status, "Temporal refuses" in error) == (1, True)
    await waiting.terminate()
