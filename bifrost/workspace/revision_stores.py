"""Where revisions are kept: a folder, memory, or any place that fsspec reaches, such as a bucket that a fleet shares.

In a folder and behind a URL, a revision is a file `<id>.json`: one object of source text by path.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from bifrost.errors import ConfigurationError, TimeoutError  # noqa: A004 - the name is the guide's
from bifrost.workspace.revision import SHORT, SUFFIX, RevisionStore, kept_id

VARIABLE: Final = "BIFROST_REVISIONS"
FRESH: Final = timedelta(minutes=5)
"""Behind a URL, what was put less than this ago is not put again: renewing a time there is a whole upload."""
PATIENCE: Final = timedelta(seconds=1)
"""How long an event loop is held up by a fetch; the SDK's bound for a workflow task is two seconds."""

_READERS: Final = 4
_TIMES: Final = ("mtime", "LastModified", "last_modified")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")
_log = structlog.stdlib.get_logger("bifrost.revisions")


def open_store(location: str) -> RevisionStore:
    """The store at a location: a URL with `://` is fsspec's, anything else is a folder.

    Raises:
        ConfigurationError: fsspec, or the package for the URL's protocol, is not installed, or the place cannot be reached.
    """
    return FsspecRevisions(location) if "://" in location else FolderRevisions(Path(location))


class FolderRevisions(RevisionStore):
    """Revisions as JSON files in a folder, which the workers of a fleet may share."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def place(self, revision_id: str) -> str:
        return str(self._path(revision_id))

    def _path(self, revision_id: str) -> Path:
        return self._folder / f"{revision_id}{SUFFIX}"

    def _read(self, revision_id: str) -> bytes | None:
        try:
            return self._path(revision_id).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, revision_id: str, content: bytes) -> None:
        path = self._path(revision_id)
        try:
            os.utime(path)
        except FileNotFoundError:
            pass
        except OSError as error:  # it is somebody else's, or the folder is mounted for reading
            _not_renewed(revision_id, error)
            return
        else:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # before it has its name, so that a crash leaves no empty revision
        Path(temporary).replace(path)  # at once, so that another worker never reads half a file

    def _times(self) -> Mapping[str, datetime]:
        found = {}
        for path in self._folder.glob(f"*{SUFFIX}"):
            if revision_id := kept_id(path.name):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    found[revision_id] = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return found

    def _erase(self, revision_id: str) -> None:
        self._path(revision_id).unlink(missing_ok=True)


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


class FsspecRevisions(RevisionStore):
    """Revisions behind a URL that fsspec understands (`s3://bucket/revisions`, `gs://…`, `file:///…`), for a fleet.

    Credentials and options are the protocol's own: its usual variables and files, and fsspec's `FSSPEC_<PROTOCOL>_<OPTION>`.

    Whoever asks from an event loop, as a run does, waits `PATIENCE` at most: Temporal takes a run that thinks longer for
    stuck. The fetch goes on, and the next attempt finds what was fetched. All who ask meanwhile share one fetch.

    Args:
        url: Where the files are; folders on the way are made, buckets are not.

    Raises:
        ConfigurationError: fsspec, or the package for the protocol, is not installed, or the place cannot be reached.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._shown = _without_credentials(url)
        try:
            fsspec, base = importlib.import_module("fsspec.core"), importlib.import_module("fsspec.spec")
        except ImportError as error:
            raise self._refusal("fsspec is not installed. Install it, or set it to a folder") from error
        try:
            self._fs, root = fsspec.url_to_fs(url)
            self._root: str = self._fs._strip_protocol(root).rstrip("/")  # noqa: SLF001 - fsspec's way to say it to subclasses
        except ImportError as error:
            raise self._refusal(f"the package for its protocol is missing: {error}") from error
        except ValueError as error:
            raise self._refusal(f"{error}. Set it to a folder, or to a URL of a protocol that fsspec knows") from error
        except Exception as error:
            raise self._unreachable(error) from error
        # A store of objects has no renaming: fsspec copies and deletes there, and one put is atomic by itself.
        self._renames = type(self._fs).mv is not base.AbstractFileSystem.mv
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="bifrost-revisions")
        self._reading: dict[str, Future[bytes | None]] = {}

    def place(self, revision_id: str) -> str:
        return f"{self._shown.rstrip('/')}/{revision_id}{SUFFIX}"

    def _path(self, revision_id: str) -> str:
        return f"{self._root}/{revision_id}{SUFFIX}"

    def _read(self, revision_id: str) -> bytes | None:
        with self._lock:
            future = self._reading.get(revision_id)
            if future is None:
                future = self._reading[revision_id] = self._readers.submit(self._fetch, revision_id)
        wait([future], PATIENCE.total_seconds() if _in_event_loop() else None)
        if not future.done():
            raise TimeoutError(f"Revision {revision_id[:SHORT]} is still being fetched from {self._shown}: what needs it is to be "
                               "tried again", PATIENCE.total_seconds())
        with self._lock:
            if self._reading.get(revision_id) is future:
                del self._reading[revision_id]
        return future.result()

    def _fetch(self, revision_id: str) -> bytes | None:
        try:
            with self._reaching():
                return bytes(self._fs.cat_file(self._path(revision_id)))
        except FileNotFoundError:
            return None

    def _write(self, revision_id: str, content: bytes) -> None:
        put_at = self._put_at(revision_id)
        if put_at and datetime.now(UTC) - put_at < FRESH:
            return
        try:
            with self._reaching():
                self._place(self._path(revision_id), content)
        except (ConfigurationError, FileNotFoundError) as error:
            if put_at is None:
                raise error if isinstance(error, ConfigurationError) else self._unreachable(error) from error
            _not_renewed(revision_id, error)

    def _place(self, path: str, content: bytes) -> None:
        if not self._renames:
            self._fs.pipe_file(path, content)
            return
        self._fs.makedirs(self._root, exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            self._fs.pipe_file(temporary, content)
            self._fs.mv(temporary, path)  # at once, so that another worker never reads half a file
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def _put_at(self, revision_id: str) -> datetime | None:
        try:
            with self._reaching():
                return self._time_of(self._fs.info(self._path(revision_id)))
        except FileNotFoundError:
            return None

    def _times(self) -> Mapping[str, datetime]:
        try:
            with self._reaching():
                entries = self._fs.ls(self._root, detail=True)
                named = ((kept_id(entry["name"].rpartition("/")[2]), entry) for entry in entries)
                return {revision_id: self._time_of(entry) for revision_id, entry in named if revision_id}
        except FileNotFoundError:
            return {}

    def _time_of(self, entry: Mapping[str, Any]) -> datetime:
        time = next((entry[key] for key in _TIMES if entry.get(key)), None)
        if not isinstance(time, datetime | int | float):
            time = self._fs.modified(entry["name"])
        return time.astimezone(UTC) if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)

    def _erase(self, revision_id: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._reaching():
            self._fs.rm_file(self._path(revision_id))

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Word what goes wrong inside; that a file is not there passes as it is."""
        self._fs.invalidate_cache()  # what other workers did meanwhile counts
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ConfigurationError:
        reason = _without_credentials(f"{type(error).__name__}: {error}")
        return self._refusal(f"that cannot be reached ({reason}). Check the address, and its protocol's credentials")

    def _refusal(self, sentence: str) -> ConfigurationError:
        return ConfigurationError(f"{VARIABLE} is '{self._shown}', and {sentence}", config_key=VARIABLE)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _without_credentials(text: str) -> str:
    return _CREDENTIALS.sub("", text)


def _not_renewed(revision_id: str, error: Exception) -> None:
    _log.warning("revision cannot be renewed: prune may take it for unused", revision=revision_id[:SHORT], reason=str(error))
