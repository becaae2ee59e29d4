"""What `bifrost new` would write, as text."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from bifrost.authoring import scaffold
from bifrost.authoring.scaffold import Scaffold
from bifrost.errors import ValidationError

KINDS: list[Callable[[str], Scaffold]] = [scaffold.workflow, scaffold.integration, scaffold.provider]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", [
    "", "1st", "_hidden", "Offboard", "off-board", "off board", "büro", "a.b", "../x", "x/y", "x\n", "class", "list", "print",
    "workflow", "lib", "tests", "conftest", "test_me"])
def test_a_name_that_would_not_work_is_refused(make, name):
    """A name is that of a file, a module and a function, and discovery must not pass over it; the refusal says the cure."""
    with pytest.raises(ValidationError, match=r"use lower-case|write more, such as|choose another name") as caught:
        make(name)
    assert caught.value.field == "name"


@pytest.mark.parametrize("category", ["", "Human Resources", "..", "tests", "lib", "import"])
def test_a_category_is_a_folder(category):
    """It is held to the same rules, and named as the field at fault."""
    with pytest.raises(ValidationError) as caught:
        scaffold.workflow("offboard", category)
    assert caught.value.field == "category"


@pytest.mark.parametrize(("make", "name"), [
    (scaffold.workflow, "context"), (scaffold.workflow, "param"), (scaffold.workflow, "asyncio"),
    (scaffold.workflow, "pytest"), (scaffold.workflow, "email"), (scaffold.workflow, "result"),
    (scaffold.provider, "context"), (scaffold.provider, "data_provider"), (scaffold.provider, "offered"),
    (scaffold.integration, "base")])
def test_a_name_that_the_code_needs_is_refused(make, name):
    """A function called like one of the names around it would break the code, or its test."""
    with pytest.raises(ValidationError, match="name"):
        make(name)


@pytest.mark.parametrize(("description", "written"), [
    ("", "Get sites"),
    ("All of a customer's sites", "All of a customer's sites"),
    ('The "real" ones', 'The "real" ones'),
    ("It's \"both\"", "It's \"both\""),
    ("a\\b {x} $name ${name} %s", "a\\b {x} $name ${name} %s"),
    ("  two\n  lines ", "two lines"),
    ("Büro, 場所 😀", "Büro, 場所 😀"),
    ("x" * 300, "x" * 300),
])
@pytest.mark.parametrize("make", [scaffold.provider, lambda name, text: scaffold.workflow(name, "general", text)])
def test_a_description_is_written_as_it_is(make, description, written):
    """Whatever it holds, the code has it on one line; without one, the name stands as words."""
    [text] = [text for path, text in make("get_sites", description).files.items()
              if path.endswith(("get_sites.py", "workflow.py")) and "test_" not in path]
    given = [keyword.value.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)
             for keyword in node.keywords if keyword.arg == "description"]
    assert given == [written]


@pytest.mark.parametrize("description", ["a\0b", "a\x1bb", "a\u200bb", "a\u202eb", "\ud800"])
def test_a_description_that_cannot_be_seen_is_refused(description):
    """Control characters and half characters would be a riddle in the code."""
    with pytest.raises(ValidationError) as caught:
        scaffold.provider("get_sites", description)
    assert caught.value.field == "description"


def test_the_files_lie_where_discovery_and_pytest_look():
    """The layout is that of the sample workspace."""
    made = scaffold.workflow("offboard", "hr")
    assert list(made.files) == [f"workflows/hr/offboard/{name}" for name in (
        "workflow.py", "diagram.mmd", "lib/__init__.py", "tests/__init__.py", "tests/test_workflow.py")]
    assert made.tests == "workflows/hr/offboard"
    assert list(scaffold.integration("crm").files) == ["integrations/crm.py", "tests/test_crm.py"]
    assert list(scaffold.provider("get_sites").files) == ["data_providers/get_sites.py", "tests/test_get_sites.py"]


def test_a_class_is_named_after_its_system():
    """Words begin with a capital."""
    assert "class UserCrm2Integration(BaseIntegration):" in scaffold.integration("user_crm_2").files["integrations/user_crm_2.py"]
