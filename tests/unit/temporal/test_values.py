"""Which values become which JSON, and how one that does not is named."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import types
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest

from bifrost import calling
from bifrost.errors import ValidationError
from bifrost.temporal.payloads.values import MAX_DEPTH, encode, restore


class _Colour(enum.Enum):
    RED = "red"


class _Text(str):
    __slots__ = ()


class _Model(pydantic.BaseModel):
    model_config = {"arbitrary_types_allowed": True}

    raw: bytes = b""
    by_number: dict[int, str] = {}
    anything: Any = None
    named: int = pydantic.Field(default=1, alias="camelCase")


class _Masked(pydantic.BaseModel):
    key: pydantic.SecretStr


@dataclasses.dataclass
class _Made:
    at: date
    inner: Any = None


class _Pair(NamedTuple):
    a: int
    b: str


class _Odd:
    pass


@pytest.mark.parametrize(("value", "expected"), [
    ({"a": b"\xff", "b": [bytearray(b"x")]}, {"a": {"$bytes": "/w=="}, "b": [{"$bytes": "eA=="}]}),
    (_Pair(1, "x"), [1, "x"]), ({1}, [1]), (frozenset({1}), [1]), (collections.deque([1]), [1]), ((number for number in (1, 2)), [1, 2]),
    (types.MappingProxyType({"a": 1}), {"a": 1}), ({_Colour.RED: _Colour.RED}, {"red": "red"}), ({_Text("a"): _Text("b")}, {"a": "b"}),
    (Path("/srv/x"), "/srv/x"), (Decimal("1.50"), "1.50"), (timedelta(minutes=1), "PT1M"), (datetime(2030, 1, 1), "2030-01-01T00:00:00"),  # noqa: DTZ001
    (_Model(raw=b"\xff"), {"raw": {"$bytes": "/w=="}, "by_number": {}, "anything": None, "camelCase": 1}),
    (_Model(by_number={1: "a"}), {"raw": "", "by_number": {"1": "a"}, "anything": None, "camelCase": 1}),
    (_Masked(key=pydantic.SecretStr("x")), {"key": "**********"}), (_Made(date(2030, 1, 1), [_Pair(1, "x")]), {"at": "2030-01-01", "inner": [[1, "x"]]}),
    (pydantic.RootModel[list[int]]([1]), [1]), (10**30, 10**30), (1e300, 1e300)])
def test_values_become_json(value: Any, expected: Any) -> None:
    """Each has one form; a model that pydantic has a word for and plain JSON has not is written as pydantic does."""
    assert json.loads(encode(value)) == expected


@pytest.mark.parametrize(("value", "kind"), [
    ({"raw": b"\xff", "text": b"text", "deep": [{"empty": b""}]}, Any), (b"text", bytes), (b"\xff", bytes), ([b"\x00"], list[bytes]),
    (_Model(raw=b"\xff", camelCase=7), _Model), (_Model(raw=b"text", by_number={1: "a"}), _Model), (_Made(date(2030, 1, 1)), _Made),
    ({Decimal("1.50")}, set[Decimal]), (frozenset({_Colour.RED}), frozenset[_Colour]), (_Pair(1, "x"), _Pair), ((Decimal(1), b"\xff"), tuple[Decimal, bytes]),
    (_Colour.RED, _Colour), (Path("/srv/x"), Path), (timedelta(seconds=1.5), timedelta)])
def test_values_come_back_as_what_they_are_annotated_with(value: Any, kind: Any) -> None:
    """JSON, and then the annotation: bytes, decimals, sets, enums, models and dataclasses are what they were."""
    written = encode(value)
    assert calling.typed(kind, restore(json.loads(written), written), "x") == value


@pytest.mark.parametrize("value", [{"$bytes": 1}, {"$bytes": "********"}, {"$bytes": "AA==", "more": 1}, "$bytes", ["$bytes"]])
def test_what_only_looks_like_bytes_stays(value: Any) -> None:
    """Somebody's own dictionary, or base64 that was masked, is left as it is."""
    assert restore(value, encode(value)) == value


def _circle(step: Any) -> Any:
    made = _Made(date(2030, 1, 1))
    made.inner = step(made)
    return made


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(("value", "said"), [
    ({"users": [1, 2, 3, {"client": _Odd()}]}, r"result\.users\[3\]\.client: tests\.unit\.temporal\.test_values\._Odd is no JSON\. Arguments and"),
    ({"two words": [_Odd()]}, r'result\["two words"\]\[0\]: '), ({"x" * 99: _Odd()}, r"result\.x+: "), ({"s": {_Odd()}}, r"result\.s\[\*\]: "),
    (_Made(date(2030, 1, 1), _Model(anything=_Odd())), r"result\.inner\.anything: .*_Odd is no JSON"), (_Odd(), "result: .*_Odd is no JSON"),
    (_Model, "result: the class _Model is no JSON"), ([print], r"result\[0\]: the function print is no JSON"), (memoryview(b""), "builtins.memoryview is no JSON"),
    (float("nan"), "result: nan is no JSON: there is no number for it"), ({"a": [float("-inf")]}, r"result\.a\[0\]: -inf is no JSON"),
    (_Model(anything=float("nan")), r"result\.anything: nan"), ({"a": {(1, "x" * 99): 1}}, r"result\.a: the key \(1, 'x+… is no text but tuple"),
    ({None: 1}, r"the key None is no text but NoneType: write str\(key\)"), (_circle(lambda made: made), r"result\.inner: it contains itself"),
    (_circle(lambda made: {"a": [0, made]}), r"result\.inner\.a\[1\]: it contains itself"), (_deep(60), r"result\.a\[0\]\.a.*…: it is nested more than 100 levels"),
    ({"a": ["\ud800"]}, r"result\.a\[0\]: surrogates not allowed"), ({"a": {"\ud800": 1}}, r"result\.a: surrogates not allowed")])
def test_what_is_no_json_is_named_with_its_place(value: Any, said: str) -> None:
    """The message has what it is, where it stands and what the matter is; the field is the place."""
    with pytest.raises(ValidationError, match=f"^The result cannot be stored: .*{said}") as refusal:
        encode(value, "The result", "result")
    assert (refusal.value.field or "").startswith("result")
    assert str(refusal.value).isprintable()


async def test_what_was_not_awaited_is_called_so() -> None:
    """The usual slip has its own word."""
    async def call() -> None: ...

    forgotten = call()
    with pytest.raises(ValidationError, match=r"user: coroutine is no JSON: it was not awaited"):
        encode({"user": forgotten})
    await forgotten


def test_a_model_that_contains_itself_is_refused() -> None:
    """Whatever pydantic says to that."""
    model = _Model()
    model.anything = model
    with pytest.raises(ValidationError, match=r"cannot be stored"):
        encode(model)


def test_as_deep_as_may_be_can_be_read_again() -> None:
    """The bound is below what a reader of JSON takes."""
    written = encode(_deep(MAX_DEPTH // 2))
    assert restore(json.loads(written), written) == _deep(MAX_DEPTH // 2)
