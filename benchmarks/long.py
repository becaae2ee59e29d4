"""One execution that makes 5,000 calls, one after the other: a third of the events that Temporal lets a history have."""

from __future__ import annotations

from benchmarks.comparing import compare, milliseconds, on_one_server, ratio
from benchmarks.contenders import Request
from benchmarks.figures import Figure
from benchmarks.latency import what

REQUEST = Request(5000)


async def measure() -> list[Figure]:
    """Milliseconds from its start to its result, with the tuned program by hand on one server."""
    async with on_one_server() as (ours, by_hand):
        found = await compare(ours, by_hand, REQUEST)
    return ratio(what(REQUEST), "ms", milliseconds(found.first), milliseconds(found.second), of="bifrost", against="sdk-tuned")
