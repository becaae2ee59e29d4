"""The workspace in the live process: the import rule, folders that are workflows, discovery, the catalog."""

from __future__ import annotations

import importlib
import sys
import textwrap
from pathlib import Path

import pytest

import bifrost
from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.workspace import finder, surface
from bifrost.workspace.discovery import discover
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision import snapshot
from bifrost.workspace.revision_stores import MemoryRevisions

ONE = "from bifrost import workflow\n\n@workflow(name='{0}')\nasync def {0}(context):\n    return '{0}'\n"


def _write(root: Path, path: str, source: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source))


@pytest.mark.parametrize("statement", [
    "import bifrost", "from bifrost import workflow, BaseIntegration", "from bifrost import *", "import bifrost.testing",
    "from bifrost import testing", "from engine.shared.decorators import workflow", "import engine.shared.models",
    "from engine.shared import context", "from engine.shared.integrations.base import register_integration",
    "import json, os.path", "from engine.shared.integrations import base", "import httpx"])
def test_the_public_surface_may_be_imported(root: Path, statement: str) -> None:
    """The front door, the test kit and the older names are open to workspace code, and so is everybody else's code."""
    _write(root, "utils/a.py", statement)
    finder.install(root)
    importlib.import_module("workspace.utils.a")


@pytest.mark.parametrize(("statement", "module"), [
    ("import bifrost.temporal", "bifrost.temporal"), ("from bifrost import temporal", "bifrost.temporal"),
    ("from bifrost.errors import ValidationError", "bifrost.errors"), ("import bifrost.workspace.guard as g", "bifrost.workspace.guard"),
    ("from engine.shared.storage import get", "engine.shared.storage"), ("from engine.shared import storage", "engine.shared.storage"),
    ("import engine.functions.execute", "engine.functions.execute"), ("from engine import functions", "engine.functions"),
    ("from bifrost.secrets.vault import *", "bifrost.secrets.vault"),
    ("def later():\n    import bifrost.settings\nlater()", "bifrost.settings")])
def test_the_rest_of_bifrost_may_not(root: Path, statement: str, module: str) -> None:
    """Anything else of Bifrost is refused, wherever the import stands, naming the module, what is allowed and the file."""
    _write(root, "utils/a.py", statement)
    finder.install(root)
    with pytest.raises(ImportError) as refusal:
        importlib.import_module("workspace.utils.a")
    assert f"Workspace code cannot import engine module '{module}'" in str(refusal.value)
    assert "engine.shared.decorators" in str(refusal.value)
    assert str(root / "utils/a.py") in str(refusal.value)


def test_the_older_names_are_the_same_objects() -> None:
    """Each name of `engine.shared.*` is the front door's own."""
    for name, names in surface.ALIASES.items():
        module = importlib.import_module(name)
        assert [getattr(module, one) for one in names] == [getattr(bifrost, one) for one in names]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("engine.shared.storage")


def test_the_front_door_is_one_page() -> None:
    """Every public name is there, `dir` lists them, and nothing else is."""
    assert all(getattr(bifrost, name) for name in bifrost.__all__)
    assert dir(bifrost) == bifrost.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = bifrost.nothing


def test_a_folder_answers_for_its_workflow(root: Path) -> None:
    """A workflow is imported from its folder; its `lib`, and an `__init__.py` where there is one, are what they are."""
    _write(root, "workflows/a/hello/workflow.py", "from .lib import words\nfrom .lib.words import WORD\n" + ONE.format("hello"))
    _write(root, "workflows/a/hello/lib/words.py", "WORD = 'hi'")
    _write(root, "workflows/a/own/__init__.py", "OWN = 1")
    _write(root, "workflows/a/own/workflow.py", ONE.format("own"))
    finder.install(root)
    folder = importlib.import_module("workspace.workflows.a.hello")
    assert folder.hello is importlib.import_module("workspace.workflows.a.hello.workflow").hello
    assert folder.WORD == "hi"
    assert importlib.import_module("workspace.workflows.a.hello.lib.words").WORD == "hi"
    own = importlib.import_module("workspace.workflows.a.own")
    assert (own.OWN, own.own.__name__) == (1, "own")
    with pytest.raises(AttributeError):
        _ = folder.nothing
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("workspace.workflows.b")
    finder.uninstall()
    assert not any(name.startswith("workspace.workflows.a") for name in sys.modules)


def test_discovery_finds_what_the_folders_hold(root: Path) -> None:
    """Workflows, providers and integrations by name; `lib`, tests and `_private.py` are not looked into."""
    _write(root, "workflows/a/one/workflow.py", ONE.format("one"))
    _write(root, "workflows/two.py", ONE.format("two"))
    for hidden in ("workflows/a/one/lib/x.py", "workflows/a/one/tests/test_x.py", "workflows/_x.py", "workflows/test_x.py", "other/x.py"):
        _write(root, hidden, "raise RuntimeError('must not be imported')")
    _write(root, "data_providers/sizes.py", """
        from bifrost import data_provider
        from workspace.integrations.shop import Shop

        @data_provider(name="sizes")
        async def sizes(context):
            return [Shop]
    """)
    _write(root, "integrations/shop.py", """
        from bifrost import BaseIntegration, register_integration

        class Shop(BaseIntegration):
            integration_name = "shop"
            async def authenticate(self): ...

        class Other(Shop):
            integration_name = ""

        register_integration("other_shop", Other)
    """)
    catalog = discover(root, snapshot(root))
    assert not catalog.failures
    assert list(catalog.workflows) == ["one", "two"]
    assert list(catalog.data_providers) == ["sizes"]
    assert {"msgraph", "other_shop", "shop"} <= set(catalog.integrations)  # and what other tests registered
    assert list(catalog.integrations) == sorted(catalog.integrations)
    assert catalog.workflow("one").path == "workflows/a/one/workflow.py"
    (root / "integrations/shop.py").unlink()
    (root / "data_providers/sizes.py").unlink()
    assert not {"other_shop", "shop"} & set(discover(root, snapshot(root)).integrations)


@pytest.mark.parametrize(("source", "line", "reason"), [
    ("x = (", 1, "SyntaxError"), ("\nimport nothing_of_that_name", 2, "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ("\n\nraise SystemExit('no')", 3, "SystemExit: no"), ("from workspace.utils.broken import x", 1, "ZeroDivisionError"),
    ("from ....... import x", None, "Relative import goes above the workspace"),
    ("from bifrost import workflow\n@workflow(name='bad!')\nasync def a(context): ...", 2, "Invalid workflow name 'bad!'")])
def test_a_broken_file_hides_nothing(root: Path, source: str, line: int | None, reason: str) -> None:
    """A file that cannot be loaded is listed with the line and the reason; everything else is found."""
    _write(root, "utils/broken.py", "1 / 0")
    _write(root, "workflows/good.py", ONE.format("good"))
    _write(root, "workflows/bad.py", source)
    catalog = discover(root, snapshot(root))
    assert list(catalog.workflows) == ["good"]
    [failure] = catalog.failures
    assert reason in failure.reason
    assert failure.file in ("workflows/bad.py", "utils/broken.py")
    if line:
        assert f":{line}: " in str(failure)


def test_an_interrupt_is_no_failure_of_a_file(root: Path) -> None:
    """Ctrl-C during discovery ends discovery."""
    _write(root, "workflows/a.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover(root, snapshot(root))


def test_a_name_that_is_taken_names_both_files(root: Path) -> None:
    """Neither of two workflows of one name runs, nor a third; asked for, both places are named."""
    for path in ("workflows/a.py", "workflows/b.py", "workflows/c.py"):
        _write(root, path, ONE.format("same"))
    catalog = discover(root, snapshot(root))
    assert not catalog.workflows
    assert [failure.file for failure in catalog.failures] == ["workflows/b.py", "workflows/c.py"]
    with pytest.raises(ConfigurationError, match=r"workflows/b\.py:3: the name 'same' is also defined at .*a\.py:3"):
        catalog.workflow("same")


def test_a_second_name_in_the_file_is_no_second_workflow(root: Path) -> None:
    """A function that its file knows under two names is one workflow."""
    _write(root, "workflows/a.py", ONE.format("one") + "\nalias = one\n")
    catalog = discover(root, snapshot(root))
    assert (list(catalog.workflows), catalog.failures) == (["one"], ())


def test_the_catalog_says_what_is_wrong(root: Path) -> None:
    """An unknown name is not found, with similar ones; one from a broken file is told where it broke."""
    _write(root, "workflows/a.py", ONE.format("onboard"))
    _write(root, "workflows/b.py", ONE.format("offboard") + "\n1 / 0")
    workspace = Workspace(root, MemoryRevisions())
    with pytest.raises(NotFoundError, match=r"Workflow 'onbord' not found\. Did you mean 'onboard'"):
        workspace.catalog.workflow("onbord")
    with pytest.raises(ConfigurationError, match=r"Workflow 'offboard' cannot be loaded: workflows/b\.py:7: ZeroDivisionError"):
        workspace.catalog.workflow("offboard")
    assert not workspace.refresh()
    _write(root, "workflows/b.py", ONE.format("offboard"))
    assert workspace.refresh()
    assert not workspace.catalog.failures
    assert workspace.revisions.get(workspace.catalog.revision).files["workflows/b.py"] == ONE.format("offboard")
