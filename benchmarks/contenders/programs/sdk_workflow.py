"""Trivial steps by hand. The sandbox imports this again for each execution, so it imports nothing but what it needs."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=60), maximum_attempts=5)
"""As a call of an integration is tried by default."""


@activity.defn
async def step(number: int) -> int:
    """One more."""
    return number + 1


def _step(number: int) -> workflow.ActivityHandle[int]:
    return workflow.start_activity(step, number, start_to_close_timeout=timedelta(seconds=60), retry_policy=RETRIES)


@workflow.defn
class Steps:
    """So many steps, one after the other or all at once."""

    @workflow.run
    async def run(self, calls: int, shape: str) -> int:
        """Answer the number of steps."""
        if shape == "gather":
            return len(await asyncio.gather(*(_step(number) for number in range(calls))))
        number = 0
        for _ in range(calls):
            number = await _step(number)
        return number
