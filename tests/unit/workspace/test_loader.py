"""A run's modules: what their imports find, and what the rest of the process sees meanwhile."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bifrost
from bifrost.errors import DeterminismError, ValidationError
from bifrost.integrations.base import registered_integrations
from bifrost.workspace import finder, surface
from bifrost.workspace.loader import Namespace, RevisionModules
from bifrost.workspace.revision import Revision


def _namespace(source: str, **files: str) -> Namespace:
    """A namespace whose `workspace.a` is `source`; `lib__b` names `workspace/lib/b.py`."""
    sources = {"a.py": source, **{path.replace("__", "/", 1) + ".py": text for path, text in files.items()}}
    return Namespace(Revision({path: textwrap.dedent(text) for path, text in sources.items()}))


def _load(source: str, **files: str) -> Any:
    return _namespace(source, **files).load("workspace.a")


FORBIDDEN = [
    ("import bifrost.temporal", "bifrost.temporal"), ("import bifrost.errors as e", "bifrost.errors"),
    ("from bifrost import redaction", "bifrost.redaction"), ("from bifrost.secrets.vault import VaultSecrets", "bifrost.secrets.vault"),
    ("from bifrost.parameters import *", "bifrost.parameters"), ("from bifrost.testing import plugin", "bifrost.testing.plugin"),
    ("import bifrost.testing.plugin", "bifrost.testing.plugin"), ("import engine.functions.execute", "engine.functions.execute"),
    ("from engine.shared.storage import TableStorageService", "engine.shared.storage"), ("from engine.shared import auth", "engine.shared.auth"),
    ("from engine import functions", "engine.functions"), ("import engine.shared.registry", "engine.shared.registry"),
    ("import json, bifrost.settings", "bifrost.settings"),
    ("class C:\n    import bifrost.models", "bifrost.models"), ("if True:\n    from bifrost.logging import x", "bifrost.logging"),
    ("try:\n    import bifrost.cli\nexcept ValueError: ...", "bifrost.cli")]


@pytest.mark.parametrize(("statement", "module"), FORBIDDEN)
def test_a_run_imports_no_more_of_bifrost_than_the_live_process(statement: str, module: str) -> None:
    """The refusal names the module, what is allowed, and the importing file."""
    with pytest.raises(ImportError) as refusal:
        _load(statement)
    assert str(refusal.value).startswith(
        f"Workspace code cannot import engine module '{module}' (imported by workspace/a.py). Allowed: bifrost, bifrost.testing, ")
    assert all(allowed in str(refusal.value) for allowed in surface.ALLOWED)
    assert (refusal.value.name, refusal.value.path) == (module, "workspace/a.py")


@pytest.mark.parametrize("statement", [
    "import bifrost", "import bifrost as b", "from bifrost import *", "from bifrost import workflow, param, Secret", "import bifrost.testing",
    "from bifrost import testing", "from bifrost.testing import *", "import engine", "import engine.shared", "from engine import shared",
    "from engine.shared.integrations import base", "from engine.shared.models import *", "def later():\n    import bifrost\nlater()"])
def test_a_run_imports_the_front_door_in_every_form(statement: str) -> None:
    """Whole, by name, with a star, under the older names, inside a function."""
    assert _load(statement)


def test_an_import_inside_a_function_is_refused_when_it_runs() -> None:
    """A rule that only the top of a file, or only the statement, followed would be none."""
    with pytest.raises(ImportError, match=r"'bifrost\.context' \(imported by workspace code\)"):
        _load("__import__('bifrost.context')")
    module = _load("def later():\n    from bifrost.secrets import vault")
    with pytest.raises(ImportError, match=r"engine module 'bifrost\.secrets'"):
        module.later()


@pytest.mark.parametrize("live", [True, False])
def test_a_relative_import_above_the_workspace_names_the_file(tmp_path: Path, live: bool) -> None:
    """Live or in a run, the refusal says whose import it is."""
    if live:
        (tmp_path / "a.py").write_text("from .. import x")
        finder.install(tmp_path)
    try:
        with pytest.raises(ImportError, match=r"goes above the workspace: \.\. \(imported by .*a\.py\)"):
            importlib.import_module("workspace.a") if live else _load("from .. import x")
    finally:
        finder.uninstall()


def test_what_is_exported_is_what_the_front_door_has() -> None:
    """A star import brings the public names, the very objects; only registering is left to the worker."""
    module = _load("from bifrost import *\nfrom engine.shared.integrations import base")
    for name in set(bifrost.__all__) - {"register_integration"}:
        assert getattr(module, name) is getattr(bifrost, name)
    assert module.base.BaseIntegration is bifrost.BaseIntegration
    module.register_integration("never_registered", bifrost.BaseIntegration)
    module.base.register_integration("never_registered", bifrost.BaseIntegration)
    assert "never_registered" not in registered_integrations()


POSTPONED = """
    from __future__ import annotations
    from dataclasses import dataclass, field
    from typing import ClassVar, Optional
    from pydantic import BaseModel

    @dataclass
    class Line:
        sku: str
        seen: ClassVar[int] = 0
        parts: list[Line] = field(default_factory=list)

    class Order(BaseModel):
        customer: Customer
        lines: list[Item] = []

    class Item(BaseModel):
        sku: str

    class Customer(BaseModel):
        name: str
        parent: Optional[Customer] = None

    def order():
        return Order(customer=Customer(name="n", parent=Customer(name="p")), lines=[Item(sku="s")])
"""


def test_postponed_annotations_mean_the_runs_own_classes(tmp_path: Path) -> None:
    """Dataclasses and models that refer to classes by name find this run's, with or without a live module of that name."""
    module = _load(POSTPONED)
    assert module.Line("a", parts=[module.Line("b")]).parts[0].sku == "b"
    assert type(module.order().lines[0]) is module.Item
    assert "workspace.a" not in sys.modules
    (tmp_path / "a.py").write_text(textwrap.dedent(POSTPONED).replace("sku: str", "other: int"))
    finder.install(tmp_path)
    try:
        live = importlib.import_module("workspace.a")
        module = _load(POSTPONED)
        order = module.Order.model_validate({"customer": {"name": "n"}, "lines": [{"sku": "s"}]})
        assert type(order.lines[0]) is module.Item is not live.Item
        assert sys.modules["workspace.a"] is live
    finally:
        finder.uninstall()


def test_a_model_of_another_module_of_the_run() -> None:
    """A subclass of a model resolves what its base wrote where the base was written."""
    module = _load("""
        from __future__ import annotations
        from workspace.lib.models import Base
        class Derived(Base):
            more: int
        made = Derived(part={"x": 1}, more=2)
    """, lib__models="from __future__ import annotations\nfrom pydantic import BaseModel\nclass Part(BaseModel):\n    x: int\n"
                     "class Base(BaseModel):\n    part: Part\n")
    assert (module.made.part.x, module.made.more) == (1, 2)


def test_a_model_that_cannot_be_completed_fails_where_it_is_used() -> None:
    """An annotation that means nothing is pydantic's error, at its use."""
    module = _load("from __future__ import annotations\nfrom pydantic import BaseModel\nclass A(BaseModel):\n    b: Nowhere")
    with pytest.raises(Exception, match="not fully defined"):
        module.A(b=1)


def test_loading_leaves_the_process_as_it_was() -> None:
    """What a failed load displaced is back, and what it loaded is gone."""
    live = ModuleType("workspace.a")
    sys.modules["workspace.a"] = live
    try:
        with pytest.raises(ZeroDivisionError):
            _load("from workspace.lib import b\n1 / 0", lib__b="import sys")
        assert [name for name in sys.modules if name.startswith("workspace")] == ["workspace.a"]
        assert sys.modules["workspace.a"] is live
    finally:
        finder.forget()


def test_runs_load_beside_each_other() -> None:
    """Threads that load the same workspace do not see each other's modules."""
    wrong: list[Any] = []

    def load_often(number: int) -> None:
        for _ in range(20):
            module = _load(textwrap.dedent(POSTPONED) + f"\nfrom workspace.lib.b import seen\nNUMBER = {number}", lib__b="seen = 1")
            if type(module.order().customer) is not module.Customer or number != module.NUMBER:
                wrong.append(module)

    threads = [threading.Thread(target=load_often, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not [name for name in sys.modules if name.startswith("workspace.")]


def test_a_module_imported_late_is_loaded_like_the_others() -> None:
    """An import inside a function executes the module for its definitions, refused things included; using them is refused."""
    module = _load("def later():\n    from workspace.lib import b\n    return b", lib__b="import httpx\nCLIENT = httpx.Client()\nX = 1")
    assert module.later().X == 1
    with pytest.raises(DeterminismError, match=r"httpx\.Client"):
        module.later().CLIENT.get("x")


def test_modules_of_the_run_in_every_constellation() -> None:
    """Circles, stars with `__all__` that names a module, and a module hidden by a name of its package."""
    module = _load("""
        from .circle import one, two
        from .lib import *
        from .pack import inner
        def value(): return one.value() + two.VALUE
    """, circle__one="from workspace.circle import two\nVALUE = 1\ndef value(): return two.value()",
        circle__two="from workspace.circle import one\nVALUE = 2\ndef value(): return one.VALUE",
        lib____init__="__all__ = ['deep', 'SHOWN']\nSHOWN, HIDDEN = 1, 2", lib__deep="X = 3",
        pack____init__="inner = 'a name'", pack__inner="raise RuntimeError")
    assert (module.value(), module.deep.X, module.SHOWN, module.inner) == (3, 3, 1, "a name")
    assert not hasattr(module, "HIDDEN")
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'workspace\.lib'"):
        _load("from workspace.lib import nothing", lib__deep="")


def test_a_folder_and_its_workflow_file() -> None:
    """A workflow's folder answers for the names in its `workflow.py`, the file for itself, and an own `__getattr__` first."""
    source = "VALUE = 1\nfrom bifrost import workflow\n@workflow(name='go')\nasync def go(context): ..."
    module = _load("import workspace.go as folder\nfrom workspace.go import workflow, VALUE, go", go__workflow=source)
    assert module.folder.workflow is module.workflow
    assert (module.workflow.__name__, module.VALUE, module.go.__name__) == ("workspace.go.workflow", 1, "go")
    assert _load("import workspace.go as folder", go__workflow=source).folder.workflow.VALUE == 1
    own = _load("import workspace.go as folder", go__workflow=source, go____init__="def __getattr__(name): return name.upper()")
    assert own.folder.anything == "ANYTHING"
    namespace = Namespace(Revision({"workflows/go/__init__.py": source}))
    assert namespace.workflow("workflows/go/__init__.py", "go").name == "go"


def test_postponed_imports_of_safe_modules_in_a_fresh_process() -> None:
    """A safe module below another is found whoever imported it before: each statement alone, in a process of its own."""
    code = "from bifrost.workspace.loader import Namespace\nfrom bifrost.workspace.revision import Revision\n"
    for statement, use in [("import urllib.parse", "urllib.parse.quote('a b')"), ("from urllib import parse", "parse.quote('a b')"),
                           ("from xml.dom import minidom", "minidom.parseString('<a/>')"), ("from xml.etree import ElementTree as E", "E.XML('<a/>')"),
                           ("import xml.sax.saxutils", "xml.sax.saxutils.escape('<')"), ("from html import parser", "parser.HTMLParser()")]:
        code += f"print(Namespace(Revision({{'a.py': {statement + chr(10) + 'value = ' + use!r}}})).load('workspace.a').value)\n"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.splitlines()[:2]) == (0, ["a%20b", "a%20b"]), ran.stderr


def test_a_safe_module_without_that_name() -> None:
    """What a real module does not have is Python's own ImportError."""
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'json'"):
        _load("from json import nothing")
    with pytest.raises(ModuleNotFoundError, match=r"xml\.nothing"):
        _load("import xml.nothing")


def test_user_errors_are_the_runs_and_bifrosts_are_everybodys() -> None:
    """An error class of the workspace is the run's own, derived from the one that the engine knows."""
    module = _load("from bifrost import ValidationError\nclass QuotaError(ValidationError): ...\ndef f(): raise QuotaError('full', field='a')")
    with pytest.raises(ValidationError, match="full") as refusal:
        module.f()
    assert (refusal.value.error_type, refusal.value.field, type(refusal.value).__module__) == ("QuotaError", "a", "workspace.a")


def test_threads_that_load_one_module_wait_for_each_other() -> None:
    """A module is never seen half executed, though an activity's lazy import meets another's."""
    modules = RevisionModules(Revision({"a.py": "def act():\n    from workspace.heavy import render\n    return render()\n",
                                        "heavy.py": "import time\ntime.sleep(0.05)\ndef render():\n    return 'rendered'\n"}))
    act = modules.load("workspace.a").act
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: act(), range(4))) == ["rendered"] * 4


def test_outside_of_runs_a_file_knows_where_it_lies(tmp_path: Path) -> None:
    """`__file__` leads to the workspace's folder, where the files beside the code are."""
    revision = Revision({"utils/a.py": "", "utils/__init__.py": ""})
    assert RevisionModules(revision, tmp_path).load("workspace.utils.a").__file__ == str(tmp_path / "utils" / "a.py")
    assert Namespace(revision).load("workspace.utils.a").__file__ == "workspace/utils/a.py"
