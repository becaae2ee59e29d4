"""The context in memory: what code gets of it, what is recorded, and what a run does around a workflow."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bifrost.errors import (
    ConfigurationError,
    NotFoundError,
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
    WorkflowException,
)
from bifrost.models import OAuthCredentials, Organization
from bifrost.testing import InMemoryContext


async def test_a_workflow_is_called_directly(bifrost_context, flow):
    """It gets what the test scripted, and everything that it does is recorded, as it would be written down."""
    bifrost_context.integration("tool").answers("make", {"id": 1})
    assert await flow("build")(bifrost_context, what="x") == {"made": {"id": 1}}
    assert bifrost_context.calls == [("tool.make", {"what": "x", "size": 2})]
    assert bifrost_context.checkpoints == [("made", {"id": 1, "api_key": "***REDACTED***"})]
    assert bifrost_context.steps == ["tool.make", "checkpoint:made"]
    assert bifrost_context.undone == []


async def test_a_run_that_fails_undoes(bifrost_context, flow):
    """In reverse order, each recorded; the error tells it; what cannot be undone keeps nothing else from it."""
    bifrost_context.integration("tool").answers("make", {"id": 1}).answers("unmake", ConfigurationError("stuck"))
    with pytest.raises(ValidationError) as caught:
        await bifrost_context.run(flow("build"), what="x", fail="yes")
    undone = [{"undo": "InMemoryContext.log"}, {"undo": "tool.unmake", "error": "stuck"}]
    assert caught.value.details["undone"] == bifrost_context.undone == undone
    assert bifrost_context.checkpoints[-1] == ("undoing", {"because": "no more"})
    assert [line.message for line in bifrost_context.logs] == ["first", "undone: InMemoryContext.log", "tool.unmake could not be undone with"]
    assert bifrost_context.logs[0] == ("info", "first", None)


async def test_a_run_is_as_strict_as_an_execution(bifrost_context, flow):
    """Parameters, the organization and the result are checked; what is no workflow is refused."""
    build, tool = flow("build"), bifrost_context.integration("tool")
    for refused, named in (({"what": object()}, "What the workflow is given"), ({"fail": "perhaps"}, "fail")):
        with pytest.raises(ValidationError, match=named):
            await bifrost_context.run(build, **refused)
    with pytest.raises(ValidationError, match="'build' needs an organization"):
        await InMemoryContext(None).run(build)
    with pytest.raises(ValidationError, match="The result"):
        await bifrost_context.run(flow("endless"))
    with pytest.raises(ValidationError, match="is no workflow: decorate it"):
        await bifrost_context.run(flow("twice"), item=1)
    tool.answers("make", object())
    with pytest.raises(ValidationError, match=r"The result of tool\.make"):
        await bifrost_context.run(build)


async def test_secrets_are_handles_in_a_run_and_values_in_calls(bifrost_context, flow):
    """As in an execution: the workflow never has the text, the integration and the activity do. Extra parameters are variables."""
    bifrost_context.global_secrets["key"] = "global-canary"
    bifrost_context.secrets["key"] = "own-canary"
    bifrost_context.integration("tool").answers("make", lambda what: len(what[0]))
    result = await bifrost_context.run(flow("secretive"), extra=5)
    assert result == {"shown": "********", "made": 10, "on": "2026-02-01", "key": "own-canary/own-canary", "extra": 5}
    assert bifrost_context.variables == {"extra": 5}
    assert bifrost_context.calls == [("tool.make", {"what": ["own-canary"]}), ("report", {"on": "2026-01-31", "key": "own-canary"})]
    assert await bifrost_context.get_secret("key") == "own-canary"
    del bifrost_context.secrets["key"]
    assert await bifrost_context.get_secret("key") == await InMemoryContext(None, global_secrets={"key": "global-canary"}).get_secret("key")
    with pytest.raises(KeyError, match="tried test-org/other and GLOBAL/other"):
        await bifrost_context.get_secret("other")


async def test_configuration_is_the_test_s(bifrost_context):
    """The organization's before the global one; given at the start or filled in later."""
    context = InMemoryContext(Organization("acme", "Acme Ltd", config={"a": 1}), config={"b": {"c": 2}}, global_config={"a": 0, "d": 3})
    assert [context.get_config(key) for key in ("a", "b.c", "d", "e")] == [1, 2, 3, None]
    context.org_config["a"] = 5
    assert (context.get_config("a"), context.org.config["a"], context.org_id) == (5, 5, "acme")
    assert (bifrost_context.org_id, bifrost_context.executed_by, bifrost_context.execution_id) == ("test-org", "test-user", "test-execution")


async def test_other_workflows_run_in_memory_unless_scripted(bifrost_context, flow):
    """A child and the items of a map are the workspace's own, recorded here; variables and undo calls are each execution's own."""
    bifrost_context.integration("tool").answers("make", {"id": 1})
    result = await bifrost_context.run(flow("parent"))
    assert (result["child"], result["named"], result["unknown"]) == (1, 1, None)
    assert result["mapped"]["results"] == [2, 4, None]
    assert result["mapped"]["failures"][0]["error"]["message"] == "not this one"
    assert bifrost_context.steps == [
        "workflow build", "tool.make", "checkpoint:made", "checkpoint:twice", "double", "checkpoint:twice", "double", "checkpoint:twice",
        "workflow build", "tool.make", "checkpoint:made"]
    bifrost_context.workflow_answers("build", lambda what, **_: {"made": {"id": what}})
    assert (await bifrost_context.run(flow("parent")))["child"] == "b"


async def test_what_is_not_there_says_how_to_have_it(bifrost_context, served):
    """Integrations, workflows and connections: near names, and the line that makes one in a test; a broken file says why."""
    with pytest.raises(NotFoundError, match=r"Did you mean 'tool'\?.*context\.integration\(\"tol\"\)\.answers"):
        bifrost_context.get_integration("tol")
    with pytest.raises(NotFoundError, match=r"Did you mean 'build'\?.*context\.workflow_answers\(\"bild\""):
        await bifrost_context.execute_workflow("bild")
    with pytest.raises(ConfigurationError, match=r"cannot be loaded: workflows/broken\.py:2"):
        await bifrost_context.execute_workflow("broken")
    with pytest.raises(NotFoundError, match=r"context\.oauth_connections\[\"m365\"\]"):
        await bifrost_context.get_oauth_connection("m365")
    bifrost_context.oauth_connections["m365"] = OAuthCredentials("m365", "token")
    assert (await bifrost_context.get_oauth_connection("m365")).access_token == "token"
    for wrong in ({"target": len, "items": []}, {"target": "build", "items": [], "concurrency": 0}):
        with pytest.raises(ValidationError):
            await bifrost_context.map(**wrong)


async def test_a_run_may_not_see_a_connection(bifrost_context, served, tmp_path):
    """What an execution refuses is refused: every value of a workflow is recorded."""
    (served / "workflows" / "peek.py").write_text("from bifrost import workflow\n@workflow(name='peek')\nasync def peek(context):\n"
                                                  "    return await context.get_oauth_connection('m365')\n")
    bifrost_context.oauth_connections["m365"] = OAuthCredentials("m365", "token")
    with pytest.raises(NotFoundError, match="cannot be read in a workflow"):
        await bifrost_context.execute_workflow("peek")


async def test_events_are_sent_by_the_test(bifrost_context):
    """In their order, before or by another task; nobody waits for one that will not come."""
    bifrost_context.send_event("go", 1)
    bifrost_context.send_event("go")
    assert [await bifrost_context.wait_for_event("go"), await bifrost_context.wait_for_event("go", timeout=5)] == [1, None]

    async def send():
        bifrost_context.send_event("late", "now")

    assert (await asyncio.gather(bifrost_context.wait_for_event("late", timeout=5), send()))[0] == "now"
    with pytest.raises(TimeoutError, match=r"did not come within 86400 seconds\. In a test .*context\.send_event") as caught:
        await bifrost_context.wait_for_event("go", timeout=timedelta(days=1))
    assert caught.value.timeout_seconds == 86400
    with pytest.raises(TimeoutError, match="would never come"):
        await bifrost_context.wait_for_event("go")


async def test_a_cancelled_run_undoes(bifrost_context, served):
    """A cancellation is no exception, and undoes all the same; outside of a run a checkpoint may be awaited."""
    (served / "workflows" / "wait.py").write_text(
        "import asyncio\nfrom bifrost import workflow\n@workflow(name='wait')\nasync def wait(context):\n"
        "    context.on_failure(context.log, 'warning', 'undone')\n    await asyncio.Event().wait()\n")
    running = asyncio.ensure_future(bifrost_context.execute_workflow("wait"))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bifrost_context.undone == [{"undo": "InMemoryContext.log"}]
    await bifrost_context.save_checkpoint("last")
    assert bifrost_context.checkpoints[-1] == ("last", None)
    await bifrost_context.undo_all(WorkflowException("nothing is left"))
    assert len(bifrost_context.undone) == 1
