"""Imports of `workspace.*` in the live process, from whichever folder the workspace is.

A folder needs no `__init__.py`. A folder that holds a `workflow.py` also answers for that file's names, so a workflow can be
imported from its folder: `from workspace.workflows.onboarding.create_user import create_user`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from bifrost.workspace import guard
from bifrost.workspace.guard import PACKAGE

WORKFLOW_FILE = "workflow"


def source_path(root: Path, module: str) -> Path | None:
    """The file or folder of a `workspace.*` module, or None."""
    path = root.joinpath(*module.split(".")[1:])
    if path.is_dir():
        return path
    file = path.with_name(f"{path.name}.py")
    return file if file.is_file() else None


def module_name(path: str) -> str:
    """The module of a file of the workspace: `utils/text.py` is `workspace.utils.text`."""
    return ".".join([PACKAGE, *path.removesuffix(".py").split("/")]).removesuffix(".__init__")


def is_test(name: str) -> bool:
    """Whether a module belongs to the workspace's tests, which no run and no worker imports."""
    parts = name.split(".")[1:]
    return "tests" in parts or "conftest" in parts or any(part.startswith("test_") for part in parts)


def workflow_attribute(package: str, name: str, import_module: Callable[[str], Any]) -> Any:
    """An attribute that a workflow's folder takes from its `workflow.py`.

    Raises:
        AttributeError: `workflow.py` has no such name either.
    """
    if name.startswith("__"):
        raise AttributeError(name)
    module = import_module(f"{package}.{WORKFLOW_FILE}")
    return module if name == WORKFLOW_FILE else getattr(module, name)


class _Loader(importlib.abc.InspectLoader):
    """Executes a workspace module from its source, never from a `.pyc` that an edit within a second could outdate."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_source(self, fullname: str) -> str:
        del fullname
        return self._path.read_text("utf-8-sig") if self._path.is_file() else ""  # a folder without __init__.py

    def get_filename(self, fullname: str) -> str:
        del fullname
        return str(self._path)

    def get_code(self, fullname: str) -> Any:
        return compile(self.get_source(fullname), str(self._path), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = guard.GUARDED_BUILTINS
        if (self._path.parent / f"{WORKFLOW_FILE}.py").is_file() and self._path.name == "__init__.py":
            vars(module)["__getattr__"] = lambda name: workflow_attribute(
                module.__name__, name, importlib.import_module)
        exec(self.get_code(module.__name__), vars(module))  # noqa: S102 - this is the workspace's code


_found: set[str] = set()
"""The name of every module that was found: few, where `sys.modules` has a thousand."""


class WorkspaceFinder(importlib.abc.MetaPathFinder):
    """Finds `workspace` and everything below it in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname.partition(".")[0] != PACKAGE or is_test(fullname):
            return None
        found = source_path(self.root, fullname)
        if found is None:
            return None
        _found.add(fullname)
        if not found.is_dir():
            return importlib.util.spec_from_file_location(fullname, found, loader=_Loader(found))
        init = found / "__init__.py"
        if init.is_file():
            return importlib.util.spec_from_file_location(fullname, init, loader=_Loader(init),
                                                          submodule_search_locations=[str(found)])
        # Without an origin, as other tools expect of a folder that is a package without a file.
        spec = importlib.machinery.ModuleSpec(fullname, _Loader(init), is_package=True)
        spec.submodule_search_locations = [str(found)]
        return spec


def install(root: Path) -> WorkspaceFinder:
    """Serve `workspace.*` from `root` in this process, in place of the folder served before."""
    uninstall()
    finder = WorkspaceFinder(root)
    sys.meta_path.insert(0, finder)
    return finder


def uninstall() -> None:
    """Stop serving `workspace.*`, and forget what was imported."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, WorkspaceFinder)]
    forget()


def forget() -> dict[str, ModuleType]:
    """Drop every imported workspace module, so that the next import reads the files again; answers what was dropped."""
    with guard.LIVE_MODULES:  # a run may have its own there
        return _dropped(name for name in list(sys.modules) if name.partition(".")[0] == PACKAGE)


def set_aside() -> dict[str, ModuleType]:
    """Drop what a finder of this process has found, for a moment: a run does so before its own modules take their names."""
    with guard.LIVE_MODULES:
        return _dropped(list(_found))


def _dropped(names: Iterable[str]) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in names if name in sys.modules}
