"""What may cross Temporal, and as which JSON: arguments, results, parameters.

    dict, list, str, int, float, bool, None      as they are; keys of dictionaries are text
    tuple, set, frozenset, deque                 a list
    datetime, date, time, timedelta              ISO 8601
    Decimal, UUID, Path, URL, IP address         text
    Enum                                         its value
    pydantic model, dataclass                    a dictionary, by alias
    bytes                                        {"$bytes": "<base64>"}, which comes back as bytes wherever it stands
    Secret                                       {"$secret": …}, a handle; a dictionary that only looks like one: {"$$secret": …}

What comes from a caller or another system can therefore not be taken for a handle, and never make a call send a secret away.

`calling.typed` turns JSON back into what an annotation says. What is not listed is refused, with the place where it stands;
so are NaN and the infinities, which JSON has no word for, and what contains itself.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import inspect
import json
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from math import isfinite
from pathlib import PurePath
from types import GeneratorType
from typing import Any, Final

from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from bifrost import redaction
from bifrost.errors import ValidationError
from bifrost.models import BYTES_KEY, Secret

MAX_DEPTH: Final = 100
"""How deep a structure may be nested; a reader of JSON gives up at 200."""
MAX_BYTES: Final = 50 * 1024 * 1024
"""How large one argument or result may be, as JSON."""

_CURE: Final = ("Arguments and results are JSON: dictionaries with texts as keys, lists, strings, finite numbers, dates, bytes, sets, "
                "decimals, enums, pydantic models, dataclasses")
_SHOWN: Final = 20
"""How many steps of a path are shown."""
_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
_BYTES_MARK: Final = f'"{BYTES_KEY}"'.encode()
SECRET_MARK: Final = f'"{Secret.WIRE_KEY}"'.encode()
"""What JSON holds that has a handle of a secret in it."""
_NO_HANDLE: Final = f"${Secret.WIRE_KEY}"


class _Unfit(Exception):  # noqa: N818 - it never leaves this module
    """Something that is no JSON: where it stands, from the outside in, is filled in on the way out.

    `of_type` says that it is the type of a value that there is no word for, and not the value.
    """

    def __init__(self, reason: str, *, of_type: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_type = of_type
        self.path: list[str] = []
        self.owners: list[int] = []

    def inside(self, step: str) -> _Unfit:
        """The same, one step further out."""
        self.path.insert(0, step)
        return self

    def of(self, owner: Any) -> _Unfit:
        """The same, where the structure of that step is known. In a path too long, one that comes twice is a circle."""
        self.owners.insert(0, id(owner))
        if id(owner) in self.owners[1:]:
            del self.path[self.owners.index(id(owner), 1):]
            del self.owners[self.owners.index(id(owner), 1):]
            self.reason = "it contains itself"
        return self


def encode(value: Any, what: str = "A value", root: str = "") -> bytes:
    """A value as JSON.

    Args:
        value: What to write.
        what: What it is, for the message: "The result of crm.users".
        root: What the path begins with: `result` makes it `result.users[3].client`.

    Raises:
        ValidationError: something in it is no JSON. The message and `field` say where.
    """
    try:
        return _dump(_plain(value, 0), value)
    except _Unfit as unfit:
        shown = unfit.path if len(unfit.path) <= _SHOWN else [*unfit.path[:_SHOWN], "…"]
        path = (root + "".join(shown)).lstrip(".")
        where = f"{path}: " if path else ""
        raise ValidationError(f"{what} cannot be stored: {where}{unfit.reason}. {_CURE}", field=path or None) from None


def check_size(size: int, what: str = "A value") -> None:
    """Refuse what is larger than `MAX_BYTES`.

    Raises:
        ValidationError: says the size and the limit.
    """
    if size > MAX_BYTES:
        raise ValidationError(
            f"{what} is too large: {size / 2**20:.1f} MB, and the limit is {MAX_BYTES >> 20} MB. Keep it elsewhere, such as in a "
            "file store, and pass where it is", size=size, limit=MAX_BYTES)


def restore(value: Any, data: bytes) -> Any:
    """A value as it was read from JSON, with its bytes; `data` is that JSON."""
    return _with_bytes(value) if _BYTES_MARK in data else value


def revived(value: Any) -> Any:
    """A value as it was read from JSON, with its handles of secrets: of one that a run has made, and nobody else."""
    if handle := Secret.from_wire(value):
        return handle
    if isinstance(value, dict):
        return {key: revived(item) for key, item in value.items()}
    return [revived(item) for item in value] if isinstance(value, list) else value


def starred(data: bytes) -> bytes:
    """JSON with stars in the place of every handle of a secret."""
    return to_json(_starred(from_json(data)))


def _starred(value: Any) -> Any:
    if Secret.from_wire(value):
        return redaction.MASK
    if isinstance(value, dict):
        return {key: _starred(item) for key, item in value.items()}
    return [_starred(item) for item in value] if isinstance(value, list) else value


def _from_bytes(value: bytes) -> dict[str, str]:
    """Bytes as they are written, without remembered secrets: stars within base64 could not be read again."""
    return {BYTES_KEY: base64.b64encode(redaction.mask_bytes(value)).decode()}


def _with_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {BYTES_KEY} and isinstance(value[BYTES_KEY], str):
            try:
                return base64.b64decode(value[BYTES_KEY], validate=True)
            except binascii.Error:  # somebody else's, or masked
                return value
        return {key: _with_bytes(item) for key, item in value.items()}
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value


def _dump(plain: Any, value: Any) -> bytes:
    try:
        return to_json(plain)
    except PydanticSerializationError as error:
        for path, text in _texts(plain):
            try:
                text.encode()
            except UnicodeEncodeError:
                unfit = _Unfit("surrogates not allowed: the text is no UTF-8")
                unfit.path = [path]
                raise unfit from None
        raise _Unfit(f"{type(value).__qualname__}: {error}") from None


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in value.items():
                yield path, key
                yield from _texts(item, path + _step(key))
        case list():
            for number, item in enumerate(value):
                yield from _texts(item, f"{path}[{number}]")


def _plain(value: Any, depth: int) -> Any:
    """`value` as what `json` writes."""
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is float and isfinite(value)):
        return value
    if depth > MAX_DEPTH:
        raise _Unfit(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return _dictionary(value, value, depth)
    if isinstance(value, _LISTS):
        return _list(value, depth)
    return _scalar(value) if isinstance(value, _SCALARS) else _object(value, depth)


_LISTS: Final = (list, tuple, set, frozenset, deque, GeneratorType)
_SCALARS: Final = (Enum, str, int, float, bytes, bytearray, PurePath, Secret)


def _scalar(value: Any) -> Any:
    match value:
        case Enum():
            plain = _plain(value.value, 1)
        case Secret():
            plain = value.to_wire()
        case bytes() | bytearray():
            plain = _from_bytes(bytes(value))
        case PurePath():
            plain = str(value)
        case str():  # of a class of its own
            plain = str.__str__(value)
        case int():
            plain = int(value)
        case _:
            if not isfinite(value):
                raise _Unfit(f"{value} is no JSON: there is no number for it; use None or a text")
            plain = float(value)
    return plain


def _dictionary(value: Mapping[Any, Any], owner: Any, depth: int) -> dict[str, Any]:
    made = {}
    for key, item in value.items():
        text = key if type(key) is str else _key(key)
        try:
            kind = type(item)
            made[text] = item if kind in _AS_THEY_ARE or (kind is float and isfinite(item)) else _plain(item, depth + 1)
        except _Unfit as unfit:
            raise unfit.inside(_step(text)).of(owner) from None
    return {_NO_HANDLE: made[Secret.WIRE_KEY]} if Secret.from_wire(made) else made


def _key(key: Any) -> str:
    text = key.value if isinstance(key, Enum) else key
    if not isinstance(text, str):
        raise _Unfit(f"the key {_short(key)} is no text but {type(key).__qualname__}: write str(key)", of_type=True)
    return str.__str__(text)


def _list(value: Any, depth: int) -> list[Any]:
    made = []
    for number, item in enumerate(value):
        try:
            kind = type(item)
            made.append(item if kind in _AS_THEY_ARE or (kind is float and isfinite(item)) else _plain(item, depth + 1))
        except _Unfit as unfit:
            raise unfit.inside("[*]" if isinstance(value, set | frozenset) else f"[{number}]").of(value) from None
    return made


def _object(value: Any, depth: int) -> Any:
    fields = None if isinstance(value, type) else _fields(value)
    if fields is None:
        return _known(value)
    try:
        return _dictionary(fields, value, depth) if isinstance(fields, Mapping) else _plain(fields, depth)
    except _Unfit as unfit:
        if not unfit.of_type:
            raise
        try:  # a serializer of its own may have a word for it
            return _plain(to_jsonable_python(value, fallback=_refuse), depth)
        except (*_NO_WORD, _Unfit):
            raise unfit from None


def _fields(value: Any) -> Any:
    """A model or a dataclass as plain Python, without making text of anything; None for anything else."""
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        try:
            made = serializer.to_python(value, by_alias=True, warnings=False)
            return None if type(made) is type(value) else made
        except ValueError as error:  # such as a model that contains itself
            raise _Unfit(str(error)) from None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _known(value: Any) -> Any:
    """What pydantic has a text for: dates, decimals, UUIDs, paths, URLs and the like."""
    try:
        return to_jsonable_python(value, fallback=_refuse)
    except _NO_WORD:
        raise _Unfit(_no_json(value), of_type=True) from None


_NO_WORD: Final = (PydanticSerializationError, TypeError, ValueError)


def _refuse(value: Any) -> Any:
    raise TypeError(type(value).__qualname__)


def _no_json(value: Any) -> str:
    if inspect.isawaitable(value):
        return f"{type(value).__qualname__} is no JSON: it was not awaited"
    if inspect.isroutine(value) or isinstance(value, type):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__qualname__} is no JSON"
    return f"{type(value).__module__}.{type(value).__qualname__} is no JSON"


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{json.dumps(_short(key), ensure_ascii=False)}]"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
