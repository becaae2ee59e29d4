"""Child processes that serve: started in a session of their own, waited for until they answer, always ended.

A server's output goes to a log file; when it does not come up, the end of that file is part of the error.
"""

from __future__ import annotations

import asyncio
import builtins
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from bifrost import redaction
from bifrost.errors import ConfigurationError, TimeoutError  # noqa: A004 - the name is the guide's

STOP_SECONDS = 10.0
"""How long a server may take to end after SIGTERM before it is killed."""
_POLL_SECONDS = 0.05
_CHECK_SECONDS = 5.0
_TAIL_LINES, _TAIL_BYTES = 20, 16_384

# Asks the kernel to end this process with its parent, then becomes the server. A program of its own rather than a
# `preexec_fn`, because code between fork and exec is not safe in a process that has threads; it looks at its parent
# afterwards, because the parent may have died before the request was made. https://man7.org/linux/man-pages/man2/prctl.2.html
_END_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def _command(arguments: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(arguments)  # pragma: no cover - elsewhere a killed parent leaves its servers behind
    return [sys.executable, "-I", "-S", "-c", _END_WITH_PARENT, str(os.getpid()), *arguments]


class ServerProcess:
    """One server as a child process.

    It runs in a session of its own, so that Ctrl-C in a terminal reaches only the parent, which ends it in order. On Linux
    it also ends when the parent is killed: more exactly, when the thread ends whose event loop started it.

    Args:
        name: What messages and the log file are called by.
        arguments: The program, with its full path, and its arguments.
        directory: Where the log file `<name>.log` goes; created if absent.
        environment: The child's environment; this process's by default.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, directory: Path,
                 environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log_file = directory / f"{name}.log"
        self._arguments = list(arguments)
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> Self:
        """Start the process. It is not ready yet: see `wait_ready`.

        Raises:
            ConfigurationError: it runs already, or the program cannot be started.
        """
        if self.pid is not None:
            raise ConfigurationError(f"{self.name} runs already, as process {self.pid}")
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *_command(self._arguments), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                    env=self._environment, start_new_session=True)
            except OSError as error:
                raise ConfigurationError(f"{self.name} cannot be started: {error}") from error
        return self

    async def wait_ready(self, check: Callable[[], Awaitable[bool]], timeout: float = 30) -> None:  # noqa: ASYNC109 - a deadline over many checks
        """Poll until `check` answers true. An exception from it means not yet.

        Args:
            check: Whether the server answers; one that hangs is cancelled and asked again.
            timeout: In seconds.

        Raises:
            ConfigurationError: the process ended instead; with the end of its log.
            TimeoutError: it did not answer in time; with the end of its log.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        answer = "not yet"
        while (remaining := deadline - loop.time()) > 0:
            if self._process is None or self._process.returncode is not None:
                status = "was not started" if self._process is None else f"ended with status {self._process.returncode}"
                raise ConfigurationError(f"{self.name} {status}. {self.log_tail()}")
            try:
                async with asyncio.timeout(min(remaining, _CHECK_SECONDS)):
                    if await check():
                        return
            except Exception as error:  # noqa: BLE001 - whatever a server that is starting makes its clients raise
                answer = f"{type(error).__name__} {error}".strip()
            await asyncio.sleep(_POLL_SECONDS)
        raise TimeoutError(f"{self.name} did not answer within {timeout:g} seconds (the last check: {answer}). "
                           f"{self.log_tail()}", timeout)

    async def wait(self) -> int:
        """Wait until the process ends; answers its exit status, or minus the number of the signal that ended it.

        Raises:
            ConfigurationError: it was never started.
        """
        if self._process is None:
            raise ConfigurationError(f"{self.name} was not started")
        return await self._process.wait()

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL if it has not ended 10 seconds later. No error if it does not run."""
        self._signal(signal.SIGTERM)
        if self._process is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except builtins.TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End the process as a crash would: SIGKILL. No error if it does not run."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def log_tail(self) -> str:
        """The last lines of its log, masked, under a heading that names the file."""
        if not self.log_file.exists():
            return "It left no log."
        with self.log_file.open("rb") as log:
            log.seek(max(0, self.log_file.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        return redaction.mask("\n".join([f"The end of {self.log_file}:", *lines]))
