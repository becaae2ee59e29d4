"""`python -m benchmarks [NAME]... [--json]`."""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version

from benchmarks import calls, discovery, encryption, memory, namespace, rolling, schedules, secrets, soak
from benchmarks.figures import Figure

BENCHMARKS: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "namespace": namespace.measure, "discovery": discovery.measure, "secrets": secrets.measure, "memory": memory.measure, "calls": calls.measure,
    "encryption": encryption.measure,
    "schedules": schedules.measure}
ON_REQUEST: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {"rolling": rolling.measure, "soak": soak.measure}
"""Those that take minutes, which run where they are named."""


async def main(names: list[str], *, as_json: bool) -> None:
    """Measure, and print each figure as soon as it is known."""
    print(f"Python {platform.python_version()}, temporalio {version('temporalio')}, {platform.machine()}", file=sys.stderr)
    for name in names or BENCHMARKS:
        for figure in await {**BENCHMARKS, **ON_REQUEST}[name]():
            print(json.dumps(figure.as_dict(name)) if as_json else f"{name:<10} {figure}", flush=True)


if __name__ == "__main__":
    wanted = [argument for argument in sys.argv[1:] if argument != "--json"]
    if unknown := set(wanted) - {*BENCHMARKS, *ON_REQUEST}:
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join([*BENCHMARKS, *ON_REQUEST])}")
    asyncio.run(main(wanted, as_json="--json" in sys.argv))
