"""Durable engines at their best reasonable settings, each with the same trivial steps, to be compared.

    this process ── JSON lines ──► driver process: the engine's client ── the engine's protocol ──► server(s) ──► ONE worker process

The driver takes the times, so that whoever compares is in nobody's way, and every engine's client is a process of its own.
This module and `driver` import the standard library alone: the programs of an engine run in a Python of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

STOP_SECONDS = 10.0
"""How long a driver may take to end when its input does."""
ANSWER_SECONDS = 600.0
"""How long a driver may take for one request; whatever has not ended by then has been lost."""
LONGEST_LINE = 2**24


class UnavailableError(Exception):
    """A contender cannot stand on this machine; the message says what is missing, and what a benchmark says in place of its figures."""


@dataclass(frozen=True)
class Request:
    """What a driver is asked for.

    Args:
        calls: How many trivial steps an execution makes; a step is an async function that answers its number plus one.
        executions: How many executions are started at once, as fast as the client can.
        shape: `sequence` for one call after the other, `gather` for all of an execution at once.
        wait: Whether an execution's time ends with its result, or already with the answer to its start. The driver answers
            when all have ended either way, so that nothing is left running for the next request.
    """

    calls: int = 5
    executions: int = 1
    shape: Literal["sequence", "gather"] = "sequence"
    wait: bool = True


@dataclass(frozen=True)
class Answer:
    """What a driver measured: `seconds` in all, and of each execution from before its start to its result (or the start's answer)."""

    seconds: float
    each: Sequence[float]


class Driver:
    """The process that starts executions; made by `driving`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    async def run(self, request: Request) -> Answer:
        """Have it done once.

        Raises:
            RuntimeError: the driver ended, could not do it, or took too long; with what it says, or the end of its log.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self.line()
        except TimeoutError:
            raise RuntimeError(f"No answer within {ANSWER_SECONDS:g} seconds (asked for {request})") from None
        if "error" in answer:
            raise RuntimeError(f"{answer['error']} (asked for {request})")
        return Answer(answer["seconds"], answer["each"])

    async def line(self) -> dict[str, Any]:
        """The next line that the driver says."""
        assert self._process.stdout is not None
        if not (line := await self._process.stdout.readline()):
            raise RuntimeError(f"The driver has ended. The end of its log:\n{self._log.read_text()[-4000:]}")
        said: dict[str, Any] = json.loads(line)
        return said


class Contender(Protocol):
    """An engine that can be compared: a name for tables and charts, and the versions of what it is made of."""

    @property
    def name(self) -> str: ...

    @property
    def versions(self) -> Mapping[str, str]: ...

    def standing(self, folder: Path) -> AbstractAsyncContextManager[Driver]:
        """Its servers, one worker and one driver, each a process, with their files in this folder, until the block ends.

        Raises:
            UnavailableError: something that it needs is not installed.
        """


@contextlib.asynccontextmanager
async def driving(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> AsyncIterator[Driver]:
    """A driver process (see `driver.drive`) that has said it is ready; it ends with the block, as its input does then.

    Args:
        arguments: The program, with its full path, and its arguments.
        folder: Where `driver.log` goes, which gets what it says on its standard error.
        environment: Variables that it has besides this process's.
    """
    log = folder / "driver.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors, limit=LONGEST_LINE,
            env={**os.environ, **(environment or {})})
    try:
        driver = Driver(process, log)
        await driver.line()
        yield driver
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
