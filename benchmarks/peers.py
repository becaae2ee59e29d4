"""Bifrost among durable engines, each at its best reasonable settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.comparing import ROUNDS, compare, milliseconds, per_second, ratio, say, stood
from benchmarks.contenders import Contender, Request
from benchmarks.contenders.lineup import LINEUP
from benchmarks.figures import Figure
from benchmarks.latency import WHAT as LATENCY
from benchmarks.latency import what
from benchmarks.throughput import MANY
from benchmarks.throughput import WHAT as THROUGHPUT

TIMES = {1: 20, 5: 20, 10: 10}
"""How often an execution with so many calls is measured in a round."""
OURS, THEIRS, BOUND = "bifrost-short", "dbos-postgres-queue", 0.6
REFERENCE = "bifrost"
WARMING_UP = Request(5, executions=5)


@dataclass(frozen=True)
class _Round:
    """What one contender answered in a round."""

    milliseconds: Mapping[int, float]
    per_second: float


async def measure() -> list[Figure]:
    """Milliseconds and executions a second of everybody, who stand one after the other in each round; before that, the two with a bound."""
    figures = await _head_to_head()
    rounds: dict[str, list[_Round]] = {name: [] for name in LINEUP}
    missing: dict[str, str] = {}
    for number in range(1, ROUNDS + 1):
        for name, contender in LINEUP.items():
            if name in missing:
                continue
            say(f"{name}: round {number} of {ROUNDS}")
            try:
                rounds[name].append(await _round(contender))
            except Exception as error:  # noqa: BLE001 - one that fails does not cost the others their figures
                missing[name] = _reason(error)
                say(f"{name}: not measured: {error}")
    for name, found in rounds.items():
        figures += _of(name, found) if name not in missing else [
            Figure(one, unit, (), of=name, missing=missing[name]) for one, unit in ((LATENCY, "ms"), (THROUGHPUT, "/s"))]
    ours = rounds[REFERENCE]
    for name in LINEUP:
        if not {name, REFERENCE} & missing.keys() and name != REFERENCE:
            pairs = list(zip(ours, rounds[name], strict=True))
            figures += [
                Figure(LATENCY, "x", [a.milliseconds[5] / b.milliseconds[5] for a, b in pairs], of=REFERENCE, against=name),
                Figure(THROUGHPUT, "x", [a.per_second / b.per_second for a, b in pairs], of=REFERENCE, against=name)]
    return figures


async def _head_to_head() -> list[Figure]:
    """Calls declared safe to repeat and short, against steps through a queue in PostgreSQL; both stand at once."""
    try:
        async with stood(LINEUP[OURS], LINEUP[THEIRS]) as (ours, theirs):
            found = await compare(ours, theirs, Request(5), times=TIMES[5])
    except Exception as error:  # noqa: BLE001 - the same
        say(f"{OURS} and {THEIRS}: not measured: {error}")
        return [Figure(f"{LATENCY}, both at once", "x", (), BOUND, of=OURS, against=THEIRS, missing=_reason(error))]
    return ratio(f"{LATENCY}, both at once", "ms", milliseconds(found.first), milliseconds(found.second), of=OURS, against=THEIRS, bound=BOUND)


async def _round(contender: Contender) -> _Round:
    async with stood(contender) as (driver,):
        await driver.run(WARMING_UP)
        return _Round({calls: milliseconds([[await driver.run(Request(calls)) for _ in range(times)]])[0] for calls, times in TIMES.items()},
                      per_second([[await driver.run(MANY)]])[0])


def _of(name: str, found: list[_Round]) -> list[Figure]:
    return [*(Figure(what(Request(calls)), "ms", [one.milliseconds[calls] for one in found], of=name) for calls in TIMES),
            Figure(THROUGHPUT, "/s", [one.per_second for one in found], of=name)]


def _reason(error: Exception) -> str:
    """The first line of it, which is all that a table has room for."""
    return (str(error) or type(error).__name__).partition("\n")[0]
