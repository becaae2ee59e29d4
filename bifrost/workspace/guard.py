"""The import rule for workspace code: of Bifrost, only its public surface.

Workspace modules are executed with an `__import__` of their own, so the rule holds for every `import` statement they
contain, wherever it stands, and for nobody else. It keeps public and private apart; it is not a security boundary.
"""

from __future__ import annotations

import builtins
import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from bifrost.workspace import surface

LIVE_MODULES = threading.RLock()
"""Held by whoever imports `workspace.*` in the live process, and while a run's modules take their place in `sys.modules`."""

Import = Callable[[str, Mapping[str, Any] | None, Mapping[str, Any] | None, Sequence[str] | None, int], Any]


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


def check(name: str, namespace: Mapping[str, Any] | None, fromlist: Sequence[str] | None) -> None:
    """Refuse an import that reaches behind the public surface.

    Raises:
        ImportError: naming the module, what is allowed, and the importing file.
    """
    refused = surface.refuses(name, fromlist)
    if refused:
        raise surface.refusal(refused, str((namespace or {}).get("__file__", "workspace code")))


def guarded_import(name: str, globals: Mapping[str, Any] | None = None,  # noqa: A002 - the signature of __import__
                   locals: Mapping[str, Any] | None = None,  # noqa: A002
                   fromlist: Sequence[str] | None = (), level: int = 0) -> ModuleType:
    """`__import__`, for workspace code in the live process."""
    target = absolute_name(name, globals, level)
    check(target, globals, fromlist)
    with LIVE_MODULES if target.partition(".")[0] == "workspace" else contextlib.nullcontext():
        return builtins.__import__(name, globals, locals, fromlist or (), level)


GUARDED_BUILTINS: dict[str, Any] = {**vars(builtins), "__import__": guarded_import}
"""The builtins of a live workspace module."""
