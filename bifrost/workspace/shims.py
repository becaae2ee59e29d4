"""The standard library as a run sees it: what only computes, what stands in for the rest, and the table of both.

Outside a run a shim answers like the module it stands for, so a value made in a run is an ordinary `datetime`, `UUID` or
`Random` everywhere. The clock and the dice have rooms of their own: `clock`, `dice`.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import logging as real_logging
import os as real_os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from bifrost.workspace import clock, determinism, dice, guard
from bifrost.workspace.determinism import copy_of, stand_in, stand_ins

SAFE_MODULES = frozenset({
    "__future__", "abc", "annotationlib", "array", "ast", "base64", "binascii", "bisect", "calendar", "cmath",
    "codecs", "collections", "colorsys", "contextlib", "contextvars", "copy", "copyreg", "csv", "dataclasses", "decimal",
    "difflib", "dis", "enum", "errno", "fnmatch", "fractions", "functools", "graphlib", "hashlib", "heapq", "hmac",
    "html", "inspect", "ipaddress", "itertools", "json", "keyword", "math", "numbers", "operator",
    "pprint", "quopri", "re", "reprlib", "shlex", "string", "stringprep", "struct", "textwrap", "token", "tokenize", "tomllib", "traceback",
    "types", "typing", "unicodedata", "urllib.parse", "warnings", "weakref", "xml", "zlib", "zoneinfo",
    "_strptime",  # datetime.strptime and time.strptime import it, on behalf of whoever calls them
    "annotated_types", "pydantic", "pydantic_core", "typing_extensions",
})
"""Modules that compute and do nothing else: a run gets the real ones, and what lies below them.

Some can be led to a file or a socket (`codecs.open`, `xml.etree.ElementTree.parse`): `audit` stops them there.
"""

_CONFIG_CURE = "read configuration with `context.get_config(...)`"
_TASK_CURE = "start tasks with `asyncio.create_task` or `asyncio.gather`, and move blocking work into an integration or an `@activity`"


# --- asyncio ------------------------------------------------------------------------------------------------------------


async def _wait(fs: Any, *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED) -> Any:  # noqa: ASYNC109
    environment = determinism.current()
    done, pending = await (environment.wait if environment else asyncio.wait)(fs, timeout=timeout, return_when=return_when)
    return set(done), set(pending)  # as asyncio answers them; a run's tasks have an order in sets that repeats


def _as_completed(fs: Any, *, timeout: float | None = None) -> Any:
    environment = determinism.current()
    return (environment.as_completed if environment else asyncio.as_completed)(fs, timeout=timeout)


async def _sleep(delay: float, result: Any = None) -> Any:
    if environment := determinism.current():
        environment.pausing(delay)
    return await asyncio.sleep(delay, result)


class _Loop:
    """The run's event loop: what it does durably, and a refusal in place of what it does not do."""

    def __init__(self, real: asyncio.AbstractEventLoop) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        undone = getattr(asyncio.AbstractEventLoop, name, None)
        return stand_in(f"loop.{name}", _TASK_CURE) if getattr(found, "__func__", found) is undone else found


def _loop() -> Any:
    real = asyncio.get_running_loop()
    return _Loop(real) if determinism.current() else real


def _make_asyncio() -> ModuleType:
    return copy_of(
        asyncio, sleep=_sleep, wait=_wait, as_completed=_as_completed, get_running_loop=_loop, get_event_loop=_loop,
        **stand_ins("asyncio", ("to_thread", "run", "Runner", "new_event_loop", "set_event_loop", "run_coroutine_threadsafe"),
                    _TASK_CURE),
        **stand_ins("asyncio", ("open_connection", "start_server", "open_unix_connection", "start_unix_server",
                                "create_subprocess_exec", "create_subprocess_shell")))


# --- logging ------------------------------------------------------------------------------------------------------------


class _RunLogger(real_logging.Logger):
    """A logger that is silent while a run repeats itself. Where lines go is the worker's business: it takes no handlers."""

    def __init__(self, real: real_logging.Logger) -> None:
        super().__init__(real.name)
        self.parent = real

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        environment = determinism.current()
        assert self.parent is not None, "given when it is made"
        return not (environment and environment.replaying()) and self.parent.isEnabledFor(level)

    def getChild(self, suffix: str) -> _RunLogger:  # noqa: N802 - logging's name
        return _logger(f"{self.name}.{suffix}")

    def _ignored(self, _: Any) -> None:
        """Loaded afresh for each run, a module would add its handlers once for each."""

    setLevel = addHandler = removeHandler = addFilter = removeFilter = _ignored  # type: ignore[assignment]  # noqa: N815 - logging's names


_loggers: dict[str, _RunLogger] = {}


def _logger(name: str | None = None) -> _RunLogger:
    real = real_logging.getLogger(name)
    return _loggers.setdefault(real.name, _RunLogger(real))


def _make_logging() -> ModuleType:
    def ignored(*_args: Any, **_kwargs: Any) -> None:
        """Where lines go is the worker's business."""

    root = _logger()
    spoken = ("debug", "info", "warning", "warn", "error", "exception", "critical", "log")
    return copy_of(real_logging, getLogger=_logger, basicConfig=ignored, disable=ignored, captureWarnings=ignored,
                   **{name: getattr(root, name) for name in spoken},
                   **stand_ins("logging", ("FileHandler", "config", "handlers"), "log with `context.log(...)`"))


# --- os, io, sys, builtins ----------------------------------------------------------------------------------------------


def _make_os() -> ModuleType:
    pure = {name: getattr(real_os, name) for name in (
        "sep", "linesep", "pathsep", "extsep", "curdir", "pardir", "altsep", "name", "fspath", "PathLike", "fsencode", "fsdecode")}
    shim = determinism.RefusedModule("os")
    pure_path = determinism.RefusedModule("os.path")
    vars(pure_path).update({name: getattr(real_os.path, name) for name in (
        "join", "basename", "dirname", "split", "splitext", "normpath", "isabs", "commonpath", "commonprefix", "sep")})
    vars(shim).update(pure, path=pure_path, urandom=dice.urandom, getrandom=dice.urandom,
                      environ=stand_in("os.environ", _CONFIG_CURE), getenv=stand_in("os.getenv", _CONFIG_CURE))
    return shim


def _make_partly(module: str, *pure: str) -> ModuleType:
    """A refused module, but for those of its names that only compute."""
    real = importlib.import_module(module)
    shim = determinism.RefusedModule(module)
    vars(shim).update({name: getattr(real, name) for name in pure})
    return shim


def _make_importlib() -> ModuleType:
    shim = determinism.RefusedModule("importlib")
    vars(shim)["import_module"] = guard.import_module
    return shim


def builtins_for_runs() -> dict[str, Any]:
    """Python's builtins as a run has them, without `__import__`."""
    real_print = builtins.print

    def print_once(*args: Any, **kwargs: Any) -> None:
        environment = determinism.current()
        if environment is None or not environment.replaying():
            real_print(*args, **kwargs)

    refused = {name: stand_in(f"{name}()") for name in ("open", "input", "breakpoint", "exit", "quit")}
    return {**vars(builtins), "print": print_once, **refused,
            "id": stand_in("id()", "compare objects with `is`, and name things with `uuid.uuid4()`")}


def _make_builtins() -> ModuleType:
    module = ModuleType("builtins", builtins.__doc__)
    vars(module).update({name: value for name, value in builtins_for_runs().items() if name != "__import__"})
    return module


# --- the table ----------------------------------------------------------------------------------------------------------

MODULES: Mapping[str, ModuleType] = {
    "asyncio": _make_asyncio(),
    "builtins": _make_builtins(),
    "datetime": clock.make_datetime(),
    "http": _make_partly("http", "HTTPStatus", "HTTPMethod"),
    "importlib": _make_importlib(),
    "io": _make_partly("io", "StringIO", "BytesIO", "TextIOWrapper", "IOBase", "RawIOBase", "BufferedIOBase", "TextIOBase",
                       "UnsupportedOperation", "SEEK_SET", "SEEK_CUR", "SEEK_END"),
    "logging": _make_logging(),
    "os": _make_os(),
    "pathlib": _make_partly("pathlib", "PurePath", "PurePosixPath", "PureWindowsPath"),
    "random": dice.make_random(),
    "secrets": dice.make_secrets(),
    "statistics": copy_of(importlib.import_module("statistics"), **stand_ins("statistics", ("NormalDist",))),  # it can draw
    "sys": copy_of(sys, **stand_ins("sys", ("argv", "stdin", "exit", "modules"))),
    "time": clock.make_time(),
    "urllib": _make_partly("urllib"),
    "uuid": dice.make_uuid(),
}
"""What `import NAME` gives to a run, beside the safe modules; everything else is refused on use."""
vars(MODULES["os"])["path"].__name__ = "os.path"
vars(MODULES["urllib"])["parse"] = importlib.import_module("urllib.parse")
