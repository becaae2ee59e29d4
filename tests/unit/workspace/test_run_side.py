"""The workspace inside a run: its own modules, shims in place of the machine, and what is refused."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from bifrost.errors import DeterminismError, NotFoundError
from bifrost.integrations.base import registered_integrations
from bifrost.workspace import determinism, shims
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision
from tests.still import StillRun

NOW = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.fixture
def environment() -> Iterator[StillRun]:
    """The test is a run."""
    still = StillRun(NOW)
    with determinism.running(still):
        yield still


def _load(source: str, **files: str) -> Any:
    """The module `workspace.a` of a fresh namespace."""
    sources = {"a.py": source, **{path.replace("__", "/") + ".py": text for path, text in files.items()}}
    namespace = Namespace(Revision({path: textwrap.dedent(text) for path, text in sources.items()}))
    with determinism.loading():
        return namespace.load("workspace.a")


def test_globals_of_one_run_are_unknown_to_another() -> None:
    """Each run executes the modules for itself; within a run a module is one."""
    revision = Revision({"a.py": "from workspace.b import SEEN\nSEEN.append(1)", "b.py": "SEEN = []"})
    for _ in range(2):
        namespace = Namespace(revision)
        assert namespace.load("workspace.a").SEEN == [1]
        assert namespace.load("workspace.b") is namespace.load("workspace.b")


def test_every_form_of_import_of_the_workspace() -> None:
    """Absolute, relative, star, package and folder-of-a-workflow imports get this revision's modules."""
    module = _load("""
        import workspace.lib.words
        import workspace.lib.words as w
        from workspace.lib import words
        from workspace.lib.words import *
        from .lib import words as again
        from . import flow
        from workspace.flow import go, STEP
        from .lib.words import WORD as direct
        import workspace
        same = workspace.lib.words is w is words is again
    """, lib__words="WORD = 'hi'\n_hidden = 1", flow__workflow="from .lib.steps import STEP\ndef go(): return STEP",
        flow__lib__steps="STEP = 1", pkg____init__="X = 1")
    assert (module.same, module.WORD, module.direct, module.STEP, module.go(), module.flow.go()) == (True, "hi", "hi", 1, 1, 1)
    assert not hasattr(module, "_hidden")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'workspace\.none'"):
        _load("import workspace.none")
    with pytest.raises(ImportError, match="goes above"):
        _load("from ... import x")
    with pytest.raises(AttributeError):
        _load("from workspace import flow\nflow.nothing", flow__workflow="")


def test_the_front_door_is_open_and_the_rest_is_not() -> None:
    """Public names are the real ones; what is private is refused as in the live process."""
    module = _load("""
        import bifrost
        from bifrost import ValidationError
        from engine.shared.error_handling import ValidationError as Older
        from engine.shared import decorators
        import engine.shared.models
    """)
    from bifrost import errors
    assert module.ValidationError is module.Older is errors.ValidationError
    assert module.bifrost.workflow is module.decorators.workflow
    with pytest.raises(ImportError, match=r"Workspace code cannot import engine module 'bifrost\.errors'"):
        _load("import bifrost.errors")


def test_modules_that_compute_are_the_real_ones() -> None:
    """Safe modules are imported as they are, dotted ones too; their unsafe siblings are stand-ins."""
    module = _load("""
        import json, re, math, dataclasses, collections.abc
        import urllib.parse
        from urllib import parse
        import xml.etree.ElementTree as ET
        import os.path
        from os import path
        import concurrent.futures
        import urllib.request
        quoted = urllib.parse.quote("a b")
    """)
    import json
    import urllib.parse
    assert module.json is json
    assert module.parse is urllib.parse
    assert module.quoted == "a%20b"
    assert module.os.path.join("a", "b") == module.path.join("a", "b") == "a/b"
    with pytest.raises(DeterminismError, match=r"concurrent\.futures\.ThreadPoolExecutor"):
        module.concurrent.futures.ThreadPoolExecutor()
    with pytest.raises(DeterminismError, match=r"urllib\.request\.urlopen"):
        module.urllib.request.urlopen("x")


REFUSED = """
    import httpx, threading, subprocess, socket, sqlite3, requests
    import os, time, asyncio, sys, pathlib, uuid
    from bifrost import BaseIntegration, register_integration

    session = requests.Session(timeout=httpx.Timeout(5) | requests.x)
    class Auth(httpx.Auth):
        pass
    @requests.retry(times=3)
    def decorated(): ...
    def annotated(a: httpx.Response, b: httpx.Response | None = None) -> list[httpx.Response]: ...

    class Shop(BaseIntegration):
        integration_name = "shop_of_a_run"
        async def authenticate(self):
            return httpx.get("x")
    register_integration("shop_of_a_run", Shop)

    def caught():
        try:
            raise ValueError
        except httpx.HTTPError:
            return "wrong"
        except ValueError:
            return isinstance(1, httpx.Response), issubclass(Auth, httpx.Auth)

    USES = {
        "httpx.get": lambda: httpx.get("x"), "httpx.Auth": lambda: Auth(), "requests.retry": lambda: decorated(),
        "threading.Thread": lambda: threading.Thread(target=print), "subprocess.run": lambda: subprocess.run(["ls"]),
        "os.environ": lambda: os.environ["HOME"], "os.getenv": lambda: os.getenv("HOME"), "os.listdir": lambda: os.listdir("."),
        "os.path.exists": lambda: os.path.exists("."), "time.sleep": lambda: time.sleep(1), "open()": lambda: open("x"),
        "input()": lambda: input(), "asyncio.to_thread": lambda: asyncio.to_thread(print), "sys.argv": lambda: sys.argv[0],
        "pathlib.Path": lambda: pathlib.Path("x"), "sqlite3.connect": lambda: sqlite3.connect("x"),
        "requests.codes": lambda: 1 in requests.codes, "requests.flag": lambda: bool(requests.flag),
        "requests.things": lambda: list(requests.things), "uuid.getnode": lambda: uuid.getnode(),
        "socket.x": lambda: socket.x < 1,
    }
"""


@pytest.fixture(scope="module")
def refused() -> Any:
    """A module that imports what a run may not use, and uses it in every way that is fine while loading."""
    return _load(REFUSED)


def test_refused_modules_may_be_imported_for_others(refused: Any) -> None:
    """A base class, a decorator, an annotation, an `except` clause: loading works, and nothing is registered."""
    assert refused.caught() == (False, True)
    assert "shop_of_a_run" not in registered_integrations()


@pytest.mark.parametrize("what", [
    "httpx.get", "httpx.Auth", "requests.retry", "threading.Thread", "subprocess.run", "os.environ", "os.getenv", "os.listdir",
    "os.path.exists", "time.sleep", "open()", "input()", "asyncio.to_thread", "sys.argv", "pathlib.Path", "sqlite3.connect",
    "requests.codes", "requests.flag", "requests.things", "uuid.getnode", "socket.x"])
def test_what_a_replay_could_not_repeat_is_refused_on_use(refused: Any, environment: StillRun, what: str) -> None:
    """Used in a run it raises, naming it, the line and the cure."""
    with pytest.raises(DeterminismError) as refusal:
        refused.USES[what]()
    assert what in refusal.value.details["what"]
    assert refusal.value.details["line"].startswith("workspace/a.py:")
    assert refusal.value.details["cure"] in str(refusal.value)


def test_stand_ins_have_no_private_names(refused: Any) -> None:
    """What tools look for on any object is not there, so they leave stand-ins alone."""
    with pytest.raises(AttributeError):
        _ = refused.httpx.__wrapped__
    with pytest.raises(AttributeError):
        _ = refused.httpx.Client.__wrapped__


TIME = """
    import datetime as dt, time
    from datetime import date, datetime, timedelta, timezone
    now = [datetime.now().isoformat(), datetime.utcnow().isoformat(), datetime.today().isoformat(), date.today().isoformat(),
           datetime.now(timezone(timedelta(hours=1))).isoformat(), time.time(), time.monotonic(), time.perf_counter(),
           time.time_ns(), time.strftime("%Y"), time.strftime("%Y", time.gmtime(0)), time.ctime(), time.ctime(0), time.asctime(),
           time.asctime(time.gmtime(0)), time.gmtime().tm_hour, time.localtime().tm_hour]
    made = [datetime(2020, 1, 1), date(2020, 1, 1), datetime.fromisoformat("2020-01-01"), datetime.strptime("2020", "%Y")]
    checks = [isinstance(made[0], datetime), isinstance(made[1], date), isinstance(made[0], date), issubclass(dt.datetime, date)]
"""


def test_the_clock_is_the_runs(environment: StillRun) -> None:
    """Every way to ask for the time gives the run's, local time is UTC, and what is made are ordinary objects."""
    module = _load(TIME)
    stamp = environment.now().timestamp()
    assert module.now == [
        "2030-01-02T03:04:05.678000", "2030-01-02T03:04:05.678000", "2030-01-02T03:04:05.678000", "2030-01-02",
        "2030-01-02T04:04:05.678000+01:00", stamp, stamp, stamp, int(stamp * 1000) * 1_000_000, "2030", "1970",
        "Wed Jan  2 03:04:05 2030", "Thu Jan  1 00:00:00 1970", "Wed Jan  2 03:04:05 2030", "Thu Jan  1 00:00:00 1970", 3, 3]
    assert [type(one) for one in module.made] == [datetime, date, datetime, datetime]
    assert module.checks == [True, True, True, True]


DICE = """
    import os, random, secrets, uuid
    values = [random.random(), random.randint(1, 9), random.choice("abc"), random.Random().random(), random.SystemRandom().random(),
              random.Random(1).random(), secrets.token_hex(4), secrets.token_bytes(2), secrets.token_urlsafe(), secrets.choice("abc"),
              secrets.randbelow(9), secrets.SystemRandom().random(), os.urandom(2), str(uuid.uuid4()), str(uuid.uuid1())]
    random.seed(3)
    values.append(random.random())
    clock = uuid.uuid1(node=5, clock_seq=6)
    system = random.SystemRandom()
    system.seed(1)
    fixed = str(uuid.uuid5(uuid.NAMESPACE_DNS, "a"))
"""


def test_chance_repeats_itself() -> None:
    """Everything random is drawn from the run's stream: the same for the same run, other for another."""
    drawn = []
    for _ in range(2):
        with determinism.running(StillRun(NOW)):
            drawn.append(_load(DICE))
    assert drawn[0].values == drawn[1].values
    assert UUID(drawn[0].values[13]).version == 4
    assert (drawn[0].clock.version, drawn[0].clock.node, drawn[0].clock.clock_seq) == (1, 5, 6)
    assert drawn[0].clock.time == (NOW.timestamp() * 10_000_000) // 1 + 0x01B21DD213814000
    assert UUID(drawn[0].fixed).version == 5
    outside = _load(DICE)
    assert outside.values != drawn[0].values


def test_pydantic_and_dataclasses_know_the_shimmed_types(environment: StillRun) -> None:
    """A model annotated with `datetime` and `date` validates them as ever."""
    module = _load("""
        from dataclasses import dataclass
        from datetime import date, datetime
        from pydantic import BaseModel

        class Model(BaseModel):
            at: datetime
            on: date | None = None

        @dataclass
        class Record:
            at: datetime = datetime.min
    """)
    model = module.Model.model_validate({"at": "2020-01-01T00:00:00", "on": "2020-01-02"})
    assert (model.at, model.on) == (datetime(2020, 1, 1), date(2020, 1, 2))  # noqa: DTZ001 - as it was given
    assert module.Record().at == datetime.min  # noqa: DTZ901 - the same


async def test_waiting_is_in_an_order_that_repeats(environment: StillRun) -> None:
    """`asyncio.wait` and `as_completed` go through the run; outside of one they are asyncio's."""
    module = _load("import asyncio")
    task = asyncio.ensure_future(asyncio.sleep(0))
    await module.asyncio.wait([task])
    for future in module.asyncio.as_completed([asyncio.sleep(0)]):
        await future
    assert environment.waited == ["wait", "as_completed"]


async def test_outside_of_runs_shims_are_what_they_stand_for() -> None:
    """Without a run the clock is the machine's, and waiting is asyncio's."""
    module = _load("import asyncio\nfrom datetime import datetime, timezone\nimport random")
    assert abs((module.datetime.now(UTC) - datetime.now(UTC)).total_seconds()) < 60
    assert 0 <= module.random.random() < 1
    done, _ = await module.asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))])
    assert len(done) == 1
    for future in module.asyncio.as_completed([asyncio.sleep(0)]):
        await future


def test_print_speaks_once(environment: StillRun, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run prints is not printed again when it is replayed."""
    module = _load("def say(): print('hello')")
    module.say()
    environment.replays = True
    module.say()
    assert capsys.readouterr().out == "hello\n"


def test_a_workflow_is_taken_from_its_file() -> None:
    """By its name; one that the file does not define is not found there."""
    revision = Revision({"workflows/a.py": "from bifrost import workflow\n\n@workflow(name='a')\nasync def f(context): ..."})
    assert Namespace(revision).workflow("workflows/a.py", "a").name == "a"
    with pytest.raises(NotFoundError, match=r"It is not in workspace/workflows/a\.py"):
        Namespace(revision).workflow("workflows/a.py", "b")


def test_a_module_that_fails_is_tried_again() -> None:
    """A module whose execution raised is not half there."""
    namespace = Namespace(Revision({"a.py": "1 / 0"}))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            namespace.load("workspace.a")


def test_refusals_without_workspace_code_say_so(environment: StillRun) -> None:
    """Where no line of the workspace is involved, the message does not invent one."""
    with pytest.raises(DeterminismError, match=r"^workflow code: "):
        shims.MODULES["time"].sleep(1)
