"""Discovery at its edges: names said twice, files that are no source, and the same answer in every process."""

from __future__ import annotations

import importlib
import importlib.abc
import inspect
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.integrations import base
from bifrost.integrations.base import BaseIntegration
from bifrost.workspace import finder
from bifrost.workspace.catalog import Catalog, Failure
from bifrost.workspace.discovery import discover
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision, snapshot

WORKFLOW = "from bifrost import workflow\n\n@workflow(name='{0}')\nasync def {0}(context):\n    return '{0}'\n"
PROVIDER = "from bifrost import data_provider\n\n@data_provider(name='{0}')\nasync def {0}(context):\n    return []\n"


def _discovered(root: Path, **sources: str) -> Catalog:
    for path, source in sources.items():
        file = root / (path.replace("__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    return discover(root, snapshot(root))


def test_a_second_name_for_one_function_is_no_second_workflow(root: Path) -> None:
    """An alias in the same file is the same workflow."""
    catalog = _discovered(root, workflows__a=WORKFLOW.format("one") + "again = one\n")
    assert (list(catalog.workflows), catalog.failures) == (["one"], ())
    assert catalog.workflow("one").path == "workflows/a.py"


def test_two_functions_of_one_name_in_one_file(root: Path) -> None:
    """Also when one line of code makes both, neither runs."""
    catalog = _discovered(root, workflows__a="""
from bifrost import workflow
def make():
    @workflow(name='same')
    async def same(context): ...
    return same
first, second = make(), make()
""")
    assert not catalog.workflows
    assert catalog.failures[0].reason == "the name 'same' is also defined at workflows/a.py:4; names must differ"


def test_data_providers_have_names_of_their_own(root: Path) -> None:
    """A provider may be called like a workflow; two of one name are refused, and that is no fault of a workflow."""
    catalog = _discovered(root, data_providers__a=PROVIDER.format("sizes"), data_providers__b=PROVIDER.format("sizes"),
                          data_providers__c=PROVIDER.format("colours"), workflows__a=WORKFLOW.format("sizes"), workflows__b=WORKFLOW.format("colours"))
    assert list(catalog.workflows) == ["sizes", "colours"]
    assert list(catalog.data_providers) == ["colours"]
    assert [str(failure) for failure in catalog.failures] == [
        "data_providers/b.py:3: the name 'sizes' is also defined at data_providers/a.py:3; names must differ"]
    assert catalog.failures[0].workflows == ()


def test_a_name_that_a_broken_file_has_is_taken(root: Path) -> None:
    """Two files of one workflow, the first broken: mending it must not change which of them runs."""
    catalog = _discovered(root, workflows__a=WORKFLOW.format("same") + "1 / 0\n", workflows__b=WORKFLOW.format("same"), workflows__c=WORKFLOW.format("good"))
    assert list(catalog.workflows) == ["good"]
    assert "is also defined at workflows/a.py:6: ZeroDivisionError" in catalog.failures[1].reason
    with pytest.raises(ConfigurationError, match=r"Workflow 'same' cannot be loaded: workflows/a\.py:6: ZeroDivisionError") as refusal:
        catalog.workflow("same")
    assert refusal.value.details == {"workflow": "same", "file": "workflows/a.py", "line": 6}


@pytest.mark.parametrize(("source", "reason"), [
    ("raise ImportError('no')", "ImportError: no"), ("import asyncio\nraise asyncio.CancelledError", "CancelledError"), ("exit(3)", "SystemExit: 3"),
    ("def f(): f()\nf()", "RecursionError"), ("raise BaseException('odd')", "BaseException: odd"), ("import bifrost.cli", "engine module 'bifrost.cli'"),
    ("def f(:\n  ...", "SyntaxError"), ("x = 1\n\ty = 2", "SyntaxError: unexpected indent"), ("'\\N{nothing}'", "SyntaxError"), ("a\0b", "null bytes"),
    ("from workspace.utils.nothing import x", "ModuleNotFoundError"), ("from workspace.utils.good import nothing", "ImportError: cannot import name"),
    ("from bifrost import workflow\n@workflow\nasync def f(context): ...", "@workflow needs a name"),
    ("from bifrost import workflow\n@workflow(name='f')\ndef f(context): ...", "must be an async function")])
def test_no_fault_of_a_file_is_a_fault_of_another(root: Path, source: str, reason: str) -> None:
    """Whatever a file raises is a failure with its reason, in its place."""
    catalog = _discovered(root, workflows__bad=source, workflows__good=WORKFLOW.format("good"), integrations__bad=source, utils__good="")
    assert list(catalog.workflows) == ["good"]
    assert [failure.file for failure in catalog.failures] == ["integrations/bad.py", "workflows/bad.py"]
    assert all(reason in failure.reason for failure in catalog.failures)


def test_what_is_no_source_file_is_passed_over(root: Path) -> None:
    """A folder called like a file, an editor's dangling lock, a byte order mark: none of them hides the rest."""
    (root / "workflows" / "folder.py").mkdir(parents=True)
    (root / "workflows" / "lock.py").symlink_to(root / "nowhere")
    (root / "workflows" / "bom.py").write_text("\ufeff" + WORKFLOW.format("marked"), encoding="utf-8")
    catalog = _discovered(root, workflows__a=WORKFLOW.format("one"))
    assert (list(catalog.workflows), catalog.failures) == (["one", "marked"], ())
    assert snapshot(root).files["workflows/bom.py"].startswith("from bifrost")


def test_integrations_from_elsewhere_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that an installed package registered is in the catalog whichever workspace is served; a workspace's is not."""
    class Elsewhere(BaseIntegration):
        async def authenticate(self) -> None: ...

    monkeypatch.setattr(base, "_registered", {})
    base.register_integration("elsewhere", Elsewhere)
    own = "from bifrost import BaseIntegration\nclass Own(BaseIntegration):\n    integration_name = 'own'\n    async def authenticate(self): ...\n"
    assert {"elsewhere", "msgraph", "own"} <= set(_discovered(root, integrations__own=own).integrations)
    finder.uninstall()
    (root / "integrations/own.py").unlink()
    assert "elsewhere" in _discovered(root).integrations
    assert "own" not in _discovered(root).integrations


def test_an_edit_is_seen_within_the_same_second(root: Path) -> None:
    """No compiled file of before answers for the source of now."""
    for number in range(3):
        catalog = _discovered(root, workflows__a=WORKFLOW.format(f"version{number}"))
        assert list(catalog.workflows) == [f"version{number}"]
    assert not list(root.rglob("*.pyc"))


def test_a_folder_and_its_workflow_file_in_the_live_process(root: Path) -> None:
    """`workflow` of a folder is the file, though the file imports a decorator of that name."""
    _discovered(root, workflows__a__workflow=WORKFLOW.format("one"))
    folder = importlib.import_module("workspace.workflows.a")
    del folder.workflow
    assert not hasattr(folder, "__wrapped__")
    assert folder.workflow is sys.modules["workspace.workflows.a.workflow"]
    for name in list(sys.modules):
        if name.startswith("workspace."):
            del sys.modules[name]
    assert importlib.import_module("workspace.workflows.a").workflow.one._workflow_metadata.name == "one"


def test_other_code_is_not_guarded(root: Path) -> None:
    """The import rule is for workspace code; what it imports, and everybody else, imports what they like."""
    catalog = _discovered(root, utils__a="import bifrost.testing\nimport json", workflows__a="from workspace.utils import a\n" + WORKFLOW.format("one"))
    assert not catalog.failures
    namespace: dict[str, object] = {"__name__": "elsewhere"}
    exec("from bifrost.workspace import guard\nimport bifrost.redaction", namespace)
    assert namespace["guard"]


def test_every_process_finds_the_same(root: Path) -> None:
    """Order and revision depend on paths and contents, not on a process's hashes."""
    for name in "cab":
        _discovered(root, **{f"workflows__{name}": WORKFLOW.format(name), f"data_providers__{name}": PROVIDER.format(name)})
    code = ("import sys, pathlib; from bifrost.workspace.discovery import discover; from bifrost.workspace.revision import snapshot\n"
            "root = pathlib.Path(sys.argv[1]); catalog = discover(root, snapshot(root))\n"
            "print(catalog.revision, list(catalog.workflows), list(catalog.data_providers))")
    answers = {subprocess.run([sys.executable, "-c", code, str(root)], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
               for seed in ("1", "2")}
    assert answers == {f"{snapshot(root).id} ['a', 'b', 'c'] ['a', 'b', 'c']\n"}


def test_discovery_waits_for_a_run_that_loads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run's modules take the live ones' place, nobody imports the live ones, and what comes after is of now."""
    shop = "from bifrost import BaseIntegration\nclass Shop(BaseIntegration):\n    integration_name = 'shop_of_{0}'\n    async def authenticate(self): ...\n"
    _discovered(root, integrations__shop=shop.format("before"), workflows__a=WORKFLOW.format("before"))
    inside, discovered = threading.Event(), threading.Event()
    monkeypatch.setattr(json, "hold", lambda: (inside.set(), discovered.wait(0.2)), raising=False)
    namespace = Namespace(Revision({"workflows/a.py": "import json\njson.hold()"}))
    run = threading.Thread(target=namespace.load, args=("workspace.workflows.a",))
    run.start()
    assert inside.wait(10)
    catalog = _discovered(root, integrations__shop=shop.format("after"), workflows__a=WORKFLOW.format("after"))
    discovered.set()
    run.join()
    assert list(catalog.workflows) == ["after"]
    assert "shop_of_after" in catalog.integrations
    assert "shop_of_before" not in catalog.integrations
    assert sys.modules["workspace.workflows.a"].after


def test_a_module_can_be_inspected(root: Path) -> None:
    """Tools that ask an importer for source, as tracebacks and coverage do, get the file's."""
    _discovered(root, workflows__a__workflow=WORKFLOW.format("one"))
    spec = importlib.import_module("workspace.workflows.a.workflow").__spec__
    assert spec is not None
    assert isinstance(spec.loader, importlib.abc.InspectLoader)
    assert spec.loader.get_source(spec.name) == WORKFLOW.format("one")
    assert spec.loader.get_filename(spec.name) == spec.origin == str(root / "workflows/a/workflow.py")  # type: ignore[attr-defined]
    assert "one" in inspect.getsource(importlib.import_module("workspace.workflows.a.workflow"))
    package = importlib.import_module("workspace.workflows.a").__spec__
    assert package is not None
    assert (package.origin, package.loader.get_source(package.name)) == (None, "")  # type: ignore[union-attr]


def test_a_failure_without_a_line() -> None:
    """A place without a line is shown as the file; what nobody defines is not found, whatever else failed."""
    failure = Failure("a.py", None, "it is broken", ("x",))
    assert str(failure) == "a.py: it is broken"
    with pytest.raises(NotFoundError, match="Workflow 'zzz' not found"):
        Catalog("r", failures=(failure,)).workflow("zzz")


def test_a_revision_compiles_with_its_own_lines() -> None:
    """A traceback of a run shows the line of the revision that it runs; a file is compiled once."""
    revision = Revision({"a.py": "1 / 0  # the line"})
    assert revision.code("a.py") is revision.code("a.py")
    with pytest.raises(KeyError):
        revision.code("b.py")
    with pytest.raises(SyntaxError):
        Revision({"a.py": "("}).code("a.py")
