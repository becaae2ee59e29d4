"""One YAML file of organizations: read, checked to the last key, and every complaint with its line.

A file holds either one organization at its top, or a list under `organizations` and what applies to all under `global`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic import ValidationError as PydanticError

from bifrost import cron
from bifrost.errors import ConfigurationError, ValidationError
from bifrost.models import GLOBAL, Organization, OrganizationLimits, ScheduleOverride
from bifrost.secrets.base import check_segment

_SHOWN: Final = 10
_TYPES: Final = ("string", "int", "bool", "json", "secret_ref")
_TRUTHS: Final = ("true", "1", "yes", "on", "false", "0", "no", "off")
_SENTENCES: Final[Mapping[str, str]] = {
    "extra_forbidden": "is not a known key",
    "missing": "is missing",
    "string_type": "is not text: put it in quotes",
    "list_type": "is not a list",
    "dict_type": "is not a mapping of keys to values",
    "model_type": "is not a mapping of keys to values",
}
_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": int, "json": json.loads, "secret_ref": lambda text: check_segment("secret name", text)}
_STRING, _MERGE, _TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("str", "merge", "timestamp"))
_Path = tuple[str | int, ...]
_Complaint = tuple[_Path, str]

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LOADER: Any = type("_Loader", (_BASE,), {"yaml_implicit_resolvers": {
    # A date stays the text it is written as: configuration is JSON, which has no dates.
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}})


def _organization_id(text: str) -> str:
    if text == GLOBAL:
        raise ValueError(f"'{GLOBAL}' is the scope of all organizations and cannot be the id of one")
    try:
        return check_segment("organization id", text)
    except ValidationError as error:
        raise ValueError(error.message) from error


_Config = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Count = Annotated[int, Field(ge=1, strict=True)]


class _Limits(_Entry):
    executions: _Count | None = None
    executions_per_minute: _Count | None = None

    def read(self) -> OrganizationLimits:
        """The same in the project's own words."""
        return OrganizationLimits(self.executions, self.executions_per_minute)


def _cron(text: str) -> str:
    if fault := cron.fault(text):
        raise ValueError(f"is no cron expression: {fault}")
    return text


def _timezone(name: str) -> str:
    if fault := cron.zone_fault(name):
        raise ValueError(f"is no time zone: {fault}")
    return name


class _Schedule(_Entry):
    cron: Annotated[str, AfterValidator(_cron)] | None = None
    timezone: Annotated[str, AfterValidator(_timezone)] | None = None
    paused: StrictBool | None = None
    enabled: StrictBool | None = None

    def read(self) -> ScheduleOverride:
        """The same in the project's own words."""
        return ScheduleOverride(self.cron, self.timezone, self.paused, self.enabled)


_Schedules = dict[str, _Schedule]


def _overrides(schedules: _Schedules) -> dict[str, ScheduleOverride]:
    return {name: one.read() for name, one in schedules.items()}


class _Organization(_Entry):
    id: Annotated[str, AfterValidator(_organization_id)]
    name: Annotated[str, Field(min_length=1)]
    tenant_id: str | None = None
    active: StrictBool = True
    limits: _Limits = Field(default_factory=_Limits)
    schedules: _Schedules = Field(default_factory=dict)
    config: _Config = Field(default_factory=dict)

    def read(self) -> Organization:
        """The same in the project's own words."""
        return Organization(self.id, self.name, self.tenant_id, self.active, self.config, self.limits.read(), _overrides(self.schedules))


class _Global(_Entry):
    limits: _Limits = Field(default_factory=_Limits)
    schedules: _Schedules = Field(default_factory=dict)
    config: _Config = Field(default_factory=dict)


class _File(_Entry):
    everywhere: _Global | None = Field(default=None, alias="global")
    organizations: list[_Organization] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Document:
    """What one file says. Lines count from 1; `global_config`, `global_limits` and `global_schedules` are None where the file has no `global`."""

    file: Path
    organizations: tuple[tuple[Organization, int], ...]
    global_config: Mapping[str, Any] | None
    global_limits: OrganizationLimits | None
    global_schedules: Mapping[str, ScheduleOverride] | None
    global_line: int


def read_document(file: Path) -> Document:
    """Read and check one file.

    Raises:
        ConfigurationError: it cannot be read, or says something that it may not; names file, line and key, and never a
            value. `details` has `file`, `line` and `key` of the first complaint.
    """
    node, content, complaints = _parse(file)
    alone = isinstance(content, dict) and not {"global", "organizations"} & content.keys()
    said = _File()
    if not complaints:
        try:
            said = _File(organizations=[_Organization.model_validate(content)]) if alone else _File.model_validate(content)
        except PydanticError as error:
            complaints = [(found["loc"], _sentence(found)) for found in error.errors()]
    checked: set[int] = set()
    for path, config in _configs(said, alone=alone):
        complaints += _bad_values(config, path, checked)
    if complaints:
        raise _refusal(file, node, complaints)
    nodes = [node] if alone else _items(node, "organizations")
    return Document(
        file, tuple((entry.read(), _line(entry_node, ("id",))) for entry, entry_node in zip(said.organizations, nodes, strict=True)),
        said.everywhere.config if said.everywhere else None, said.everywhere.limits.read() if said.everywhere else None,
        _overrides(said.everywhere.schedules) if said.everywhere else None, _line(node, ("global",)))


def _configs(said: _File, *, alone: bool) -> Iterator[tuple[_Path, dict[str, Any]]]:
    if said.everywhere:
        yield ("global", "config"), said.everywhere.config
    for index, entry in enumerate(said.organizations):
        yield ("config",) if alone else ("organizations", index, "config"), entry.config


def _parse(file: Path) -> tuple[yaml.Node, Any, list[_Complaint]]:
    """The file as YAML nodes, which know their lines, and as plain values; and what only the nodes can tell."""
    try:
        loader = _LOADER(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            raise _refused(file, 1, "", "the file is empty; without organizations it says 'organizations: []'")
        complaints = list(_bad_nodes(node))  # first: constructing values writes merged keys into the nodes
        return node, loader.construct_document(node), complaints
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _refused(file, line, "", f"this is not YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _refused(file, 1, "", "this is not YAML: it holds bytes that are not text in UTF-8") from error
    except ValueError as error:
        raise _refused(file, 1, "", "it holds a number that cannot be read: put it in quotes") from error
    except RecursionError as error:
        raise _refused(file, 1, "", "it is nested too deeply") from error
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}", file=str(file)) from error


def _bad_nodes(node: yaml.Node, path: _Path = (), done: set[int] | None = None,
               within: tuple[int, ...] = ()) -> Iterator[_Complaint]:
    """What plain values no longer show: keys that are given twice or are no text, and aliases that contain themselves."""
    done = set() if done is None else done
    if id(node) in within:
        yield path, "refers to itself"
    if id(node) in done or isinstance(node, yaml.ScalarNode):
        return
    done.add(id(node))
    within = (*within, id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag not in {_STRING, _MERGE}:
                yield path, f"the key in line {line} is not text: put it in quotes"
                continue
            if key.value in lines:
                yield (*path, key.value), f"is given twice, in lines {lines[key.value]} and {line}"
            lines[key.value] = line
            yield from _bad_nodes(value, (*path, key.value), done, within)
    else:
        for index, item in enumerate(node.value):
            yield from _bad_nodes(item, (*path, index), done, within)


def _bad_values(value: Any, path: _Path, done: set[int]) -> Iterator[_Complaint]:
    """What a configuration may not hold: types that are not what they say, references to no secret, what is not JSON."""
    if isinstance(value, dict | list):
        if id(value) in done:  # an alias: it was checked where it stands
            return
        done.add(id(value))
        if isinstance(value, dict) and (complaint := _bad_entry(value)):
            yield path, complaint
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _bad_values(item, (*path, key), done)
    elif not (value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))):
        yield path, "is of a type that JSON does not have: put it in quotes"


def _bad_entry(entry: Mapping[str, Any]) -> str:
    """Why `{"value", "type"}` or `{"secret_ref"}` cannot be; empty where it can, and for any other mapping."""
    if "secret_ref" in entry:
        if len(entry) > 1:
            return "a secret_ref stands alone, without other keys beside it"
        return "" if _fits(entry["secret_ref"], "secret_ref") else "the secret_ref is not the name of a secret"
    if entry.keys() != {"value", "type"}:
        return ""
    if entry["type"] not in _TYPES:
        return f"has an unknown type; known: {', '.join(_TYPES)}"
    return "" if _fits(entry["value"], entry["type"]) else f"the value is not of type {entry['type']}"


def _fits(value: Any, kind: str) -> bool:
    """Whether `OrganizationContext.get_config` can make a value of that kind of it."""
    if kind == "string":
        return isinstance(value, str | int | float)
    if kind == "bool":
        return isinstance(value, bool) or str(value).strip().lower() in _TRUTHS
    if kind == "json" and not isinstance(value, str):
        return True
    if not isinstance(value, str):
        return kind == "int" and type(value) is int
    try:
        _PARSERS[kind](value)
    except (ValueError, ValidationError):
        return False
    return True


def _sentence(found: Mapping[str, Any]) -> str:
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    return _SENTENCES.get(found["type"]) or str(found["msg"][:1].lower() + found["msg"][1:])


def _items(node: yaml.Node, key: str) -> list[yaml.Node]:
    """The nodes of the list under `key` of a mapping; none where there is no such key."""
    lists: list[list[yaml.Node]] = [value.value for name, value in node.value if name.value == key]
    return lists[-1] if lists else []


def _line(node: yaml.Node, path: _Path) -> int:
    """The line where `path` is written, or where that which lacks it begins."""
    line = node.start_mark.line
    for step in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode) and (found := [pair for pair in node.value if pair[0].value == step]):
            key, node = found[-1]
            line = key.start_mark.line
        else:
            break
    return int(line) + 1


def _refusal(file: Path, node: yaml.Node, complaints: list[_Complaint]) -> ConfigurationError:
    placed = sorted((_line(node, path), _spelled(path), text) for path, text in complaints)
    first, *others = [f"{file}:{line}: {key}{' ' if key else ''}{text}" for line, key, text in placed]
    more = [f"... and {len(others) - _SHOWN + 1} more"] if len(others) >= _SHOWN else []
    line, key, _ = placed[0]
    return ConfigurationError("\n".join([first, *others[:_SHOWN - 1], *more]), config_key=key or None,
                              file=str(file), line=line, key=key)


def _refused(file: Path, line: int, key: str, text: str) -> ConfigurationError:
    return ConfigurationError(f"{file}:{line}: {text}", file=str(file), line=line, key=key)


def _spelled(path: _Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
