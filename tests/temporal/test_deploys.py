"""Deploys while executions are under way: each goes on with the code that it began with."""

from __future__ import annotations

import asyncio

import pytest

from bifrost.temporal import client as executions
from bifrost.temporal.history import read_execution
from bifrost.workspace.live import Workspace
from tests.temporal.conftest import House
from tests.waiting import until

STEPS = """
    from bifrost import activity, workflow
    from workspace.utils.words import WORD
    from .lib.more import MORE

    @activity
    def shout() -> str:
        return WORD.upper()

    @workflow(name="{name}")
    async def {name}(context):
        context.save_checkpoint("waiting")
        event = await context.wait_for_event("go")
        return ["{name} {version}", WORD, MORE, await shout(), event]
"""


@pytest.fixture
def cached() -> int:
    """The cache is lost with the worker, so everything is replayed once."""
    return 1000


def _deploy(house: House, version: int) -> None:
    house.write("utils/words.py", f"WORD = 'word {version}'")
    for name in ("stays", "goes"):
        house.write(f"workflows/a/{name}/workflow.py", STEPS.format(name=name, version=version))
        house.write(f"workflows/a/{name}/lib/more.py", f"MORE = 'more {version}'")


async def test_fifty_executions_on_three_old_revisions(house: House) -> None:
    """Code, lib and util edited thrice, one workflow deleted, the other broken, the worker restarted: all end with their own code."""
    waiting = {}
    for version in (1, 2, 3):
        _deploy(house, version)
        async with house.serving():
            for number in range(17 if version < 3 else 16):
                name = ("stays", "goes")[number % 2]
                waiting[await house.start(name)] = (name, version)

            async def begun() -> bool:
                reads = await asyncio.gather(*(read_execution(house.client, handle.id) for handle in waiting))
                return all(read.checkpoints for read in reads)

            await until(begun)
    assert len(waiting) == 50
    for file in (house.root / "workflows/a/goes").rglob("*.py"):
        file.unlink()
    house.write("workflows/a/stays/workflow.py", "def broken(:")
    house.write("utils/words.py", "raise RuntimeError('must not be loaded')")
    async with house.serving() as workspace:
        assert isinstance(workspace, Workspace)
        assert list(workspace.catalog.workflows) == []
        await asyncio.gather(*(handle.signal("go", version) for handle, (_, version) in waiting.items()))
        ends = await asyncio.wait_for(asyncio.gather(*map(executions.result, waiting)), 60)
    assert ends == [[f"{name} {version}", f"word {version}", f"more {version}", f"WORD {version}", version]
                    for name, version in waiting.values()]
