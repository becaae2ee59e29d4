"""How many executions a second are started, whatever becomes of them."""

from __future__ import annotations

from benchmarks.comparing import compare, named, on_one_server, per_second, ratio
from benchmarks.contenders import Request
from benchmarks.figures import Figure

REQUEST = Request(0, executions=200, wait=False)


async def measure() -> list[Figure]:
    """Starts that the server has answered, a second, with the tuned program by hand on one server."""
    async with on_one_server() as (ours, by_hand):
        found = await compare(ours, by_hand, REQUEST)
    return ratio(f"started, {named(REQUEST)}", "/s", per_second(found.first), per_second(found.second), of="bifrost", against="sdk-tuned")
