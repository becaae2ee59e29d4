"""Runs flows of trivial tasks itself: `prefect_driver.py`, with Prefect's settings in its environment."""

import asyncio

from prefect import flow, get_client, task
from prefect.flow_engine import run_flow_async

from benchmarks.contenders.driver import Result, drive


@task
async def step(number: int) -> int:
    """One more."""
    return number + 1


@flow
async def sequence(calls: int) -> int:
    """One step after the other; answers their number."""
    number = 0
    for _ in range(calls):
        number = await step(number)
    return number


@flow
async def gather(calls: int) -> int:
    """All steps at once; answers their number."""
    return len(await asyncio.gather(*(step(number) for number in range(calls))))


async def main() -> None:
    """Drive this process."""
    flows = {"sequence": sequence, "gather": gather}
    async with get_client() as client:

        async def start(calls: int, shape: str) -> Result:
            wanted, parameters = flows[shape], {"calls": calls}
            # Calling a flow makes its run and runs it; these are the same two steps, apart.
            run = await client.create_flow_run(wanted, parameters=parameters)
            return lambda: run_flow_async(wanted, flow_run=run, parameters=parameters)

        await drive(start)


if __name__ == "__main__":
    asyncio.run(main())
