"""What workspace code may import of Bifrost: the front door, the test kit, and the front door's older names.

The older names (`engine.shared.*`) are modules without code of their own; each of their attributes is one of the front door.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

FRONT_DOOR = "bifrost"
TEST_KIT = "bifrost.testing"

ALIASES: Mapping[str, tuple[str, ...]] = {
    "engine.shared.decorators": ("workflow", "param", "data_provider", "activity"),
    "engine.shared.context": ("OrganizationContext", "Organization", "Caller"),
    "engine.shared.error_handling": ("WorkflowException", "ValidationError", "IntegrationError", "ConfigurationError",
                                     "PermissionError", "TimeoutError", "NotFoundError", "DeterminismError"),
    "engine.shared.models": ("WorkflowMetadata", "ParameterMetadata", "DataProviderMetadata", "ActivityMetadata", "OAuthCredentials",
                             "Organization", "Caller", "Schedule"),
    "engine.shared.integrations.base": ("BaseIntegration", "register_integration", "RetryRules", "CircuitRules", "operation"),
}
"""Which of the front door's names each older module serves."""

PACKAGES = {package for module in ALIASES for package in (
    ".".join(module.split(".")[:depth]) for depth in range(1, module.count(".") + 1))}
"""The packages above them."""

ALLOWED = (FRONT_DOOR, TEST_KIT, *ALIASES)


def refuses(name: str, fromlist: Sequence[str] | None) -> str | None:
    """The module of Bifrost that an import names and may not have, or None if the import is allowed."""
    top = name.partition(".")[0]
    if top not in ("bifrost", "engine"):
        return None
    if name in ALIASES:
        return None
    if name in (FRONT_DOOR, TEST_KIT):
        public = {*importlib.import_module(name).__all__, *(["testing"] if name == FRONT_DOOR else []), "*"}
        hidden = [item for item in fromlist or () if item not in public]
        return f"{name}.{hidden[0]}" if hidden else None
    if name in PACKAGES:
        within = [f"{name}.{item}" for item in fromlist or ()]
        return next((item for item in within if item not in ALIASES and item not in PACKAGES), None)
    return name


class _AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname not in ALIASES and fullname not in PACKAGES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname in PACKAGES)

    def exec_module(self, module: ModuleType) -> None:
        names = ALIASES.get(module.__name__)
        if names is not None:
            front_door = importlib.import_module(FRONT_DOOR)
            vars(module).update({name: getattr(front_door, name) for name in names}, __all__=list(names))


def serve_aliases() -> None:
    """Let `import engine.shared.…` work in this process. Safe to call again; an installed `engine` package goes first."""
    if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        sys.meta_path.append(_AliasFinder())
