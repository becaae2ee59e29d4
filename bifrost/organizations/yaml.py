"""Organizations in YAML: one file, or a folder of files as one keeps them in git. Changed files are read again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from bifrost.errors import ConfigurationError, NotFoundError
from bifrost.models import Organization, OrganizationLimits, ScheduleOverride
from bifrost.organizations.base import OrganizationStore
from bifrost.organizations.document import Document, read_document

CHECK_SECONDS: Final = 0.2
"""How often, at most, files are looked at for changes."""
_IDLE_FACTOR: Final = 20  # looking at thousands of files takes a while: at most a twentieth of the time goes into it
_SUFFIXES: Final = (".yaml", ".yml")

_Stamp = tuple[int, int, int]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _State:
    by_id: Mapping[str, Organization]
    ordered: Sequence[Organization]
    global_config: Mapping[str, Any] = field(default_factory=dict)
    global_schedules: Mapping[str, ScheduleOverride] = field(default_factory=dict)


class YamlOrganizations(OrganizationStore):
    """A store over a file, or over every `*.yaml` and `*.yml` of a folder (hidden ones apart).

    A change takes effect at the next question. One that cannot be understood is logged once, and what was understood
    last stays in force.

    Args:
        path: The file or the folder.
        check_seconds: How often, at most, it is looked at for changes.

    Raises:
        ConfigurationError: at the first reading: it is absent, or wrong; names file, line and key.
    """

    def __init__(self, path: Path, *, check_seconds: float = CHECK_SECONDS) -> None:
        self._path = path
        self._check_seconds = check_seconds
        self._lock = threading.Lock()
        self._documents: dict[Path, tuple[_Stamp, Document]] = {}
        self._stamps = self._look()
        self._state = self._load(self._stamps)
        self._next_look = time.monotonic() + check_seconds

    def all(self) -> Sequence[Organization]:
        return self._current().ordered

    def global_config(self) -> Mapping[str, Any]:
        return self._current().global_config

    def global_schedules(self) -> Mapping[str, ScheduleOverride]:
        return self._current().global_schedules

    def get(self, org_id: str) -> Organization:
        by_id = self._current().by_id
        if org_id not in by_id:
            raise NotFoundError.of("Organization", org_id, by_id, f"Organizations are kept in {self._path}.")
        return by_id[org_id]

    def _current(self) -> _State:
        with self._lock:
            began = time.monotonic()
            if began < self._next_look:
                return self._state
            stamps = self._look()
            looked = time.monotonic()
            self._next_look = looked + max(self._check_seconds, _IDLE_FACTOR * (looked - began))
            if stamps != self._stamps:
                self._stamps = stamps
                try:
                    self._state = self._load(stamps)
                    _log.info("Organizations were read again", path=str(self._path), count=len(self._state.ordered))
                except ConfigurationError as error:
                    _log.warning("Organizations cannot be read; what they said before stays in force",
                                 path=str(self._path), error=error.message)
            return self._state

    def _look(self) -> dict[Path, _Stamp]:
        """The files that there are, and what changes when their content does."""
        try:
            files = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]
        except OSError:
            return {}
        chosen = [file for file in files
                  if file == self._path or (file.suffix in _SUFFIXES and not file.name.startswith("."))]
        return {file: stamp for file in chosen if (stamp := _stamp(file)) is not None}

    def _load(self, stamps: Mapping[Path, _Stamp]) -> _State:
        if not stamps:
            what = "no *.yaml file in the folder" if self._path.is_dir() else "no file or folder at"
            raise ConfigurationError(f"There is {what} {self._path}: write the organizations there, or set "
                                     "BIFROST_ORGANIZATIONS to where they are", config_key="BIFROST_ORGANIZATIONS")
        for file in self._documents.keys() - stamps.keys():
            del self._documents[file]
        for file, stamp in stamps.items():
            if file not in self._documents or self._documents[file][0] != stamp:
                self._documents[file] = (stamp, read_document(file))
        return _merge(self._documents[file][1] for file in stamps)


def _stamp(file: Path) -> _Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _merge(documents: Iterable[Document]) -> _State:
    """All documents as one; whatever two of them say is refused with both places."""
    found: dict[str, Organization] = {}
    places: dict[str, str] = {}
    global_config: Mapping[str, Any] = {}
    limits = OrganizationLimits()
    schedules: Mapping[str, ScheduleOverride] = {}
    for document in documents:
        named = [(organization.id, line) for organization, line in document.organizations]
        for key, line in [*named, *([] if document.global_config is None else [("", document.global_line)])]:
            place = f"{document.file}:{line}"
            if key in places:
                what = f"the organization '{key}'" if key else "'global'"
                raise ConfigurationError(f"{place}: {what} is given twice; it is also in {places[key]}",
                                         config_key=key or "global", file=str(document.file), line=line, key=key or "global")
            places[key] = place
        found |= {organization.id: organization for organization, _ in document.organizations}
        global_config = global_config if document.global_config is None else document.global_config
        limits = document.global_limits or limits
        schedules = document.global_schedules or schedules
    if limits != OrganizationLimits():
        found = {org_id: replace(organization, limits=organization.limits.over(limits)) for org_id, organization in found.items()}
    if schedules:
        found = {org_id: replace(organization, schedules=_over(organization.schedules, schedules)) for org_id, organization in found.items()}
    ordered = tuple(found[org_id] for org_id in sorted(found))
    return _State(found, ordered, global_config, schedules)


def _over(own: Mapping[str, ScheduleOverride], everybodys: Mapping[str, ScheduleOverride]) -> dict[str, ScheduleOverride]:
    return {**everybodys, **{name: said.over(everybodys.get(name, ScheduleOverride())) for name, said in own.items()}}
