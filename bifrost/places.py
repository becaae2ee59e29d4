"""Where files are kept: in a folder, or behind any URL that fsspec reaches, such as a bucket that a fleet shares.

A file has its name only once it is whole, whatever happens while it is written.
"""

from __future__ import annotations

import abc
import contextlib
import importlib
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bifrost.errors import ConfigurationError

_TIMES: Final = ("mtime", "LastModified", "last_modified")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")


class Place(abc.ABC):
    """Files by name, in one folder, without folders below."""

    @abc.abstractmethod
    def shown(self, name: str) -> str:
        """Where a file is, for messages; without credentials."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes | None:
        """What a file holds, or None where there is none."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Put a file, whole or not at all. One of that name is replaced."""

    @abc.abstractmethod
    def written_at(self, name: str) -> datetime | None:
        """When a file was put last, in UTC, or None where there is none."""

    @abc.abstractmethod
    def renew(self, name: str, content: bytes) -> None:
        """Make the time of a file that holds this already now."""

    @abc.abstractmethod
    def times(self) -> Mapping[str, datetime]:
        """When each file was put last, in UTC."""

    @abc.abstractmethod
    def erase(self, name: str) -> None:
        """Remove a file; no error where there is none."""


class Folder(Place):
    """Files in a folder, which is made when the first is put."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shown(self, name: str) -> str:
        return str(self._folder / name)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # before it has its name, so that a crash leaves no empty file
            Path(temporary).replace(self._folder / name)  # at once, so that nobody ever reads half a file
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def written_at(self, name: str) -> datetime | None:
        try:
            return datetime.fromtimestamp((self._folder / name).stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def renew(self, name: str, content: bytes) -> None:
        try:
            os.utime(self._folder / name)
        except FileNotFoundError:  # removed meanwhile
            self.write(name, content)

    def times(self) -> Mapping[str, datetime]:
        found = ((path.name, self.written_at(path.name)) for path in self._folder.glob("*"))
        return {name: put_at for name, put_at in found if put_at}  # one may be removed meanwhile

    def erase(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class URL(Place):
    """Files behind a URL that fsspec understands (`s3://bucket/path`, `gs://…`, `file:///…`).

    Credentials and options are the protocol's own: its usual variables and files, and fsspec's `FSSPEC_<PROTOCOL>_<OPTION>`.

    Args:
        url: Where the files are; folders on the way are made, buckets are not.
        variable: The setting that says so, for messages.

    Raises:
        ConfigurationError: fsspec, or the package for the protocol, is not installed, or the place cannot be reached.
    """

    def __init__(self, url: str, variable: str) -> None:
        self._url = without_credentials(url)
        self._variable = variable
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

    def shown(self, name: str) -> str:
        return f"{self._url.rstrip('/')}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        try:
            with self._reaching():
                return bytes(self._fs.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        try:
            with self._reaching():
                self._write(self._path(name), content)
        except FileNotFoundError as error:  # the bucket
            raise self._unreachable(error) from error

    def _write(self, path: str, content: bytes) -> None:
        if not self._renames:
            self._fs.pipe_file(path, content)
            return
        self._fs.makedirs(self._root, exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            self._fs.pipe_file(temporary, content)
            self._fs.mv(temporary, path)  # at once, so that nobody ever reads half a file
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def written_at(self, name: str) -> datetime | None:
        try:
            with self._reaching():
                return self._time_of(self._fs.info(self._path(name)))
        except FileNotFoundError:
            return None

    def renew(self, name: str, content: bytes) -> None:
        self.write(name, content)  # there is no other way

    def times(self) -> Mapping[str, datetime]:
        found = {}
        with contextlib.suppress(FileNotFoundError), self._reaching():
            for entry in self._fs.ls(self._root, detail=True):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    found[entry["name"].rpartition("/")[2]] = self._time_of(entry)
        return found

    def _time_of(self, entry: Mapping[str, Any]) -> datetime:
        time = next((entry[key] for key in _TIMES if entry.get(key)), None)
        if not isinstance(time, datetime | int | float):
            time = self._fs.modified(entry["name"])
        return time.astimezone(UTC) if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)

    def erase(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._reaching():
            self._fs.rm_file(self._path(name))

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Word what goes wrong inside; that a file is not there passes as it is."""
        self._fs.invalidate_cache()  # what others did meanwhile counts
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ConfigurationError:
        reason = without_credentials(f"{type(error).__name__}: {error}")
        return self._refusal(f"that cannot be reached ({reason}). Check the address, and its protocol's credentials")

    def _refusal(self, sentence: str) -> ConfigurationError:
        return ConfigurationError(f"{self._variable} is '{self._url}', and {sentence}", config_key=self._variable)


def open_place(location: str, variable: str) -> Place:
    """The place at a location: a URL with `://` is fsspec's, anything else is a folder.

    Args:
        location: What the setting says.
        variable: The setting's variable, for messages.

    Raises:
        ConfigurationError: fsspec, or the package for the URL's protocol, is not installed, or the place cannot be reached.
    """
    return URL(location, variable) if "://" in location else Folder(Path(location))


def without_credentials(text: str) -> str:
    """`text` without the user and password of any URL in it."""
    return _CREDENTIALS.sub("", text)
