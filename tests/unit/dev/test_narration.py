"""How the demo is told."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest

from bifrost.dev.narration import Narrator, timeline
from bifrost.errors import WorkflowException
from bifrost.models import SYSTEM_CALLER, ExecutionStatus
from bifrost.temporal.history import Call, Checkpoint, Execution

START = datetime(2026, 1, 1, tzinfo=UTC)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _execution() -> Execution:
    at = [START + timedelta(seconds=seconds) for seconds in (0.5, 1, 2)]
    return Execution(
        execution_id="e", run_id="r", workflow="w", org_id=None, caller=SYSTEM_CALLER, revision=None,
        status=ExecutionStatus.RUNNING, started_at=START, closed_at=None, params={}, result=None, error=None, log=[],
        checkpoints=[Checkpoint("half", None, at[1])],
        calls=[Call("graph.create", at[0], 2, "success", 480), Call("api.create", at[2], 1, "running")])


def test_a_check_that_fails_ends_the_story() -> None:
    """The line is marked, and the error says what was expected and what was found."""
    out = io.StringIO()
    narrator = Narrator(out)
    narrator.check("one is one", 1, 1)
    with pytest.raises(WorkflowException, match=r"not: one is two\. Expected 2, found 1") as failed:
        narrator.check("one is two", 1, 2)
    assert failed.value.error_type == "DemoFailed"
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["✓", "✗"]
    assert [step.what for step in narrator.steps] == ["one is one"]


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch, no_colour: str) -> None:
    """A file gets none, nor does a terminal whose user wants none."""
    monkeypatch.setenv("NO_COLOR", no_colour)
    for out, coloured in ((_Terminal(), not no_colour), (io.StringIO(), False)):
        narrator = Narrator(out)
        narrator.title("First")
        narrator.step("done")
        narrator.title("Second")
        narrator.note("Read this")
        assert ("\033[" in out.getvalue()) == coloured
    assert out.getvalue() == f"First\n✓ {narrator.steps[0].at:5.1f} s  done\n\nSecond\n\nRead this\n"


def test_the_timeline_is_in_order() -> None:
    """Calls and checkpoints stand where they began; a call that is under way has no duration yet."""
    out = io.StringIO()
    Narrator(out).timeline(_execution())
    assert out.getvalue().splitlines() == [
        "   +0.50 s  call        graph.create  2 attempts   0.48 s  success",
        "   +1.00 s  checkpoint  half",
        "   +2.00 s  call        api.create    1 attempt            running"]
    assert timeline(_execution())[1] == {"at": 1.0, "kind": "checkpoint", "name": "half"}
