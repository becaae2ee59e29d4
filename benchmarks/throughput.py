"""How many executions a second come to their end, when many are started at once."""

from __future__ import annotations

from benchmarks.comparing import compare, named, on_one_server, per_second, ratio, stood
from benchmarks.contenders import Request
from benchmarks.contenders.ours import Bifrost
from benchmarks.contenders.sdk import Stock
from benchmarks.figures import Figure

MANY = Request(5, executions=200)
VERY_MANY = Request(5, executions=1000)
WHAT = f"throughput, {named(MANY)}"


async def measure() -> list[Figure]:
    """Executions a second, with the tuned program by hand on one server, and with the stock one where each has a server."""
    async with on_one_server() as (ours, by_hand):
        found = await compare(ours, by_hand, MANY)
    figures = ratio(WHAT, "/s", per_second(found.first), per_second(found.second), of="bifrost", against="sdk-tuned", bound=0.90, at_least=True)
    async with stood(Bifrost(), Stock()) as (ours, stock):
        found = await compare(ours, stock, MANY)
    return [*figures, *ratio(f"{WHAT}, a server each", "/s", per_second(found.first), per_second(found.second),
                             of="bifrost", against="sdk-stock", bound=3.0, at_least=True)]


async def measure_very_many() -> list[Figure]:
    """The same with five times as many, against the tuned program."""
    async with on_one_server() as (ours, by_hand):
        found = await compare(ours, by_hand, VERY_MANY)
    return ratio(f"throughput, {named(VERY_MANY)}", "/s", per_second(found.first), per_second(found.second), of="bifrost", against="sdk-tuned")
