"""The pytest plugin: `workspace.*` and `engine.shared.*` can be imported in tests, as in a worker.

pytest loads it by itself (entry point `pytest11`), so it imports little. The workspace is the folder that
`BIFROST_WORKSPACE` names, or else `workspace` in pytest's root directory; without such a folder, nothing changes.

pytest loads plugins before pytest-cov measures: to measure Bifrost itself, run `coverage run -m pytest`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bifrost.workspace import finder

VARIABLE = "BIFROST_WORKSPACE"  # as in bifrost.settings, which takes too long to import for every pytest run


def workspace_root(rootdir: Path) -> Path | None:
    """The folder to serve, or None if there is none.

    Raises:
        pytest.UsageError: `BIFROST_WORKSPACE` names something that is no folder.
    """
    named = os.environ.get(VARIABLE, "").strip()
    root = (Path(named) if named else rootdir / finder.PACKAGE).resolve()
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
                           if name.partition(".")[0] == finder.PACKAGE}

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Serve this folder again if another one took its place."""
        if self._finder not in sys.meta_path and item.path.is_relative_to(self._root):
            self._finder = finder.install(self._root)
            sys.modules.update(self._collected)

    def pytest_unconfigure(self) -> None:
        """Leave no trace: pytest may be one of many things that a process does."""
        finder.uninstall()


def pytest_configure(config: pytest.Config) -> None:
    """Serve the workspace, if there is one."""
    root = workspace_root(config.rootpath)
    if root is not None:
        config.pluginmanager.register(ServedWorkspace(root), "bifrost-workspace")
