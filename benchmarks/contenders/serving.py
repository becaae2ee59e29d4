"""The processes of peers: programs in a Python that has the peer's library, servers that are asked until they answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx

from benchmarks.contenders import Driver, driving
from benchmarks.contenders.installing import ROOT
from bifrost.dev.processes import ServerProcess

PROGRAMS = Path(__file__).parent / "programs"
NO_TELEMETRY = {"DO_NOT_TRACK": "1"}
"""What peers heed: https://docs.restate.dev/installation, https://docs.prefect.io/v3/concepts/telemetry."""
READY_SECONDS = 120.0


@contextlib.asynccontextmanager
async def serving(name: str, arguments: Sequence[str], folder: Path, ready: Callable[[ServerProcess], Awaitable[bool]],
                  environment: Mapping[str, str] | None = None) -> AsyncIterator[None]:
    """A process from when it is ready until the block ends; its log is `<name>.log`."""
    async with running(ServerProcess(name, arguments, directory=folder, environment={**os.environ, **NO_TELEMETRY, **(environment or {})}), ready):
        yield


@contextlib.asynccontextmanager
async def running(process: ServerProcess, ready: Callable[[ServerProcess], Awaitable[bool]]) -> AsyncIterator[None]:
    """The process from when it is ready until the block ends."""
    try:
        await (await process.start()).wait_ready(lambda: ready(process), READY_SECONDS)
        yield
    finally:
        await process.stop()


async def says_ready(process: ServerProcess) -> bool:
    """Whether its log says `worker ready`."""
    return "worker ready" in process.log_file.read_text()


def answers(method: str, url: str, json: object = None) -> Callable[[ServerProcess], Awaitable[bool]]:
    """Whether this request is answered without an error."""
    async def asked(_: ServerProcess) -> bool:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.request(method, url, json=json)).raise_for_status().is_success

    return asked


def worker(python: Path, program: str, folder: Path, *arguments: str) -> AbstractAsyncContextManager[None]:
    """A worker process that runs one of the `programs`, from when it says `worker ready`."""
    return serving("worker", [str(python), str(PROGRAMS / program), *arguments], folder, says_ready, {"PYTHONPATH": str(ROOT)})


def driver(python: Path, program: str, folder: Path, *arguments: str,
           environment: Mapping[str, str] | None = None) -> AbstractAsyncContextManager[Driver]:
    """A driver process that runs one of the `programs`."""
    return driving([str(python), str(PROGRAMS / program), *arguments], folder,
                   {**NO_TELEMETRY, "PYTHONPATH": str(ROOT), **(environment or {})})
