"""The import rules for workspace code: of Bifrost only its public surface, and of the workspace only what lies below.

Workspace modules are executed with an `__import__` of their own, so the rules hold for every `import` statement they
contain, wherever it stands, for `importlib.import_module` and `sys.modules` as they see them, and for nobody else. They
keep rooms apart; they are not a security boundary.

The floors of a workspace, downward only:

    workflows/       one workflow never imports another: it runs it, `await context.execute_workflow(name, params)`
    data_providers/  integrations/
    utils/           and every other folder
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from bifrost.workspace import surface

PACKAGE = "workspace"
"""The package that user code lies in, whatever the folder is called."""

LIVE_MODULES = threading.RLock()
"""Held by whoever imports `workspace.*` in the live process, and while a run's modules take their place in `sys.modules`."""

Import = Callable[[str, Mapping[str, Any] | None, Mapping[str, Any] | None, Sequence[str] | None, int], Any]

_WORKFLOWS = f"{PACKAGE}.workflows"


def absolute_name(name: str, namespace: Mapping[str, Any] | None, level: int) -> str:
    """The module that an import statement names: `name`, or for a relative import what it means from where it stands.

    Raises:
        ImportError: the import goes above the top of the workspace.
    """
    if level == 0:
        return name
    package = str((namespace or {}).get("__package__") or "").split(".")
    if level > len(package) or not package[0]:
        importer = str((namespace or {}).get("__file__", "workspace code"))
        raise ImportError(f"Relative import goes above the workspace: {'.' * level}{name} (imported by {importer})",
                          path=importer)
    base = ".".join(package[:len(package) - level + 1])
    return f"{base}.{name}" if name else base


def fault(name: str, importer: str, fromlist: Sequence[str] | None) -> str | None:
    """Why the module `importer` may not import `name`, or None if it may.

    Args:
        name: The absolute name of what is imported.
        importer: The name of the importing module, such as `workspace.workflows.onboarding.create_user.workflow`.
        fromlist: What `from name import …` takes from it.
    """
    refused = surface.refuses(name, fromlist)
    if refused:
        return f"Workspace code cannot import engine module '{refused}'"
    if name.partition(".")[0] != PACKAGE:
        return None
    for target in (name, *(f"{name}.{item}" for item in fromlist or ())):
        if (above := _floor_fault(target, importer)):
            return above
    return None


def _floor_fault(target: str, importer: str) -> str | None:
    if not target.startswith(f"{_WORKFLOWS}."):
        return None
    if not f"{importer}.".startswith(f"{_WORKFLOWS}."):
        return (f"Only workflows lie above workflows: '{target}' cannot be imported from '{importer}'. Put what both need "
                f"into {PACKAGE}/utils")
    mine, other = _folder(importer), _folder(target)
    if mine == other or mine.startswith(f"{other}.") or target.startswith(f"{mine}."):
        return None
    return (f"A workflow cannot import another workflow's module '{target}': run it with `await "
            f"context.execute_workflow(name, params)`, and put what both need into {PACKAGE}/utils")


def _folder(module: str) -> str:
    """The folder of the workflow that a module below `workflows/` belongs to; a file of its own is one, too."""
    parts = module.split(".")
    if "lib" in parts:
        return ".".join(parts[:parts.index("lib")])
    return ".".join(parts[:-1] if parts[-1] == "workflow" else parts)


def check(name: str, namespace: Mapping[str, Any] | None, fromlist: Sequence[str] | None) -> None:
    """Refuse an import that the rules do not allow.

    Raises:
        ImportError: naming the module, what is allowed, and the importing file.
    """
    given = namespace or {}
    why = fault(name, str(given.get("__name__", "")), fromlist)
    if why:
        file = str(given.get("__file__", "workspace code"))
        allowed = f". Allowed: {', '.join(surface.ALLOWED)}" if surface.refuses(name, fromlist) else ""
        refused = surface.refuses(name, fromlist) or name
        raise ImportError(f"{why} (imported by {file}){allowed}", name=refused, path=file)


def guarded_import(name: str, globals: Mapping[str, Any] | None = None,  # noqa: A002 - the signature of __import__
                   locals: Mapping[str, Any] | None = None,  # noqa: A002
                   fromlist: Sequence[str] | None = (), level: int = 0) -> ModuleType:
    """`__import__`, for workspace code outside of runs."""
    target = absolute_name(name, globals, level)
    check(target, globals, fromlist)
    with LIVE_MODULES if target.partition(".")[0] == PACKAGE else contextlib.nullcontext():
        module = builtins.__import__(name, globals, locals, fromlist or (), level)
    own = _OWN.get(target if fromlist else target.partition(".")[0])
    return own if own is not None and level == 0 else module


# --- the ways round an import statement ---------------------------------------------------------------------------------


def import_module(name: str, package: str | None = None) -> ModuleType:
    """`importlib.import_module`, by the rules of whoever calls it."""
    importer = sys._getframe(1).f_globals  # noqa: SLF001 - the way to ask who calls
    if name.startswith("."):
        name = importlib.util.resolve_name(name, package or str(importer.get("__package__") or ""))
    importing = importer["__builtins__"]["__import__"] if isinstance(importer.get("__builtins__"), dict) else builtins.__import__
    module: ModuleType = importing(name, importer, None, (), 0)
    for part in name.split(".")[1:]:
        module = getattr(module, part)
    return module


class _Importlib(ModuleType):
    """`importlib`, with that `import_module`."""

    import_module = staticmethod(import_module)
    __import__ = staticmethod(guarded_import)

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)


class _Modules(Mapping[str, ModuleType]):
    """`sys.modules`, without the inner modules of Bifrost."""

    def __getitem__(self, name: str) -> ModuleType:
        if surface.refuses(name, None):
            raise KeyError(f"Workspace code cannot import engine module '{name}'")
        return sys.modules[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in list(sys.modules) if not surface.refuses(name, None))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Sys(ModuleType):
    """`sys`, with those modules."""

    modules = _Modules()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(sys, name, value)


GUARDED_BUILTINS: dict[str, Any] = {**vars(builtins), "__import__": guarded_import}
"""The builtins of a workspace module outside of runs."""

_builtins = ModuleType("builtins", builtins.__doc__)
vars(_builtins).update(GUARDED_BUILTINS)
_OWN: Mapping[str, ModuleType] = {"importlib": _Importlib("importlib"), "builtins": _builtins, "sys": _Sys("sys")}
"""What `import NAME` gives to workspace code outside of runs, in place of the real one."""
