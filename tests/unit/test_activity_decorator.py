"""`@activity`: what it records and refuses, and that outside a run the function is what it was."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import pytest
from pydantic import BaseModel

from bifrost import activity, calling, workflow
from bifrost.decorators import ACTIVITY_ATTRIBUTE
from bifrost.errors import DefinitionError, ValidationError
from bifrost.models import ActivityMetadata

if TYPE_CHECKING:
    from collections import OrderedDict


@activity
def thread(prefix: str, *, number: int = 1) -> str:
    """Where it runs.

    More.
    """
    return f"{prefix}{number} {threading.current_thread() is threading.main_thread()}"


@activity(name="other", description="Another", timeout_seconds=5, retry_policy={"max_attempts": 2})
async def fetch(context: Any, **more: Any) -> Any:
    return [context, more]


async def test_outside_a_run_it_is_the_function() -> None:
    """Awaited, with its own name, signature and documentation; a sync one runs in a thread."""
    assert await thread("a", number=2) == "a2 False"
    assert await fetch("context", x=1) == ["context", {"x": 1}]
    assert (thread.__name__, list(inspect.signature(thread).parameters)) == ("thread", ["prefix", "number"])
    with pytest.raises(TypeError, match="missing a required argument: 'prefix'"):
        await thread()


def test_its_options_are_recorded() -> None:
    """Name, description, timeout and retries; by default the function's name, its first line, a minute, the workflow's retries."""
    plain, full = getattr(thread, ACTIVITY_ATTRIBUTE), getattr(fetch, ACTIVITY_ATTRIBUTE)
    assert isinstance(plain, ActivityMetadata)
    assert (plain.name, plain.description, plain.timeout_seconds, plain.retry_policy) == ("thread", "Where it runs.", 60, {})
    assert (full.name, full.description, full.timeout_seconds, full.retry_policy) == ("other", "Another", 5, {"max_attempts": 2})
    assert plain.source.file == __file__


async def test_inside_a_run_the_run_makes_the_call() -> None:
    """With named arguments, those of `**` among them; a call of the wrong shape is refused before."""
    made: list[Any] = []

    async def durable(metadata: ActivityMetadata, arguments: dict[str, Any]) -> Any:
        made.append((metadata.name, arguments))
        return "answer"

    token = calling.durable_calls.set(durable)
    try:
        assert [await thread("a"), await fetch("context", x=1)] == ["answer", "answer"]
        with pytest.raises(TypeError, match="too many positional"):
            await thread("a", 1)
    finally:
        calling.durable_calls.reset(token)
    assert made == [("thread", {"prefix": "a"}), ("other", {"context": "context", "x": 1})]


class Odd:
    def __call__(self) -> None: ...


async def generator() -> Any:
    yield 1


@pytest.mark.parametrize(("options", "function", "said"), [
    ({"name": "bad name"}, lambda: None, "Invalid activity name 'bad name'"), ({"name": "a.b"}, lambda: None, "Invalid activity name"),
    ({"name": "checkpoint"}, lambda: None, "The activity name 'checkpoint' is Bifrost's own; choose another"),
    ({"name": "begin"}, lambda: None, "is Bifrost's own"), ({"name": "a", "timeout_seconds": 0}, lambda: None, "must be a number above 0: 0"),
    ({"name": "a", "timeout_seconds": True}, lambda: None, "must be a number above 0"), ({"name": "a", "timeout_seconds": "5"}, lambda: None, "'5'"),
    ({"name": "a", "retry_policy": {"tries": 1}}, lambda: None, "Activity 'a': Unknown retry_policy key 'tries'"),
    ({"name": "a"}, lambda *args: args, "has arguments without a name"), ({"name": "a"}, Odd(), "is no function"),
    ({"name": "a"}, Odd.__call__, "is a method; make it a function"), ({"name": "a"}, generator, "yields, and a result travels whole"),
    ({"name": "a"}, thread, "thread is decorated twice"), ({}, lambda: None, "Invalid activity name '<lambda>'")])
def test_what_cannot_work_is_refused(options: dict[str, Any], function: Any, said: str) -> None:
    """At decoration, with file and line."""
    with pytest.raises(DefinitionError) as refusal:
        activity(**options)(function)
    assert said in str(refusal.value)
    assert __file__ in str(refusal.value)


def test_an_activity_is_no_workflow() -> None:
    """One function is one thing."""
    with pytest.raises(DefinitionError, match="thread is decorated twice"):
        workflow(name="thread")(thread)


class Model(BaseModel):
    at: datetime


@dataclass
class Line:
    day: date
    price: Decimal = Decimal(0)


@pytest.mark.parametrize(("hint", "value", "expected"), [
    (Model, {"at": "2030-01-01T00:00:00"}, Model(at=datetime(2030, 1, 1))),  # noqa: DTZ001 - as it was given
    (list[Line], [{"day": "2030-01-01", "price": "1.5"}], [Line(date(2030, 1, 1), Decimal("1.5"))]), (set[str], ["a", "b"], {"a", "b"}),
    (date | None, "2030-01-01", date(2030, 1, 1)), (Optional[date], None, None), (tuple[int, str], [1, "a"], (1, "a")),  # noqa: UP045 - users write it
    (Iterable[str], ["a"], ["a"]), (Collection[date], ["2030-01-01"], [date(2030, 1, 1)]), (Odd, {"a": 1}, {"a": 1}), (Path, "a/b", Path("a/b")),
    (int, "5", "5"), (Any, {"at": 1}, {"at": 1}), (dict[str, list[int]], {"a": ["1"]}, {"a": ["1"]}), (str | None, 5, 5)])
def test_values_are_what_they_are_annotated_with(hint: Any, value: Any, expected: Any) -> None:
    """Models, dataclasses, dates and sets are made of their JSON; plain JSON is left as it came."""
    assert calling.typed(hint, value, "x") == expected


def test_a_value_that_does_not_fit_names_its_place() -> None:
    """The argument, and where in it."""
    with pytest.raises(ValidationError, match=r"^lines\.0\.day: Input should be") as refusal:
        calling.typed(list[Line], [{"day": "never"}], "lines")
    assert refusal.value.field == "lines"


def test_annotations_that_mean_nothing_are_left_out() -> None:
    """A name that only type checkers import does not keep the others from being read."""
    def odd(a: OrderedDict[str, int], b: int) -> None: ...
    def plain(a: Model) -> Line: ...
    assert calling.hints(odd) == {"b": int, "return": type(None)}
    assert calling.hints(plain) == {"a": Model, "return": Line}


async def test_what_a_sync_function_answers_is_awaited() -> None:
    """A function that hands back an awaitable is a coroutine function in disguise."""
    assert await calling.call(lambda: asyncio.sleep(0, "late")) == "late"
