"""The standard library as a run sees it: the modules that answer differently each time, made to repeat themselves.

Outside a run a shim answers like the module it stands for, so a value made in a run is an ordinary `datetime`, `UUID` or
`Random` everywhere. Inside, local time is UTC: workers of a fleet may sit in different time zones.
"""

from __future__ import annotations

import asyncio
import builtins
import datetime as real_datetime  # noqa: ICN001 - beside real_time, real_random, …
import importlib
import os as real_os
import random as real_random
import secrets as real_secrets
import sys
import time as real_time
import uuid as real_uuid
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, ClassVar

from pydantic_core import core_schema

from bifrost.workspace import determinism

SAFE_MODULES = frozenset({
    "__future__", "abc", "annotationlib", "array", "ast", "base64", "binascii", "bisect", "calendar", "cmath",
    "codecs", "collections", "colorsys", "contextlib", "contextvars", "copy", "copyreg", "csv", "dataclasses", "decimal",
    "difflib", "dis", "enum", "errno", "fnmatch", "fractions", "functools", "graphlib", "gettext", "hashlib", "heapq", "hmac",
    "html", "inspect", "ipaddress", "itertools", "json", "keyword", "locale", "logging", "math", "numbers", "operator",
    "pprint", "quopri", "re", "reprlib", "string", "stringprep", "struct", "textwrap", "token", "tokenize", "traceback",
    "types", "typing", "unicodedata", "urllib.parse", "warnings", "weakref", "xml", "zlib", "zoneinfo",
    "_strptime",  # datetime.strptime and time.strptime import it, on behalf of whoever calls them
    "annotated_types", "pydantic", "pydantic_core", "typing_extensions",
})
"""Modules that compute and do nothing else: a run gets the real ones, and what lies below them."""


def _copy_of(module: ModuleType, **replaced: Any) -> ModuleType:
    copy = ModuleType(module.__name__, module.__doc__)
    vars(copy).update({name: value for name, value in vars(module).items() if not name.startswith("__")}, **replaced)
    return copy


def _either(real: Callable[..., Any], in_run: Callable[..., Any]) -> Callable[..., Any]:
    """`in_run` inside a run, and `real` outside of runs."""
    def call(*args: Any, **kwargs: Any) -> Any:
        return (in_run if determinism.current() else real)(*args, **kwargs)
    call.__name__ = call.__qualname__ = real.__name__
    return call


def _run() -> determinism.RunEnvironment:
    environment = determinism.current()
    assert environment is not None, "asked for only inside runs"
    return environment


def _now() -> real_datetime.datetime:
    return _run().now()


# --- datetime -----------------------------------------------------------------------------------------------------------


class _Facade(type):
    """A class that makes and recognises instances of the real class it stands for."""

    real: type

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)


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


# --- time ---------------------------------------------------------------------------------------------------------------


def _timestamp() -> float:
    return _now().timestamp()


def _timestamp_ns() -> int:
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


def _sleep(_seconds: float) -> None:
    determinism.refuse("time.sleep", "write `await asyncio.sleep(...)`, which is a durable timer")


# --- uuid, random, secrets ----------------------------------------------------------------------------------------------


def _getrandbits(count: int) -> int:
    return _run().random.getrandbits(count)


def _uuid4() -> real_uuid.UUID:
    return real_uuid.UUID(int=_getrandbits(128), version=4)


def _uuid1(node: int | None = None, clock_seq: int | None = None) -> real_uuid.UUID:
    """RFC 9562 version 1: 100 ns since 1582-10-15, a random clock sequence and, like a privacy-minded host, a random node."""
    ticks = _timestamp_ns() // 100 + 0x01B21DD213814000
    sequence = _getrandbits(14) if clock_seq is None else clock_seq
    return real_uuid.UUID(version=1, fields=(
        ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0x0FFF, sequence >> 8 & 0x3F, sequence & 0xFF,
        _getrandbits(48) | 1 << 40 if node is None else node))


def _seed_of_run(seed: Any) -> Any:
    return _getrandbits(256) if seed is None and determinism.current() else seed


class _Random(real_random.Random):
    """`random.Random`, seeded from the run where no seed is given."""

    def seed(self, a: Any = None, version: int = 2) -> None:
        super().seed(_seed_of_run(a), version)


class _SystemRandom(_Random):
    """`random.SystemRandom`, which has no seed to set."""

    _seeded = False

    def __init__(self, x: Any = None) -> None:
        del x
        super().__init__()

    def seed(self, *_args: Any, **_kwargs: Any) -> None:
        if not self._seeded:
            self._seeded = True
            super().seed()


def _dice(real: Any, name: str) -> Callable[..., Any]:
    """The method of the run's random numbers that stands for `real`."""
    def draw(*args: Any, **kwargs: Any) -> Any:
        return getattr(_run().random, name)(*args, **kwargs)
    return _either(real, draw)


def _seed(a: Any = None, version: int = 2) -> None:
    _run().random.seed(_seed_of_run(a), version)


def _random_bytes(nbytes: int | None = None) -> bytes:
    return _run().random.randbytes(32 if nbytes is None else nbytes)


def _token_urlsafe(nbytes: int | None = None) -> str:
    encoded: str = importlib.import_module("base64").urlsafe_b64encode(_random_bytes(nbytes)).decode()
    return encoded.rstrip("=")


# --- the table ----------------------------------------------------------------------------------------------------------


def _refused(module: str, names: tuple[str, ...], cure: str = determinism.CURE) -> dict[str, Any]:
    return {name: determinism.stand_in(f"{module}.{name}", cure) for name in names}


async def _wait(fs: Any, *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED) -> Any:  # noqa: ASYNC109
    environment = determinism.current()
    wait = environment.wait if environment else asyncio.wait
    return await wait(fs, timeout=timeout, return_when=return_when)


def _as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    environment = determinism.current()
    return (environment.as_completed if environment else asyncio.as_completed)(fs, timeout=timeout)


_CONFIG_CURE = "read configuration with `context.get_config(...)`"
_TASK_CURE = "start tasks with `asyncio.create_task` or `asyncio.gather`, and move blocking work into an integration"


def _make_os() -> ModuleType:
    pure = {name: getattr(real_os, name) for name in (
        "sep", "linesep", "pathsep", "extsep", "curdir", "pardir", "altsep", "name", "fspath", "PathLike", "fsencode", "fsdecode")}
    shim = determinism.RefusedModule("os")
    pure_path = determinism.RefusedModule("os.path")
    vars(pure_path).update({name: getattr(real_os.path, name) for name in (
        "join", "basename", "dirname", "split", "splitext", "normpath", "isabs", "commonpath", "commonprefix", "sep")})
    urandom = _either(real_os.urandom, _random_bytes)
    vars(shim).update(pure, path=pure_path, urandom=urandom, getrandom=urandom,
                      environ=determinism.stand_in("os.environ", _CONFIG_CURE),
                      getenv=determinism.stand_in("os.getenv", _CONFIG_CURE))
    return shim


def _make_partly(module: str, *pure: str) -> ModuleType:
    """A refused module, but for those of its names that only compute."""
    real = importlib.import_module(module)
    shim = determinism.RefusedModule(module)
    vars(shim).update({name: getattr(real, name) for name in pure})
    return shim


def _make_random() -> ModuleType:
    drawn = [name for name in real_random.__all__ if name not in ("Random", "SystemRandom", "seed")]
    return _copy_of(real_random, Random=_Random, SystemRandom=_SystemRandom, seed=_either(real_random.seed, _seed),
                    **{name: _dice(getattr(real_random, name), name) for name in drawn})


def _make_secrets() -> ModuleType:
    drawn = {"choice": "choice", "randbelow": "randrange", "randbits": "getrandbits"}
    return _copy_of(
        real_secrets, SystemRandom=_SystemRandom, token_bytes=_either(real_secrets.token_bytes, _random_bytes),
        token_hex=_either(real_secrets.token_hex, lambda nbytes=None: _random_bytes(nbytes).hex()),
        token_urlsafe=_either(real_secrets.token_urlsafe, _token_urlsafe),
        **{name: _dice(getattr(real_secrets, name), method) for name, method in drawn.items()})


def _make_time() -> ModuleType:
    seconds = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
    in_run: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(seconds, _timestamp), **{f"{name}_ns": _timestamp_ns for name in seconds},
        "gmtime": _gmtime, "localtime": _gmtime, "strftime": _strftime, "asctime": _asctime, "ctime": _ctime,
        "mktime": importlib.import_module("calendar").timegm, "sleep": _sleep, "tzset": _tzset}
    return _copy_of(
        real_time, timezone=0, altzone=0, daylight=0, tzname=("UTC", "UTC"),
        **{name: _either(getattr(real_time, name), function) for name, function in in_run.items()},
        **_refused("time", ("clock_gettime", "clock_gettime_ns", "clock_settime", "clock_settime_ns", "get_clock_info")))


def builtins_for_runs() -> dict[str, Any]:
    """Python's builtins as a run has them, without `__import__`."""
    real_print = builtins.print

    def print_once(*args: Any, **kwargs: Any) -> None:
        environment = determinism.current()
        if environment is None or not environment.replaying():
            real_print(*args, **kwargs)

    def refused(name: str) -> Callable[..., Any]:
        def call(*_args: Any, **_kwargs: Any) -> Any:
            determinism.refuse(f"{name}()")
        return call

    return {**vars(builtins), "print": print_once, **{name: refused(name) for name in ("open", "input", "breakpoint", "exit", "quit")}}


def _make_builtins() -> ModuleType:
    module = ModuleType("builtins", builtins.__doc__)
    vars(module).update({name: value for name, value in builtins_for_runs().items() if name != "__import__"})
    return module


MODULES: Mapping[str, ModuleType] = {
    "builtins": _make_builtins(),
    "datetime": _copy_of(real_datetime, date=_Date, datetime=_DateTime),
    "time": _make_time(),
    "uuid": _copy_of(real_uuid, uuid4=_either(real_uuid.uuid4, _uuid4), uuid1=_either(real_uuid.uuid1, _uuid1),
                     **_refused("uuid", ("getnode", "uuid6", "uuid7", "uuid8"))),  # Python 3.14 has the last three
    "random": _make_random(),
    "secrets": _make_secrets(),
    "statistics": _copy_of(importlib.import_module("statistics"), **_refused("statistics", ("NormalDist",))),  # it can draw
    "os": _make_os(),
    "pathlib": _make_partly("pathlib", "PurePath", "PurePosixPath", "PureWindowsPath"),
    "io": _make_partly("io", "StringIO", "BytesIO", "TextIOWrapper", "IOBase", "RawIOBase", "BufferedIOBase", "TextIOBase",
                       "UnsupportedOperation", "SEEK_SET", "SEEK_CUR", "SEEK_END"),
    "http": _make_partly("http", "HTTPStatus", "HTTPMethod"),
    "urllib": _make_partly("urllib"),
    "asyncio": _copy_of(
        asyncio, wait=_wait, as_completed=_as_completed,
        **_refused("asyncio", ("to_thread", "run", "Runner", "new_event_loop", "run_coroutine_threadsafe"), _TASK_CURE),
        **_refused("asyncio", ("open_connection", "start_server", "open_unix_connection", "start_unix_server",
                               "create_subprocess_exec", "create_subprocess_shell"))),
    "sys": _copy_of(sys, **_refused("sys", ("argv", "stdin", "exit", "modules"))),
}
"""What `import NAME` gives to a run, beside the safe modules; everything else is refused on use."""
vars(MODULES["os"])["path"].__name__ = "os.path"
vars(MODULES["urllib"])["parse"] = importlib.import_module("urllib.parse")
