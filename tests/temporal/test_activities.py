"""`@activity`: functions of user code that do I/O, called durably from workflows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from bifrost.errors import IntegrationError, NotFoundError, ValidationError, WorkflowException
from bifrost.temporal.history import read_execution
from bifrost.temporal.replay import replay
from tests.temporal.conftest import House
from tests.waiting import until

REPORT = """
    import os
    import threading
    from dataclasses import dataclass
    from datetime import datetime
    from pathlib import Path

    from pydantic import BaseModel
    from bifrost import IntegrationError, OrganizationContext, activity, param, workflow

    class Line(BaseModel):
        text: str
        at: datetime

    @dataclass
    class Summary:
        lines: list[Line]
        where: str

    @activity
    def write(path: str, lines: list[Line], mode: str = "a") -> Summary:
        with open(path, mode) as file:
            for line in lines:
                assert isinstance(line, Line)
                file.write(f"{line.text} {line.at:%Y}\\n")
        return Summary(lines, threading.current_thread().name)

    @activity(name="read_back", description="Read what was written.", timeout_seconds=5, retry_policy={"max_attempts": 2})
    async def read(context: OrganizationContext, path: str, secret: str, **more):
        secret_is = await context.get_secret("user_management_api_key")
        return {"text": Path(path).read_text(), "same": secret_is == secret, "org": context.org_id, "more": more,
                "home": "HOME" in os.environ}

    @workflow(name="report")
    async def report(context, path: str):
        lines = [Line(text="a", at=datetime(2030, 1, 1)), Line(text="b", at=datetime.now())]
        summary = await write(path, lines=lines)
        read_back = await read(context, path, secret=await context.get_secret("user_management_api_key"), x=1)
        return {"kinds": [type(summary) is Summary, type(summary.lines[0]) is Line], "where": summary.where, "read": read_back,
                "lines": len(read_back.text.splitlines())}
"""


async def test_an_activity_does_what_a_run_may_not(house: House, tmp_path: Path) -> None:
    """It opens files, sync or async, gets models as models, the live context and the secret's value; its input is readable."""
    house.write("workflows/report.py", REPORT)
    async with house.serving():
        handle = await house.start("report", {"path": str(tmp_path / "out.txt")})
        result = await handle.result()
    assert result["kinds"] == [True, True]
    assert "MainThread" not in result["where"]
    read = result["read"]
    assert (read["same"], read["org"], read["more"], read["home"], result["lines"]) == (True, "acme", {"x": 1}, True, 2)
    history = await handle.fetch_history()
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events
                 if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    assert [one.activity_type.name for one in scheduled] == ["write", "read_back"]
    arguments, code = (json.loads(payload.data) for payload in scheduled[1].input.payloads)
    assert arguments == {"context": {"$context": True}, "path": str(tmp_path / "out.txt"), "x": 1,
                         "secret": {"$secret": {"org_id": "acme", "name": "user_management_api_key"}}}
    assert code == {"revision": house.workspace.catalog.revision, "module": "workspace.workflows.report", "function": "read"}
    assert scheduled[1].start_to_close_timeout.seconds == 5
    assert scheduled[1].retry_policy.maximum_attempts == 2
    assert [one.name for one in (await read_execution(house.client, handle.id)).calls] == ["write", "read_back"]


FAILING = """
    from bifrost import IntegrationError, ValidationError, activity, workflow

    class Own(Exception):
        pass

    TRIES = []

    @activity(retry_policy={"max_attempts": 3, "backoff_seconds": 0.01})
    def flaky(limit: int):
        TRIES.append(1)
        if len(TRIES) < limit:
            raise IntegrationError("busy", status_code=503)
        return len(TRIES)

    @activity
    async def wrong():
        raise IntegrationError("no such thing", status_code=404, item="x")

    @activity
    async def odd():
        raise Own("odd")

    def _make():
        @activity
        async def hidden(): ...
        return hidden

    hidden = _make()

    @workflow(name="fails")
    async def fails(context, which: str):
        match which:
            case "flaky":
                return await flaky(3)
            case "wrong":
                return await wrong()
            case "odd":
                return await odd()
            case "hidden":
                return await hidden()
            case "shape":
                return await flaky(3, 4)
            case "type":
                return await flaky("many")
"""


async def test_a_failing_activity_is_retried_as_it_says(house: House) -> None:
    """What may succeed later is tried again, with the module's state kept between attempts; what may not ends at once."""
    house.write("workflows/fails.py", FAILING)
    async with house.serving():
        assert await house.run("fails", {"which": "flaky"}) == 3
        with pytest.raises(IntegrationError, match="no such thing") as refusal:
            await house.run("fails", {"which": "wrong"})
        assert (refusal.value.status_code, refusal.value.details["item"]) == (404, "x")
        with pytest.raises(WorkflowException, match="odd") as failure:
            await house.run("fails", {"which": "odd"})
        assert failure.value.error_type == "Own"
        with pytest.raises(NotFoundError, match="must stand at the top of its file"):
            await house.run("fails", {"which": "hidden"})
        with pytest.raises(TypeError, match="too many positional arguments"):
            await house.run("fails", {"which": "shape"})


PINNED = """
    from bifrost import activity, workflow
    from .lib.words import WORD

    @activity
    async def say() -> str:
        return WORD

    @workflow(name="pinned")
    async def pinned(context):
        context.save_checkpoint("waiting")
        await context.wait_for_event("go")
        return await say()
"""


async def test_an_activity_is_of_the_executions_revision(house: House) -> None:
    """An execution calls the activity that it began with, though it was edited, or its file deleted, since."""
    house.write("workflows/a/pinned/workflow.py", PINNED)
    house.write("workflows/a/pinned/lib/words.py", "WORD = 'first'")
    house.write("integrations/late.py", """
        from bifrost import BaseIntegration
        class Late(BaseIntegration):
            integration_name = "late"
            async def authenticate(self): ...
    """)
    async with house.serving():
        first = await house.start("pinned")

        async def begun() -> bool:
            return bool((await read_execution(house.client, first.id)).checkpoints)

        await until(begun)
        house.write("workflows/a/pinned/lib/words.py", "WORD = 'second'")
        assert house.workspace.refresh()
        second = await house.start("pinned")
        await second.signal("go")
        assert await second.result() == "second"
        (house.root / "workflows/a/pinned/workflow.py").unlink()
        assert house.workspace.refresh()
    async with house.serving():
        await first.signal("go")
        assert await first.result() == "first"
        assert "late" in house.workspace.catalog.integrations


async def test_an_argument_that_does_not_fit_is_refused(house: House) -> None:
    """A value that is not what the activity's argument is annotated with is refused, naming the argument, without retries."""
    house.write("workflows/fit.py", """
        from datetime import date
        from bifrost import activity, workflow

        @activity
        async def on(day: date) -> str:
            return day.isoformat()

        @activity
        async def off() -> date:
            return "tomorrow"

        @workflow(name="fit")
        async def fit(context, day: str):
            return await (on(day) if day != "off" else off())
    """)
    async with house.serving():
        assert await house.run("fit", {"day": "2030-01-02"}) == "2030-01-02"
        with pytest.raises(ValidationError, match=r"^day: Input should be a valid date") as refusal:
            await house.run("fit", {"day": "never"})
        assert refusal.value.field == "day"
        with pytest.raises(ValidationError, match=r"^The result of off: Input should be a valid date"):
            await house.run("fit", {"day": "off"})


async def test_a_revision_that_a_worker_lacks_is_tried_again(house: House) -> None:
    """An activity whose revision the worker's store lacks is tried again: it may be there then."""
    house.write("workflows/pinned.py", """
        from bifrost import activity, workflow

        @activity(retry_policy={"max_attempts": 20, "backoff_seconds": 0.05, "backoff": 1})
        async def say() -> str:
            return "said"

        @workflow(name="pinned")
        async def pinned(context):
            return await say()
    """)
    async with house.serving(cached=1000) as workspace:  # a replay would ask the store, too
        kept = house.revisions.get(workspace.catalog.revision)
        real, asked = workspace.revisions.get, []

        def lacking(revision_id: str) -> object:
            asked.append(revision_id)
            if len(asked) in (2, 3):  # the first is the run's own
                raise NotFoundError("Revision not found", kind="revision")
            return real(revision_id)

        workspace.revisions.get = lacking  # type: ignore[method-assign,assignment]
        assert await house.run("pinned") == "said"
    assert (len(asked), kept.id) == (4, asked[0])


POSTPONED = """
    from __future__ import annotations
    import asyncio
    from dataclasses import dataclass, field
    from datetime import datetime, timezone
    from typing import NamedTuple
    from bifrost import activity, workflow

    class Place(NamedTuple):
        at: datetime

    @dataclass
    class Report:
        lines: list[Line]
        place: Place

    @dataclass
    class Line:
        name: str
        seen_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @activity
    def read_report(when: datetime) -> Report:
        assert isinstance(when, datetime)
        return {"lines": [{"name": "a"}], "place": [when]}

    @workflow(name="postponed")
    async def postponed(context):
        report = await read_report(datetime.now())
        seen = [report.lines[0].seen_at.isoformat(), isinstance(report.lines[0], Line), isinstance(report.place.at, datetime)]
        context.save_checkpoint(f"seen {seen}")
        await asyncio.sleep(0.01)
        return [seen, report.lines[0].seen_at.isoformat() == seen[0]]
"""


async def test_postponed_annotations_mean_the_runs_own(house: House) -> None:
    """Results become the run's classes, with the run's clock, whether or not annotations are postponed; replay agrees."""
    house.write("workflows/postponed.py", POSTPONED)
    async with house.serving():
        handle = await house.start("postponed")
        assert [(seen[1:], same) for seen, same in [await handle.result()]] == [([True, True], True)]
        house.write("workflows/postponed.py", "raise RuntimeError('another revision, which means nothing to this run')")
        assert house.workspace is not None
        house.workspace.refresh()

    async def found() -> AsyncIterator[WorkflowHistory]:
        yield await handle.fetch_history()

    assert [one.failure async for one in replay(house.workspace, found())] == [None]
