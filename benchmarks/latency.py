"""From the start of an execution to its result, against the same by hand."""

from __future__ import annotations

from benchmarks.comparing import compare, milliseconds, named, on_one_server, ratio, stood
from benchmarks.contenders import Request
from benchmarks.contenders.ours import Bifrost
from benchmarks.contenders.sdk import Stock
from benchmarks.figures import Figure

TIMES = {0: 20, 1: 20, 5: 20, 10: 10, 100: 4}
"""How often an execution with so many calls is measured in a round."""
BOUNDS = {5: 1.10}


def what(request: Request) -> str:
    """What tables and charts call it."""
    return f"start→result, {named(request)}"


WHAT = what(Request(5))


async def measure() -> list[Figure]:
    """Milliseconds, with the tuned program by hand on one server, and with the stock one where each has a server."""
    figures = []
    async with on_one_server() as (ours, by_hand):
        for calls, times in TIMES.items():
            found = await compare(ours, by_hand, Request(calls), times=times)
            figures += ratio(what(Request(calls)), "ms", milliseconds(found.first), milliseconds(found.second), of="bifrost", against="sdk-tuned",
                             bound=BOUNDS.get(calls))
    async with stood(Bifrost(), Stock()) as (ours, stock):
        found = await compare(ours, stock, Request(5), times=TIMES[5])
    return [*figures, *ratio(f"{WHAT}, a server each", "ms", milliseconds(found.first), milliseconds(found.second),
                             of="bifrost", against="sdk-stock", bound=0.40)]
