"""Trivial steps with DBOS, and how a process becomes one that runs them."""

import asyncio

from dbos import DBOS, DBOSConfig

APPLICATION = QUEUE = "steps"
POLL_SECONDS = 0.02


@DBOS.step()
async def step(number: int) -> int:
    """One more."""
    return number + 1


@DBOS.workflow()
async def sequence(calls: int) -> int:
    """One step after the other; answers their number."""
    number = 0
    for _ in range(calls):
        number = await step(number)
    return number


@DBOS.workflow()
async def gather(calls: int) -> int:
    """All steps at once; answers their number."""
    return len(await asyncio.gather(*(step(number) for number in range(calls))))


def launch(database_url: str) -> None:
    """From now on this process runs workflows."""
    DBOS(config=DBOSConfig(name=APPLICATION, system_database_url=database_url, application_version="1", log_level="WARNING"))
    DBOS.launch()
