"""`bifrost diagram`, as real processes in a workspace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOW = """
from bifrost import workflow

@workflow(name="{0}")
async def {0}(context, email):
    await context.get_integration("msgraph").get_user(email)
    open("/nowhere")
"""
CHART = """flowchart TD
    n1(["greet<br/>email"])
    n2[["msgraph.get_user"]]
    n3(["return"])
    n1 --> n2
    n2 --> n3
"""


def _bifrost(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bifrost", *arguments], cwd=project, env={**os.environ},
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two workflows, each in a folder of its own."""
    for name in ("greet", "part"):
        folder = tmp_path / "workspace" / "workflows" / "hr" / name
        folder.mkdir(parents=True)
        (folder / "workflow.py").write_text(WORKFLOW.format(name))
    return tmp_path


def test_it_is_printed(project):
    """The chart alone is on standard output, and nothing is written."""
    ended = _bifrost(project, "diagram", "greet")
    assert (ended.returncode, ended.stdout) == (0, CHART)
    assert not list(project.rglob("*.mmd"))


def test_it_is_printed_for_programs(project):
    """`--json` has the name and the chart."""
    assert json.loads(_bifrost(project, "diagram", "greet", "--json").stdout) == {"workflow": "greet", "diagram": CHART}


def test_it_is_written_beside_the_workflow(project):
    """`--write` replaces what was there, and prints the path; with --json it is told beside the rest."""
    file = project / "workspace" / "workflows" / "hr" / "greet" / "diagram.mmd"
    file.write_text("an older one")
    ended = _bifrost(project, "diagram", "greet", "--write")
    assert (ended.returncode, ended.stdout) == (0, "workspace/workflows/hr/greet/diagram.mmd\n")
    assert file.read_text() == CHART
    said = json.loads(_bifrost(project, "diagram", "part", "--write", "--json").stdout)
    assert said["file"] == "workspace/workflows/hr/part/diagram.mmd"
    assert (project / said["file"]).read_text() == said["diagram"] != CHART


def test_workflows_of_one_folder_do_not_share_a_file(project):
    """Which of them `diagram.mmd` shows could not be told: it is refused, and the cure works."""
    folder = project / "workspace" / "workflows" / "hr"
    (folder / "greet" / "another.py").write_text(WORKFLOW.format("another"))
    ended = _bifrost(project, "diagram", "greet", "--write", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["error"] == "ValidationError"
    assert "'greet' and 'another' lie in the same folder, workflows/hr/greet" in ended.stderr
    assert not list(project.rglob("*.mmd"))
    assert _bifrost(project, "diagram", "greet").stdout == CHART


def test_what_is_not_there_is_said(project):
    """An unknown name is answered with a similar one, a workflow that cannot be loaded with the reason."""
    ended = _bifrost(project, "diagram", "great")
    assert ended.returncode == 1
    assert "Workflow 'great' not found. Did you mean 'greet'" in ended.stderr
    (project / "workspace" / "workflows" / "hr" / "part" / "workflow.py").write_text("@workflow(name='part')\ndef (\n")
    ended = _bifrost(project, "diagram", "part", "--write")
    assert ended.returncode == 1
    assert "Workflow 'part' cannot be loaded: workflows/hr/part/workflow.py:2: SyntaxError" in ended.stderr


def test_a_new_workflow_has_the_diagram_that_is_drawn(project):
    """What `bifrost new` writes is what `bifrost diagram` prints."""
    created = json.loads(_bifrost(project, "new", "workflow", "fresh", "--json").stdout)["created"]
    [file] = [path for path in created if path.endswith("diagram.mmd")]
    assert _bifrost(project, "diagram", "fresh").stdout == (project / file).read_text()
