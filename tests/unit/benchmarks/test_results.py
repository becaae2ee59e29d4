"""What the benchmarks say of what they measured."""

from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.comparing import named
from benchmarks.contenders import Request
from benchmarks.figures import Figure


@pytest.mark.parametrize(("values", "at_least", "met"), [
    ([0.5, 1.1, 9], False, True), ([0.5, 1.2, 9], False, False), ([9, 0.9, 1.1], True, True), ([9, 0.9, 1], True, False),
    ([], False, None)])
def test_a_figure_keeps_to_its_bound_by_its_median(values, at_least, met):
    """A bound holds for the median, from either side, and includes itself; where nothing was measured there is no answer."""
    figure = Figure("time", "x", values, 1.1, at_least, missing="no server")

    assert figure.met is met
    said = {True: "yes", False: "NO", None: "not measured: no server"}[met]
    assert str(figure).endswith(said)
    assert figure.as_dict("sample")["met"] is met


def test_the_table_is_made_of_whatever_files_there_are(tmp_path: Path):
    """It has a section for each file, the bounds first; what was not measured says why, without places of the machine."""
    results.save("one", [Figure("time", "x", [1.234567, 1, 2000], 1.1, of="ours", against="theirs"), Figure("events", "", [12], 15)],
                 {"engine": "3.2"}, tmp_path)
    results.save("two", [Figure("rate", "/s", (), 3, at_least=True, missing="no npm in /usr/bin: see https://registry.example/npm | ask")],
                 {}, tmp_path)

    results.write_overview(tmp_path)

    table = (tmp_path / results.TABLE).read_text()
    assert [line for line in table.splitlines() if line.startswith("## ")] == ["## Bounds", "## one", "## two"]
    assert table.count("| time | ours | theirs | 1.23 x | 1 to 2,000 | 3 | ≤ 1.1 | **missed** |\n") == 2
    assert table.count("| events |  |  | 12 | 12 to 12 | 1 | ≤ 15 | met |\n") == 2
    assert table.count("| rate |  |  | not measured: no npm in … see … / ask |  |  | ≥ 3 |  |\n") == 2
    assert ", engine 3.2." in table
    assert results.CHART not in table, "there is nothing to draw"


def test_the_chart_takes_a_run_with_all_contenders_first():
    """A contender's bar is that of the run where all stood, else of one of two; ratios have none."""
    def measured(benchmark: str, *figures: Figure) -> dict[str, object]:
        return {"benchmark": benchmark, "figures": [figure.as_dict(benchmark) for figure in figures]}

    bars = results._bars([
        measured("latency", Figure(results.LATENCY, "ms", [9], of="ours"), Figure(results.LATENCY, "x", [3], of="ours", against="theirs"),
                 Figure(f"{results.LATENCY}, a server each", "ms", [8], of="theirs")),
        measured("peers", Figure(f"{results.LATENCY}, both at once", "ms", [7], of="ours"), Figure(results.LATENCY, "ms", [6], of="ours")),
    ], results.LATENCY, "ms")

    assert {name: bar["median"] for name, bar in bars.items()} == {"ours": 6, "theirs": 8}


def test_a_request_has_a_name():
    """What is measured is called the same in every table."""
    assert [named(Request(1)), named(Request(1000, shape="gather")), named(Request(5, executions=1000))] == [
        "1 call", "1,000 calls at once", "1,000 executions of 5 calls"]
