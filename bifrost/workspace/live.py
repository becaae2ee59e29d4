"""The workspace that a worker serves: its catalog now, and every revision it has had."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from bifrost.decorators import ACTIVITY_ATTRIBUTE
from bifrost.errors import IntegrationError, NotFoundError, WorkflowException
from bifrost.models import ActivityMetadata
from bifrost.workspace import guard
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.discovery import discover
from bifrost.workspace.loader import Namespace, RevisionModules
from bifrost.workspace.revision import Revision, RevisionStore, snapshot


class Workspace:
    """A folder of user code, discovered and kept as a revision.

    Args:
        root: The folder; None for revisions alone, as a replay needs them.
        revisions: Where its revisions are kept.
        safe: Packages that only compute, which a run may use beside those of the standard library.

    Raises:
        ConfigurationError: there is no such folder.
    """

    def __init__(self, root: Path | None, revisions: RevisionStore, safe: Iterable[str] = ()) -> None:
        self.root = root
        self.revisions = revisions
        self._safe = frozenset(safe)
        self._outside = functools.lru_cache(maxsize=16)(self._modules)
        self._revision: Revision | None = None
        self.catalog = self._discover()

    def namespace(self, revision_id: str) -> Namespace:
        """The modules of one run, fresh.

        Raises:
            NotFoundError: the store does not have the revision.
        """
        return Namespace(self.revisions.get(revision_id), self._safe)

    def _modules(self, revision_id: str) -> RevisionModules:
        try:
            return RevisionModules(self.revisions.get(revision_id), self.root)
        except WorkflowException as error:  # this worker's store lacks it now: a later attempt, or another worker, may do better
            raise IntegrationError(str(error), integration="revisions") from error

    def activity(self, revision_id: str, module: str, function: str) -> ActivityMetadata:
        """An `@activity` of a revision. Its modules are loaded once a worker, outside of runs.

        Raises:
            IntegrationError: the store has not the revision, or cannot be reached, now.
            NotFoundError: the revision has no such activity.
            Exception: whatever loading its module raises.
        """
        with guard.LIVE_MODULES:
            found = self._outside(revision_id).load(module)
        for name in function.split("."):
            found = getattr(found, name, None)  # type: ignore[assignment]  # a module, then what is in it
        metadata = getattr(found, ACTIVITY_ATTRIBUTE, None)
        if not isinstance(metadata, ActivityMetadata):
            raise NotFoundError(f"There is no @activity '{function}' in {module}: it must stand at the top of its file",
                                kind="activity", name=function, near=[])
        return metadata

    def refresh(self) -> bool:
        """Discover again if a file has changed; answers whether one had."""
        if self.root is None or snapshot(self.root).id == self.catalog.revision:
            return False
        self.catalog = self._discover()
        return True

    def renew(self) -> None:
        """Put the revision again, if there is one, so that the store knows it to be served: what was put just now is not pruned.

        Raises:
            ConfigurationError: the store cannot be reached.
        """
        if self._revision:
            self.revisions.put(self._revision)

    def _discover(self) -> Catalog:
        if self.root is None:
            return Catalog("")
        revision = snapshot(self.root)
        catalog = discover(self.root, revision)
        self.revisions.put(revision)
        self._revision = revision
        return catalog
