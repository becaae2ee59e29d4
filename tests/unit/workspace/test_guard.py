"""The import rules, held against every way to import, live and in a run."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bifrost.workspace import finder
from bifrost.workspace.loader import Namespace, RevisionModules
from bifrost.workspace.revision import snapshot

WAYS = [
    "import bifrost.secrets.vault", "from bifrost.secrets.vault import *", "from bifrost.secrets import vault",
    "__import__('bifrost.secrets.vault')", "import builtins\nbuiltins.__import__('bifrost.secrets.vault')",
    "import importlib\nimportlib.import_module('bifrost.secrets.vault')",
    "from importlib import import_module\nimport_module('bifrost.secrets.vault')",
    "import importlib as i\ni.import_module('.vault', 'bifrost.secrets')",
    "exec('import bifrost.secrets.vault')", "exec('import bifrost.secrets.vault', {})", "eval(\"__import__('bifrost.secrets.vault')\")",
    "def later():\n    import bifrost.secrets.vault\nlater()", "class C:\n    import bifrost.secrets.vault",
    "(lambda: __import__('bifrost.secrets.vault'))()"]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A workspace folder, served to nobody else afterwards; what it must not import is loaded in this process."""
    importlib.import_module("bifrost.secrets.vault")
    yield tmp_path
    finder.uninstall()


def _load(root: Path, kind: str, module: str, **sources: str) -> Any:
    """A module of the workspace: live, in a run, or in a revision outside of runs."""
    for path, source in sources.items():
        file = root / (path.replace("__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))
    if kind == "live":
        finder.install(root)
        return importlib.import_module(module)
    return {"run": Namespace, "pinned": RevisionModules}[kind](snapshot(root)).load(module)


kinds = pytest.mark.parametrize("kind", ["live", "run", "pinned"])


@kinds
@pytest.mark.parametrize("way", WAYS)
def test_there_is_no_way_to_an_inner_module(root: Path, kind: str, way: str) -> None:
    """Statement, function, star, importlib, exec: each is refused with the module, though the process has it loaded."""
    if kind == "run" and "builtins." in way:
        way = way.replace("builtins.__import__", "getattr(builtins, '__import__', __import__)")
    with pytest.raises(ImportError, match=r"Workspace code cannot import engine module 'bifrost\.secrets"):
        _load(root, kind, "workspace.utils.a", utils__a=way)


@pytest.mark.parametrize("way", ["sys.modules['bifrost.secrets.vault']", "sys.modules.pop('bifrost.secrets.vault')"])
def test_modules_that_are_loaded_are_out_of_sight(root: Path, way: str) -> None:
    """`sys.modules` shows workspace code everything but Bifrost's inner modules, and cannot be changed."""
    with pytest.raises((KeyError, AttributeError)):
        _load(root, "live", "workspace.utils.a", utils__a=f"import sys\n{way}")
    module = _load(root, "live", "workspace.utils.b", utils__b="""
        import sys
        from sys import modules, version_info
        sys.recursion = 1
        own, json, count, inner = modules[__name__].__name__, "json" in sys.modules, len(modules), [m for m in modules if "bifrost." in m]
        there = modules.get("bifrost.secrets.vault")
    """)
    assert (module.own, module.json, module.there, module.version_info) == ("workspace.utils.b", True, None, sys.version_info)
    assert {name for name in module.inner if not name.startswith("bifrost.testing")} == set()
    assert module.count > 100
    assert sys.__dict__.pop("recursion") == 1


@kinds
def test_dynamic_imports_that_are_allowed(root: Path, kind: str) -> None:
    """`importlib.import_module` gives what an import statement would give: this workspace's modules, and others by the rules."""
    module = _load(root, kind, "workspace.utils.a", utils__a="""
        import importlib
        from importlib import import_module
        b = import_module("workspace.utils.b")
        again = importlib.import_module(".b", __package__)
        relative = import_module(".b", "workspace.utils")
        front = import_module("bifrost")
        json = import_module("json")
        deep = import_module("urllib.parse")
        time = import_module("time")
    """, utils__b="X = 1")
    assert module.b is module.again is module.relative
    assert (module.b.X, module.json.__name__, module.deep.__name__) == (1, "json", "urllib.parse")
    assert module.front.workflow is importlib.import_module("bifrost").workflow
    import time
    assert (module.time is time) == (kind != "run")


def test_the_rest_of_importlib_is_its_own(root: Path) -> None:
    """Outside of runs `importlib`'s other names, and its submodules, are the real ones."""
    module = _load(root, "live", "workspace.utils.a", utils__a="""
        import importlib.metadata
        import importlib.util
        from importlib.util import find_spec
        found, reload = importlib.util.find_spec("json"), importlib.reload
    """)
    assert module.found.name == "json"
    assert module.reload is importlib.reload


ONE = "from bifrost import workflow\n@workflow(name='one')\nasync def one(context): ...\n"
ABOVE = [
    ("workflows__a__two__workflow", "from workspace.workflows.a.one import one", "another workflow's module 'workspace.workflows.a.one'"),
    ("workflows__a__two__workflow", "import workspace.workflows.a.one.workflow", "another workflow's module"),
    ("workflows__a__two__workflow", "from workspace.workflows.a.one.lib.words import X", "another workflow's module"),
    ("workflows__a__two__workflow", "from ..one import one", "another workflow's module 'workspace.workflows.a.one'"),
    ("workflows__a__two__workflow", "from .. import one", "another workflow's module 'workspace.workflows.a.one'"),
    ("workflows__a__two__lib__x", "from workspace.workflows.a.one.workflow import one", "another workflow's module"),
    ("workflows__flat", "from workspace.workflows.other import one", "another workflow's module 'workspace.workflows.other'"),
    ("integrations__shop", "from workspace.workflows.a.one import one", "Only workflows lie above workflows"),
    ("integrations__shop", "from workspace.workflows import other", "Only workflows lie above workflows"),
    ("data_providers__sizes", "import workspace.workflows.other", "Only workflows lie above workflows"),
    ("utils__text", "import importlib\nimportlib.import_module('workspace.workflows.other')", "Only workflows lie above workflows"),
]


@kinds
@pytest.mark.parametrize(("path", "statement", "why"), ABOVE)
def test_imports_go_downward(root: Path, kind: str, path: str, statement: str, why: str) -> None:
    """No workflow imports another, and nothing that lies below imports a workflow: the refusal says what to do instead."""
    with pytest.raises(ImportError) as refusal:
        _load(root, kind, "workspace." + path.replace("__", "."), **{
            "workflows__a__one__workflow": ONE, "workflows__a__one__lib__words": "X = 1", "workflows__other": ONE, path: statement})
    assert why in str(refusal.value)
    assert "workspace/utils" in str(refusal.value)
    assert f"{path.replace('__', '/')}.py" in str(refusal.value)


@kinds
def test_a_workflow_may_import_what_is_below_it(root: Path, kind: str) -> None:
    """Its own `lib`, its category's `lib`, integrations, providers and utils."""
    module = _load(root, kind, "workspace.workflows.a.two.workflow", workflows__a__two__workflow="""
        import workspace.workflows.a.two.lib.own
        from .lib import own
        from ..lib.shared import SHARED
        from workspace.workflows.a.lib import shared
        from workspace.workflows import a
        from .beside import BESIDE
        from workspace.workflows.a.two import beside
        from workspace.integrations.shop import SHOP
        from workspace.data_providers.sizes import SIZES
        from workspace.utils.text import TEXT
        said = [own.OWN, SHARED, SHOP, SIZES, TEXT, BESIDE, beside.BESIDE]
    """, workflows__a__two__lib__own="from workspace.workflows.a.two.lib import more\nOWN = more.MORE", workflows__a__two__lib__more="MORE = 1",
        workflows__a__lib__shared="SHARED = 2", integrations__shop="SHOP = 3", data_providers__sizes="SIZES = 4", utils__text="TEXT = 5", workflows__a__two__beside="BESIDE = 6")
    assert module.said == [1, 2, 3, 4, 5, 6, 6]
