"""Trivial steps with Restate: `restate_worker.py PORT`. It says `worker ready` just before it listens, and ends with SIGTERM."""

import asyncio
import signal
import sys

import hypercorn
import hypercorn.asyncio
import restate

LIMITLESS = 2**31 - 1
steps = restate.Service("steps")


async def step(number: int) -> int:
    """One more."""
    return number + 1


@steps.handler()
async def sequence(context: restate.Context, calls: int) -> int:
    """One step after the other; answers their number."""
    number = 0
    for _ in range(calls):
        number = await context.run_typed("step", step, number=number)
    return number


@steps.handler()
async def gather(context: restate.Context, calls: int) -> int:
    """All steps at once; answers their number."""
    return len(await restate.gather(*(context.run_typed("step", step, number=number) for number in range(calls))))


async def main(port: str) -> None:
    """Serve until the signal."""
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    # As https://docs.restate.dev/develop/python/serving has it for production.
    config.h2_max_concurrent_streams = config.keep_alive_max_requests = config.keep_alive_timeout = LIMITLESS
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print("worker ready", flush=True)  # Restate asks until it is answered
    await hypercorn.asyncio.serve(restate.app([steps]), config, shutdown_trigger=stopped.wait)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
