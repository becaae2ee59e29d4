"""`run_workflow` of the test kit: executions of a workspace of the test's own, on the server that such tests share."""

from __future__ import annotations

import asyncio
import importlib
import string
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from bifrost.errors import (
    DeterminismError,
    IntegrationError,
    NotFoundError,
    PermissionError,  # noqa: A004 - the name is the guide's
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
)
from bifrost.models import ExecutionStatus
from bifrost.testing import InMemoryContext, RunWorkflow
from bifrost.workspace import finder

FLOWS = """
import asyncio
import string
from bifrost import BaseIntegration, ValidationError, activity, register_integration, workflow

class Tool(BaseIntegration):
    integration_name = "tool"
    async def authenticate(self):
        self.key = await self.get_secret("key")
    async def say(self, word, loud=False):
        return f"{self.get_config('greeting')} {word} {len(self.key)}"

class Other(BaseIntegration):
    async def authenticate(self): ...

register_integration("spare", Other)

@activity
def double(number):
    return 2 * number

@workflow(name="patient")
async def patient(context, word: str):
    tool = context.get_integration("tool")
    context.save_checkpoint("sleeping", {"word": word})
    await asyncio.sleep(30 * 86_400)
    said = await tool.say(word, loud=True)
    context.log("info", "said", {"what": said.said})
    event = await context.wait_for_event("go", timeout=3600)
    return {"said": said.said, "event": event, "doubled": await double(event["number"]), "by": context.executed_by}

@workflow(name="real", requires_approval=True, requires_org=False)
async def real(context):
    said = await context.get_integration("tool").say("you")
    context.on_failure(context.log, "info", "sorry")
    if context.org is None:
        raise ValidationError(said, field="org")
    return {"success": False, "said": said}

@workflow(name="shaky")
async def shaky(context):
    string.runs += 1
    if string.runs == 1:
        await context.get_integration("tool").say("once")
    return string.runs

@workflow(name="stuck")
async def stuck(context):
    context.save_checkpoint("here")
    await context.wait_for_event("never")
"""
DOWN = IntegrationError("down", status_code=503)


@pytest.fixture
def bifrost_workspace(tmp_path: Path) -> Iterator[Path]:
    """The workspace, from which the test imports, too."""
    file = tmp_path / "workspace" / "workflows" / "flows.py"
    file.parent.mkdir(parents=True)
    file.write_text(FLOWS)
    finder.install(tmp_path / "workspace")
    yield tmp_path / "workspace"
    finder.uninstall()


def test_months_pass_at_once(run_workflow: RunWorkflow, bifrost_context: InMemoryContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty days of sleep, two refusals of a kind that passes, an event: for real, in a loop of the test's own, and all of it recorded."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    flows = importlib.import_module("workspace.workflows.flows")
    bifrost_context.integration("tool").answers("say", DOWN, DOWN, lambda word, loud: {"said": f"{word} {loud}"})
    bifrost_context.send_event("go", {"number": 4})
    run = asyncio.run(run_workflow(flows.patient, {"word": "hi"}))
    assert run.result == {"said": "hi True", "event": {"number": 4}, "doubled": 8, "by": "test-user"}
    assert (run.status, run.error) == (ExecutionStatus.SUCCESS, None)
    assert run.checkpoints == [("sleeping", {"word": "hi"})]
    assert run.logs == [("info", "said", {"what": "hi True"})]
    assert [(call.name, call.attempts) for call in run.calls] == [("tool.say", 3), ("double", 1)]
    assert bifrost_context.calls == [("tool.say", {"word": "hi", "loud": True})] * 3
    assert run.execution.closed_at - run.execution.started_at > timedelta(days=30)
    assert sys.modules["workspace.workflows.flows"] is flows
    assert time.tzname[0] == "JST"
    monkeypatch.undo()
    time.tzset()


async def test_what_is_not_faked_is_real(run_workflow: RunWorkflow, bifrost_context: InMemoryContext) -> None:
    """The workspace's integration, with the context's configuration and secrets; the approval is given, or refused."""
    bifrost_context.org_config["greeting"] = "hello"
    bifrost_context.global_secrets["key"] = "key-canary"
    run = await run_workflow("real")
    assert (run.status, run.result) == (ExecutionStatus.COMPLETED_WITH_ERRORS, {"success": False, "said": "hello you 10"})
    with pytest.raises(PermissionError, match="Rejected by Test Approver"):
        await run_workflow("real", approve=False)


async def test_a_failure_is_raised_or_answered(run_workflow: RunWorkflow) -> None:
    """The workflow's own error with its fields, after what was undone; without an organization, the global scope is all there is."""
    context = InMemoryContext(None, global_secrets={"key": "key-canary"})
    with pytest.raises(ValidationError, match="None you 10"):
        await run_workflow("real", context=context)
    run = await run_workflow("real", context=context, check=False)
    assert (run.status, run.result, run.error.field) == (ExecutionStatus.FAILED, None, "org")
    assert run.error.details["undone"] == [{"undo": "DurableContext.log"}]
    for wrong, error in ((len, ValidationError), ("reel", NotFoundError)):
        with pytest.raises(error):
            await run_workflow(wrong)


async def test_code_that_cannot_be_replayed_fails(
        run_workflow: RunWorkflow, bifrost_context: InMemoryContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run leaves behind changes the next one: the replay goes another way, and the message says so in Temporal's words.

    A call that no answer is scripted for fails at once, as it does in memory.
    """
    monkeypatch.setattr(string, "runs", 0, raising=False)
    fake = bifrost_context.integration("tool")
    with pytest.raises(IntegrationError, match=r"tool\.say\(word='once'\) was called, and the test has no answer for it"):
        await run_workflow("shaky", check_replay=False)
    fake.answers("say", "x")
    string.runs = 0
    with pytest.raises(DeterminismError, match=r"'shaky' went another way when it was replayed: Nondeterminism error: .*\. Its code depends"):
        await run_workflow("shaky")
    string.runs = 0
    assert (await run_workflow("shaky", check_replay=False)).result == 1


async def test_an_execution_that_does_not_end(run_workflow: RunWorkflow) -> None:
    """It is terminated, and the error says where it stands and what it may wait for."""
    with pytest.raises(TimeoutError, match=r"did not end within 0\.3 seconds: its last checkpoint is 'here'; .*context\.send_event") as caught:
        await run_workflow("stuck", timeout=0.3)
    assert caught.value.timeout_seconds == 0.3
