"""The parts of Bifrost that commands put together, by the settings of the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from bifrost import logging
from bifrost.settings import Settings
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision import FolderRevisions, MemoryRevisions

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


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


def workspace(read: Settings) -> Workspace:
    """The workspace that a worker serves; its revision is kept in the store."""
    return Workspace(read.workspace, FolderRevisions(read.revisions))


def catalog(read: Settings) -> Catalog:
    """What the workspace holds, for looking at: nothing is kept."""
    return Workspace(read.workspace, MemoryRevisions()).catalog


def warn_of_failures(found: Catalog) -> None:
    """One warning for each thing in the workspace that cannot be used."""
    for failure in found.failures:
        _log.warning("cannot be loaded", file=failure.file, line=failure.line, reason=failure.reason)
