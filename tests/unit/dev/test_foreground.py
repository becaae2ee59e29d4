"""Work in a terminal: ended by one signal, in order."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace

import pytest

from bifrost.dev import foreground
from bifrost.dev.foreground import until_signalled
from bifrost.errors import TimeoutError  # noqa: A004 - the name is the guide's


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_cancels_once(number: signal.Signals) -> None:
    """Tidying up is not disturbed by more signals; the event says that there was one."""
    told: list[str] = []

    async def work(stopped: asyncio.Event) -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            assert stopped.is_set()
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
            told.append("tidied up")

    assert not await until_signalled(work)
    assert told == ["tidied up"]
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


async def test_work_may_end_by_itself_or_fail() -> None:
    """Without a signal, the end is the work's own, whatever it is."""
    async def done(_stopped: asyncio.Event) -> None:
        pass

    async def cancelled(_stopped: asyncio.Event) -> None:
        raise asyncio.CancelledError

    async def wrong(_stopped: asyncio.Event) -> None:
        raise ValueError("wrong")

    assert await until_signalled(done)
    with pytest.raises(ValueError, match="wrong"):
        await until_signalled(wrong)
    with pytest.raises(asyncio.CancelledError):
        await until_signalled(cancelled)


def test_pauses_grow_and_begin_anew() -> None:
    """One second at first, doubled up to half a minute; a worker that ran for more than a minute was all right."""
    pauses = [0.0]
    for _ in range(7):
        pauses.append(foreground.next_pause(pauses[-1], ran=1))
    assert pauses[1:] == [1, 2, 4, 8, 16, 30, 30]
    assert foreground.next_pause(30, ran=61) == 1


async def test_a_worker_that_takes_no_tasks_is_said_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs without taking tasks in time may still come round: it is waited for, not replaced."""
    monkeypatch.setattr(foreground, "FIRST_PAUSE", 0)
    said: list[str] = []
    reached = asyncio.Event()

    async def ended() -> int:
        return 1

    async def goes_on() -> None:
        reached.set()
        await asyncio.Event().wait()

    first, second = (SimpleNamespace(wait=wait, log_tail=lambda: "") for wait in (ended, goes_on))

    async def start_worker(*, reload: bool) -> None:
        assert reload
        raise TimeoutError("worker-2 did not answer", 30)

    stack = SimpleNamespace(workers=[first, second], start_worker=start_worker)
    keeping = asyncio.create_task(foreground.keep_worker(stack, first, reload=True, say=said.append))  # type: ignore[arg-type]
    await reached.wait()
    keeping.cancel()
    assert said[1:] == ["worker-2 did not answer"]
