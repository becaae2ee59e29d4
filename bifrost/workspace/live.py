"""The workspace that a worker serves: its catalog now, and every revision it has had."""

from __future__ import annotations

from pathlib import Path

from bifrost.workspace.catalog import Catalog
from bifrost.workspace.discovery import discover
from bifrost.workspace.revision import RevisionStore, snapshot


class Workspace:
    """A folder of user code, discovered and kept as a revision.

    Raises:
        ConfigurationError: there is no such folder.
    """

    def __init__(self, root: Path, revisions: RevisionStore) -> None:
        self.root = root
        self.revisions = revisions
        self.catalog = self._discover()

    def refresh(self) -> bool:
        """Discover again if a file has changed; answers whether one had."""
        if snapshot(self.root).id == self.catalog.revision:
            return False
        self.catalog = self._discover()
        return True

    def _discover(self) -> Catalog:
        revision = snapshot(self.root)
        catalog = discover(self.root, revision)
        self.revisions.put(revision)
        return catalog
