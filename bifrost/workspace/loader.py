"""A revision's modules, executed afresh: for one run, or for the activities of every run that is pinned to it.

Every run has its own module objects, so a global that one run sets is never seen by another, nor by its own replay. What
the modules import decides who they get: the same revision's modules, Bifrost's front door, and beyond those in a run a
shim, the real module if it only computes, and otherwise a stand-in that is refused on use.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef, get_type_hints

from bifrost.decorators import WORKFLOW_ATTRIBUTE
from bifrost.errors import NotFoundError
from bifrost.models import WorkflowMetadata
from bifrost.workspace import determinism, finder, guard, shims, surface
from bifrost.workspace.finder import WORKFLOW_FILE, module_name, workflow_attribute
from bifrost.workspace.guard import PACKAGE
from bifrost.workspace.revision import SHORT, Revision

_BUILTINS = shims.builtins_for_runs()


def _register_nothing(_name: str, _cls: type) -> None:
    """An integration's file is loaded here for what lies beside it; its classes are registered by discovery."""


_front_doors: dict[str, ModuleType] = {}
_refused: dict[str, ModuleType] = {}


def _front_door(name: str) -> ModuleType:
    """The public surface, under its own or an older name, as a revision's modules see it."""
    known = _front_doors.get(name)
    if known is None:
        surface.serve_aliases()
        real = importlib.import_module(name)
        known = _front_doors[name] = ModuleType(name)
        vars(known).update({public: getattr(real, public) for public in getattr(real, "__all__", ())},
                           __all__=list(getattr(real, "__all__", ())), __path__=[])
        if hasattr(known, "register_integration"):
            vars(known)["register_integration"] = _register_nothing
        for child in (alias for alias in (*surface.ALIASES, *surface.PACKAGES) if alias.rpartition(".")[0] == name):
            vars(known)[child.rpartition(".")[2]] = _front_door(child)
    return known


def _classes_of(module: ModuleType) -> list[type]:
    return [value for value in list(vars(module).values()) if isinstance(value, type) and value.__module__ == module.__name__]


def _resolve_annotations(module: ModuleType) -> bool:
    """Put classes in the place of their names in annotations; answers whether every name was found.

    A dataclass's postponed annotation is looked up in `sys.modules` by whoever needs it, at any later time. This namespace is
    not there then: another's class, or none, would be found.
    """
    complete = True
    for value in _classes_of(module):
        own = vars(value).get("__annotations__", {})
        if not any(isinstance(hint, str | ForwardRef) for hint in own.values()) or "__pydantic_complete__" in vars(value):
            continue
        try:
            hints = get_type_hints(value, vars(module), include_extras=True)
        except NameError:
            complete = False
            continue
        value.__annotations__ = {name: hints[name] for name in own}
        for each in vars(value).get("__dataclass_fields__", {}).values():
            each.type = hints.get(each.name, each.type)
    return complete


class RevisionModules:
    """The modules of one revision, outside of runs: they import the real modules of everybody else, by the guard's rules.

    Args:
        revision: Whose source is executed.
        root: The workspace's folder, which `__file__` is told to lie in, so that files beside the code are found. They are
            not of the revision.
    """

    def __init__(self, revision: Revision, root: Path | None = None) -> None:
        self._revision = revision
        self._root = root
        self._modules: dict[str, ModuleType] = {}
        self._under_way: set[str] = set()
        self._unresolved: list[ModuleType] = []
        self._displaced: dict[str, ModuleType] | None = None
        self._shown: set[str] = set()
        self._builtins = {**self._base_builtins(), "__import__": self._import}

    def _base_builtins(self) -> Mapping[str, Any]:
        return guard.GUARDED_BUILTINS

    def load(self, name: str) -> ModuleType:
        """A `workspace.*` module of this revision.

        Raises:
            ModuleNotFoundError: the revision has no such file or folder.
        """
        known = self._modules.get(name)
        if known is not None and name not in self._under_way:
            return known
        with guard.LIVE_MODULES:  # another thread may be executing it
            return self._modules.get(name) or self._loaded(name)

    def _loaded(self, name: str) -> ModuleType:
        parent = name.rpartition(".")[0]
        if parent:
            self.load(parent)
        module = self._make(name)
        self._modules[name] = module
        self._under_way.add(name)
        try:
            path = module.__dict__.get("__source__")
            if path is not None:
                with determinism.loading(), self._in_sys_modules(name, module):
                    self._execute(path, module)
        except BaseException:
            del self._modules[name]
            raise
        finally:
            self._under_way.discard(name)
        if parent:
            setattr(self._modules[parent], name.rpartition(".")[2], module)
        return module

    def _execute(self, path: str, module: ModuleType) -> None:
        exec(self._revision.code(path), vars(module))  # noqa: S102 - this is the workspace's code
        for value in _classes_of(module):
            if vars(value).get("__pydantic_complete__") is False:
                value.model_rebuild(raise_errors=False)  # type: ignore[attr-defined]  # it refers to a later class
        self._unresolved = [one for one in (*self._unresolved, module) if not _resolve_annotations(one)]

    @contextlib.contextmanager
    def _in_sys_modules(self, name: str, module: ModuleType) -> Iterator[None]:
        """Inside, `sys.modules` has this namespace's modules, and the live workspace's not.

        dataclasses and pydantic look there for what a postponed annotation means. They must not find another revision's
        class of the same name, nor nothing.
        """
        with guard.LIVE_MODULES:
            if self._displaced is not None:
                sys.modules[name] = module
                self._shown.add(name)
                yield
                return
            self._displaced = finder.set_aside()
            sys.modules.update(self._modules)
            self._shown = set(self._modules)
            try:
                yield
            finally:
                for shown in self._shown:
                    sys.modules.pop(shown, None)
                sys.modules.update(self._displaced)
                self._displaced = None

    def _make(self, name: str) -> ModuleType:
        relative = "/".join(name.split(".")[1:])
        module = ModuleType(name)
        source = f"{relative}.py"
        if self._revision.has_folder(relative or "."):
            module.__path__ = [f"{PACKAGE}/{relative}"]
            source = f"{relative}/__init__.py".removeprefix("/")
            if f"{relative}/{WORKFLOW_FILE}.py" in self._revision.files:
                vars(module)["__getattr__"] = lambda attribute: workflow_attribute(name, attribute, self.load)
        elif source not in self._revision.files:
            raise ModuleNotFoundError(f"No module named '{name}' in revision {self._revision.id[:SHORT]}", name=name)
        vars(module).update(
            __builtins__=self._builtins, __file__=str(self._root / source) if self._root else f"{PACKAGE}/{source}",
            __package__=name if hasattr(module, "__path__") else name.rpartition(".")[0],
            __source__=source if source in self._revision.files else None)
        return module

    def _import(self, name: str, globals: Mapping[str, Any] | None = None,  # noqa: A002 - the signature of __import__
                locals: Mapping[str, Any] | None = None,  # noqa: A002
                fromlist: Sequence[str] | None = (), level: int = 0) -> ModuleType:
        target = guard.absolute_name(name, globals, level)
        if target.partition(".")[0] not in (PACKAGE, "bifrost", "engine"):
            return self._import_foreign(target, globals, locals, fromlist)
        guard.check(target, globals, fromlist)
        if not fromlist:
            self._resolve(target)
            return self._resolve(target.partition(".")[0])
        module = self._resolve(target)
        for item in [*fromlist, *(getattr(module, "__all__", ()) if "*" in fromlist else ())]:
            child = f"{target}.{item}"
            if item not in vars(module) and self._has(child):
                setattr(module, item, self._resolve(child))
        return module

    def _import_foreign(self, target: str, globals: Mapping[str, Any] | None, locals: Mapping[str, Any] | None,  # noqa: A002
                        fromlist: Sequence[str] | None) -> ModuleType:
        return guard.guarded_import(target, globals, locals, fromlist)

    def _has(self, name: str) -> bool:
        package, *parts = name.split(".")
        path = "/".join(parts)
        return package == PACKAGE and (self._revision.has_folder(path) or f"{path}.py" in self._revision.files)

    def _resolve(self, name: str) -> ModuleType:
        return self.load(name) if name.partition(".")[0] == PACKAGE else _front_door(name)


@functools.lru_cache
def _all_safe(safe: frozenset[str]) -> frozenset[str]:
    """Once, and not in every run that is kept in memory."""
    return shims.SAFE_MODULES | safe


class Namespace(RevisionModules):
    """The modules of one run: those of its revision, and shims and stand-ins in place of the machine.

    Args:
        revision: Whose source is executed.
        safe: Packages that only compute, beside those of the standard library: a run gets the real ones.
    """

    def __init__(self, revision: Revision, safe: frozenset[str] = frozenset()) -> None:
        super().__init__(revision)
        self._safe = _all_safe(safe)

    def _base_builtins(self) -> Mapping[str, Any]:
        return _BUILTINS

    def workflow(self, path: str, name: str) -> WorkflowMetadata:
        """The workflow `name`, as the file at `path` defines it.

        Raises:
            NotFoundError: the file does not define it.
            Exception: whatever executing the file raises.
        """
        loaded = self.load(module_name(path))
        defined = {metadata.name: metadata for value in list(vars(loaded).values())
                   if isinstance(metadata := getattr(value, WORKFLOW_ATTRIBUTE, None), WorkflowMetadata)}
        if name not in defined:
            raise NotFoundError.of("Workflow", name, defined, f"It is not in {PACKAGE}/{path}")
        return defined[name]

    def _import_foreign(self, target: str, globals: Mapping[str, Any] | None, locals: Mapping[str, Any] | None,  # noqa: A002
                        fromlist: Sequence[str] | None) -> ModuleType:
        del globals, locals
        if fromlist and target not in shims.MODULES and self._is_safe(target):
            return __import__(target, fromlist=fromlist)
        module = self._resolve(target)
        return module if fromlist else self._resolve(target.partition(".")[0])

    def _is_safe(self, name: str) -> bool:
        while name and name not in self._safe:
            name = name.rpartition(".")[0]
        return bool(name)

    def _resolve(self, name: str) -> ModuleType:
        """Who a run gets for an absolute module name."""
        top, _, rest = name.partition(".")
        if top in (PACKAGE, "bifrost", "engine"):
            return super()._resolve(name)
        if name in shims.MODULES:
            return shims.MODULES[name]
        if self._is_safe(name):
            return importlib.import_module(name)
        parent = self._resolve(name.rpartition(".")[0]) if rest else None
        module = getattr(parent, "__dict__", {}).get(name.rpartition(".")[2]) if parent else _refused.get(name)
        if not isinstance(module, ModuleType):
            module = determinism.RefusedModule(name)
            if parent:
                setattr(parent, name.rpartition(".")[2], module)
            else:
                _refused[name] = module
        return module
