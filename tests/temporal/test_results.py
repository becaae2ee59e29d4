"""Results and arguments, whole: every kind of value, however large, there and back on a real server."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.bridge import worker as bridge
from temporalio.client import WorkflowHistory

from bifrost import redaction
from bifrost.dev.ports import free_port
from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import ConfigurationError, NotFoundError, ValidationError
from bifrost.temporal import client as executions
from bifrost.temporal import replay
from bifrost.temporal.history import read_execution
from bifrost.temporal.payloads import store as payloads
from bifrost.temporal.payloads.store import PayloadStore
from tests.temporal.conftest import API_KEYS, House
from tests.temporal.test_cli import Shell
from tests.waiting import until

KINDS = """
    import dataclasses, enum, uuid
    from datetime import date, datetime, timedelta, timezone
    from decimal import Decimal
    from pathlib import PurePosixPath
    from pydantic import BaseModel

    class Colour(enum.Enum):
        RED = "red"

    class Level(enum.IntEnum):
        HIGH = 3

    class User(BaseModel):
        name: str
        born: date
        photo: bytes = b""

    @dataclasses.dataclass
    class Team:
        members: list[User]
        colours: set[Colour]

    ADA = User(name="Ada", born=date(1815, 12, 10), photo=b"\\xff\\x00")
    VALUES = {
        "dict": {"a": [1, None]}, "list": [1, "two"], "str": "ü", "int": 2**53 + 1, "float": 0.1, "bool": True, "none": None,
        "model": ADA, "dataclass": Team([ADA], {Colour.RED}), "datetime": datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        "date": date(2030, 1, 2), "timedelta": timedelta(seconds=90), "decimal": Decimal("19.90"), "uuid": uuid.UUID(int=7),
        "enum": Colour.RED, "level": Level.HIGH, "set": {1}, "frozenset": frozenset({"a"}), "tuple": (1, "a"), "text": b"text",
        "bytes": b"\\xff\\xfe", "path": PurePosixPath("/srv/x"), "deep": {"at": [{"raw": b"\\x00"}, (Decimal("1"), Colour.RED)]},
    }
    HINTS = {
        "model": User, "dataclass": Team, "datetime": datetime, "date": date, "timedelta": timedelta, "decimal": Decimal,
        "uuid": uuid.UUID, "enum": Colour, "level": Level, "set": set[int], "frozenset": frozenset[str], "tuple": tuple[int, str],
        "text": bytes, "bytes": bytes, "path": PurePosixPath, "dict": dict, "list": list, "str": str, "int": int, "float": float,
        "bool": bool, "none": None, "deep": dict,
    }

    def check(kind, value):
        assert isinstance(value, type(VALUES[kind])), value
        assert value == VALUES[kind] or kind == "deep", value
"""
_ADA = {"name": "Ada", "born": "1815-12-10", "photo": b"\xff\x00"}
AS_JSON = {
    "dict": {"a": [1, None]}, "list": [1, "two"], "str": "ü", "int": 2**53 + 1, "float": 0.1, "bool": True, "none": None,
    "model": _ADA, "dataclass": {"members": [_ADA], "colours": ["red"]}, "datetime": "2030-01-02T03:04:05Z",
    "date": "2030-01-02", "timedelta": "PT1M30S", "decimal": "19.90", "uuid": "00000000-0000-0000-0000-000000000007",
    "enum": "red", "level": 3, "set": [1], "frozenset": ["a"], "tuple": [1, "a"], "text": b"text", "bytes": b"\xff\xfe",
    "path": "/srv/x", "deep": {"at": [{"raw": b"\x00"}, ["1", "red"]]},
}
"""What comes of each where nobody says what it is to be."""

WORKFLOWS = """
from bifrost import activity, workflow
from workspace.utils.kinds import *

@workflow(name="returns", requires_org=False)
async def returns(context, kind: str):
    return VALUES[kind]

@workflow(name="asks", requires_org=False)
async def asks(context, kind: str):
    return await context.get_integration("tool").echo(kind, VALUES[kind])

@workflow(name="calls", requires_org=False)
async def calls(context, kind: str):
    value = await globals()[f"same_{kind}"](VALUES[kind])
    check(kind, value)
    return value
""" + "".join(f"""
@activity
async def same_{kind}(value: HINTS["{kind}"]) -> HINTS["{kind}"]:
    check("{kind}", value)
    return value
""" for kind in AS_JSON)

TOOL = """
from bifrost import BaseIntegration, register_integration
from workspace.utils.kinds import *

class Tool(BaseIntegration):
    async def authenticate(self):
        pass

    async def echo(self, kind, value):
        return {"came": value, "made": VALUES[kind]}

register_integration("tool", Tool)
"""


@pytest.fixture
def cached() -> int:
    """Every step is replayed: what was recorded is read again."""
    return 0


@pytest.fixture
def kinds(house: House) -> House:
    """A house whose workflows return, ask for and call with values of every kind."""
    house.write("utils/kinds.py", KINDS)
    house.write("workflows/kinds.py", WORKFLOWS)
    house.write("integrations/tool.py", TOOL)
    return house


# --- kinds -----------------------------------------------------------------------------------------------------------


async def test_every_kind_is_a_result_an_argument_and_comes_back(kinds: House) -> None:
    """A workflow's and an integration's results are plain values, bytes among them; an `@activity` has what it is annotated with."""
    async with kinds.serving():
        for kind, expected in AS_JSON.items():
            assert (kind, await kinds.run("returns", {"kind": kind}, org_id=None)) == (kind, expected)
            assert (kind, await kinds.run("asks", {"kind": kind}, org_id=None)) == (kind, {"came": expected, "made": expected})
            assert (kind, await kinds.run("calls", {"kind": kind}, org_id=None)) == (kind, expected)


async def test_values_are_readable_json_in_history(kinds: House) -> None:
    """Whoever looks at Temporal sees JSON, and bytes in their documented form."""
    async with kinds.serving():
        handle = await kinds.start("asks", {"kind": "deep"}, org_id=None)
        await handle.result()
    history = json.dumps((await handle.fetch_history()).to_json_dict())
    assert base64.b64encode(b'{"kind":"deep","value":{"at":[{"raw":{"$bytes":"AA=="}},["1","red"]]}}').decode() in history
    assert "binary/plain" not in base64.b64decode(history, validate=False).decode("latin-1")


async def test_messages_of_plain_values_pass_untouched(kinds: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK walks through none of a run's messages, until there is something in them to mask."""
    walks = []

    class Walk(bridge.CommandAwarePayloadVisitor):  # type: ignore[name-defined, misc]  # where the SDK has it from
        def __init__(self, **options: Any) -> None:
            walks.append(options)
            super().__init__(**options)

    monkeypatch.setattr(bridge, "CommandAwarePayloadVisitor", Walk)
    async with kinds.serving():
        assert await kinds.run("asks", {"kind": "deep"}, org_id=None)
        assert walks == []
        redaction.remember("2030-01-02T03")
        assert (await kinds.run("asks", {"kind": "datetime"}, org_id=None))["came"].startswith("********")
        assert walks


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED = """
import asyncio
from bifrost import BaseIntegration, activity, register_integration, workflow

class Client:
    pass

def circle():
    made = {"users": []}
    made["users"].append(made)
    return made

BAD = {
    "object": lambda: {"users": [1, 2, 3, {"client": Client()}]}, "function": lambda: [len], "nan": lambda: {"rate": float("nan")},
    "infinity": lambda: [1.0, float("-inf")], "circle": circle, "key": lambda: {"by_id": {7: "x"}}, "text": lambda: ["\\ud800"],
    "large": lambda: "x" * 60_000_000,
}
CALLS = []

class Tool(BaseIntegration):
    async def authenticate(self):
        pass

    async def give(self, which):
        CALLS.append(which)
        return BAD[which]()

    async def take(self, value):
        raise AssertionError("nothing is called with what cannot be stored")

register_integration("tool", Tool)

@activity
async def give(which):
    CALLS.append(which)
    return BAD[which]()

@activity
async def calls():
    return CALLS

@workflow(name="refused", requires_org=False)
async def refused(context, how: str, which: str):
    tool = context.get_integration("tool")
    match how:
        case "result":
            return BAD[which]()
        case "integration":
            return await tool.give(which)
        case "activity":
            return await give(which)
        case "argument":
            return await tool.take(BAD[which]())
        case "activity argument":
            return await give(BAD[which]())
        case "child":
            return await context.execute_workflow("refused", {"how": BAD[which]()})
        case "calls":
            return await calls()
        case "caught":
            try:
                await tool.take(BAD[which]())
            except Exception as error:
                return type(error).__name__
"""
SAID = {
    "object": "users[3].client: workspace.integrations.refused.Client is no JSON", "function": "[0]: the function len is no JSON",
    "nan": "rate: nan is no JSON", "infinity": "[1]: -inf is no JSON", "circle": "users[0]: it contains itself",
    "key": "by_id: the key 7 is no text but int: write str(key)", "text": "[0]: surrogates not allowed",
}
HOW = {"result": ("The result", "result"), "integration": ("The result of tool.give", "result"), "activity": ("The result of give", "result"),
       "argument": ("What is given to tool.take", "value"), "activity argument": ("What is given to give", "which"),
       "child": ("What is given to refused", "params.how")}


@pytest.mark.parametrize("how", HOW)
async def test_what_cannot_be_stored_fails_the_run_with_its_place(house: House, how: str) -> None:
    """A typed error says what, and where in it; nothing is tried again, and no task is repeated."""
    house.write("integrations/refused.py", REFUSED.split("@activity", maxsplit=1)[0])
    house.write("workflows/refused.py", REFUSED)
    what, root = HOW[how]
    async with house.serving():
        for which, said in SAID.items():
            handle = await house.start("refused", {"how": how, "which": which}, org_id=None)
            with pytest.raises(ValidationError) as refusal:
                await executions.result(handle)
            path, _, reason = said.partition(": ")
            full = f"{root}{path if path.startswith('[') else '.' + path}"
            if (how, which) == ("child", "circle"):  # pydantic copies a start message, and the circle once
                full += ".users[0]"
            assert str(refusal.value).replace("workflows.refused", "integrations.refused").startswith(f"{what} cannot be stored: {full}: {reason}")
            assert refusal.value.field == full
            assert "Arguments and results are JSON" in str(refusal.value)
            events = [event.event_type for event in (await handle.fetch_history()).events]
            assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in events
            assert all(call.attempts == 1 for call in (await read_execution(house.client, handle.id)).calls)


async def test_user_code_can_catch_a_refusal(house: House) -> None:
    """It is raised where the call is made, before anything is called."""
    house.write("workflows/refused.py", REFUSED)
    async with house.serving():
        assert await house.run("refused", {"how": "caught", "which": "object"}, org_id=None) == "ValidationError"


async def test_start_parameters_that_cannot_be_stored_are_refused(house: House) -> None:
    """Before anything starts, with the place."""
    circle: dict[str, Any] = {}
    circle["again"] = circle
    for value, said in ((circle, r"params\.x\.again\.again: it contains itself"), ({"f": len}, r"params\.x\.f: the function len is no JSON"),
                        ("x" * 60_000_000, "is too large: 57.2 MB, and the limit is 50 MB")):
        with pytest.raises(ValidationError, match=said):
            await house.start("anything", {"x": value})


# --- large ones ------------------------------------------------------------------------------------------------------

LARGE = """
from bifrost import BaseIntegration, activity, register_integration, workflow

class Tool(BaseIntegration):
    async def authenticate(self):
        pass

    async def text(self, megabytes):
        return "ü" * (megabytes * 500_000)

    async def rows(self, count):
        return [{"id": number, "name": f"user {number}", "mail": f"u{number}@acme.example", "on": True, "score": number / 3}
                for number in range(count)]

    async def short(self, size):
        return "x" * size

    async def length(self, value):
        return len(value)

    async def tell(self, secret):
        return "a" * 1_000_000 + secret + "b" * 1_000_000

register_integration("tool", Tool)

@activity
async def reverse(value: bytes) -> bytes:
    return value[::-1]

@workflow(name="large", requires_org=False)
async def large(context, megabytes: int = 0, rows: int = 0, text: str = "", keep: bool = True):
    tool = context.get_integration("tool")
    if rows:
        found = await tool.rows(rows)
        return {"found": found, "length": await tool.length(found)}
    value = text or await tool.text(megabytes)
    length = await tool.length(value)
    return {"value": value if keep else None, "length": length}

@workflow(name="reverses", requires_org=False)
async def reverses(context, size: int):
    return await reverse(b"\\xff" + b"\\x00" * size)

@workflow(name="tells")
async def tells(context):
    await context.get_integration("tool").tell(await context.get_secret("user_management_api_key"))
    return "told"

@workflow(name="many", requires_org=False)
async def many(context, count: int, size: int):
    import asyncio
    tool = context.get_integration("tool")
    lengths = sum(await asyncio.gather(*(tool.length("x" * size) for _ in range(count))))
    texts = await asyncio.gather(*(tool.short(size) for _ in range(count)))
    parts = await asyncio.gather(*(context.execute_workflow("part", {"text": "x" * size}) for _ in range(count)))
    return [lengths, sum(map(len, texts)), sum(parts)]

@workflow(name="part", requires_org=False)
async def part(context, text: str):
    return len(text)
"""


@pytest.fixture
async def store(house: House, tmp_path: Path) -> PayloadStore:
    """A store of large payloads of the test's own, which the house has; and its workflows."""
    house.write("integrations/tool.py", LARGE.split("@activity", maxsplit=1)[0])
    house.write("workflows/large.py", LARGE)
    house.client = await executions.connect(house.client.service_client.config.target_host, payloads=str(tmp_path / "payloads"))
    return PayloadStore(str(tmp_path / "payloads"))


async def test_20_mb_go_there_and_back(house: House, store: PayloadStore) -> None:
    """As a result of an integration, as an argument and as a result of the workflow; Temporal has references alone."""
    async with house.serving():
        handle = await house.start("large", {"megabytes": 20}, org_id=None)
        result = await executions.result(handle)
        assert (len(result["value"]), result["length"]) == (10_000_000, 10_000_000)
        assert (await read_execution(house.client, handle.id)).result == result
        assert (await house.run("large", {"text": "x" * 20_000_000, "keep": False}, org_id=None))["length"] == 20_000_000
    assert len((await handle.fetch_history()).to_json()) < 50_000
    assert sum(len(store.get(digest)) for digest in store.times()) > 60_000_000


async def test_a_large_structure_and_large_bytes_go_there_and_back(house: House, store: PayloadStore) -> None:
    """Not a text alone: a list of many dictionaries, and bytes that are no text."""
    async with house.serving():
        result = await house.run("large", {"rows": 20_000}, org_id=None)
        assert (len(result["found"]), result["length"], result["found"][-1]["id"]) == (20_000, 20_000, 19_999)
        assert await house.run("reverses", {"size": 3_000_000}, org_id=None) == b"\x00" * 3_000_000 + b"\xff"
    assert len(store.times()) > 0


@pytest.mark.parametrize("how", ["result", "integration", "activity", "argument"])
async def test_more_than_50_mb_is_refused(house: House, how: str) -> None:
    """A typed error says the size and the limit; nothing is tried again, and no task is repeated, unless the machine stalls in it."""
    house.write("integrations/refused.py", REFUSED.split("@activity", maxsplit=1)[0])
    house.write("workflows/refused.py", REFUSED)
    async with house.serving():
        handle = await house.start("refused", {"how": how, "which": "large"}, org_id=None)
        with pytest.raises(ValidationError, match=rf"^{HOW[how][0]} is too large: 57.2 MB, and the limit is 50 MB") as refusal:
            await executions.result(handle)
    assert (refusal.value.details["size"] // 10_000_000, refusal.value.details["limit"]) == (6, 50 * 2**20)
    failed = [event.workflow_task_failed_event_attributes.failure.message for event in (await handle.fetch_history()).events
              if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]
    assert all("TMPRL1101" in message for message in failed)  # the SDK's two seconds, for what takes a tenth of one
    assert all(call.attempts == 1 for call in (await read_execution(house.client, handle.id)).calls)


async def test_many_calls_at_once_with_arguments_below_the_threshold(house: House, store: PayloadStore) -> None:
    """What is too small to be stored outside and too much for one message goes through all the same, there and back."""
    async with house.serving():
        handle = await house.start("many", {"count": 40, "size": 250_000}, org_id=None)
        assert await executions.result(handle) == [10_000_000] * 3


async def test_secrets_are_masked_before_they_are_stored(house: House, store: PayloadStore, tmp_path: Path) -> None:
    """A value that an integration returns inside a large text is stars in the file."""
    async with house.serving():
        assert await house.run("tells") == "told"
    [file] = [file for file in (tmp_path / "payloads").iterdir() if file.stat().st_size > 1_000_000]
    content = file.read_bytes()
    assert API_KEYS["acme"].encode() not in content
    assert b"aaa********bbb" in content


# --- without the store -----------------------------------------------------------------------------------------------


def _one(folder: Path) -> Path:
    """The file of the largest payload."""
    return max(folder.iterdir(), key=lambda file: file.stat().st_size)


async def test_a_missing_or_damaged_payload_is_explained(house: House, store: PayloadStore, tmp_path: Path) -> None:
    """Whoever reads the execution is told which file is missing, and what the setting is; the rest of it is shown all the same."""
    async with house.serving():
        handle = await house.start("large", {"megabytes": 1}, org_id=None)
        await executions.result(handle)
    file = _one(tmp_path / "payloads")
    kept = file.read_bytes()
    file.write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match=r"is damaged: .*holds something else than what was written"):
        await executions.result(handle)
    file.unlink()
    with pytest.raises(NotFoundError, match=rf"{file} does not exist.*BIFROST_PAYLOADS is not what it was"):
        await executions.result(handle)
    shown = await read_execution(house.client, handle.id)
    assert (shown.status, shown.result, shown.error["error"]) == ("Success", None, "NotFoundError")
    assert [call.name for call in shown.calls] == ["tool.text", "tool.length"]
    file.write_bytes(kept)
    assert len((await executions.result(handle))["value"]) == 500_000


async def test_a_missing_start_argument_leaves_the_rest_readable(house: House, store: PayloadStore, tmp_path: Path) -> None:
    """The execution is shown, with the reason in place of its parameters."""
    async with house.serving():
        handle = await house.start("large", {"text": "x" * 1_000_000, "keep": False}, org_id="acme")
        await executions.result(handle)
    for file in (tmp_path / "payloads").iterdir():
        file.unlink()
    shown = await read_execution(house.client, handle.id)
    assert "does not exist" in shown.params["…"]
    assert (shown.status, shown.org_id, shown.result) == ("Success", "acme", {"value": None, "length": 1_000_000})


async def test_a_worker_without_the_store_harms_no_run(house: House, store: PayloadStore, tmp_path: Path) -> None:
    """A task that it cannot do is repeated, with the reason in the history, until a worker has the store."""
    handle = await house.client.start_workflow(  # the server tries again when the time of the first task is over
        "large", {"params": {"text": "x" * 1_000_000, "keep": False}}, id=f"{house.task_queue}-patient", task_queue=house.task_queue,
        task_timeout=timedelta(seconds=2))
    address, whole = house.client.service_client.config.target_host, house.client
    house.client = await executions.connect(address, payloads=str(tmp_path / "elsewhere"))

    async def told() -> list[str]:
        return [event.workflow_task_failed_event_attributes.failure.message for event in (await handle.fetch_history()).events
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED]

    async with house.serving():
        [reason, *_] = await until(told)
    assert "does not exist" in reason
    assert "BIFROST_PAYLOADS" in reason
    house.client = whole
    async with house.serving():
        assert (await executions.result(handle))["length"] == 1_000_000


async def test_a_call_whose_argument_is_missing_fails_with_the_reason(house: House, store: PayloadStore, tmp_path: Path) -> None:
    """After its attempts, with the error of the store, and not with the SDK's word for it."""
    house.write("workflows/loses.py", """
        import shutil
        from bifrost import IntegrationError, activity, workflow

        @activity(retry_policy={"max_attempts": 3, "backoff_seconds": 0.01})
        def take(folder, value):
            shutil.rmtree(folder)
            raise IntegrationError("once more", status_code=503)

        @workflow(name="loses", requires_org=False)
        async def loses(context, folder: str):
            await take(folder, "x" * 1_000_000)
        """)
    async with house.serving():
        handle = await house.start("loses", {"folder": str(tmp_path / "payloads")}, org_id=None)
        with pytest.raises(NotFoundError, match="does not exist"):
            await executions.result(handle)
        assert [call.attempts for call in (await read_execution(house.client, handle.id)).calls] == [3]


async def test_a_replay_reads_large_payloads(house: House, store: PayloadStore, tmp_path: Path) -> None:
    """An execution replays with its store, and without it says what is missing."""
    async with house.serving():
        handle = await house.start("large", {"megabytes": 1}, org_id=None)
        await executions.result(handle)

    async def found() -> AsyncIterator[WorkflowHistory]:
        yield await handle.fetch_history()

    assert house.workspace is not None
    [done] = [one async for one in replay.replay(house.workspace, found(), str(tmp_path / "payloads"))]
    assert done.failure is None
    [failed] = [one async for one in replay.replay(house.workspace, found(), str(tmp_path / "elsewhere"))]
    assert "does not exist" in (failed.failure or "")
    history = await handle.fetch_history()
    assert set().union(*(payloads.references(event) for event in history.events)) == store.times().keys()


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(house: House, tmp_path: Path, temporal_server: TemporalServer) -> Shell:
    """A shell beside the house: the same server, task queue, revisions and payloads."""
    organizations = tmp_path / "organizations.yaml"
    organizations.write_text("organizations:\n- {id: acme, name: Acme}\n- {id: globex, name: Globex}\n")
    return Shell({"TEMPORAL_ADDRESS": temporal_server.address, "BIFROST_TASK_QUEUE": house.task_queue, "BIFROST_WORKSPACE": str(house.root),
                  "BIFROST_ORGANIZATIONS": str(organizations), "BIFROST_REVISIONS": str(tmp_path / "revisions"),
                  "BIFROST_PAYLOADS": str(tmp_path / "payloads"), "BIFROST_LOG_FORMAT": "json"}, tmp_path)


@pytest.fixture
async def empty_server(tmp_path: Path) -> AsyncIterator[TemporalServer]:
    """A server without the executions of other tests, all of which a prune would read."""
    async with TemporalServer(tmp_path / "server", port=free_port()) as server:
        yield server


ONCE = """
from bifrost import BaseIntegration, ValidationError, register_integration, workflow

CALLS = []

class Counter(BaseIntegration):
    async def authenticate(self):
        pass

    async def count(self):
        CALLS.append(1)
        return len(CALLS)

register_integration("counter", Counter)
"""
COUNTED = """
from bifrost import ValidationError, workflow

@workflow(name="once", requires_org=False)
async def once(context, fail: bool = False):
    number = await context.get_integration("counter").count()
    if fail:
        raise ValidationError(f"number {number}")
    return {"number": number, "raw": b"\\xff"}
"""


async def test_one_idempotency_key_is_one_execution(house: House, shell: Shell) -> None:
    """The second call answers the result of the first, though it has ended; another organization or key is another execution."""
    house.write("integrations/counter.py", ONCE)
    house.write("workflows/once.py", COUNTED)
    async with house.serving():
        first = await shell("run", "once", "--org", "acme", "--idempotency-key", "order 7", "--json")
        again = await shell("run", "once", "--org", "acme", "--idempotency-key", "order 7", "--json")
        assert (first.status, again.status, first.json) == (0, 0, again.json)
        assert first.json["result"] == {"number": 1, "raw": {"$bytes": "/w=="}}
        assert "has ended before" in again.err
        detached = await shell("run", "once", "--org", "acme", "--idempotency-key", "order 7", "--no-wait", "--json")
        assert (detached.status, detached.json["execution_id"], detached.json["status"]) == (0, first.json["execution_id"], "Success")
        people = await shell("run", "once", "--org", "acme", "--idempotency-key", "order 7")
        assert json.loads(people.out) == first.json["result"]
        for other in (["--org", "globex", "--idempotency-key", "order 7"], ["--idempotency-key", "order 7"], ["--org", "acme", "--idempotency-key", "order 8"]):
            assert (await shell("run", "once", *other, "--json")).json["result"]["number"] > 1
        for _ in range(2):
            failed = await shell("run", "once", "-p", "fail=true", "--idempotency-key", "order 9", "--json")
            assert (failed.status, failed.json["error"]["message"]) == (1, "number 5")
    both = await shell("run", "once", "--execution-id", "x", "--idempotency-key", "x")
    assert (both.status, "exclude each other" in both.err) == (2, True)
    empty = await shell("run", "once", "--idempotency-key", "")
    assert (empty.status, "The idempotency key is empty" in empty.err) == (1, True)


async def test_one_idempotency_key_answers_the_execution_that_runs(house: House) -> None:
    """While it runs, the same key is the same execution, at once and for everybody."""
    started = [await executions.start(house.client, "nobody", task_queue=house.task_queue, org_id="acme", params={}, idempotency_key="k")
               for _ in range(2)]
    assert len({(handle.id, handle.result_run_id) for handle in started}) == 1
    description = await started[0].describe()
    assert description.raw_description.workflow_execution_info.priority.fairness_key == "acme"
    await started[0].terminate()


async def test_an_organization_with_many_executions_starves_no_other(house: House) -> None:
    """What another organization starts later does not wait for all that was started before."""
    house.write("integrations/counter.py", ONCE)
    house.write("workflows/once.py", COUNTED)
    many = [await house.start("once", org_id="acme") for _ in range(60)]
    few = [await house.start("once", org_id="globex") for _ in range(3)]
    async with house.serving():
        for handle in (*many, *few):
            await handle.result()
    ended = {handle.id: (await handle.describe()).close_time for handle in (*many, *few)}
    assert sum(ended[handle.id] > max(ended[other.id] for other in few) for handle in many) > 10


async def test_large_payloads_on_the_command_line(house: House, store: PayloadStore, shell: Shell, tmp_path: Path) -> None:
    """`run`, `show` and `replay` do not tell the difference; histories are kept with their payloads; a missing one is an error."""
    async with house.serving():
        (tmp_path / "params.json").write_text(json.dumps({"text": "y" * 2_000_000}))
        ran = await shell("run", "large", "--params-json", "params.json", "--execution-id", f"{house.task_queue}-large", "--json")
        assert (ran.status, ran.json["result"]) == (0, {"value": "y" * 2_000_000, "length": 2_000_000})
    execution_id = ran.json["execution_id"]
    assert (await shell("executions", "show", execution_id, "--json")).json["params"] == {"text": "y" * 2_000_000}
    replayed = await shell("replay", execution_id, "--save", "kept", "--json")
    assert (replayed.status, replayed.json["failed"]) == (0, 0), replayed.out
    for file in (tmp_path / "payloads").iterdir():
        file.unlink()
    assert (await shell("replay", "--histories", "kept")).status == 0
    shown = await shell("executions", "show", execution_id)
    assert (shown.status, "does not exist" in shown.out) == (0, True)
    again = await shell("run", "large", "--execution-id", execution_id, "--json")
    assert (again.status, "has ended" in again.err) == (1, True)


async def test_payloads_that_nothing_refers_to_are_pruned(house: House, store: PayloadStore, shell: Shell, tmp_path: Path,
                                                          empty_server: TemporalServer) -> None:
    """What an execution refers to stays, and so does what was put not long ago; without Temporal everything does."""
    house.client = await executions.connect(empty_server.address, payloads=str(tmp_path / "payloads"))
    shell.environment["TEMPORAL_ADDRESS"] = empty_server.address
    async with house.serving():
        await house.run("large", {"megabytes": 1}, org_id=None)
    needed = set(store.times())
    unneeded, recent = store.put(b"nobody's"), store.put(b"somebody's soon")
    for digest in {*needed, unneeded}:
        old = time.time() - 40 * 86_400
        os.utime(tmp_path / "payloads" / f"{digest}.payload", (old, old))
    (tmp_path / "payloads" / "notes.txt").touch()
    nobody = await shell("payloads", "prune", "--older-than", "30", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (nobody.status, set(store.times())) == (1, needed | {unneeded, recent})
    tried = await shell("payloads", "prune", "--older-than", "30", "--dry-run", "--json")
    assert tried.json == {"dry_run": True, "removed": [unneeded], "kept": sorted(needed)}
    assert set(store.times()) == needed | {unneeded, recent}
    done = await shell("payloads", "prune", "--older-than", "30")
    assert done.out == f"Payloads removed: 1; of that age and needed: {len(needed)}\n"
    assert set(store.times()) == needed | {recent}


@pytest.mark.parametrize("where", ["workflow", "integration", "details"])
async def test_an_error_of_any_size_comes_through(house: House, where: str) -> None:
    """A message of megabytes is cut, and says so; details of megabytes are stored like a result."""
    house.write("integrations/loud.py", """
        from bifrost import BaseIntegration, ValidationError, register_integration

        class Loud(BaseIntegration):
            async def authenticate(self):
                pass

            async def shout(self, where):
                raise ValidationError("x" * 5_000_000 if where == "integration" else "short", field="f", seen="y" * (5_000_000 * (where == "details")))

        register_integration("loud", Loud)
        """)
    house.write("workflows/loud.py", """
        from bifrost import workflow

        @workflow(name="loud", requires_org=False)
        async def loud(context, where: str):
            if where == "workflow":
                raise ValueError("x" * 5_000_000)
            await context.get_integration("loud").shout(where)
        """)
    async with house.serving():
        with pytest.raises(ValueError if where == "workflow" else ValidationError) as failure:
            await executions.result(await house.start("loud", {"where": where}, org_id=None))
    assert len(str(failure.value)) < 20_000
    if where == "details":
        assert len(failure.value.details["seen"]) == 5_000_000
    else:
        assert "more characters)" in str(failure.value)
