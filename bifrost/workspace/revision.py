"""Revisions: immutable, content-addressed snapshots of the workspace's source.

An execution records the revision that it started with, and every replay runs that source, whatever was deployed since.
"""

from __future__ import annotations

import abc
import hashlib
import json
import linecache
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import CodeType

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.workspace.finder import PACKAGE, is_test

SHORT = 12
"""How many characters of a revision's id are shown to people."""


def _digest(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        content = files[path].encode()
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


class Revision:
    """The source files of one state of the workspace, by path relative to it.

    Attributes:
        id: The SHA-256 of paths and contents, in hexadecimal.
        files: Source text by path, such as `workflows/onboarding/create_user/workflow.py`.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)
        self.id = _digest(self.files)
        self._folders = {str(folder) for path in self.files for folder in Path(path).parents}
        self._code: dict[str, CodeType] = {}

    def has_folder(self, path: str) -> bool:
        """Whether some file lies in this folder or below; `.` is the workspace itself."""
        return path in self._folders

    def code(self, path: str) -> CodeType:
        """The compiled source of a file; compiled once a process.

        Raises:
            KeyError: no such file.
            SyntaxError: it cannot be compiled.
        """
        code = self._code.get(path)
        if code is None:
            shown = f"{PACKAGE}/{path}"
            code = self._code[path] = compile(self.files[path], shown, "exec", dont_inherit=True)
            lines = self.files[path].splitlines(keepends=True)
            linecache.cache[shown] = (len(self.files[path]), None, lines, shown)  # so that tracebacks show this source
        return code


def snapshot(root: Path) -> Revision:
    """The workspace's source as it is now: every `.py` file but tests and hidden ones.

    Raises:
        ConfigurationError: there is no such folder, or a file is not UTF-8.
    """
    if not root.is_dir():
        raise ConfigurationError(f"There is no workspace at {root}: create the folder, or set BIFROST_WORKSPACE",
                                 config_key="BIFROST_WORKSPACE")
    files = {}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        module = ".".join([PACKAGE, *relative.with_suffix("").parts])
        if is_test(module) or any(part.startswith(".") or part == "__pycache__" for part in relative.parts):
            continue
        if not path.is_file():  # a folder of that name, or the lock that an editor leaves
            continue
        try:
            files[relative.as_posix()] = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path} is not UTF-8: {error}") from error
    return Revision(files)


class RevisionStore(abc.ABC):
    """Keeps revisions by id. What was put is never changed."""

    CACHED = 256
    """How many revisions a process keeps loaded."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, Revision] = OrderedDict()
        self._lock = threading.Lock()

    @abc.abstractmethod
    def _read(self, revision_id: str) -> Mapping[str, str] | None:
        """The files that were written, or None."""

    @abc.abstractmethod
    def _write(self, revision: Revision) -> None:
        """Keep the files; does nothing where they are kept already."""

    def put(self, revision: Revision) -> None:
        """Keep a revision."""
        self._write(revision)
        self._remember(revision)

    def get(self, revision_id: str) -> Revision:
        """A revision, verified by its hash.

        Raises:
            NotFoundError: it is not in the store.
            ConfigurationError: what the store has is not what was put.
        """
        with self._lock:
            if revision_id in self._loaded:
                self._loaded.move_to_end(revision_id)
                return self._loaded[revision_id]
        files = self._read(revision_id)
        if files is None:
            raise NotFoundError.of("Revision", revision_id, (), "The revision store that executions started with is needed "
                                   "to go on: see BIFROST_REVISIONS")
        revision = Revision(files)
        if revision.id != revision_id:
            raise ConfigurationError(f"Revision {revision_id} was changed in the store: its content hashes to {revision.id}")
        self._remember(revision)
        return revision

    def _remember(self, revision: Revision) -> None:
        with self._lock:
            self._loaded[revision.id] = revision
            while len(self._loaded) > self.CACHED:
                self._loaded.popitem(last=False)


class FolderRevisions(RevisionStore):
    """Revisions as JSON files in a folder, which the workers of a fleet may share."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _path(self, revision_id: str) -> Path:
        return self._folder / f"{revision_id}.json"

    def _read(self, revision_id: str) -> Mapping[str, str] | None:
        try:
            files = json.loads(self._path(revision_id).read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ConfigurationError(f"{self._path(revision_id)} is damaged: {error}") from error
        if not isinstance(files, dict) or not all(isinstance(source, str) for source in files.values()):
            raise ConfigurationError(f"{self._path(revision_id)} is damaged: it holds no source files")
        return files

    def _write(self, revision: Revision) -> None:
        path = self._path(revision.id)
        if path.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(revision.files, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())  # before it has its name, so that a crash leaves no empty revision
        Path(temporary).replace(path)  # at once, so that another worker never reads half a file


class MemoryRevisions(RevisionStore):
    """Revisions in memory: for tests, and for a worker that shares them with nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, Mapping[str, str]] = {}

    def _read(self, revision_id: str) -> Mapping[str, str] | None:
        return self._kept.get(revision_id)

    def _write(self, revision: Revision) -> None:
        self._kept.setdefault(revision.id, revision.files)
