"""What the demo does not let pass."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bifrost.dev import demo
from bifrost.dev.narration import Narrator
from bifrost.dev.simulators.journal import Entry
from bifrost.errors import TimeoutError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.settings import Settings

KILLED = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, AFTER = KILLED - timedelta(seconds=1), KILLED + timedelta(seconds=1)


def _created(path: str, at: datetime, tenant: str = demo.ORG, **more: Any) -> Entry:
    return Entry(**{"number": 1, "at": at, "method": "POST", "path": path, "tenant": tenant, "status": 201, **more})


GRAPH, INTERNAL = _created("/v1.0/users", BEFORE), _created("/users", AFTER)


def _check(graph: list[Entry], user_api: list[Entry]) -> None:
    demo._check_effects(Narrator(io.StringIO()), demo.Evidence(graph, user_api, KILLED), ["Acme", "Globex"])


@pytest.mark.parametrize(("graph", "user_api", "said"), [
    ([], [INTERNAL], "Journal of Microsoft 365"),
    ([GRAPH, GRAPH], [INTERNAL], "Journal of Microsoft 365"),
    ([_created("/v1.0/users", BEFORE, demo.OTHER)], [INTERNAL], "Journal of Microsoft 365"),
    ([GRAPH, _created("/v1.0/groups", BEFORE, demo.OTHER, method="GET", status=200)], [INTERNAL], "was never touched"),
    ([GRAPH], [INTERNAL, INTERNAL], "Journal of the internal system"),
    ([GRAPH], [], "Journal of the internal system"),
    ([GRAPH], [_created("/users", BEFORE)], "created after the kill"),
    ([GRAPH, _created("/v1.0/users", AFTER, replayed=True)], [INTERNAL], "not called again"),
], ids=["none", "twice", "wrong tenant", "other tenant", "internal twice", "internal none", "too early", "repeated"])
def test_another_effect_than_the_one_is_refused(graph: list[Entry], user_api: list[Entry], said: str) -> None:
    """One user in each system, none for the other organization, nothing repeated: anything else fails the demo."""
    _check([GRAPH], [_created("/users", BEFORE, status=None), INTERNAL])
    with pytest.raises(WorkflowException, match=said) as failed:
        _check(graph, user_api)
    assert failed.value.error_type == "DemoFailed"


async def test_a_secret_in_a_file_is_refused(tmp_path: Path) -> None:
    """A secret in the database, beside it or in a log is found; so is a search that could not find anything."""
    stack = SimpleNamespace(settings=Settings(), temporal=SimpleNamespace(db_path=tmp_path / "t.db"), workers=[
        SimpleNamespace(log_file=tmp_path / "worker.log")], secrets={
            (demo.ORG, "one"): "canary-1", (demo.ORG, "two"): "canary-2", (demo.OTHER, "one"): "of the other"})
    database, wal, log = (tmp_path / name for name in ("t.db", "t.db-wal", "worker.log"))
    for file in (database, wal, log):
        file.write_text(demo.PARAMS["email"])

    async def check() -> None:
        await demo._check_secrets(Narrator(io.StringIO()), stack)  # type: ignore[arg-type]

    await check()
    for file in (database, wal, log):
        file.write_text("... canary-2 ...")
        with pytest.raises(WorkflowException, match=f"found .*{file.name}"):
            await check()
        file.write_text("")
    with pytest.raises(WorkflowException, match="where the user's email address is, 0 times"):
        await check()


async def test_an_execution_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time allowed, its id is named; a run that failed with a timeout of its own says so itself."""
    monkeypatch.setattr(demo, "_STEP_SECONDS", 0.01)

    async def failed() -> None:
        raise TimeoutError(30)

    with pytest.raises(TimeoutError, match=r"Execution e-1 did not end within 0\.01 seconds"):
        await demo._ended(SimpleNamespace(id="e-1", result=asyncio.Event().wait))
    with pytest.raises(TimeoutError, match="Workflow exceeded timeout of 30 seconds"):
        await demo._ended(SimpleNamespace(id="e-1", result=failed))
