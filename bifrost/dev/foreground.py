"""`bifrost dev` in a terminal: a stack that runs until a signal, shows its worker's output and replaces one that died."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from bifrost.dev.processes import ServerProcess
from bifrost.dev.stack import Stack
from bifrost.errors import ConfigurationError, TimeoutError  # noqa: A004 - the name is the guide's

FIRST_PAUSE: Final = 1.0
"""How long, in seconds, a worker that ended is mourned before another one is started; doubled each time."""
LONGEST_PAUSE: Final = 30.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_STEADY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1

Say = Callable[[str], object]


async def until_signalled(work: Callable[[asyncio.Event], Awaitable[None]]) -> bool:
    """Run `work` until it ends, or is cancelled by SIGINT or SIGTERM; further signals do not disturb its tidying up.

    Args:
        work: Is given an event that is set by the signal: to wait for, and to look at where it waits for nothing.

    Returns:
        Whether it ended by itself.
    """
    stopped = asyncio.Event()
    task = asyncio.ensure_future(work(stopped))

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return not stopped.is_set()


async def serve(stack: Stack, stopped: asyncio.Event, *, reload: bool, on_ready: Callable[[ServerProcess], object],
                say: Say) -> None:
    """Start the stack and a worker, and keep them until `stopped`.

    Args:
        stack: Not started yet.
        stopped: Ends it.
        reload: Whether workers follow changes of the workspace.
        on_ready: Called with the worker when it takes tasks.
        say: Called with what the user should know: that a worker ended, and why.

    Raises:
        ConfigurationError: it cannot be started; see `Stack`.
        TimeoutError: a server or the first worker did not answer in time.
    """
    async with stack:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(stack.follow_organizations()), group.create_task(_show_logs(stack))]
                worker = await stack.start_worker(reload=reload)
                tasks.append(group.create_task(keep_worker(stack, worker, reload=reload, say=say)))
                on_ready(worker)
                await stopped.wait()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None


def next_pause(pause: float, ran: float) -> float:
    """The pause before the next start, after `pause` before the last one and a worker that ran for `ran` seconds."""
    return FIRST_PAUSE if not pause or ran > _STEADY_SECONDS else min(2 * pause, LONGEST_PAUSE)


async def keep_worker(stack: Stack, worker: ServerProcess, *, reload: bool, say: Say) -> None:
    """Start another worker whenever one has ended by itself, after a pause that grows; until cancelled."""
    loop = asyncio.get_running_loop()
    pause = 0.0
    while True:
        began = loop.time()
        status = await worker.wait()
        pause = next_pause(pause, loop.time() - began)
        say(f"The worker ended by itself with status {status}; another one is started in {pause:g} s. {worker.log_tail()}")
        await asyncio.sleep(pause)
        try:
            with suppress(ConfigurationError):  # it ended at once: said at the next turn
                await stack.start_worker(reload=reload)
        except TimeoutError as error:
            say(error.message)
        worker = stack.workers[-1]


async def _show_logs(stack: Stack) -> None:
    """Copy what workers write to standard error, until cancelled."""
    shown: dict[Path, int] = {}
    while True:
        for worker in stack.workers:
            with suppress(FileNotFoundError), worker.log_file.open("rb") as log:
                log.seek(shown.get(worker.log_file, 0))
                sys.stderr.write(log.read().decode("utf-8", "replace"))
                shown[worker.log_file] = log.tell()
        sys.stderr.flush()
        await asyncio.sleep(_LOOK_SECONDS)
