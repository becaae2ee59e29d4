"""Worker processes that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path


class Workers:
    """Worker processes on one task queue, each of them a real `bifrost worker`."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._directory = directory
        self._running: list[asyncio.subprocess.Process] = []

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start a worker. Whether it serves already is seen by what it does."""
        log = self._directory / f"worker-{len(self._running)}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bifrost", "worker", env=self._environment, stdout=file, stderr=file)
        self._running.append(process)
        return process

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        """End a worker as a power cut would."""
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        """End all of them."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self._running:
            await process.wait()

    def output(self) -> bytes:
        """Everything that they wrote."""
        return b"".join(log.read_bytes() for log in sorted(self._directory.glob("worker-*.log")))
