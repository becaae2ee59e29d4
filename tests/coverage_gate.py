"""The coverage gate, inside pytest: the report comes before pytest's closing line, and too little fails the run.

Measured is what `coverage run -m pytest` measures, in this process and in every process it starts. (pytest-cov begins after
pytest's plugins are loaded, and Bifrost is one of them.) Without `coverage run` there is no gate.
"""

from __future__ import annotations

import io

import coverage
import pytest

_report: list[str] = []


@pytest.hookimpl(trylast=True)  # after xdist, which ends its workers then
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Report, and fail the run if branch coverage is below `fail_under`, unless only some tests were asked for."""
    measured = coverage.Coverage.current()
    if measured is None or session.config.option.collectonly:
        return
    measured.stop()
    measured.save()
    if hasattr(session.config, "workerinput"):  # xdist's worker: the report is the other process's
        return
    whole = coverage.Coverage()
    whole.combine()
    out = io.StringIO()
    total = whole.report(file=out, show_missing=True, skip_covered=True)
    bound = float(whole.get_option("report:fail_under") or 0)  # type: ignore[arg-type]
    _report.extend([out.getvalue(), f"Branch coverage {total:.2f} %, at least {bound:g} % is asked for"])
    if total < bound and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report above the closing line."""
    if _report:
        terminalreporter.section("coverage")
        for text in _report:
            terminalreporter.write_line(text)
