"""Results of integration calls: dictionaries that also answer attributes.

Web APIs answer camelCase JSON; Python reads better as `sku.prepaid_units.enabled`. Both work on a `Record`, and it stays
a plain dictionary for everything else (equality, JSON, pydantic).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def camel(name: str) -> str:
    """`name` in camelCase, as web APIs spell it: `display_name` becomes `displayName`."""
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


class Record(dict[str, Any]):
    """A dictionary whose keys can be read as attributes, in snake_case or as they are spelled.

    Raises:
        AttributeError: no key of that name, in either spelling.
    """

    def __getattr__(self, name: str) -> Any:
        for key in (name, camel(name)):
            if key in self:
                return self[key]
        if name.startswith("__"):  # what copy and pickle look for; not worth a sentence
            raise AttributeError(name)
        keys = ", ".join(sorted(map(str, self))[:12]) or "none"
        raise AttributeError(f"No field '{name}'; the fields are: {keys}")

    def __setattr__(self, name: str, value: Any) -> None:
        spelled = camel(name)
        self[spelled if name not in self and spelled in self else name] = value


class Page(Record):
    """A collection as OData sends it, `{"value": [...], ...}`: it has the length, items and order of its `value`."""

    def __len__(self) -> int:
        return len(self["value"])

    def __iter__(self) -> Iterator[Any]:
        return iter(self["value"])

    def __getitem__(self, key: Any) -> Any:
        return self["value"][key] if isinstance(key, int | slice) else super().__getitem__(key)

    def __bool__(self) -> bool:
        return True


def record(value: Any) -> Any:
    """`value` with every dictionary in it, however deep, turned into a `Record` (or a `Page`)."""
    if isinstance(value, dict):
        made = (Page if isinstance(value.get("value"), list) else Record)(value)
        for key, item in value.items():
            if isinstance(item, dict | list):  # a large result is taken apart while its run may not think for long
                dict.__setitem__(made, key, record(item))
        return made
    if isinstance(value, list):
        return [record(item) if isinstance(item, dict | list) else item for item in value]
    return value
