"""The rules of the house that a machine can hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bifrost.cli import COMMANDS
from bifrost.settings import VARIABLES

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "bifrost").rglob("*.py"))
TESTS = sorted([*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "workspace").rglob("test_*.py")])
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", TESTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_test_says_its_rule(file: Path) -> None:
    """A test's docstring states the rule that it holds."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{file}:{node.lineno} {node.name}"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_is_small_and_explained(file: Path) -> None:
    """A module says what it is for and has at most 400 lines; a function has at most 50."""
    source = file.read_text()
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{file} has no docstring"
    assert source.count("\n") <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.body[0].lineno < 50, f"{file}:{node.lineno} {node.name}"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_inner_modules_do_not_use_the_front_door(file: Path) -> None:
    """Inside, a name is imported from where it is made; the front door is for users."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "bifrost":
            submodules = {path.stem for path in (ROOT / "bifrost").iterdir()}
            assert {alias.name for alias in node.names} <= submodules, f"{file}:{node.lineno}"


def test_the_front_door_is_light() -> None:
    """`import bifrost` brings in nothing but the standard library."""
    code = ("import sys; before = set(sys.modules); import bifrost; "
            "print(*{name.partition('.')[0] for name in set(sys.modules) - before})")
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) - {"bifrost"} <= sys.stdlib_module_names


def test_every_setting_is_documented() -> None:
    """Each environment variable that is read stands on the page of settings."""
    page = (ROOT / "deploy" / "settings.md").read_text()
    assert [name for name in VARIABLES.values() if f"`{name}`" not in page] == []


def test_every_command_is_documented() -> None:
    """Each command stands in the README, or in the changelog."""
    documented = README + (ROOT / "CHANGELOG.md").read_text()
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", documented)] == []


def test_the_readme_is_one_read() -> None:
    """The README has at most 150 lines, and its example is Python that a worker can load."""
    assert README.count("\n") <= 150
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), namespace)
    assert namespace["create_user_sync"]._workflow_metadata.name == "create_user_sync"  # type: ignore[attr-defined]
