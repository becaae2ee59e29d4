"""The clock as a run sees it: `datetime` and `time`, telling the run's own time.

Local time is UTC in a run: workers of a fleet may sit in different time zones. Values are ordinary `datetime`s everywhere.
"""

from __future__ import annotations

import datetime as real_datetime  # noqa: ICN001 - beside real_time
import importlib
import time as real_time
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

from pydantic_core import core_schema

from bifrost.workspace import determinism
from bifrost.workspace.determinism import copy_of, either


def _now() -> real_datetime.datetime:
    return determinism.required().now()


class _Facade(type):
    """A class that makes and recognises instances of the real class it stands for."""

    real: type

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.real

    def __hash__(cls) -> int:
        return hash(cls.real)


class _Date(real_datetime.date, metaclass=_Facade):
    real: ClassVar[type] = real_datetime.date

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return real_datetime.date(*args, **kwargs)

    @classmethod
    def today(cls) -> Any:
        return _now().date() if determinism.current() else real_datetime.date.today()  # noqa: DTZ011 - as asked

    @classmethod
    def fromtimestamp(cls, timestamp: float, /) -> Any:
        real = real_datetime.datetime.fromtimestamp(timestamp, real_datetime.UTC if determinism.current() else None)
        return real.date()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.date_schema()


class _DateTime(real_datetime.datetime, metaclass=_Facade):
    real: ClassVar[type] = real_datetime.datetime

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return real_datetime.datetime(*args, **kwargs)  # noqa: DTZ001 - the caller's business

    @classmethod
    def now(cls, tz: real_datetime.tzinfo | None = None) -> Any:
        if determinism.current() is None:
            return real_datetime.datetime.now(tz)
        return _now().astimezone(tz) if tz else _now().replace(tzinfo=None)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(real_datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return cls.now()

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: real_datetime.tzinfo | None = None) -> Any:
        if tz is not None or determinism.current() is None:
            return real_datetime.datetime.fromtimestamp(timestamp, tz)
        return real_datetime.datetime.fromtimestamp(timestamp, real_datetime.UTC).replace(tzinfo=None)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.datetime_schema()


for _facade, _name in ((_Date, "date"), (_DateTime, "datetime")):
    _facade.__name__ = _facade.__qualname__ = _name
    _facade.__module__ = "datetime"


def _timestamp() -> float:
    return _now().timestamp()


def timestamp_ns() -> int:
    """The run's time in nanoseconds since the epoch."""
    delta = _now() - real_datetime.datetime.fromtimestamp(0, real_datetime.UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000


def _gmtime(seconds: float | None = None) -> real_time.struct_time:
    return real_time.gmtime(_timestamp() if seconds is None else seconds)


def _strftime(format: str, moment: Any = None) -> str:  # noqa: A002 - the parameter's name
    return real_time.strftime(format, moment if moment is not None else _gmtime())


def _asctime(moment: Any = None) -> str:
    return real_time.asctime(moment if moment is not None else _gmtime())


def _ctime(seconds: float | None = None) -> str:
    return real_time.asctime(_gmtime(seconds))


def _tzset() -> None:
    """Nothing: a run's local time is UTC."""


def make_time() -> ModuleType:
    """The `time` module."""
    seconds = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
    in_run: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(seconds, _timestamp), **{f"{name}_ns": timestamp_ns for name in seconds},
        "gmtime": _gmtime, "localtime": _gmtime, "strftime": _strftime, "asctime": _asctime, "ctime": _ctime,
        "mktime": importlib.import_module("calendar").timegm, "tzset": _tzset}
    return copy_of(
        real_time, timezone=0, altzone=0, daylight=0, tzname=("UTC", "UTC"),
        **{name: either(getattr(real_time, name), function) for name, function in in_run.items()},
        sleep=determinism.stand_in("time.sleep", "write `await asyncio.sleep(...)`, which is a durable timer"),
        **determinism.stand_ins("time", ("clock_gettime", "clock_gettime_ns", "clock_settime", "clock_settime_ns", "get_clock_info")))


def make_datetime() -> ModuleType:
    """The `datetime` module."""
    return copy_of(real_datetime, date=_Date, datetime=_DateTime)
