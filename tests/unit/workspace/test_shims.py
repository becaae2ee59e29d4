"""The standard library of a run, row by row: inside it repeats itself, outside it is the real one."""

from __future__ import annotations

import asyncio
import builtins
import io
import os
import random
import secrets
import textwrap
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from random import Random
from typing import Any

import pytest

from bifrost.errors import DeterminismError
from bifrost.workspace import determinism, shims
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision
from tests.still import NOW, StillRun


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


def _value(expression: str, imports: str) -> Any:
    module = Namespace(Revision({"a.py": textwrap.dedent(f"import {imports}\ndef value():\n    return {expression}")})).load("workspace.a")
    return module.value()


def _in_run(expression: str, imports: str) -> Any:
    with determinism.running(StillRun()):
        return _value(expression, imports)


STAMP = NOW.timestamp()


@pytest.mark.parametrize(("expression", "expected"), [
    ("datetime.datetime.now().isoformat()", "2030-07-02T03:04:05.678000"), ("datetime.datetime.now().tzinfo", None),
    ("datetime.datetime.now(datetime.UTC).isoformat()", "2030-07-02T03:04:05.678000+00:00"),
    ("datetime.datetime.now(tz=datetime.timezone(datetime.timedelta(hours=-2))).hour", 1),
    ("datetime.datetime.utcnow().isoformat()", "2030-07-02T03:04:05.678000"), ("str(datetime.date.today())", "2030-07-02"),
    ("str(datetime.datetime.today().date())", "2030-07-02"), ("str(datetime.datetime.fromtimestamp(0))", "1970-01-01 00:00:00"),
    ("str(datetime.datetime.fromtimestamp(0, datetime.UTC))", "1970-01-01 00:00:00+00:00"),
    ("str(datetime.date.fromtimestamp(0))", "1970-01-01"), ("time.time()", STAMP), ("time.monotonic()", STAMP),
    ("time.perf_counter()", STAMP), ("time.process_time()", STAMP), ("time.thread_time()", STAMP), ("time.time_ns()", int(STAMP * 1e6) * 1000),
    ("time.monotonic_ns() == time.perf_counter_ns() == time.process_time_ns() == time.thread_time_ns() == time.time_ns()", True),
    ("time.gmtime() == time.localtime() == time.gmtime(time.time())", True), ("time.localtime(0).tm_hour", 0),
    ("time.strftime('%Y-%m-%d %H')", "2030-07-02 03"), ("time.strftime('%H', time.gmtime(3600))", "01"), ("time.ctime(0)[11:13]", "00"),
    ("time.asctime()[11:13]", "03"), ("time.mktime(time.gmtime(5))", 5), ("time.tzname", ("UTC", "UTC")),
    ("(time.timezone, time.altzone, time.daylight)", (0, 0, 0)), ("time.tzset()", None),
    ("time.strptime('2030', '%Y').tm_year", 2030), ("datetime.datetime.strptime('2030-05', '%Y-%m').month", 5),
    ("datetime.datetime.combine(datetime.date(2030, 1, 2), datetime.time(3)).isoformat()", "2030-01-02T03:00:00"),
    ("datetime.datetime.fromordinal(1).year", 1), ("(datetime.date.max - datetime.date.min).days", 3652058),
    ("[isinstance(datetime.datetime.now(), kind) for kind in (datetime.datetime, datetime.date)]", [True, True]),
    ("isinstance(datetime.date(2030, 1, 1), datetime.datetime)", False), ("issubclass(datetime.datetime, datetime.date)", True),
    ("(datetime.datetime.now() + datetime.timedelta(days=1)).day", 3)])
def test_time_is_the_runs_and_utc(new_york: None, expression: str, expected: Any) -> None:
    """Whatever zone the worker is in, the run's time and local time are the same everywhere."""
    assert _in_run(expression, "datetime, time") == expected


@pytest.mark.parametrize("expression", [
    "time.localtime(0)", "time.gmtime(0)", "time.ctime(0)", "time.strftime('%H', time.gmtime(0))", "time.mktime(time.gmtime(0))",
    "time.asctime(time.gmtime(0))", "time.tzset()"])
def test_outside_of_runs_time_is_the_machines(new_york: None, expression: str) -> None:
    """The same call, the real answer, in the machine's own zone."""
    assert _value(expression, "time") == eval(expression)


def test_outside_of_runs_the_clock_ticks(new_york: None) -> None:
    """Now is now; local time is local."""
    module = Namespace(Revision({"a.py": "import datetime, time"})).load("workspace.a")
    real = datetime.now(UTC)
    shimmed = module.datetime.datetime
    assert abs((shimmed.now(UTC) - real).total_seconds()) < 60
    assert abs((shimmed.utcnow() - real.replace(tzinfo=None)).total_seconds()) < 60
    assert abs((shimmed.now() - datetime.now()).total_seconds()) < 60  # noqa: DTZ005 - local time is under test
    assert shimmed.fromtimestamp(0).hour == 19
    assert (module.datetime.date.fromtimestamp(0).day, type(module.datetime.date.today())) == (31, type(real.date()))
    assert module.time.monotonic() - time.monotonic() < 60


DRAWS = [
    ("random.random()", "random"), ("random.sample(range(99), 3)", "random"), ("random.shuffle([1])", "random"), ("random.gauss(0, 1)", "random"),
    ("random.Random().random()", "random"), ("random.Random(None).random()", "random"), ("random.SystemRandom().getrandbits(64)", "random"),
    ("(random.seed(), random.random())[1]", "random"), ("(lambda r: (r.seed(), r.random())[1])(random.Random(1))", "random"),
    ("(lambda r: (r.seed(1), r.random())[1])(random.SystemRandom())", "random"), ("random.getstate()[1][:3]", "random"),
    ("random.randbytes(4)", "random"), ("secrets.token_bytes()", "secrets"), ("secrets.token_bytes(nbytes=4)", "secrets"),
    ("secrets.token_hex(nbytes=4)", "secrets"), ("secrets.token_hex()", "secrets"), ("secrets.token_urlsafe(nbytes=4)", "secrets"),
    ("secrets.choice(range(10**9))", "secrets"), ("secrets.randbelow(10**9)", "secrets"), ("secrets.randbits(64)", "secrets"),
    ("secrets.SystemRandom().random()", "secrets"), ("uuid.uuid4()", "uuid"), ("uuid.uuid1()", "uuid"), ("os.urandom(8)", "os"),
    ("os.getrandom(8)", "os")]


@pytest.mark.parametrize(("expression", "module"), DRAWS)
def test_chance_repeats_itself_row_by_row(expression: str, module: str) -> None:
    """The same run draws the same; and what it draws next is something else."""
    once, again = _in_run(expression, module), _in_run(expression, module)
    assert once == again
    with determinism.running(StillRun()):
        first, second = _value(expression, module), _value(expression, module)
    assert first == once
    assert second != first or "shuffle" in expression or "getstate" in expression


@pytest.mark.parametrize(("expression", "module"), [(row, module) for row, module in DRAWS if "shuffle" not in row])
def test_outside_of_runs_chance_is_real(expression: str, module: str) -> None:
    """Two draws differ, and secrets come from the machine and not from a seed that somebody set."""
    state = random.getstate()
    try:
        random.seed(1)
        first = _value(expression, module)
        random.seed(1)
        second = _value(expression, module)
    finally:
        random.setstate(state)
    seeded = expression in ("random.random()", "random.sample(range(99), 3)", "random.gauss(0, 1)", "random.getstate()[1][:3]", "random.randbytes(4)")
    assert (first == second) is seeded


def test_a_seed_that_was_set_is_kept() -> None:
    """With a seed, in a run and outside, random numbers are Python's."""
    for value in (_in_run("(random.seed(5), random.random())[1]", "random"), _value("random.Random(5).random()", "random"),
                  _in_run("random.Random(5).random()", "random"), _in_run("random.Random(x=5).random()", "random")):
        assert value == Random(5).random()
    assert _in_run("random.Random('text').random()", "random") == Random("text").random()
    assert _in_run("isinstance(random.SystemRandom(), random.Random)", "random")


def test_identifiers_are_valid() -> None:
    """Version 4 is random; version 1 has the run's time and, unless given, a random multicast node; 3 and 5 are computed."""
    first = _in_run("uuid.uuid1()", "uuid")
    assert (first.version, first.variant, first.node >> 40 & 1) == (1, uuid.RFC_4122, 1)
    assert (first.time - 0x01B21DD213814000) / 1e7 == STAMP
    assert _in_run("uuid.uuid4()", "uuid").version == 4
    assert _in_run("uuid.uuid5(uuid.NAMESPACE_DNS, 'a')", "uuid") == uuid.uuid5(uuid.NAMESPACE_DNS, "a")
    assert len(_in_run("secrets.token_bytes()", "secrets")) == 32
    assert _in_run("secrets.compare_digest('a', 'a')", "secrets") is secrets.compare_digest("a", "a")


@pytest.mark.parametrize(("expression", "imports", "expected"), [
    ("io.StringIO('x').read()", "io", "x"), ("io.BytesIO(b'x').seek(0, io.SEEK_END)", "io", 1), ("http.HTTPStatus.OK", "http", HTTPStatus.OK),
    ("(lambda f: (csv.writer(f).writerow([1, 2]), f.getvalue())[1])(io.StringIO())", "csv, io", "1,2\r\n"),
    ("statistics.mean([1, 2])", "statistics", 1.5), ("os.path.join('a', 'b') + os.sep + os.curdir", "os", "a/b/."),
    ("os.path.splitext('a.b')", "os.path", ("a", ".b")), ("os.fspath(pathlib.PurePosixPath('/a') / 'b')", "os, pathlib", "/a/b"),
    ("urllib.parse.urlencode({'a': 1})", "urllib.parse", "a=1"), ("builtins.len([1])", "builtins", 1), ("builtins.ValueError", "builtins", ValueError),
    ("sys.maxsize > 0 and sys.platform != ''", "sys", True), ("asyncio.CancelledError", "asyncio", asyncio.CancelledError),
    ("asyncio.gather", "asyncio", asyncio.gather), ("datetime.timedelta(1).days", "datetime", 1), ("zoneinfo.ZoneInfo('UTC').key", "zoneinfo", "UTC")])
def test_what_only_computes_is_there(expression: str, imports: str, expected: Any) -> None:
    """Of modules that also reach out, the names that do not are the real ones."""
    assert _in_run(expression, imports) == expected


@pytest.mark.parametrize(("expression", "imports", "what"), [
    ("time.sleep(1)", "time", "time.sleep"), ("time.clock_gettime(0)", "time", "time.clock_gettime"), ("uuid.getnode()", "uuid", "uuid.getnode"),
    ("uuid.uuid7()", "uuid", "uuid.uuid7"), ("open('x')", "os", "open()"), ("input()", "os", "input()"), ("breakpoint()", "os", "breakpoint()"),
    ("exit()", "os", "exit()"), ("quit(1)", "os", "quit()"), ("builtins.open('x')", "builtins", "open()"), ("io.open('x')", "io", "io.open"),
    ("io.FileIO('x')", "io", "io.FileIO"), ("os.environ.get('HOME')", "os", "os.environ.get"), ("os.environ['HOME']", "os", "os.environ"),
    ("'HOME' in os.environ", "os", "os.environ"), ("os.getenv('HOME')", "os", "os.getenv"), ("os.getcwd()", "os", "os.getcwd"),
    ("os.path.exists('x')", "os", "os.path.exists"), ("os.path.abspath('x')", "os.path", "os.path.abspath"), ("pathlib.Path('x')", "pathlib", "pathlib.Path"),
    ("pathlib.Path.home()", "pathlib", "pathlib.Path.home"), ("asyncio.to_thread(len)", "asyncio", "asyncio.to_thread"),
    ("asyncio.run(None)", "asyncio", "asyncio.run"), ("asyncio.open_connection('h', 1)", "asyncio", "asyncio.open_connection"),
    ("asyncio.create_subprocess_exec('ls')", "asyncio", "asyncio.create_subprocess_exec"), ("sys.exit(1)", "sys", "sys.exit"),
    ("sys.argv[1]", "sys", "sys.argv"), ("sys.stdin.read()", "sys", "sys.stdin.read"), ("list(sys.modules)", "sys", "sys.modules"),
    ("statistics.NormalDist().samples(1)", "statistics", "statistics.NormalDist"), ("http.client.HTTPConnection('h')", "http.client", "http.client.HTTPConnection"),
    ("urllib.request.urlopen('u')", "urllib.request", "urllib.request.urlopen"), ("socket.socket()", "socket", "socket.socket"),
    ("threading.Lock()", "threading", "threading.Lock"), ("subprocess.run('ls')", "subprocess", "subprocess.run"),
    ("importlib.import_module('os').getcwd()", "importlib", "os.getcwd"), ("importlib.reload(1)", "importlib", "importlib.reload"),
    ("importlib.util.find_spec('os')", "importlib.util", "importlib.util.find_spec"), ("id(1)", "os", "id()"),
    ("logging.FileHandler('x')", "logging", "logging.FileHandler"), ("tempfile.mkdtemp()", "tempfile", "tempfile.mkdtemp"),
    ("platform.node()", "platform", "platform.node"), ("aiohttp.ClientSession()", "aiohttp", "aiohttp.ClientSession")])
def test_what_reaches_out_is_refused(expression: str, imports: str, what: str) -> None:
    """The refusal names the thing, the line and the cure."""
    with pytest.raises(DeterminismError) as refusal:
        _in_run(expression, imports)
    assert (refusal.value.details["what"], refusal.value.details["line"]) == (what, "workspace/a.py:3")
    assert str(refusal.value) == (f"workspace/a.py:3: {what} cannot be used inside a workflow, because a replay could not repeat it: "
                                  f"{refusal.value.details['cure']}")


@pytest.mark.parametrize(("expression", "imports", "cure"), [
    ("time.sleep(1)", "time", "await asyncio.sleep"), ("os.environ['A']", "os", "context.get_config"), ("os.getenv('A')", "os", "context.get_config"),
    ("asyncio.to_thread(len)", "asyncio", "asyncio.create_task"), ("open('x')", "os", "an integration or an `@activity`"), ("id('x')", "os", "compare objects with `is`")])
def test_a_refusal_knows_the_cure(expression: str, imports: str, cure: str) -> None:
    """Where there is a better cure than an integration, it is named."""
    with pytest.raises(DeterminismError, match=cure.replace(".", r"\.")):
        _in_run(expression, imports)


def test_the_builtins_of_runs_are_pythons_otherwise() -> None:
    """Only what reaches out is replaced, the real builtins are left alone, and there is no way around the import rule."""
    replaced = {name for name, value in shims.builtins_for_runs().items() if getattr(builtins, name, None) is not value}
    assert replaced <= {"open", "input", "breakpoint", "print", "exit", "quit", "id"}
    assert not hasattr(shims.MODULES["builtins"], "__import__")
    assert (open, os.environ.__class__.__name__, io.open) == (builtins.open, "_Environ", builtins.open)
