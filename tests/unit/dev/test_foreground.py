"""Work in a terminal: ended by one signal, in order."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from bifrost.dev.foreground import until_signalled


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
