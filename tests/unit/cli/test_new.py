"""`bifrost new`, as real processes in a project of its own: a folder with an empty workspace and no setting at all."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bifrost.cli import new

ROOT = Path(__file__).parents[3]
LONG = "a_name_of_more_than_sixty_characters_as_hardly_anybody_would_choose"
COMMANDS = [
    ("workflow", "offboard_user", "--category", "hr", "--description", 'Say "goodbye"'), ("workflow", "second"),
    ("workflow", LONG), ("integration", "user_crm"), ("integration", f"i_{LONG}"), ("provider", "get_sites"),
    ("provider", f"p_{LONG}", "--description", "It's a \"long\" one"),
]


def _run(project: Path, *command: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python on a module in the project; with a limit, no file can grow beyond so many bytes."""
    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    # Under the limit coverage could not write its data either.
    environment = {name: value for name, value in os.environ.items() if limit is None or not name.startswith("COVERAGE_")}
    return subprocess.run([sys.executable, "-B", "-m", *command], cwd=project, env=environment, capture_output=True, text=True,
                          timeout=120, check=False, preexec_fn=limited)


def _new(project: Path, *arguments: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    return _run(project, "bifrost", "new", *arguments, limit=limit)


def _tree(project: Path) -> dict[str, str]:
    """Everything below, folders too."""
    return {str(path.relative_to(project)): path.read_text() if path.is_file() else "" for path in project.rglob("*")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose workspace has nothing in it."""
    (tmp_path / "workspace").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A project with some of everything, and what `--json` said of it."""
    project = tmp_path_factory.mktemp("project")
    (project / "workspace").mkdir()
    with ThreadPoolExecutor(3) as threads:
        ended = list(threads.map(lambda command: _new(project, *command, "--json"), COMMANDS))
    assert [one.returncode for one in ended] == [0] * len(COMMANDS), [one.stderr for one in ended]
    return project, [json.loads(one.stdout) for one in ended]


def test_tests_pass_with_plain_pytest(full):
    """Neither a setting nor a plugin beside Bifrost's is needed, however many workflows there are."""
    project, _ = full
    ended = _run(project, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio")
    assert ended.returncode == 0, ended.stdout
    assert f"{3 * 2 + 2 * 4 + 2 * 2} passed" in ended.stdout


def test_each_next_step_of_pytest_passes(full):
    """What is printed can be copied."""
    project, said = full
    steps = [step for one in said for step in one["next"] if step.startswith("pytest ")]
    assert len(steps) == len(said)
    with ThreadPoolExecutor(3) as threads:
        for ended in threads.map(lambda step: _run(project, "pytest", "-q", "-p", "no:cacheprovider", *step.split()[1:]), steps):
            assert ended.returncode == 0, ended.stdout


def test_everything_is_discovered(full):
    """A new workflow stands in the list, and nothing fails to load."""
    project, _ = full
    listed = json.loads(_run(project, "bifrost", "workflows", "list", "--json").stdout)
    assert {one["name"]: (one["category"], one["description"]) for one in listed["workflows"]} == {
        LONG: ("general", "A name of more than sixty characters as hardly anybody would choose"),
        "offboard_user": ("hr", 'Say "goodbye"'), "second": ("general", "Second")}
    assert listed["failures"] == []


def test_the_code_is_clean(full):
    """It passes the linter by the rules of the sample workspace."""
    project, _ = full
    ended = _run(project, "ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), ".")
    assert ended.returncode == 0, ended.stdout


def test_what_was_created_is_said(full):
    """`--json` names every file that there is now, and the commands that follow."""
    project, said = full
    files = {path for path, text in _tree(project).items() if text and "__pycache__" not in path}
    assert sorted(path for one in said for path in one["created"]) == sorted(files)
    assert said[0]["next"] == ["bifrost check", "pytest workspace/workflows/hr/offboard_user",
                               "bifrost run offboard_user --org ID -p email=ada@example.com"]
    assert "bifrost secrets set user_crm_api_key --org ID" in said[3]["next"]


def test_people_are_told_what_an_organization_needs(project):
    """An integration needs a URL and a secret; the command that sets it is printed."""
    said = _new(project, "integration", "crm").stdout
    for line in ("workspace/integrations/crm.py\nworkspace/tests/test_crm.py\n", "needs crm_url in its config",
                 "  bifrost secrets set crm_api_key --org ID\n", "  pytest workspace/tests/test_crm.py\n"):
        assert line in said


@pytest.mark.parametrize(("arguments", "kind"), [
    (("workflow", "msgraph"), "an integration"), (("integration", "greet"), "a workflow"),
    (("provider", "halt"), "a workflow"), (("workflow", "places"), "a data provider")])
def test_a_name_that_is_taken_is_refused(project, arguments, kind):
    """Whatever has it, a workflow that cannot be loaded included; nothing is written."""
    for path, text in {
            "workflows/a.py": "from bifrost import workflow\n@workflow(name='greet')\nasync def f(context): ...\n",
            "workflows/b.py": "@workflow(name='halt')\ndef (\n",
            "data_providers/c.py": "from bifrost import data_provider\n@data_provider(name='places')\nasync def f(context): ...\n",
    }.items():
        (project / "workspace" / path).parent.mkdir(exist_ok=True)
        (project / "workspace" / path).write_text(text)
    before = _tree(project)
    ended = _new(project, *arguments)
    assert ended.returncode == 1
    assert f"'{arguments[1]}' is the name of {kind} already: choose another name" in ended.stderr
    assert _tree(project) == before


@pytest.mark.parametrize(("existing", "arguments", "named"), [
    ("workflows/general/greet/tests/test_workflow.py", ("workflow", "greet"), None),
    ("workflows/general/greet/diagram.mmd", ("workflow", "greet"), None),
    ("tests/test_crm.py", ("integration", "crm"), None),
    ("data_providers/places.py", ("provider", "places"), None),
    ("integrations/crm/README", ("integration", "crm"), "integrations/crm"),  # the folder would hide the new file
    ("workflows/general/greet.py", ("workflow", "greet"), None),  # a new folder would hide this file
    ("workflows/general.py", ("workflow", "greet"), None),
])
def test_nothing_is_overwritten(project, existing, arguments, named):
    """One file in the way, and nothing at all is written; the error names the file."""
    file = project / "workspace" / existing
    file.parent.mkdir(parents=True)
    file.write_text("# mine\n")
    before = _tree(project)
    ended = _new(project, *arguments, "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["error"] == "ValidationError"
    assert f"workspace/{named or existing} exists already" in ended.stderr
    assert _tree(project) == before


def test_a_link_that_leads_nowhere_is_in_the_way_too(project):
    """Writing through it would make a file somewhere else."""
    (project / "workspace" / "integrations").mkdir()
    (project / "workspace" / "integrations" / "crm.py").symlink_to(project / "elsewhere.py")
    assert "exists already" in _new(project, "integration", "crm").stderr
    assert not (project / "elsewhere.py").exists()


@pytest.mark.parametrize("limit", [0, 100, 600, 920])
def test_a_full_disk_leaves_nothing_behind(project, limit):
    """Where a file cannot be written whole, what was written before is removed, folders too; what was there stays."""
    (project / "workspace" / "workflows").mkdir()
    before = _tree(project)
    ended = _new(project, "workflow", "greet", limit=limit)
    assert ended.returncode == 1
    assert "The files cannot be written, and none was: " in ended.stderr
    assert _tree(project) == before


def test_a_file_where_a_folder_is_needed_leaves_nothing_behind(project):
    """The first file is written when the second turns out to be impossible: it is removed again."""
    (project / "workspace" / "tests").write_text("not a folder")
    before = _tree(project)
    ended = _new(project, "integration", "crm", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["error"] == "ConfigurationError"
    assert _tree(project) == before


def test_whatever_goes_wrong_leaves_nothing_behind(project):
    """Not only what the disk says: an interruption, too, removes what was written, and stays what it is."""
    with pytest.raises(TypeError):
        new._write(project, {"a/b.py": "text", "c/d.py": None})  # type: ignore[dict-item]
    assert sorted(_tree(project)) == ["workspace"]


def test_the_workspace_is_where_the_variable_says(project, monkeypatch):
    """Paths are printed so that a shell takes them."""
    (project / "workspace").rename(project / "our code")
    monkeypatch.setenv("BIFROST_WORKSPACE", "our code")
    said = json.loads(_new(project, "provider", "get_sites", "--json").stdout)
    assert said == {"created": ["our code/data_providers/get_sites.py", "our code/tests/test_get_sites.py"],
                    "next": ["bifrost check", "pytest 'our code/tests/test_get_sites.py'"]}
    assert "passed" in _run(project, "pytest", "-q", "-p", "no:cacheprovider").stdout


def test_a_workspace_is_needed(tmp_path):
    """A folder is not made for a workspace that is nowhere: the variable may be wrong."""
    ended = _new(tmp_path, "workflow", "greet")
    assert ended.returncode == 1
    assert "There is no workspace at workspace" in ended.stderr
    assert _tree(tmp_path) == {}
