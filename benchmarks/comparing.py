"""Two contenders, measured in alternation, so that whatever else the machine does hits both alike."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.contenders import Answer, Contender, Driver, Request
from benchmarks.contenders.ours import Bifrost
from benchmarks.contenders.sdk import Tuned
from benchmarks.contenders.standing import tuned_server
from benchmarks.figures import Figure

ROUNDS = 6
T = TypeVar("T")
Measured = Callable[[], Awaitable[float]]


@contextlib.asynccontextmanager
async def stood(*contenders: Contender) -> AsyncIterator[list[Driver]]:
    """Their drivers, all standing at once, each in a temporary folder of its own."""
    async with contextlib.AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        for contender in contenders:
            (scratch / contender.name).mkdir()
        yield [await stack.enter_async_context(contender.standing(scratch / contender.name)) for contender in contenders]


@contextlib.asynccontextmanager
async def on_one_server() -> AsyncIterator[list[Driver]]:
    """The drivers of Bifrost and of the SDK by hand, tuned, which share a server: noise in it hits both alike."""
    with tempfile.TemporaryDirectory() as scratch:
        async with tuned_server(Path(scratch)) as address, stood(Bifrost(address=address), Tuned(address=address)) as drivers:
            yield drivers


@dataclass(frozen=True)
class Compared:
    """What each of two answered to the same request, in each round so many times."""

    request: Request
    first: Sequence[Sequence[Answer]]
    second: Sequence[Sequence[Answer]]


async def compare(first: Driver, second: Driver, request: Request, rounds: int = ROUNDS, times: int = 1) -> Compared:
    """Have both do it in turn, request by request, after one round that does not count.

    Args:
        first: Whose figures are divided.
        second: By whose.
        request: What both are asked for.
        rounds: How many values a figure has.
        times: How many requests a round has for each; its value is their median.
    """
    answers: tuple[list[list[Answer]], list[list[Answer]]] = ([], [])
    for number in range(rounds + 1):
        say(f"{named(request)}: {f'round {number} of {rounds}' if number else 'warming up'}")
        for of_one in answers:
            of_one.append([])
        for turn in range(number * times, (number + 1) * times):
            for driver, of_one in in_turn(list(zip((first, second), answers, strict=True)), turn):
                of_one[-1].append(await driver.run(request))
    return Compared(request, answers[0][1:], answers[1][1:])


async def alternating(first: Measured, second: Measured, rounds: int = ROUNDS) -> tuple[list[float], list[float]]:
    """What both come to in each round, after one that does not count."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "warming up")
        for values, measured in in_turn(list(zip(found, (first, second), strict=True)), number):
            values.append(await measured())
    return found[0][1:], found[1][1:]


def in_turn(sides: Sequence[T], turn: int) -> Sequence[T]:
    """The order of a turn: every other one is the other way round, so there should be an even number of them.

    What a side leaves to the server, above all time-outs that come due seconds later, so hits all alike. Always in the same order, it
    hits whoever the length of a turn makes it hit, and the ratio of two moves by three per cent from run to run.
    """
    return sides if turn % 2 == 0 else sides[::-1]


def say(line: str) -> None:
    """Tell how far a measurement is, where results are not printed."""
    print(line, file=sys.stderr, flush=True)


def named(request: Request) -> str:
    """What a request is called in tables and while it is measured."""
    calls = f"{request.calls:,} call{'' if request.calls == 1 else 's'}{' at once' if request.shape == 'gather' else ''}"
    return calls if request.executions == 1 else f"{request.executions:,} executions of {calls}"


def milliseconds(rounds: Sequence[Sequence[Answer]]) -> list[float]:
    """Of each round: the median time of an execution, from its start to its result."""
    return [statistics.median(each * 1000 for answer in answers for each in answer.each) for answers in rounds]


def per_second(rounds: Sequence[Sequence[Answer]]) -> list[float]:
    """Of each round: the median number of executions in a second."""
    return [statistics.median(len(answer.each) / answer.seconds for answer in answers) for answers in rounds]


def ratio(what: str, unit: str, first: Sequence[float], second: Sequence[float], *, of: str, against: str,
          bound: float | None = None, at_least: bool = False) -> list[Figure]:
    """What was measured of the two, round by round, and the first over the second within each round."""
    return [Figure(what, unit, first, of=of), Figure(what, unit, second, of=against),
            Figure(what, "x", [a / b for a, b in zip(first, second, strict=True)], bound, at_least, of, against)]
