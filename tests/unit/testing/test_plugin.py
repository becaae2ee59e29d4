"""The pytest plugin, in pytest processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bifrost.settings import VARIABLES
from bifrost.testing import plugin

_WORKFLOW = """
from engine.shared.decorators import workflow
from workspace.utils.words import WORD

def word():
    return WORD

@workflow(name="greet", description="Greets")
async def greet(context):
    return word()
"""
_TEST = """
import asyncio
from unittest import mock

from engine.shared.error_handling import WorkflowException
from workspace.workflows.greet import greet

def test_greets():
    assert asyncio.run(greet(None)) == "hello"

def test_patches_what_it_calls():
    with mock.patch("workspace.workflows.greet.workflow.word", lambda: "hi"):
        assert asyncio.run(greet(None)) == "hi"
"""
_ELSEWHERE = """
import sys
from pathlib import Path

from bifrost.workspace import finder

def test_serves_another_folder(tmp_path):
    finder.install(tmp_path)
    assert not [name for name in sys.modules if name.startswith("workspace.")]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a workspace of one workflow, which has a test beside it."""
    files = {"pytest.ini": "[pytest]\naddopts = --import-mode=importlib\nconsider_namespace_packages = true\n",
             "workspace/utils/words.py": 'WORD = "hello"\n', "workspace/workflows/greet/workflow.py": _WORKFLOW,
             "workspace/workflows/greet/tests/__init__.py": "", "workspace/workflows/greet/tests/test_workflow.py": _TEST}
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def _pytest(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
                          timeout=60, check=False)


def test_a_workflow_is_imported_from_its_folder(project):
    """Tests in the workspace import it as a worker does, older names included, without a conftest or a path entry."""
    ended = _pytest(project, "workspace")
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


def test_no_setting_is_needed(project):
    """In pytest's default import mode, too, two workflows may have tests of the same name; tests elsewhere keep that mode."""
    (project / "pytest.ini").write_text("[pytest]\n")
    shutil.copytree(project / "workspace" / "workflows" / "greet", project / "workspace" / "workflows" / "again")
    (project / "tests").mkdir()
    (project / "tests" / "beside.py").touch()
    (project / "tests" / "test_beside.py").write_text("import beside\n\ndef test_beside():\n    assert beside\n")
    ended = _pytest(project)
    assert ended.returncode == 0, ended.stdout
    assert "5 passed" in ended.stdout


def test_the_workspace_is_served_again_after_another(project):
    """A test that serves another folder does not change what the workspace's own tests import or patch."""
    (project / "a").mkdir()
    (project / "a" / "test_elsewhere.py").write_text(_ELSEWHERE)
    ended = _pytest(project, "a", "workspace")
    assert ended.returncode == 0, ended.stdout
    assert "3 passed" in ended.stdout


def test_the_variable_names_the_folder(project, tmp_path):
    """BIFROST_WORKSPACE goes before the folder called `workspace`."""
    (project / "workspace").rename(project / "code")
    ended = _pytest(project, "code", BIFROST_WORKSPACE=str(project / "code"))
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


def test_a_variable_that_names_no_folder_is_refused(project):
    """Serving nothing without a word would look like a broken import."""
    ended = _pytest(project, "workspace", BIFROST_WORKSPACE="nowhere")
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "BIFROST_WORKSPACE is 'nowhere', which is not a folder" in ended.stderr


def test_a_project_without_a_workspace_is_left_alone(tmp_path):
    """Where there is no such folder, the plugin does nothing; a test that needs one is told so."""
    (tmp_path / "test_nothing.py").write_text(
        "from bifrost.workspace.finder import WorkspaceFinder\nimport sys\n"
        "def test_nothing():\n    assert not [f for f in sys.meta_path if isinstance(f, WorkspaceFinder)]\n"
        "def test_needs_one(bifrost_context, bifrost_workspace): ...\n")
    ended = _pytest(tmp_path)
    assert "1 passed, 1 error" in ended.stdout
    assert f"There is no workspace in {tmp_path}: set BIFROST_WORKSPACE, or override the fixture bifrost_workspace" in ended.stdout


def test_the_plugin_reads_the_variable_of_the_settings():
    """The name is written twice, because importing the settings would cost every pytest run its time."""
    assert VARIABLES["workspace"] == plugin.VARIABLE


def test_the_plugin_imports_little():
    """It is loaded in every pytest run of everybody who has Bifrost installed: no pydantic, no Temporal."""
    code = ("import sys, bifrost.testing.plugin; "
            "print([name for name in ('pydantic', 'temporalio', 'httpx', 'structlog') if name in sys.modules])")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"
