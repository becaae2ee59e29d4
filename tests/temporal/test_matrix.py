"""Everything that could answer differently the second time, in real executions that are replayed at every step.

A value that a run saw becomes the name of a checkpoint, which Temporal compares on replay. So a row that is not the same
again cannot pass: its execution would be refused as non-deterministic and never end.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowHistory

from bifrost.errors import DeterminismError
from bifrost.temporal import client as executions
from bifrost.temporal.replay import replay
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import snapshot
from tests.temporal.conftest import House

SAME = {
    "datetime": ["datetime.now()", "datetime.now(timezone.utc)", "datetime.utcnow()", "datetime.today()", "date.today()", "dt.datetime.now()",
                 "datetime.now(zoneinfo.ZoneInfo('Europe/Berlin'))", "datetime.fromtimestamp(0)", "datetime.strptime('2030', '%Y')",
                 "datetime.now().strftime('%c')", "[isinstance(datetime.now(), datetime), isinstance(date.today(), date)]"],
    "time": ["time.time()", "time.time_ns()", "time.monotonic()", "time.perf_counter()", "time.process_time()", "time.localtime()", "time.gmtime()",
             "time.strftime('%c')", "time.ctime()", "time.asctime()", "time.mktime(time.localtime())", "time.tzname", "loop_time()",
             "datetime.now().timestamp() == time.time()", "datetime.now().astimezone().utcoffset()"],
    "dice": ["uuid.uuid1()", "uuid.uuid4()", "random.random()", "random.randint(0, 10**9)", "random.sample(range(1000), 5)", "shuffled()",
             "random.gauss(0, 1)", "random.Random().random()", "random.Random(7).random()", "random.SystemRandom().random()", "seeded()",
             "secrets.token_hex()", "secrets.token_urlsafe()", "secrets.choice('abcdef')", "secrets.randbelow(10**9)", "os.urandom(8)",
             "statistics.mean([1, 2])"],
    "order": ["list({'a', 'b', 'c', 'd', 'e', 'f', 'g'})", "list(frozenset('hijklmnop'))", "hash('text')", "list({'x': 1}.keys() | {'y', 'z', 'w'})",
              "sorted({1, 'a', None}, key=str)"],
    "asyncio": ["gathered()", "first_of()", "completed()", "timed_out()", "grouped()", "queued()", "locked()", "slept()", "shielded()", "waited_for()",
                "barrier()", "called_later()", "cancelled()", "set_of_tasks()", "one_by_one()"],
    "models": ["Model(at=datetime.now()).model_dump_json()", "Record().at", "Model.model_json_schema()['properties']['at']['format']"],
    "other": ["os.path.join('a', 'b')", "io.StringIO('x').read()", "importlib.import_module('json').dumps([1])", "pathlib.PurePath('a') / 'b'",
              "print('said') or 'printed'", "logging.getLogger('a').info('x') or 'logged'", "urllib.parse.quote('a b')"],
}
REFUSED = {
    "time.sleep(1)": "time.sleep", "time.clock_gettime(0)": "time.clock_gettime", "open('x')": "open()", "input()": "input()", "id(object())": "id()",
    "io.open('x')": "io.open", "codecs.open('/etc/hostname')": "open('/etc/hostname')", "ElementTree.parse('/etc/hostname')": "open('/etc/hostname')",
    "os.environ['HOME']": "os.environ", "os.getenv('HOME')": "os.getenv", "os.getpid()": "os.getpid", "os.listdir()": "os.listdir",
    "os.path.exists('x')": "os.path.exists", "os.system('true')": "os.system", "pathlib.Path('x').read_text()": "pathlib.Path", "tempfile.mkdtemp()": "tempfile.mkdtemp",
    "shutil.rmtree('x')": "shutil.rmtree", "platform.node()": "platform.node", "subprocess.run(['true'])": "subprocess.run", "socket.socket()": "socket.socket",
    "sqlite3.connect(':memory:')": "sqlite3.connect", "urllib.request.urlopen('http://127.0.0.1:9')": "urllib.request.urlopen",
    "email.utils.make_msgid()": "email.utils.make_msgid", "email.utils.formatdate()": "email.utils.formatdate", "threading.Thread(target=print).start()": "threading.Thread",
    "threading.Lock()": "threading.Lock", "concurrent.futures.ThreadPoolExecutor()": "concurrent.futures.ThreadPoolExecutor", "requests.get('http://127.0.0.1:9')": "requests.get",
    "httpx.get('http://127.0.0.1:9')": "httpx.get", "uuid.getnode()": "uuid.getnode",
    "asyncio.to_thread(print)": "asyncio.to_thread", "asyncio.run(None)": "asyncio.run", "asyncio.open_connection('127.0.0.1', 9)": "asyncio.open_connection",
    "asyncio.create_subprocess_exec('true')": "asyncio.create_subprocess_exec", "asyncio.get_running_loop().run_in_executor(None, print)": "loop.run_in_executor",
    "asyncio.get_event_loop().call_soon_threadsafe(print)": "loop.call_soon_threadsafe", "sys.argv[0]": "sys.argv", "sys.exit(1)": "sys.exit",
    "sys.modules['os']": "sys.modules", "locale.getlocale()": "locale.getlocale", "logging.FileHandler('x')": "logging.FileHandler",
}
SOURCE = """
    import asyncio, codecs, concurrent.futures, datetime as dt, email.utils, importlib, inspect, io, locale, logging, os, pathlib, platform
    import random, secrets, shutil, socket, sqlite3, statistics, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request, uuid, zoneinfo
    import httpx, requests
    from dataclasses import dataclass, field
    from datetime import date, datetime, timezone
    from xml.etree import ElementTree
    from pydantic import BaseModel
    from bifrost import workflow

    class Model(BaseModel):
        at: datetime

    @dataclass
    class Record:
        at: datetime = field(default_factory=datetime.now)

    def shuffled():
        items = list(range(100))
        random.shuffle(items)
        return items[:9]

    def seeded():
        random.seed(5)
        return random.random()

    def loop_time():
        return asyncio.get_running_loop().time()

    async def slept(value=0):
        await asyncio.sleep(0.001 * (value % 3))
        return value

    async def gathered():
        return await asyncio.gather(*(slept(n) for n in range(5)))

    async def first_of():
        tasks = [asyncio.ensure_future(slept(n)) for n in range(9)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(pending)
        return [[tasks.index(one) for one in done], len(pending)]

    async def completed():
        return [await one for one in asyncio.as_completed([slept(n) for n in range(9)])]

    async def timed_out():
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timed out"

    async def waited_for():
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.001)
        except TimeoutError:
            return "timed out"

    async def grouped():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(slept(n)) for n in range(5)]
        return [task.result() for task in tasks]

    async def queued():
        queue = asyncio.Queue()
        async def put():
            for n in range(3):
                await slept(n)
                await queue.put(n)
        task = asyncio.create_task(put())
        got = [await queue.get() for _ in range(3)]
        await task
        return got

    async def locked():
        seen, lock, semaphore, event = [], asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
        async def enter(n):
            async with semaphore, lock:
                seen.append(await slept(n))
            event.set()
        await asyncio.gather(*(enter(n) for n in range(4)), event.wait())
        return seen

    async def barrier():
        barrier = asyncio.Barrier(3)
        return sorted(await asyncio.gather(*(barrier.wait() for _ in range(3))))

    async def cancelled():
        seen = []
        async def one(n):
            try:
                await asyncio.sleep(60 if n else 0.001)
                raise ValueError
            finally:
                seen.append(n)
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(9):
                    group.create_task(one(n))
        except* ValueError:
            pass
        return seen

    async def set_of_tasks():
        tasks = {asyncio.ensure_future(slept(n)): n for n in range(9)}
        seen = [tasks[task] for task in set(tasks)]
        await asyncio.gather(*set(tasks))
        return seen

    async def one_by_one():
        seen, pending, n = [], {asyncio.create_task(slept(n)) for n in range(3)}, 3
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            seen.append([task.result() for task in done])
            if n < 6:
                pending |= {asyncio.create_task(slept(n))}
                pending.add(asyncio.create_task(slept(n + 1)))
                n += 2
        return seen

    async def shielded():
        return await asyncio.shield(slept(4))

    async def called_later():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(0.001, done.set)
        await done.wait()
        return "called"

    @workflow(name="matrix", requires_org=False)
    async def matrix(context, expression: str):
        seen = []
        for _ in range(2):
            value = eval(expression)
            if inspect.isawaitable(value):
                value = await value
            seen.append(repr(value))
            context.save_checkpoint(f"{expression} is {value!r}"[:200])
            await asyncio.sleep(0.001)
        return seen
"""


@pytest.fixture
def cached() -> int:
    """No run is kept between its tasks: every step replays the history from its start."""
    return 0


@pytest.fixture
def matrix(house: House) -> House:
    """A house whose one workflow evaluates an expression twice."""
    house.write("workflows/matrix.py", SOURCE)
    return house


async def _ended(house: House, expressions: list[str]) -> list[tuple[WorkflowHandle[Any, Any], Any]]:
    """An execution for each expression, and what became of it.

    One after the other: without a cache, a run's local activities are cancelled when another run needs a place.
    """
    ended: list[tuple[WorkflowHandle[Any, Any], Any]] = []
    async with house.serving():
        for expression in expressions:
            handle = await house.start("matrix", {"expression": expression}, org_id=None)
            [end] = await asyncio.gather(executions.result(handle), return_exceptions=True)
            ended.append((handle, end))
    return ended


def _replayed(matrix: House, handles: list[WorkflowHandle[Any, Any]], *command: str, hash_seed: str) -> dict[str, Any]:
    environment = {**os.environ, "TEMPORAL_ADDRESS": matrix.client.service_client.config.target_host, "BIFROST_LOG_LEVEL": "error",
                   "BIFROST_REVISIONS": str(matrix.root.parent / "revisions"), "PYTHONHASHSEED": hash_seed}
    ran = subprocess.run([sys.executable, *command, *(handle.id for handle in handles)], env=environment, check=False,
                         capture_output=True, text=True, timeout=120)
    assert ran.stdout, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


async def test_every_row_is_the_same_again(matrix: House) -> None:
    """Clock, dice, order, waiting: the same at every replay, and the same again in a second process started under another hash seed."""
    rows = [row for kind in SAME.values() for row in kind]
    ended = await _ended(matrix, rows)
    for row, (_, seen) in zip(rows, ended, strict=True):
        assert isinstance(seen, list), f"{row}: {seen!r}"
    answer = await asyncio.to_thread(_replayed, matrix, [handle for handle, _ in ended], "-m", "bifrost", "replay", "--json", hash_seed="4242")
    assert (answer["replayed"], [one["failure"] for one in answer["executions"] if one["failure"]]) == (len(rows), [])


async def test_every_other_row_is_refused(matrix: House) -> None:
    """What cannot be the same again fails the run with DeterminismError, naming the thing, the line and the cure."""
    ended = await _ended(matrix, list(REFUSED))
    for (expression, what), (_, error) in zip(REFUSED.items(), ended, strict=True):
        assert type(error) is DeterminismError, f"{expression}: {error!r}"
        assert error.details["what"].startswith(what), f"{expression}: {error}"
        assert error.details["line"].startswith("workspace/workflows/matrix.py:"), f"{expression}: {error}"
        assert error.details["cure"] in str(error)
    answer = await asyncio.to_thread(_replayed, matrix, [handle for handle, _ in ended], "-m", "bifrost", "replay", "--json", hash_seed="4242")
    assert (answer["replayed"], answer["failed"]) == (len(REFUSED), 0)


UNDER_ANOTHER_SEED = """
import asyncio, dataclasses, json, os, sys
from bifrost.temporal import client, replay
from bifrost.workspace.live import Workspace
from bifrost.workspace.revision_stores import open_store

async def found(ids):
    connected = await client.connect()
    for one in ids:
        yield await replay.history_of(connected, one)

async def main():
    workspace = Workspace(None, open_store(os.environ["BIFROST_REVISIONS"]))
    done = [one async for one in replay.replay(workspace, found(sys.argv[1:]))]
    print(json.dumps({"executions": [dataclasses.asdict(one) for one in done]}))

asyncio.run(main())
"""


async def test_another_hash_seed_is_refused(matrix: House, tmp_path: Path) -> None:
    """A process in which sets of strings have another order goes on with no execution: it says so, and fails none."""
    script = tmp_path / "another.py"
    script.write_text(UNDER_ANOTHER_SEED)
    [(handle, _)] = await _ended(matrix, ["list({'a', 'b', 'c'})"])
    answer = await asyncio.to_thread(_replayed, matrix, [handle], str(script), hash_seed="4242")
    assert "This worker runs under another hash seed" in answer["executions"][0]["failure"]
    answer = await asyncio.to_thread(_replayed, matrix, [handle], str(script), hash_seed=os.environ.get("PYTHONHASHSEED", "random"))
    assert (answer["executions"][0]["failure"] is None) == (os.environ.get("PYTHONHASHSEED") == "0")


PARENT = """
    import random
    from bifrost import workflow

    @workflow(name="parent")
    async def parent(context):
        random.random()
        return await context.execute_workflow("child")
"""


async def test_a_draw_more_shifts_no_other_id(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """User code's random numbers are a stream of their own: with a draw more, the engine still draws the id that it recorded."""
    house.write("workflows/child.py", "from bifrost import workflow\n\n@workflow(name='child')\nasync def child(context):\n    return 1\n")
    house.write("workflows/parent.py", PARENT)
    async with house.serving() as workspace:
        handle = await house.start("parent")
        await handle.result()
    house.write("workflows/parent.py", PARENT.replace("random.random()", "[random.random(), random.randbytes(99)]"))
    other = Namespace(snapshot(house.root))
    monkeypatch.setattr(workspace, "namespace", lambda _revision: other)

    async def found() -> AsyncIterator[WorkflowHistory]:
        yield await handle.fetch_history()

    assert [one.failure async for one in replay(workspace, found())] == [None]
