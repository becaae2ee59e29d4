"""The part of OData that Microsoft Graph's clients use most: $filter, $select, $top and paging.

Sources: https://learn.microsoft.com/graph/query-parameters, https://learn.microsoft.com/graph/filter-query-parameter and
https://learn.microsoft.com/graph/paging.
"""

from __future__ import annotations

import base64
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from bifrost.dev.simulators.base import Refusal

Item = Mapping[str, Any]
Test = Callable[[Item], bool]
_EDM = {str: "Edm.String", bool: "Edm.Boolean", int: "Edm.Int32", datetime: "Edm.DateTimeOffset"}
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
_TEXT = r"'(?:[^']|'')*'"
_TIME = r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))?"
_CLAUSE = re.compile(
    rf"(?P<property>[\w/]+)\s+(?P<operator>{'|'.join(_OPERATORS)})\s+(?P<value>{_TEXT}|true|false|null|{_TIME}|-?\d+)"
    rf"|starts[wW]ith\(\s*(?P<start_property>[\w/]+)\s*,\s*(?P<start>{_TEXT})\s*\)")
_JOINT = re.compile(r"\s+(and|or)\s+")


@dataclass(frozen=True)
class EntityType:
    """A type of Graph's.

    Attributes:
        name: As in `microsoft.graph.<name>`.
        properties: The type of each property: str, bool, int, datetime (kept as ISO 8601 text), list or dict. A property
            of a property, such as `status/errorCode`, can be filtered by and not selected.
        default: The properties that are answered without $select; empty means all.
        advanced: Whether `ne`, `gt` and `lt` need the header ConsistencyLevel, as they do for what stands in the directory:
            https://learn.microsoft.com/graph/aad-advanced-queries.
        default_page: Items on a page, without $top.
        max_page: The most that $top may ask for.
    """

    name: str
    properties: Mapping[str, type]
    default: Sequence[str] = ()
    advanced: bool = False
    default_page: int = 100
    max_page: int = 999


def select(item: Item, entity: EntityType, wanted: str | None) -> dict[str, Any]:
    """The properties of `item` that `$select` asks for, or those that Graph answers by default."""
    known = [name for name in entity.properties if "/" not in name]
    names = [name.strip() for name in wanted.split(",")] if wanted else entity.default or known
    for name in names:
        if name not in known:
            raise Refusal(400, "BadRequest", "Parsing OData Select and Expand failed: Could not find a property named "
                                             f"'{name}' on type 'microsoft.graph.{entity.name}'.")
    return {name: item[name] for name in names}


def page(request: Request, items: Sequence[Item], entity: EntityType, context: str) -> dict[str, Any]:
    """The envelope of a collection: the page that the query asks for, and `@odata.nextLink` where there are more."""
    query = dict(request.query_params)
    for option in query:
        if option.startswith("$") and option not in ("$filter", "$select", "$top", "$skiptoken"):
            raise Refusal(400, "Request_UnsupportedQuery", f"The query option '{option}' is not simulated.")
    fits: Test = _predicate(query["$filter"], entity) if query.get("$filter") else lambda _item: True
    found = [item for item in items if fits(item)]
    size, start = _size(query.get("$top"), entity), _start(query.get("$skiptoken"))
    wanted = query.get("$select")
    envelope: dict[str, Any] = {"@odata.context": context + (f"({wanted})" if wanted else "")}
    if start + size < len(found):
        query["$skiptoken"] = base64.urlsafe_b64encode(b"from:%d" % (start + size)).decode()
        url = str(request.url.replace(query=""))
        envelope["@odata.nextLink"] = f"{url}?{urlencode(query, safe='$')}"
    return {**envelope, "value": [select(item, entity, wanted) for item in found[start:start + size]]}


def _size(top: str | None, entity: EntityType) -> int:
    if top is None:
        return entity.default_page
    if not top.isdecimal() or not 1 <= int(top) <= entity.max_page:
        raise Refusal(400, "Request_UnsupportedQuery",
                      f"Invalid page size specified: '{top}'. Must be between 1 and {entity.max_page} inclusive.")
    return int(top)


def _start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).removeprefix(b"from:"))
    except ValueError as exc:
        raise Refusal(400, "Directory_ExpiredPageToken", "The specified page token value has expired and can no longer "
                                                         "be included in your request.") from exc


def _predicate(text: str, entity: EntityType) -> Test:
    """The test that a $filter stands for: comparisons and `startswith`, joined by `and`, and these by `or`."""
    text = text.strip()
    ways: list[list[Test]] = [[]]
    position = 0
    while True:
        clause = _CLAUSE.match(text, position)
        if clause is None:
            raise _invalid(f"Syntax error at position {position} in '{text}'.")
        ways[-1].append(_clause(clause, entity))
        position = clause.end()
        if position == len(text):
            return lambda item: any(all(fits(item) for fits in way) for way in ways)
        joint = _JOINT.match(text, position)
        if joint is None:
            raise _invalid(f"Syntax error at position {position} in '{text}'.")
        if joint[1] == "or":
            ways.append([])
        position = joint.end()


def _clause(clause: re.Match[str], entity: EntityType) -> Test:
    name = clause["property"] or clause["start_property"]
    kind = entity.properties.get(name)
    if kind is None:
        raise _invalid(f"Could not find a property named '{name}' on type 'microsoft.graph.{entity.name}'.")
    if clause["start"]:
        prefix = _constant(clause["start"]).casefold()
        return lambda item: str(_value(item, name, kind) or "").startswith(prefix)
    compared, value = clause["operator"], _constant(clause["value"])
    if entity.advanced and compared in ("ne", "gt", "lt"):
        raise Refusal(400, "Request_UnsupportedQuery",
                      f"Operator '{compared}' is not supported because the 'ConsistencyLevel:eventual' header is missing. "
                      "Refer to https://aka.ms/graph-docs/advanced-queries for more information")
    if value is not None and type(value) is not kind:
        raise _invalid("A binary operator with incompatible types was detected. Found operand types "
                       f"'{_EDM.get(kind, 'Collection(Edm.String)')}' and '{_EDM[type(value)]}' "
                       "for operator kind 'Equal'.")
    test, wanted = _OPERATORS[compared], value.casefold() if isinstance(value, str) else value

    def fits(item: Item) -> bool:
        found = _value(item, name, kind)
        if found is None or wanted is None:  # nothing is before or after null
            return compared in ("eq", "ne") and test(found, wanted)
        return test(found, wanted)

    return fits


def _value(item: Item, name: str, kind: type) -> Any:
    """What stands in `item`, as it is compared: texts without regard to case, times as such."""
    value: Any = item
    for part in name.split("/"):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return _time(value) if kind is datetime else value.casefold()
    return value


def _constant(text: str) -> Any:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    try:
        return int(text) if text.lstrip("-").isdecimal() else _time(text)
    except ValueError as exc:
        raise _invalid(f"The value '{text}' is no date.") from exc


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _invalid(reason: str) -> Refusal:
    return Refusal(400, "BadRequest", f"Invalid filter clause: {reason}")
