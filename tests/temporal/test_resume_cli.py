"""`bifrost executions resume` and `rerun`, as a person and a program use them: real processes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.errors import IntegrationError
from bifrost.temporal import client as executions
from tests.temporal.conftest import House
from tests.temporal.till import sold
from tests.waiting import until

DELIVER = """
    from bifrost import workflow

    @workflow(name="deliver")
    async def deliver(context, item: str):
        await context.get_integration("shop").sell("hat")
        context.save_checkpoint("hat sold")
        return await context.get_integration("shop").sell(item)
"""
Command = Callable[..., Awaitable[subprocess.CompletedProcess[str]]]


@pytest.fixture
def cached() -> int:
    """Whether runs are cached does not matter to the command line."""
    return 1000


@pytest.fixture
def shop(shop: House) -> House:
    """A house with a workflow that sells a hat, and another thing."""
    shop.write("workflows/deliver.py", DELIVER)
    return shop


@pytest.fixture
def bifrost(shop: House) -> Command:
    """Runs `bifrost executions` for the house; with an answer at a terminal, on which somebody gives it."""
    environment = {
        **os.environ, "TEMPORAL_ADDRESS": shop.client.service_client.config.target_host, "BIFROST_WORKSPACE": str(shop.root),
        "BIFROST_REVISIONS": str(shop.root.parent / "revisions"), "BIFROST_PAYLOADS": str(shop.root.parent / "payloads"),
        "BIFROST_LOG_FORMAT": "json"}

    async def run(*arguments: str, answer: str | None = None) -> subprocess.CompletedProcess[str]:
        ours, theirs = pty.openpty()
        try:
            os.write(ours, f"{answer}\n".encode())
            return await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", "bifrost", "executions", *arguments], env=environment, capture_output=True,
                text=True, check=False, stdin=theirs if answer else subprocess.DEVNULL, timeout=120)
        finally:
            os.close(ours)
            os.close(theirs)

    return run


async def _failed(house: House, till: SimulatorControl, *items: str) -> list[str]:
    """Run executions that fail at these items."""
    for item in items:
        await till.fail("POST", f"/sell/{item}", status=409)
    handles = [await house.start("deliver", {"item": item}) for item in items]
    for handle in handles:
        with pytest.raises(IntegrationError):
            await asyncio.wait_for(executions.result(handle), 20)
    return [handle.id for handle in handles]


async def test_one_execution(shop: House, till: SimulatorControl, bifrost: Command) -> None:
    """A sentence for people, an object for programs; a refusal exits 1 and says why."""
    async with shop.serving():
        [one] = await _failed(shop, till, "coat")
        done = await bifrost("resume", one, "--reason", "the till is mended")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{one}  goes on at shop.sell with revision {shop.workspace.catalog.revision[:12]}")
        handle = shop.client.get_workflow_handle(one)
        assert await asyncio.wait_for(executions.result(handle), 20) == "coat"
        assert "the till is mended" in str((await handle.fetch_history()).events)
        refused = await bifrost("resume", one, "--json")
        assert (refused.returncode, json.loads(refused.stdout)["error"]) == (1, "ValidationError")
        revision = shop.workspace.catalog.revision
        again = await bifrost("resume", one, "--from-checkpoint", "hat sold", "--revision", revision[:8], "--json")
        answer = json.loads(again.stdout)
        assert {"execution_id": one, "at": "checkpoint hat sold", "revision": revision, "error": None}.items() <= answer.items()
        assert await asyncio.wait_for(executions.result(shop.client.get_workflow_handle(one)), 20) == "coat"
        assert (await shop.client.get_workflow_handle(one).describe()).run_id == answer["run_id"]
    assert await sold(till) == ["hat", "coat", "coat", "coat"]


@pytest.mark.parametrize(("arguments", "status", "said"), [
    ((), 2, "Give either an ID or --query"), (("one", "--query", "x"), 2, "Give either an ID or --query"),
    (("nobody",), 1, "Execution 'nobody' not found"), (("--query", "x"), 1, "There is no terminal to ask on"),
    (("--query", "Nothing = 1", "--yes"), 1, "Temporal refuses"), (("nobody", "--revision", "abc"), 1, "'abc' is too short"),
    (("nobody", "--revision", "abcdef"), 1, "Revision 'abcdef' not found")])
async def test_a_wrong_call_is_refused(bifrost: Command, arguments: tuple[str, ...], status: int, said: str) -> None:
    """What cannot be done is said in a sentence, with the exit status."""
    done = await bifrost("resume", *arguments)
    assert (done.returncode, said in done.stderr) == (status, True)


async def test_many_executions(shop: House, till: SimulatorControl, bifrost: Command) -> None:
    """By query each that failed goes on; one that cannot does not stop the others, and those that went on are not found again."""
    async with shop.serving():
        ids = await _failed(shop, till, "coat", "scarf", "cap")
        waiting = await shop.start("deliver", {"item": "hat"})
        await asyncio.wait_for(executions.result(waiting), 20)
        query = f"TaskQueue = '{shop.task_queue}'"

        async def indexed() -> bool:
            return len([run async for run in shop.client.list_workflows(f"{query} AND ExecutionStatus != 'Running'")]) == 4

        await until(indexed)
        done = await bifrost("resume", "--query", query, "--yes", "--json")
        answers = {one["execution_id"]: one for one in map(json.loads, done.stdout.splitlines())}
        assert (done.returncode, set(answers)) == (1, {*ids, waiting.id})
        assert "It succeeded" in answers[waiting.id]["error"]["message"]
        assert "1 of 4 executions could not be resumed" in done.stderr
        ends = await asyncio.gather(*(executions.result(shop.client.get_workflow_handle(one)) for one in ids))
        assert ends == ["coat", "scarf", "cap"]
        again = await bifrost("resume", "--query", f"{query} AND ExecutionStatus = 'Failed'", "--yes")
        assert (again.returncode, again.stdout, again.stderr) == (0, "No executions.\n", "")
        query = f"WorkflowId = '{waiting.id}'"
        no = await bifrost("resume", "--query", query, answer="n")
        assert (no.returncode, no.stdout, "Resume 1 execution? [y/N]" in no.stderr, "Nothing was resumed" in no.stderr) == (1, "", True, True)
        last = await bifrost("resume", "--query", query, answer="y")
        assert (last.returncode, last.stdout.startswith(f"{waiting.id}  not resumed: It succeeded")) == (1, True)


async def test_rerun(shop: House, till: SimulatorControl, bifrost: Command) -> None:
    """A rerun prints the new execution's id, or an object that names both."""
    async with shop.serving():
        [one] = await _failed(shop, till, "coat")
        people, programs = await bifrost("rerun", one), await bifrost("rerun", one, "--json")
        answer: dict[str, Any] = json.loads(programs.stdout)
        assert (people.returncode, programs.returncode, answer["rerun_of"], answer["status"]) == (0, 0, one, "Running")
        ends = [await asyncio.wait_for(executions.result(shop.client.get_workflow_handle(new)), 20)
                for new in (people.stdout.strip(), answer["execution_id"])]
    assert ends == ["coat", "coat"]
    assert (await bifrost("rerun", "nobody")).returncode == 1
