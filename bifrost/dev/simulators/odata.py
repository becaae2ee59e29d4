"""The part of OData that Microsoft Graph's clients use most: $filter, $select, $top and paging.

Sources: https://learn.microsoft.com/graph/query-parameters, https://learn.microsoft.com/graph/filter-query-parameter and
https://learn.microsoft.com/graph/paging.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from bifrost.dev.simulators.base import Refusal

Item = Mapping[str, Any]
DEFAULT_PAGE, MAX_PAGE = 100, 999
"""Items on a page: without $top, and the most that $top may ask for."""
_EDM = {str: "Edm.String", bool: "Edm.Boolean"}
_TEXT = r"'(?:[^']|'')*'"
_CLAUSE = re.compile(
    rf"(?P<property>\w+)\s+eq\s+(?P<value>{_TEXT}|true|false|null)"
    rf"|startswith\(\s*(?P<start_property>\w+)\s*,\s*(?P<start>{_TEXT})\s*\)")
_AND = re.compile(r"\s+and\s+")


@dataclass(frozen=True)
class EntityType:
    """A type of Graph's.

    Attributes:
        name: As in `microsoft.graph.<name>`.
        properties: The type of each property: str, bool or list.
        default: The properties that are answered without $select; empty means all.
    """

    name: str
    properties: Mapping[str, type]
    default: Sequence[str] = ()


def select(item: Item, entity: EntityType, wanted: str | None) -> dict[str, Any]:
    """The properties of `item` that `$select` asks for, or those that Graph answers by default."""
    names = [name.strip() for name in wanted.split(",")] if wanted else entity.default or list(entity.properties)
    for name in names:
        if name not in entity.properties:
            raise Refusal(400, "BadRequest", "Parsing OData Select and Expand failed: Could not find a property named "
                                             f"'{name}' on type 'microsoft.graph.{entity.name}'.")
    return {name: item[name] for name in names}


def page(request: Request, items: Sequence[Item], entity: EntityType, context: str) -> dict[str, Any]:
    """The envelope of a collection: the page that the query asks for, and `@odata.nextLink` where there are more."""
    query = dict(request.query_params)
    for option in query:
        if option.startswith("$") and option not in ("$filter", "$select", "$top", "$skiptoken"):
            raise Refusal(400, "Request_UnsupportedQuery", f"The query option '{option}' is not simulated.")
    fits = _predicate(query["$filter"], entity) if query.get("$filter") else lambda _item: True
    found = [item for item in items if fits(item)]
    size, start = _size(query.get("$top")), _start(query.get("$skiptoken"))
    wanted = query.get("$select")
    envelope: dict[str, Any] = {"@odata.context": context + (f"({wanted})" if wanted else "")}
    if start + size < len(found):
        query["$skiptoken"] = base64.urlsafe_b64encode(b"from:%d" % (start + size)).decode()
        url = str(request.url.replace(query=""))
        envelope["@odata.nextLink"] = f"{url}?{urlencode(query, safe='$')}"
    return {**envelope, "value": [select(item, entity, wanted) for item in found[start:start + size]]}


def _size(top: str | None) -> int:
    if top is None:
        return DEFAULT_PAGE
    if not top.isdecimal() or not 1 <= int(top) <= MAX_PAGE:
        raise Refusal(400, "Request_UnsupportedQuery",
                      f"Invalid page size specified: '{top}'. Must be between 1 and {MAX_PAGE} inclusive.")
    return int(top)


def _start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).removeprefix(b"from:"))
    except ValueError as exc:
        raise Refusal(400, "Directory_ExpiredPageToken", "The specified page token value has expired and can no longer "
                                                         "be included in your request.") from exc


def _predicate(text: str, entity: EntityType) -> Callable[[Item], bool]:
    """The test that a $filter stands for: `eq` and `startswith` clauses, joined by `and`."""
    text = text.strip()
    clauses: list[Callable[[Item], bool]] = []
    position = 0
    while True:
        clause = _CLAUSE.match(text, position)
        if clause is None:
            raise _invalid(f"Syntax error at position {position} in '{text}'.")
        clauses.append(_clause(clause, entity))
        position = clause.end()
        if position == len(text):
            return lambda item: all(fits(item) for fits in clauses)
        joint = _AND.match(text, position)
        if joint is None:
            raise _invalid(f"Syntax error at position {position} in '{text}'.")
        position = joint.end()


def _clause(clause: re.Match[str], entity: EntityType) -> Callable[[Item], bool]:
    name = clause["property"] or clause["start_property"]
    kind = entity.properties.get(name)
    if kind is None:
        raise _invalid(f"Could not find a property named '{name}' on type 'microsoft.graph.{entity.name}'.")
    if clause["start"]:
        prefix = _constant(clause["start"])
        return lambda item: isinstance(item[name], str) and item[name].casefold().startswith(prefix.casefold())
    value = _constant(clause["value"])
    if value is not None and type(value) is not kind:
        raise _invalid("A binary operator with incompatible types was detected. Found operand types "
                       f"'{_EDM.get(kind, 'Collection(Edm.String)')}' and '{_EDM[type(value)]}' "
                       "for operator kind 'Equal'.")
    if isinstance(value, str):
        # The directory compares texts without regard to case.
        return lambda item: isinstance(item[name], str) and item[name].casefold() == value.casefold()
    return lambda item: item[name] is value


def _constant(text: str) -> Any:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return {"true": True, "false": False, "null": None}[text]


def _invalid(reason: str) -> Refusal:
    return Refusal(400, "BadRequest", f"Invalid filter clause: {reason}")
