"""Discovery: import what lies in the prescribed folders, and collect what the decorators recorded.

One broken file never hides the others. The order is that of the paths, so two workers find the same.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bifrost.decorators import DATA_PROVIDER_ATTRIBUTE, WORKFLOW_ATTRIBUTE
from bifrost.integrations.base import BaseIntegration, register_integration, registered_integrations
from bifrost.integrations.registry import BUILT_IN
from bifrost.models import DataProviderMetadata, WorkflowMetadata
from bifrost.workspace import finder, guard
from bifrost.workspace.catalog import Catalog, Failure, WorkflowEntry
from bifrost.workspace.guard import PACKAGE
from bifrost.workspace.revision import Revision

FOLDERS = ("integrations", "data_providers", "workflows")
"""Where discovery looks, in this order: workflows come last because they refer to the others."""

_WORKFLOW_NAME = re.compile(r"@workflow\(\s*(?:name\s*=\s*)?[\"'](\w+)[\"']")


def discover(root: Path, revision: Revision) -> Catalog:
    """Import the workspace at `root` afresh and list what it holds.

    Nothing in the workspace makes this fail: what could not be loaded is in the catalog's `failures`.
    """
    finder.install(root)
    importlib.invalidate_caches()
    return collect(root, revision)


def collect(root: Path, revision: Revision) -> Catalog:
    """The same, where the workspace is served already: what was imported before stays as it is."""
    found = _Found()
    for path in _files(revision):
        try:
            with guard.LIVE_MODULES:
                module = importlib.import_module(finder.module_name(path))
        except BaseException as error:  # user code may raise anything, SystemExit too
            if isinstance(error, KeyboardInterrupt):
                raise
            found.failures.append(_failure(root, path, error, revision.files[path]))
        else:
            found.collect(path, module)
    return Catalog(revision.id, found.workflows, found.data_providers, _integrations(), tuple(found.failures))


def _files(revision: Revision) -> Iterator[str]:
    for folder in FOLDERS:
        for path in sorted(revision.files):
            parts = path.split("/")
            if parts[0] == folder and "lib" not in parts[:-1] and not parts[-1].startswith("_"):
                yield path


class _Found:
    def __init__(self) -> None:
        self.workflows: dict[str, WorkflowEntry] = {}
        self.data_providers: dict[str, DataProviderMetadata] = {}
        self.failures: list[Failure] = []
        self._first: dict[tuple[type, str], str] = {}

    def collect(self, path: str, module: ModuleType) -> None:
        for value in {id(value): value for value in vars(module).values()}.values():  # each once, whatever it is called
            if getattr(value, "__module__", None) != module.__name__:
                continue  # imported from elsewhere, where it is collected
            workflow = getattr(value, WORKFLOW_ATTRIBUTE, None)
            provider = getattr(value, DATA_PROVIDER_ATTRIBUTE, None)
            if isinstance(workflow, WorkflowMetadata):
                self._add(self.workflows, workflow, WorkflowEntry(workflow, path), path)
            elif isinstance(provider, DataProviderMetadata):
                self._add(self.data_providers, provider, provider, path)
            elif isinstance(value, type) and issubclass(value, BaseIntegration) and value.integration_name:
                register_integration(value.integration_name, value)

    def _add(self, known: dict[str, Any], metadata: WorkflowMetadata | DataProviderMetadata, entry: Any,
             path: str) -> None:
        names = (metadata.name,) if isinstance(metadata, WorkflowMetadata) else ()
        broken = next((failure for failure in self.failures if set(names) & set(failure.workflows)), None)
        first = self._first.get((type(metadata), metadata.name)) or broken
        if first is None:
            self._first[type(metadata), metadata.name] = f"{path}:{metadata.source.line}"
            known[metadata.name] = entry
            return
        known.pop(metadata.name, None)
        self.failures.append(Failure(path, metadata.source.line, f"the name '{metadata.name}' is also defined at {first}; "
                                     "names must differ", names))


def _failure(root: Path, path: str, error: BaseException, source: str) -> Failure:
    workflows = tuple(_WORKFLOW_NAME.findall(source))
    if isinstance(error, SyntaxError) and error.filename:
        return Failure(_shown(root, error.filename), error.lineno, f"SyntaxError: {error.msg}", workflows)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(root.resolve())]
    reason = f"{type(error).__name__}: {error}"
    return Failure(_shown(root, frames[-1].filename) if frames else path, frames[-1].lineno if frames else None,
                   reason, workflows)


def _shown(root: Path, filename: str) -> str:
    path = Path(filename)
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else filename


def _integrations() -> Mapping[str, type[BaseIntegration]]:
    """Built-in and registered integrations, without those of a workspace that is no longer loaded."""
    def is_live(cls: type) -> bool:
        if cls.__module__.partition(".")[0] != PACKAGE:
            return True
        return getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls
    with guard.LIVE_MODULES:
        registered = {name: cls for name, cls in registered_integrations().items() if is_live(cls)}
    return dict(sorted({**BUILT_IN, **registered}.items()))
