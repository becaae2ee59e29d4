"""What a run has in place of the machine, and how it refuses the rest.

A workflow's code is executed again whenever Temporal replays its history, in another process and at another time. So
the clock, the dice and the waiting come through a `RunEnvironment`, and anything that could answer differently the second
time is *refused*: it can be imported, because an integration in the same file may use it, but used inside a run it
raises `DeterminismError` with the line and the cure.

Two phases. While a run's modules are *loading*, refused things stand in for whatever a module does with them at its top
level (subclass, decorate, annotate, instantiate, compute with). Only what would make a plain value of them (a number, a text,
a decision) is refused then, too, because nobody could tell it from a real one. Afterwards any use raises.
"""

from __future__ import annotations

import abc
import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime
from random import Random
from types import ModuleType
from typing import Any, NoReturn

from pydantic_core import core_schema

from bifrost.errors import DeterminismError
from bifrost.workspace.guard import PACKAGE

CURE = "move it into an integration or an `@activity`, which run outside the workflow"


class RunEnvironment(abc.ABC):
    """The port through which a run gets what it may not take from the machine."""

    random: Random
    """User code's own stream of random numbers, the same on replay."""

    @abc.abstractmethod
    def now(self) -> datetime:
        """The run's time, aware, in UTC."""

    @abc.abstractmethod
    def replaying(self) -> bool:
        """Whether the run is repeating what it did before."""

    @abc.abstractmethod
    async def wait(self, futures: Any, *, timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:  # noqa: ASYNC109
        """`asyncio.wait`, in an order that repeats."""

    @abc.abstractmethod
    def as_completed(self, futures: Any, *, timeout: float | None = None) -> Iterator[Any]:
        """`asyncio.as_completed`, in an order that repeats."""

    def pausing(self, seconds: float) -> None:  # noqa: B027 - most have nobody to tell
        """Told before the run sleeps."""


_current: ContextVar[RunEnvironment | None] = ContextVar("bifrost_run", default=None)
_loading: ContextVar[bool] = ContextVar("bifrost_run_loading", default=False)


def current() -> RunEnvironment | None:
    """The environment of the run that this code belongs to, or None outside of runs."""
    return _current.get()


def required() -> RunEnvironment:
    """The environment of the run that this code belongs to; asked for only inside runs."""
    environment = _current.get()
    assert environment is not None, "asked for only inside runs"
    return environment


@contextlib.contextmanager
def running(environment: RunEnvironment) -> Iterator[None]:
    """Everything inside, tasks started there included, belongs to a run."""
    token = _current.set(environment)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # an evicted run is closed from another context
            _current.reset(token)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Inside, a run's modules are executed for their definitions."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


def _user_line() -> str:
    frame = sys._getframe(1)  # noqa: SLF001 - the way to ask who calls
    while frame.f_back is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == PACKAGE and not frame.f_code.co_filename.startswith("<"):  # not what `eval` was given
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "workflow code"


def refuse(what: str, cure: str = CURE) -> NoReturn:
    """Refuse `what` to the run that asks for it.

    Raises:
        DeterminismError: always; names the line and the cure.
    """
    line = _user_line()
    raise DeterminismError(f"{line}: {what} cannot be used inside a workflow, because a replay could not repeat it: {cure}",
                           what=what, line=line, cure=cure)


_PLAIN = (str, bytes, int, float, list, tuple, dict, set, frozenset, type(None))


class RefusedType(abc.ABCMeta):
    """The type of stand-ins. A stand-in is a class, so that it can be a base, an annotation or in an `except` clause."""

    _what: str
    _cure: str

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> Any:
        """A stand-in, or a class over one, whatever keywords the real base takes."""
        del keywords
        return super().__new__(cls, name, bases, namespace)

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> None:
        del keywords
        super().__init__(name, bases, namespace)

    def _deny(cls) -> None:
        if not _loading.get():
            refuse(cls._what, cls._cure)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        child = stand_in(f"{cls._what}.{name}", cls._cure)
        setattr(cls, name, child)
        return child

    def __call__(cls, *_args: Any, **_kwargs: Any) -> Any:
        cls._deny()
        return stand_in(f"{cls._what}(…)", cls._cure)

    def _operate(cls, *_operands: Any) -> Any:
        cls._deny()
        return cls

    def _convert(cls, *_operands: Any) -> Any:
        refuse(cls._what, cls._cure)

    def _leave(cls, *_exception: Any) -> None:
        cls._deny()

    def __eq__(cls, other: object) -> Any:
        if not isinstance(other, _PLAIN):
            return cls is other
        cls._deny()
        return stand_in(f"{cls._what} == …", cls._cure)

    __hash__ = abc.ABCMeta.__hash__

    def __repr__(cls) -> str:
        return f"<{cls._what}: not inside a workflow>"

    def __instancecheck__(cls, instance: Any) -> bool:
        return False

    def __subclasscheck__(cls, subclass: type) -> bool:
        return cls in subclass.__mro__

    __getitem__ = __setitem__ = __delitem__ = __next__ = __reversed__ = _operate
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __floordiv__ = _operate
    __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __neg__ = __pos__ = __abs__ = __invert__ = _operate
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rshift__ = __round__ = _operate
    __lt__ = __gt__ = __le__ = __ge__ = __enter__ = __aenter__ = __await__ = __anext__ = _operate
    __int__ = __index__ = __len__ = __float__ = __fspath__ = __str__ = __format__ = _convert
    __iter__ = __aiter__ = __bool__ = __contains__ = _convert
    __exit__ = __aexit__ = _leave


def stand_in(what: str, cure: str = CURE) -> Any:
    """A stand-in for something a run may import but not use."""
    name = what.rpartition(".")[2]
    return RefusedType(name, (Exception,), {
        "_what": what, "_cure": cure, "__doc__": f"Refused: {what}", "__init_subclass__": classmethod(lambda _cls, **_keywords: None),
        "__get_pydantic_core_schema__": classmethod(lambda _cls, _source, _handler: core_schema.any_schema())})


def stand_ins(module: str, names: tuple[str, ...], cure: str = CURE) -> dict[str, Any]:
    """Stand-ins for some of a module's names."""
    return {name: stand_in(f"{module}.{name}", cure) for name in names}


def refusal_of(value: Any) -> str | None:
    """Why a run may not use `value`, with the cure, or None if it may: for who looks before anything runs."""
    if isinstance(value, RefusedType):
        return f"{value._what} cannot be used inside a workflow: {value._cure}"  # noqa: SLF001 - its own module
    return None


class RefusedModule(ModuleType):
    """A module that a run may import, and whose every attribute is a stand-in."""

    def __init__(self, name: str, cure: str = CURE) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__["_cure"] = cure

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        child = stand_in(f"{self.__name__}.{name}", self.__dict__["_cure"])
        self.__dict__[name] = child
        return child


def copy_of(module: ModuleType, **replaced: Any) -> ModuleType:
    """A module with the public names of another, some of them replaced."""
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update({name: value for name, value in vars(module).items() if not name.startswith("__")}, **replaced)
    return copy


def either(real: Callable[..., Any], in_run: Callable[..., Any]) -> Callable[..., Any]:
    """`in_run` inside a run, and `real` outside of runs."""
    def call(*args: Any, **kwargs: Any) -> Any:
        return (in_run if current() else real)(*args, **kwargs)
    call.__name__ = call.__qualname__ = real.__name__
    return call
