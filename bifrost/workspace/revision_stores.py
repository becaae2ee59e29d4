"""Where revisions are kept: a folder, memory, or any place that fsspec reaches, such as a bucket that a fleet shares.

In a folder and behind a URL, a revision is a file `<id>.json`: one object of source text by path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.places import URL, Folder, Place, without_credentials
from bifrost.workspace.revision import SHORT, SUFFIX, RevisionStore, kept_id

VARIABLE: Final = "BIFROST_REVISIONS"
FRESH: Final = timedelta(minutes=5)
"""Behind a URL, what was put less than this ago is not put again: renewing a time there is a whole upload."""
PATIENCE: Final = timedelta(seconds=1)
"""How long an event loop is held up by a fetch; the SDK's bound for a workflow task is two seconds."""

_READERS: Final = 4
_log = structlog.stdlib.get_logger("bifrost.revisions")


def open_store(location: str) -> RevisionStore:
    """The store at a location: a URL with `://` is fsspec's, anything else is a folder.

    Raises:
        ConfigurationError: fsspec, or the package for the URL's protocol, is not installed, or the place cannot be reached.
    """
    return FsspecRevisions(location) if "://" in location else FolderRevisions(Path(location))


class _Files(RevisionStore):
    """Revisions as JSON files in a place."""

    def __init__(self, files: Place) -> None:
        super().__init__()
        self._files = files

    def place(self, revision_id: str) -> str:
        return self._files.shown(_name(revision_id))

    def _read(self, revision_id: str) -> bytes | None:
        return self._files.read(_name(revision_id))

    def _write(self, revision_id: str, content: bytes) -> None:
        put_at = self._files.written_at(_name(revision_id))
        if put_at is None:
            self._files.write(_name(revision_id), content)
        elif self._is_due(put_at):
            try:
                self._files.renew(_name(revision_id), content)
            except (OSError, ConfigurationError) as error:  # it is somebody else's, or the place is only to be read
                _not_renewed(revision_id, error)

    def _is_due(self, put_at: datetime) -> bool:
        """Whether what was put then is to be renewed."""
        del put_at
        return True

    def _times(self) -> Mapping[str, datetime]:
        named = ((kept_id(name), put_at) for name, put_at in self._files.times().items())
        return {revision_id: put_at for revision_id, put_at in named if revision_id}

    def _erase(self, revision_id: str) -> None:
        self._files.erase(_name(revision_id))


class FolderRevisions(_Files):
    """Revisions as JSON files in a folder, which the workers of a fleet may share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Folder(folder))


class MemoryRevisions(RevisionStore):
    """Revisions in memory: for tests, and for a worker that shares them with nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, tuple[bytes, datetime]] = {}

    def place(self, revision_id: str) -> str:
        return f"memory, {revision_id}"

    def _read(self, revision_id: str) -> bytes | None:
        content, _ = self._kept.get(revision_id, (None, None))
        return content

    def _write(self, revision_id: str, content: bytes) -> None:
        kept, _ = self._kept.get(revision_id, (content, None))
        self._kept[revision_id] = (kept, datetime.now(UTC))

    def _times(self) -> Mapping[str, datetime]:
        return {revision_id: put_at for revision_id, (_, put_at) in self._kept.items()}

    def _erase(self, revision_id: str) -> None:
        self._kept.pop(revision_id, None)


class FsspecRevisions(_Files):
    """Revisions behind a URL that fsspec understands (`s3://bucket/revisions`, `gs://…`, `file:///…`), for a fleet.

    Whoever asks from an event loop, as a run does, waits `PATIENCE` at most: Temporal takes a run that thinks longer for
    stuck. The fetch goes on, and the next attempt finds what was fetched. All who ask meanwhile share one fetch.

    Args:
        url: Where the files are, as `bifrost.places.URL` takes it.

    Raises:
        ConfigurationError: fsspec, or the package for the protocol, is not installed, or the place cannot be reached.
    """

    def __init__(self, url: str) -> None:
        super().__init__(URL(url, VARIABLE))
        self._shown = without_credentials(url)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="bifrost-revisions")
        self._reading: dict[str, Future[bytes | None]] = {}

    def _read(self, revision_id: str) -> bytes | None:
        with self._lock:
            future = self._reading.get(revision_id)
            if future is None:
                future = self._reading[revision_id] = self._readers.submit(super()._read, revision_id)
        wait([future], PATIENCE.total_seconds() if _in_event_loop() else None)
        if not future.done():  # no TimeoutError: the SDK would take it for its own, and report a deadlock
            raise IntegrationError(f"Revision {revision_id[:SHORT]} is still being fetched from {self._shown}: what needs it is "
                                   "to be tried again", integration="revisions")
        with self._lock:
            if self._reading.get(revision_id) is future:
                del self._reading[revision_id]
        return future.result()

    def _is_due(self, put_at: datetime) -> bool:
        return datetime.now(UTC) - put_at >= FRESH


def _name(revision_id: str) -> str:
    return f"{revision_id}{SUFFIX}"


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _not_renewed(revision_id: str, error: Exception) -> None:
    _log.warning("revision cannot be renewed: prune may take it for unused", revision=revision_id[:SHORT], reason=str(error))
