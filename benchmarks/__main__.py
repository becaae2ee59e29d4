"""`python -m benchmarks [NAME]... [--list] [--json] [--no-save]`."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import platform
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version

from benchmarks import (
    calls,
    crash,
    discovery,
    encryption,
    footprint,
    gather,
    history,
    latency,
    long,
    memory,
    namespace,
    peers,
    results,
    rolling,
    scale,
    schedules,
    secrets,
    soak,
    starts,
    startup,
    throughput,
)
from benchmarks.contenders.lineup import versions_of
from benchmarks.figures import Figure

BENCHMARKS: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "namespace": namespace.measure, "discovery": discovery.measure, "secrets": secrets.measure, "memory": memory.measure, "calls": calls.measure,
    "encryption": encryption.measure, "schedules": schedules.measure,
    "latency": latency.measure, "throughput": throughput.measure, "gather": gather.measure, "starts": starts.measure,
    "history": history.measure, "startup": startup.measure, "footprint": footprint.measure}
ON_REQUEST: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "rolling": rolling.measure, "soak": soak.measure, "crash": crash.measure,
    "scale-files": scale.files, "scale-revisions": scale.revisions, "scale-organizations": scale.organizations,
    "long": long.measure, "throughput-1000": throughput.measure_very_many, "peers": peers.measure}
"""Those that take many minutes, which run where they are named."""
ALL = {**BENCHMARKS, **ON_REQUEST}


async def main(names: Sequence[str], *, as_json: bool, save: bool) -> bool:
    """Measure, print each figure as soon as it is known, and keep it; answers whether every benchmark came to its end."""
    print(f"Python {platform.python_version()}, temporalio {version('temporalio')}, {platform.machine()}", file=sys.stderr)
    whole = True
    for name in names:
        try:
            figures = await ALL[name]()
        except Exception:  # noqa: BLE001 - one that fails does not cost the others their figures
            traceback.print_exc()
            whole = False
            continue
        for figure in figures:
            print(json.dumps(figure.as_dict(name)) if as_json else f"{name:<10} {figure}", flush=True)
        if save:
            results.save(name, figures, versions_of(figure.of for figure in figures if figure.values))
            _overview()
    return whole


def _overview() -> None:
    try:
        results.write_overview()
    except ImportError as error:
        print(f"The chart is not drawn: {error}. Install what it takes with: pip install 'bifrost[bench]'", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure what Bifrost costs. Each benchmark's figures are kept in benchmarks/results/, with a table "
        "and a chart of all that is there.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; by default all that take only minutes")
    parser.add_argument("--list", action="store_true", help="say what there is, and measure nothing")
    parser.add_argument("--json", action="store_true", help="print each figure as a line of JSON")
    parser.add_argument("--no-save", action="store_true", help="keep nothing in benchmarks/results/")
    given = parser.parse_args()
    if unknown := set(given.names) - ALL.keys():
        parser.error(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join(ALL)}")
    return given


def _listed() -> str:
    """A line for each benchmark, by the first line of its module."""
    return "\n".join(f"{name:<{max(map(len, ALL))}} {(inspect.getdoc(inspect.getmodule(measure)) or '').partition(chr(10))[0]}"
                     f"{' On request.' if name in ON_REQUEST else ''}" for name, measure in ALL.items())


if __name__ == "__main__":
    asked = _arguments()
    if asked.list:
        print(_listed())
    elif not asyncio.run(main(asked.names or list(BENCHMARKS), as_json=asked.json, save=not asked.no_save)):
        sys.exit("Not every benchmark came to its end.")
