"""How a function of user code is called: sync or async, with values of the types that it names, and inside a run durably."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Protocol

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic import ValidationError as Unfit

from bifrost.errors import ValidationError
from bifrost.models import ActivityMetadata


class DurableCalls(Protocol):
    """How a run makes the call of an `@activity`."""

    def __call__(self, activity: ActivityMetadata, arguments: dict[str, Any]) -> Awaitable[Any]:
        """Make the call with named arguments, and answer its result."""


durable_calls: ContextVar[DurableCalls | None] = ContextVar("durable_calls", default=None)
"""Set inside a run; elsewhere an `@activity` is called as the function that it is."""


async def call(function: Callable[..., Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    """Call a function and answer what it returns; a sync one runs in a thread of its own kind (see `_threads`)."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **(kwargs or {}))
    run = contextvars.copy_context().run
    result = await asyncio.get_running_loop().run_in_executor(_threads(), functools.partial(run, function, *args, **(kwargs or {})))
    return await result if inspect.isawaitable(result) else result


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads for user code: as many as a worker makes calls at once. asyncio's own are few, and the engine needs them."""
    return ThreadPoolExecutor(max_workers=100, thread_name_prefix="bifrost-call")


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """What each argument, and `return`, is annotated with; those that mean nothing here are left out."""
    found: dict[str, Any] = {}
    for name, hint in function.__annotations__.items():
        alone = types.FunctionType((lambda: None).__code__, function.__globals__)
        alone.__annotations__ = {name: hint}
        with contextlib.suppress(NameError, TypeError, AttributeError, SyntaxError):  # a name that only type checkers import
            found.update(typing.get_type_hints(alone, include_extras=True))
    return found


def typed(hint: Any, value: Any, what: str) -> Any:
    """`value`, as it came from JSON, as what it is annotated with: a model, a dataclass, a `datetime`, a set.

    Plain JSON types are left as they are.

    Raises:
        ValidationError: it is no such thing; `what` names it.
    """
    if _is_plain(hint):
        return value
    try:
        return TypeAdapter(_several(hint)).validate_python(value)
    except (PydanticSchemaGenerationError, PydanticUserError):  # it means nothing to pydantic: another library's class
        return value
    except Unfit as error:
        first = error.errors()[0]
        where = ".".join([what, *map(str, first["loc"])])
        raise ValidationError(f"{where}: {first['msg']}", field=what) from None


def _several(hint: Any) -> Any:
    """A list in the place of what can only be gone through: pydantic would answer an iterator, which is empty the second time."""
    if typing.get_origin(hint) not in (Iterable, Iterator, Collection, Container):
        return hint
    arguments = typing.get_args(hint)
    return list[arguments[0]] if arguments else list  # type: ignore[valid-type]  # made at run time


_PLAIN = (Any, object, None, type(None), str, int, float, bool, dict, list, Mapping, Sequence, inspect.Parameter.empty)


def _is_plain(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (dict, list, Mapping, Sequence, typing.Union, types.UnionType):
        return all(_is_plain(argument) for argument in typing.get_args(hint))
    return any(hint is plain for plain in _PLAIN)
