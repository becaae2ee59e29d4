"""The parts of Bifrost that commands put together, by the settings of the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

from bifrost import logging
from bifrost.errors import ConfigurationError
from bifrost.organizations.yaml import YamlOrganizations
from bifrost.settings import Settings
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision import RevisionStore
from bifrost.workspace.revision_stores import MemoryRevisions, open_store

T = TypeVar("T")
_log = structlog.stdlib.get_logger("bifrost.cli")


def settings() -> Settings:
    """The environment's settings; logging is set up by them.

    Raises:
        ConfigurationError: a variable has a value that it cannot have.
    """
    read = Settings.from_environment()
    logging.configure(read)
    return read


def fix_hash_seed() -> None:
    """Run this command under a fixed hash seed, so that sets of texts have one order in every process that executes runs."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "bifrost", *sys.argv[1:]])  # noqa: S606 - the same program


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


Left = Callable[[str | None], str | None]
"""Says of an organization's id "inactive" or "unknown"; None where all is well, or nobody can say."""


def left_organizations(read: Settings) -> Left:
    """Who has left, by the organizations as they are now: their executions go on, and readers should know.

    Executions can be read where there are no organizations, so that these cannot be read is no error here.
    """
    try:
        active = {one.id: one.active for one in YamlOrganizations(read.organizations).all()}
    except ConfigurationError:
        return lambda _org_id: None
    return lambda org_id: None if org_id is None or active.get(org_id) else "inactive" if org_id in active else "unknown"


def workspace(read: Settings) -> Workspace:
    """The workspace that a worker serves; its revision is kept in the store."""
    return Workspace(read.workspace, revisions(read), read.workflow_safe)


def revisions(read: Settings) -> RevisionStore:
    """The store of revisions."""
    return open_store(read.revisions)


def catalog(read: Settings) -> Catalog:
    """What the workspace holds, for looking at: nothing is kept."""
    return Workspace(read.workspace, MemoryRevisions(), read.workflow_safe).catalog


def warn_of_failures(found: Catalog) -> None:
    """One warning for each thing in the workspace that cannot be used."""
    for failure in found.failures:
        _log.warning("cannot be loaded", file=failure.file, line=failure.line, reason=failure.reason)
