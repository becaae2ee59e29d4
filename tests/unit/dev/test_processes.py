"""Child processes that serve: how they start, fail and end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bifrost import redaction
from bifrost.dev import processes
from bifrost.dev.processes import ServerProcess
from bifrost.errors import ConfigurationError, TimeoutError  # noqa: A004 - the name is the guide's

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)")


def _server(directory: Path, code: str) -> ServerProcess:
    return ServerProcess("served", [sys.executable, "-c", code], directory=directory)


def _says(server: ServerProcess, text: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return text in server.log_file.read_text()

    return check


async def _never() -> bool:
    return False


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_runs_in_a_session_of_its_own_and_ends_when_asked(tmp_path: Path) -> None:
    """Ctrl-C in the terminal does not reach it; `stop` ends it with SIGTERM, and may be called again."""
    server = await _server(tmp_path / "new", SLEEP).start()
    await server.wait_ready(_says(server, "up"))
    pid = server.pid
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)
    await server.stop()
    assert server.pid is None
    assert not _alive(pid)
    await server.stop()
    await server.kill()


async def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores SIGTERM is killed after a bounded wait."""
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.1)
    server = await _server(tmp_path, STUBBORN).start()
    await server.wait_ready(_says(server, "up"))
    pid = server.pid
    await server.stop()
    assert pid is not None
    assert not _alive(pid)


async def test_kill_ends_it_at_once(tmp_path: Path) -> None:
    """`kill` asks nobody."""
    server = await _server(tmp_path, STUBBORN).start()
    await server.kill()
    assert server.pid is None


async def test_one_that_vanished_is_stopped_without_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends between being seen and being signalled is no error."""
    server = await _server(tmp_path, SLEEP).start()
    real = os.killpg

    def late(pid: int, number: int) -> None:
        real(pid, signal.SIGKILL)
        raise ProcessLookupError

    monkeypatch.setattr(os, "killpg", late)
    await server.stop()
    assert server.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A `kill -9` of the parent leaves no server behind."""
    parent_code = f"""
import asyncio, sys
from pathlib import Path
from bifrost.dev.processes import ServerProcess

async def main():
    server = await ServerProcess("served", [sys.executable, "-c", {SLEEP!r}], directory=Path({str(tmp_path)!r})).start()
    async def up():
        return "up" in server.log_file.read_text()
    await server.wait_ready(up)
    print(server.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", parent_code, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert _alive(child)
    parent.kill()
    await parent.wait()
    deadline = time.monotonic() + 10
    while _alive(child):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_it_cannot_be_started_twice(tmp_path: Path) -> None:
    """A second start is refused while it runs, and starts it anew, with the same log, after it ended."""
    server = await _server(tmp_path, SLEEP).start()
    with pytest.raises(ConfigurationError, match=f"served runs already, as process {server.pid}"):
        await server.start()
    await server.kill()
    await server.start()
    await server.stop()


async def test_one_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    """A server that dies while it is waited for is an error at once, with its last lines and without secrets."""
    redaction.remember("canary-in-a-log")
    code = "import sys; print('x' * 20_000); [print(f'line {n}') for n in range(50)]; print('canary-in-a-log'); sys.exit(3)"
    server = await _server(tmp_path, code).start()
    began = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        await server.wait_ready(_never, timeout=60)
    assert time.monotonic() - began < 30
    message = str(caught.value)
    assert message.startswith(f"served ended with status 3. The end of {server.log_file}:\n")
    assert message.splitlines()[1:] == [*(f"line {n}" for n in range(31, 50)), redaction.MASK]


async def test_one_whose_program_is_missing_is_reported(tmp_path: Path) -> None:
    """A program that does not exist is named by the error."""
    server = await ServerProcess("served", [str(tmp_path / "absent")], directory=tmp_path).start()
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        await server.wait_ready(_never)


async def test_one_that_the_system_refuses_to_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system at the start is renamed."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match="served cannot be started"):
        await _server(tmp_path, SLEEP).start()


async def test_waiting_for_one_that_was_not_started_is_refused(tmp_path: Path) -> None:
    """`wait_ready` comes after `start`."""
    with pytest.raises(ConfigurationError, match=r"served was not started\. It left no log"):
        await _server(tmp_path, SLEEP).wait_ready(_never)


async def test_ending_one_that_was_not_started_is_no_error(tmp_path: Path) -> None:
    """`stop` and `kill` are safe in every state."""
    server = _server(tmp_path, SLEEP)
    await server.stop()
    await server.kill()
    assert server.pid is None


async def test_one_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After its time the wait ends with what the last check said."""
    async def refused() -> bool:
        raise ConnectionRefusedError("nobody there")

    server = await _server(tmp_path, SLEEP).start()
    await server.wait_ready(_says(server, "up"))
    with pytest.raises(TimeoutError, match=r"within 0\.2 seconds \(the last check: ConnectionRefusedError nobody there\)") as caught:
        await server.wait_ready(refused, timeout=0.2)
    assert caught.value.timeout_seconds == 0.2
    assert str(caught.value).endswith(f"The end of {server.log_file}:\nup")
    await server.stop()


async def test_a_check_that_hangs_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection that gets no answer does not use up the whole wait."""
    monkeypatch.setattr(processes, "_CHECK_SECONDS", 0.05)
    asked = 0

    async def hangs_once() -> bool:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        return True

    server = await _server(tmp_path, SLEEP).start()
    await server.wait_ready(hangs_once)
    assert asked == 2
    await server.stop()


async def test_a_wait_that_is_cancelled_just_as_the_server_answers_is_cancelled(tmp_path: Path) -> None:
    """The answer does not swallow the cancellation: whoever waits for the end of the wait would wait for ever."""
    server = await _server(tmp_path, SLEEP).start()

    async def answers() -> bool:
        waiting.cancel()
        return True

    async def wait() -> None:
        await server.wait_ready(answers)
        await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    done, _ = await asyncio.wait({waiting}, timeout=10)
    await server.stop()
    assert done == {waiting}
    assert waiting.cancelled()


async def test_the_environment_is_the_one_that_is_given(tmp_path: Path) -> None:
    """A server sees the environment that it is started with and nothing else."""
    server = ServerProcess("served", [sys.executable, "-c", "import os, time; print(sorted(os.environ), flush=True); time.sleep(600)"],
                           directory=tmp_path, environment={"LC_ALL": "C", "ONLY": "this"})
    await server.start()
    await server.wait_ready(_says(server, "['LC_ALL', 'ONLY']"))
    await server.stop()


async def test_waiting_for_one_that_was_never_started_is_refused(tmp_path: Path) -> None:
    """`wait` answers the status of a process that was started; there is none of another."""
    server = _server(tmp_path, "raise SystemExit(3)")
    with pytest.raises(ConfigurationError, match="served was not started"):
        await server.wait()
    await server.start()
    assert await server.wait() == 3
