"""`bifrost check`, as real processes in a workspace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

GOOD = "from bifrost import workflow\n\n\n@workflow(name='good')\nasync def good(context): ...\n"
BAD = "import time\nfrom bifrost import workflow\n\n@workflow(name='bad')\nasync def bad(context):\n    time.sleep(1)\n    context.get_integration('nobody')\n"


def _check(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bifrost", "check", *arguments], cwd=project, env={**os.environ, **environment},
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a workflow that is fine and one that is not."""
    for name, source in (("good", GOOD), ("bad", BAD)):
        folder = tmp_path / "workspace" / "workflows" / "hr" / name
        folder.mkdir(parents=True)
        (folder / "workflow.py").write_text(source)
    return tmp_path


def test_findings_are_lines_that_editors_know(project: Path) -> None:
    """A line for each, `file:line: rule: what and the cure`; how much was looked at on standard error; exit status 1."""
    ran = _check(project)
    first, second = ran.stdout.splitlines()
    assert first.startswith("workspace/workflows/hr/bad/workflow.py:6: determinism: time.sleep cannot be used inside a workflow: write `await")
    assert second == "workspace/workflows/hr/bad/workflow.py:7: integration: Integration 'nobody' not found."
    assert (ran.returncode, ran.stderr.strip()) == (1, "2 workflows, 0 data providers: 2 found")


def test_without_findings_the_exit_status_is_0(project: Path) -> None:
    """A workspace by its path, or a folder or file of the workspace: only what lies there is told."""
    for path in ("workspace/workflows/hr/good", "workspace/workflows/hr/good/workflow.py"):
        ran = _check(project, path)
        assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (0, "", "2 workflows, 0 data providers: nothing found")
    assert len(_check(project, "workspace/workflows/hr/bad/workflow.py").stdout.splitlines()) == 2
    assert len(_check(project.parent, str(project / "workspace")).stdout.splitlines()) == 2


def test_programs_get_json(project: Path) -> None:
    """One document: revision, names and findings."""
    ran = _check(project, "--json")
    answer = json.loads(ran.stdout)
    assert (ran.returncode, sorted(answer["workflows"]), answer["data_providers"], len(answer["revision"])) == (1, ["bad", "good"], [], 64)
    assert [(one["file"], one["line"], one["rule"]) for one in answer["findings"]] == [
        ("workflows/hr/bad/workflow.py", 6, "determinism"), ("workflows/hr/bad/workflow.py", 7, "integration")]


def test_settings_hold_for_it(project: Path) -> None:
    """Packages that the settings list may be used; without a workspace the error says what to set."""
    (project / "workspace" / "workflows" / "hr" / "bad" / "workflow.py").write_text(
        "import httpx\nfrom bifrost import workflow\n\n@workflow(name='bad')\nasync def bad(context):\n    return httpx.URL('x')\n")
    assert _check(project).returncode == 1
    assert _check(project, BIFROST_WORKFLOW_SAFE="httpx").returncode == 0
    ran = _check(project, BIFROST_WORKSPACE="nowhere")
    assert (ran.returncode, "There is no workspace at nowhere" in ran.stderr) == (1, True)
    assert _check(project, "nowhere").returncode == 2


def test_the_next_times_of_schedules_are_shown(project: Path) -> None:
    """By the schedule's own clock, for people and programs; without time zones on this system it says so."""
    (project / "workspace/workflows/hr/good/workflow.py").write_text(
        GOOD.replace("bifrost import", "bifrost import Schedule,").replace("name='good'", "name='good', schedule=Schedule('0 9 1 1 *', 'Asia/Tokyo')"))
    years = [datetime.now(UTC).year + number for number in (1, 2, 3)]
    shown = _check(project).stderr.splitlines()[0]
    assert shown.startswith("good: 0 9 1 1 * Asia/Tokyo: ")
    assert [f"{year}-01-01 09:00 JST" in shown for year in years] == [True] * 3
    [one] = json.loads(_check(project, "--json").stdout)["schedules"]
    assert (one["workflow"], one["cron"], one["next_times"]) == ("good", "0 9 1 1 *", [f"{year}-01-01T09:00:00+09:00" for year in years])
    assert _check(project, "workspace/workflows/hr/bad").stderr.startswith("2 workflows")
    (project / "no" / "tzdata").mkdir(parents=True)  # in place of the package, where that is installed
    (project / "no" / "tzdata" / "__init__.py").write_text("raise ImportError")
    blind = _check(project, PYTHONTZPATH="", PYTHONPATH=str(project / "no"))
    assert "the time zones of this system lack Asia/Tokyo" in blind.stderr
