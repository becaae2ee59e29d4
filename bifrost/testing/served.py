"""The workspace that tests import from, as a catalog; and another one in its place for a moment."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from bifrost.integrations.base import register_integration, registered_integrations
from bifrost.integrations.registry import BUILT_IN
from bifrost.workspace import discovery, finder
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.finder import WorkspaceFinder
from bifrost.workspace.revision import snapshot


def catalog() -> Catalog:
    """What the workspace that tests import from holds: the very functions and classes that they import and patch.

    Without a workspace, the built-in integrations are all there is.
    """
    for served in _finders():
        return discovery.collect(served.root, snapshot(served.root))
    return Catalog("", integrations=BUILT_IN)


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Inside, a workspace may be discovered; afterwards the modules that tests have imported are there again."""
    served, registered, modules = _finders(), registered_integrations(), finder.forget()
    try:
        yield
    finally:
        finder.uninstall()
        sys.meta_path[:0] = served
        sys.modules.update(modules)
        for name, cls in registered.items():
            register_integration(name, cls)


def _finders() -> list[WorkspaceFinder]:
    return [one for one in sys.meta_path if isinstance(one, WorkspaceFinder)]
