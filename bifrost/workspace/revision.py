"""Revisions: immutable, content-addressed snapshots of the workspace's source.

An execution records the revision that it started with, and every replay runs that source, whatever was deployed since.
Here is the port to wherever revisions are kept; its adapters are in `revision_stores`.
"""

from __future__ import annotations

import abc
import hashlib
import json
import linecache
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import CodeType

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.workspace.finder import is_test
from bifrost.workspace.guard import PACKAGE

SHORT = 12
"""How many characters of a revision's id are shown to people."""
SUFFIX = ".json"
"""How the name of a file ends that holds a revision."""
_ID = re.compile("[0-9a-f]{64}")


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


@dataclass(frozen=True, slots=True)
class KeptRevision:
    """A revision, as a store has it.

    Attributes:
        id: The revision's id.
        put_at: When it was put last, in UTC.
        files: How many files it has; None where what the store has is damaged.
        size: The bytes of their source; None where that is damaged.
    """

    id: str
    put_at: datetime
    files: int | None
    size: int | None


class RevisionStore(abc.ABC):
    """Keeps revisions by id. What was put is never changed; what no execution needs any more may be removed."""

    CACHED = 256
    """How many revisions a process keeps loaded."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, Revision] = OrderedDict()
        self._lock = threading.Lock()

    @abc.abstractmethod
    def place(self, revision_id: str) -> str:
        """Where a revision lies, for messages."""

    @abc.abstractmethod
    def _read(self, revision_id: str) -> bytes | None:
        """What was written, or None."""

    @abc.abstractmethod
    def _write(self, revision_id: str, content: bytes) -> None:
        """Keep the content, whole or not at all. Where it is kept already, its time becomes now."""

    @abc.abstractmethod
    def _times(self) -> Mapping[str, datetime]:
        """When each was written, or its time made now."""

    @abc.abstractmethod
    def _erase(self, revision_id: str) -> None:
        """Keep it no longer; no error where it is not kept."""

    def put(self, revision: Revision) -> None:
        """Keep a revision. Put again, its time is renewed: so a worker shows which one it serves.

        Raises:
            ConfigurationError: the store cannot be reached.
        """
        self._write(revision.id, json.dumps(revision.files, ensure_ascii=False).encode())
        self._remember(revision)

    def get(self, revision_id: str) -> Revision:
        """A revision, verified by its hash.

        Raises:
            NotFoundError: it is not in the store.
            ConfigurationError: what the store has is not what was put, or it cannot be reached.
            IntegrationError: it is still being fetched; a later try finds it.
        """
        with self._lock:
            if revision_id in self._loaded:
                self._loaded.move_to_end(revision_id)
                return self._loaded[revision_id]
        content = self._read(revision_id)
        if content is None:
            raise NotFoundError.of("Revision", revision_id, (), "The revision store that executions started with is needed "
                                   "to go on: see BIFROST_REVISIONS")
        revision = self._verified(revision_id, content)
        self._remember(revision)
        return revision

    def times(self) -> Mapping[str, datetime]:
        """When each kept revision was put last, in UTC, the newest first; no content is read.

        Raises:
            ConfigurationError: the store cannot be reached.
        """
        return dict(sorted(self._times().items(), key=lambda kept: (kept[1], kept[0]), reverse=True))

    def listed(self) -> Sequence[KeptRevision]:
        """Every kept revision, the newest first. Each is read and verified; a damaged one is listed as such.

        Raises:
            ConfigurationError: the store cannot be reached.
        """
        found = []
        for revision_id, put_at in self.times().items():
            content = self._read(revision_id)
            if content is None:  # removed meanwhile
                continue
            try:
                files = self._verified(revision_id, content).files
            except ConfigurationError:
                found.append(KeptRevision(revision_id, put_at, None, None))
                continue
            found.append(KeptRevision(revision_id, put_at, len(files),
                                      sum(len(source.encode()) for source in files.values())))
        return found

    def remove(self, revision_id: str) -> None:
        """Keep a revision no longer; executions that began with it cannot go on, be replayed or be resumed.

        No error where there is none of this id.

        Raises:
            ConfigurationError: the store cannot be reached.
        """
        if not _ID.fullmatch(revision_id):
            return
        self._erase(revision_id)
        with self._lock:
            self._loaded.pop(revision_id, None)

    def _verified(self, revision_id: str, content: bytes) -> Revision:
        try:
            files = json.loads(content.decode())
        except ValueError as error:
            raise ConfigurationError(f"{self.place(revision_id)} is damaged: {error}") from error
        if not isinstance(files, dict) or not all(isinstance(source, str) for source in files.values()):
            raise ConfigurationError(f"{self.place(revision_id)} is damaged: it holds no source files")
        revision = Revision(files)
        if revision.id != revision_id:
            raise ConfigurationError(f"Revision {revision_id} was changed in the store: its content hashes to {revision.id}")
        return revision

    def _remember(self, revision: Revision) -> None:
        with self._lock:
            self._loaded[revision.id] = revision
            while len(self._loaded) > self.CACHED:
                self._loaded.popitem(last=False)


def kept_id(name: str) -> str | None:
    """The id of the revision that a file of this name holds, or None."""
    stem = name.removesuffix(SUFFIX)
    return stem if name != stem and _ID.fullmatch(stem) else None
