"""`python -m benchmarks [NAME]... [--json]`."""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

from benchmarks import calls, discovery, memory, namespace
from benchmarks.figures import Figure

BENCHMARKS: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "namespace": namespace.measure, "discovery": discovery.measure, "memory": memory.measure, "calls": calls.measure}


async def main(names: list[str], *, as_json: bool) -> None:
    """Measure, and print each figure as soon as it is known."""
    print(f"Python {platform.python_version()}, temporalio {version('temporalio')}, {platform.machine()}", file=sys.stderr)
    for name in names or BENCHMARKS:
        for figure in await BENCHMARKS[name]():
            print(json.dumps(figure.as_dict(name)) if as_json else f"{name:<10} {figure}", flush=True)


if __name__ == "__main__":
    wanted = [argument for argument in sys.argv[1:] if argument != "--json"]
    if unknown := set(wanted) - set(BENCHMARKS):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}")
    asyncio.run(main(wanted, as_json="--json" in sys.argv))
