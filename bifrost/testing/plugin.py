"""The pytest plugin: `workspace.*` and `engine.shared.*` can be imported in tests, as in a worker; and the test kit's fixtures.

pytest loads it by itself (entry point `pytest11`), so it imports little. The workspace is the folder that
`BIFROST_WORKSPACE` names, or else `workspace` in pytest's root directory; without such a folder, nothing changes.
No setting is needed: the workspace's own test files are imported by pytest's `importlib` mode, since in the default mode
the `tests/test_workflow.py` of all workflows would be one module.

pytest loads plugins before pytest-cov measures: to measure Bifrost itself, run `coverage run -m pytest`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from bifrost import testing
from bifrost.workspace import finder, guard

if TYPE_CHECKING:
    from bifrost.testing.memory import InMemoryContext
    from bifrost.testing.running import RunWorkflow
    from bifrost.testing.server import SharedServer

VARIABLE = "BIFROST_WORKSPACE"  # as in bifrost.settings, which takes too long to import for every pytest run


def workspace_root(rootdir: Path) -> Path | None:
    """The folder to serve, or None if there is none.

    Raises:
        pytest.UsageError: `BIFROST_WORKSPACE` names something that is no folder.
    """
    named = os.environ.get(VARIABLE, "").strip()
    root = (Path(named) if named else rootdir / guard.PACKAGE).resolve()
    if root.is_dir():
        return root
    if named:
        raise pytest.UsageError(f"{VARIABLE} is '{named}', which is not a folder")
    return None


class ServedWorkspace:
    """Serves one folder to the tests in it.

    A test elsewhere may serve another folder in its place (whoever discovers a workspace does). So what was imported when
    the tests were collected is put back before a test of this folder: the modules that it patches are those it calls.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._collected: dict[str, ModuleType] = {}
        self._finder = finder.install(root)

    def pytest_collection_finish(self) -> None:
        """Keep what the tests' imports brought in."""
        self._collected = {name: module for name, module in sys.modules.items()
                           if name.partition(".")[0] == guard.PACKAGE}

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, object, object]:
        """Import a test file of this folder under a name of its own."""
        with self._names_of_their_own(collector):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Serve this folder again if another one took its place."""
        if self._finder not in sys.meta_path and item.path.is_relative_to(self._root):
            self._finder = finder.install(self._root)
            sys.modules.update(self._collected)
        with self._names_of_their_own(item):  # a `tests/__init__.py` is imported now
            return (yield)

    @contextlib.contextmanager
    def _names_of_their_own(self, node: pytest.Item | pytest.Collector) -> Iterator[None]:
        option, chosen = node.config.option, node.config.option.importmode
        if node.path.is_relative_to(self._root):
            option.importmode = "importlib"
        try:
            yield
        finally:
            option.importmode = chosen

    def pytest_unconfigure(self) -> None:
        """Leave no trace: pytest may be one of many things that a process does."""
        finder.uninstall()


def pytest_configure(config: pytest.Config) -> None:
    """Serve the workspace, if there is one."""
    root = workspace_root(config.rootpath)
    if root is not None:
        config.pluginmanager.register(ServedWorkspace(root), "bifrost-workspace")


@pytest.fixture
def bifrost_context() -> InMemoryContext:
    """A context in memory, for a test organization: see `bifrost.testing.InMemoryContext`. Override it to have your own."""
    return testing.InMemoryContext()


@pytest.fixture(scope="session")
def bifrost_workspace(pytestconfig: pytest.Config) -> Path:
    """The workspace's folder, which `run_workflow` serves. Override it where neither the place nor the variable tells it."""
    root = workspace_root(pytestconfig.rootpath)
    if root is None:
        pytest.fail(f"There is no workspace in {pytestconfig.rootpath}: set {VARIABLE}, or override the fixture bifrost_workspace", pytrace=False)
    return root


@pytest.fixture(scope="session")
def bifrost_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    """The Temporal server that all tests of the session share; it is started when the first of them asks for it."""
    server = testing.SharedServer(tmp_path_factory.mktemp("bifrost")).start()
    yield server
    server.stop()


@pytest.fixture
def run_workflow(bifrost_server: SharedServer, bifrost_workspace: Path, bifrost_context: InMemoryContext) -> RunWorkflow:
    """Executes a workflow for real, with time that passes at once, and replays it: see `bifrost.testing.RunWorkflow`."""
    return testing.RunWorkflow(bifrost_server, bifrost_workspace, bifrost_context)
