"""One execution, from its start argument to its result."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.errors import (
    ConfigurationError,
    DeterminismError,
    NotFoundError,
    PermissionError,  # noqa: A004 - the name is the guide's
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
    WorkflowException,
)
from bifrost.models import Caller
from tests.temporal.conftest import House

USER = {"email": "ada@acme.example", "name": "Ada", "department": "IT", "license_sku": "ENTERPRISEPACK"}


def _user(number: str) -> dict[str, Any]:
    return {**USER, "email": f"{number}@acme.example"}


async def _activities(house: House, execution_id: str) -> list[tuple[str, Any]]:
    """Type and input of every scheduled activity, in order."""
    history = await house.client.get_workflow_handle(execution_id).fetch_history()
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events
                 if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    return [(one.activity_type.name, json.loads(one.input.payloads[0].data)) for one in scheduled]


async def test_onboarding_creates_one_user_in_each_system(sample: House, graph: SimulatorControl,
                                                          user_api: SimulatorControl, request: Any) -> None:
    """The sample workflow creates the user in both systems of its organization, and in no other."""
    email = f"{request.node.name}@acme.example"
    async with sample.serving():
        result = await sample.run("create_user_sync", {**USER, "email": email})
    assert result["success"] is True
    assert result["email"] == email
    assert len(await graph.journal("POST", "/v1.0/users", exact=True)) == 1
    assert len(await user_api.journal("POST", "/users")) == 1
    assert not await graph.journal(tenant="globex")
    assert not await user_api.journal(tenant="globex")


async def test_calls_and_checkpoints_are_named_activities_in_order(sample: House, graph: SimulatorControl,
                                                                   user_api: SimulatorControl) -> None:
    """Each call is an activity with readable named arguments; a checkpoint is scheduled before the call that follows."""
    async with sample.serving():
        handle = await sample.start("create_user_sync", _user(f"named{sample.cached}"))
        await handle.result()
    scheduled = await _activities(sample, handle.id)
    assert [name for name, _ in scheduled] == [
        "msgraph.create_user", "msgraph.assign_license", "checkpoint", "user_management_api.create_user", "checkpoint"]
    assert scheduled[0][1] == {"email": f"named{sample.cached}@acme.example", "name": "Ada", "department": "IT"}
    assert [given["name"] for name, given in scheduled if name == "checkpoint"] == [
        "m365_user_created", "internal_user_created"]


async def test_a_checkpoint_is_committed_with_the_call_that_follows(sample: House, graph: SimulatorControl,
                                                                    user_api: SimulatorControl) -> None:
    """Checkpoint and next call are commands of the same workflow task, so no call runs before its checkpoint is durable."""
    async with sample.serving():
        handle = await sample.start("create_user_sync", _user(f"commit{sample.cached}"))
        await handle.result()
    history = await handle.fetch_history()
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events
                 if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED]
    checkpoint, call = scheduled[2], scheduled[3]
    assert checkpoint.activity_id == "checkpoint:m365_user_created"
    assert checkpoint.workflow_task_completed_event_id == call.workflow_task_completed_event_id


async def test_an_error_of_a_call_keeps_its_class_and_fields(house: House) -> None:
    """What an integration raises is caught in the workflow as the same class, with the same status and details."""
    house.write("integrations/shop.py", """
        from bifrost import BaseIntegration, IntegrationError, register_integration

        class Shop(BaseIntegration):
            integration_name = "shop"

            async def authenticate(self):
                pass

            async def sell(self, item):
                raise IntegrationError("sold out", integration="shop", status_code=409, item=item)

            async def count(self):
                return {}["nothing"]
    """)
    house.write("workflows/shop/sell/workflow.py", """
        from bifrost import IntegrationError, workflow

        @workflow(name="sell")
        async def sell(context):
            shop = context.get_integration("shop")
            try:
                await shop.sell("tea")
            except IntegrationError as error:
                refused = [error.status_code, error.integration, error.details["item"], str(error)]
            try:
                await shop.count()
            except KeyError as error:
                missing = error.args[0]
            return {"refused": refused, "missing": missing}
    """)
    async with house.serving():
        assert await house.run("sell") == {"refused": [409, "shop", "tea", "sold out"], "missing": "nothing"}


async def test_a_throttled_call_is_retried_when_it_was_asked_to(sample: House, graph: SimulatorControl,
                                                                user_api: SimulatorControl) -> None:
    """A 429 with Retry-After is made again after that time, and the execution succeeds."""
    await graph.fail("POST", "/v1.0/users", exact=True, status=429, retry_after="1", times=1)
    async with sample.serving():
        await sample.run("create_user_sync", _user(f"throttled{sample.cached}"))
    first, second = await graph.journal("POST", "/v1.0/users", exact=True)
    assert [first.status, second.status] == [429, 201]
    assert 1 <= (second.at - first.at).total_seconds() < 3


@pytest.mark.parametrize(("workflow", "org_id", "params", "error", "message"), [
    ("create_user_sync", "acme", {"email": "ada@acme.example"}, ValidationError, "Missing required parameter: name"),
    ("create_user_sync", "acme", {**USER, "email": "nobody"}, ValidationError, "'email' must be an email address"),
    ("create_user_sink", "acme", USER, NotFoundError, "Workflow 'create_user_sink' not found. Did you mean 'create_user_sync'"),
    ("create_user_sync", "acne", USER, NotFoundError, "Organization 'acne' not found. Did you mean 'acme'"),
    ("create_user_sync", "initech", USER, PermissionError, "Organization 'initech' is inactive"),
    ("create_user_sync", None, USER, ValidationError, "needs an organization"),
])
async def test_a_refused_start_touches_nothing(sample: House, graph: SimulatorControl, user_api: SimulatorControl,
                                               workflow: str, org_id: str | None, params: dict[str, Any],
                                               error: type[WorkflowException], message: str) -> None:
    """What cannot run fails at once with a typed error that names it, before anything happened outside."""
    async with sample.serving():
        with pytest.raises(error) as refusal:
            await sample.run(workflow, params, org_id=org_id)
    assert message in str(refusal.value)
    assert type(refusal.value) is error
    assert await graph.journal() == []
    assert await user_api.journal() == []


async def test_a_start_argument_of_another_shape_is_explained(house: House) -> None:
    """A start argument that is no Bifrost message fails the execution and shows the form it must have."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="plain", requires_org=False)
        async def plain(context):
            return context.org_id
    """)
    async with house.serving():
        with pytest.raises(Exception) as refusal:
            await house.client.execute_workflow("plain", {"organisation": "acme"}, id=f"shape-{house.task_queue}",
                                                task_queue=house.task_queue)
        assert "organisation" in str(refusal.value.__cause__)
        assert '"org_id": "acme"' in str(refusal.value.__cause__)
        assert await house.client.execute_workflow("plain", id=f"none-{house.task_queue}",
                                                   task_queue=house.task_queue) is None


async def test_a_broken_file_is_named_when_its_workflow_is_run(house: House) -> None:
    """A workflow whose file has a syntax error fails naming file and line; the others run."""
    house.write("workflows/a/good/workflow.py", """
        from bifrost import workflow

        @workflow(name="good")
        async def good(context):
            return "fine"
    """)
    house.write("workflows/a/bad/workflow.py", """
        from bifrost import workflow

        @workflow(name="bad")
        async def bad(context):
            return (
    """)
    async with house.serving():
        assert await house.run("good") == "fine"
        with pytest.raises(ConfigurationError) as refusal:
            await house.run("bad")
    assert "workflows/a/bad/workflow.py:6: SyntaxError" in str(refusal.value)


async def test_an_unknown_integration_is_refused_with_similar_names(house: House) -> None:
    """`get_integration` of an unknown name raises in the workflow, before any call."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="typo")
        async def typo(context):
            context.get_integration("msgraf")
    """)
    async with house.serving():
        with pytest.raises(NotFoundError, match=r"Integration 'msgraf' not found\. Did you mean 'msgraph'"):
            await house.run("typo")


async def test_a_wrong_call_is_refused_without_retries(house: House) -> None:
    """An unknown method and arguments that do not fit fail at once, and say what there is."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import NotFoundError, ValidationError, workflow

        @workflow(name="wrong")
        async def wrong(context):
            graph = context.get_integration("msgraph")
            said = []
            for call in (lambda: graph.create_usr("a"), lambda: graph.add_user_to_group("only one")):
                try:
                    await call()
                except (NotFoundError, ValidationError) as error:
                    said.append(str(error))
            return said
    """)
    async with house.serving():
        said = await house.run("wrong")
    assert "create_user" in said[0]
    assert "add_user_to_group(user_id" in said[1]


async def test_an_unexpected_exception_fails_the_run_with_the_users_traceback(house: House) -> None:
    """A bug in user code ends the run, with its type, its message and the user's own line."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="buggy")
        async def buggy(context):
            return 1 / 0
    """)
    async with house.serving():
        handle = await house.start("buggy")
        with pytest.raises(Exception) as failure:
            await handle.result()
    cause: Any = failure.value.__cause__
    assert cause.type == "ZeroDivisionError"
    assert "workspace/workflows/a/b/workflow.py" in cause.failure.stack_trace
    assert "return 1 / 0" in cause.failure.stack_trace


async def test_time_chance_and_order_are_the_same_on_replay(house: House) -> None:
    """Clock, uuid, random, gather and sleep give one answer, however often the run is replayed on its way."""
    house.write("workflows/a/b/workflow.py", """
        import asyncio
        import random
        import secrets
        import time
        import uuid
        from datetime import datetime

        from bifrost import workflow

        STARTED = datetime.utcnow().isoformat()

        def look():
            return [STARTED, datetime.utcnow().isoformat(), time.time(), str(uuid.uuid4()), random.random(),
                    secrets.token_hex(4), random.sample(range(100), 3)]

        async def nap(seconds):
            await asyncio.sleep(seconds)
            return seconds

        @workflow(name="look_twice")
        async def look_twice(context):
            first = look()
            context.save_checkpoint("first", first)
            naps = await asyncio.gather(nap(0.03), nap(0.01), nap(0.02))
            context.save_checkpoint("again", first)
            await asyncio.sleep(0.01)
            return {"first": first, "naps": naps, "second": look()}
    """)
    async with house.serving():
        handle = await house.start("look_twice")
        result = await handle.result()
    recorded = [given["data"] for name, given in await _activities(house, handle.id) if name == "checkpoint"]
    assert recorded == [result["first"], result["first"]]
    assert result["naps"] == [0.03, 0.01, 0.02]
    assert result["second"] != result["first"]
    assert result["second"][0] == result["first"][0]


async def test_what_a_replay_could_not_repeat_is_refused(house: House) -> None:
    """A run that reads a file or calls an HTTP library fails with the line and the cure, not silently."""
    house.write("workflows/a/b/workflow.py", """
        import httpx

        from bifrost import workflow

        @workflow(name="direct")
        async def direct(context, url):
            async with httpx.AsyncClient() as client:
                return await client.get(url)
    """)
    async with house.serving():
        with pytest.raises(DeterminismError, match=r"workspace/workflows/a/b/workflow.py:8: httpx.AsyncClient"):
            await house.run("direct", {"url": "http://127.0.0.1"})


async def test_a_run_keeps_its_revision_when_the_workspace_changes(house: House) -> None:
    """An execution that waits while its workflow is edited, then deleted, ends with the code it began with."""
    source = """
        from bifrost import workflow
        from workspace.utils.words import WORD

        @workflow(name="patient")
        async def patient(context):
            event = await context.wait_for_event("go")
            return [WORD, event]
    """
    house.write("workflows/a/patient/workflow.py", source)
    house.write("utils/words.py", "WORD = 'first'")
    async with house.serving() as workspace:
        old = await house.start("patient")
        await _until_begun(house, old.id)
        house.write("utils/words.py", "WORD = 'second'")
        assert workspace.refresh()
        new = await house.start("patient")
        await _until_begun(house, new.id)
        (house.root / "workflows/a/patient/workflow.py").unlink()
        assert workspace.refresh()
    async with house.serving():  # a worker that has never seen either of them
        for handle in (old, new):
            await handle.signal("go", handle.id)
        assert await old.result() == ["first", old.id]
        assert await new.result() == ["second", new.id]
        with pytest.raises(NotFoundError):
            await house.run("patient")


async def _until_begun(house: House, execution_id: str) -> None:
    """Wait until the execution's revision is recorded."""
    from tests.waiting import until

    async def begun() -> bool:
        description = await house.client.get_workflow_handle(execution_id).describe()
        return "BifrostRevision" in description.search_attributes

    await until(begun)


async def test_a_reload_brings_new_workflows_without_a_restart(house: House) -> None:
    """A workflow that was added while the worker runs can be started at once."""
    house.write("workflows/a/one/workflow.py", """
        from bifrost import workflow

        @workflow(name="one")
        async def one(context):
            return 1
    """)
    async with house.serving() as workspace:
        assert await house.run("one") == 1
        house.write("workflows/a/two/workflow.py", """
            from bifrost import workflow

            @workflow(name="two")
            async def two(context):
                return await context.execute_workflow("one") + 1
        """)
        assert workspace.refresh()
        assert not workspace.refresh()
        assert await house.run("two") == 2


async def test_an_event_that_does_not_come_is_a_timeout(house: House) -> None:
    """`wait_for_event` raises TimeoutError after its time, and an early event is kept."""
    house.write("workflows/a/b/workflow.py", """
        import asyncio
        from bifrost import TimeoutError, workflow

        @workflow(name="events")
        async def events(context):
            await asyncio.sleep(0.05)
            early = await context.wait_for_event("early", timeout=60)
            try:
                await context.wait_for_event("never", timeout=0.05)
            except TimeoutError as error:
                return [early, error.details["event"]]
    """)
    async with house.serving():
        handle = await house.start("events")
        await handle.signal("early", {"by": "ada"})
        assert await handle.result() == [{"by": "ada"}, "never"]


async def test_timeout_seconds_ends_the_run(house: House) -> None:
    """A run that exceeds its workflow's timeout fails as TimeoutError, whatever its body catches."""
    house.write("workflows/a/b/workflow.py", """
        import asyncio
        from bifrost import workflow

        @workflow(name="slow", timeout_seconds=0.2)
        async def slow(context):
            try:
                await asyncio.sleep(3600)
            except Exception:
                return "swallowed"
    """)
    async with house.serving():
        with pytest.raises(TimeoutError, match=r"Workflow exceeded timeout of 0\.2 seconds"):
            await house.run("slow")


async def test_cancellation_lets_the_body_clean_up(house: House) -> None:
    """A cancelled run gets CancelledError, which `except Exception` does not swallow; its clean-up may make calls."""
    house.write("workflows/a/b/workflow.py", """
        import asyncio
        from bifrost import workflow

        @workflow(name="cancelled")
        async def cancelled(context):
            context.save_checkpoint("waiting")
            try:
                await asyncio.sleep(3600)
            except Exception:
                context.save_checkpoint("swallowed")
            finally:
                skus = await context.get_integration("msgraph").get_subscribed_skus()
                context.save_checkpoint("cleaned", {"skus": len(skus)})
    """)
    from bifrost.temporal import client as executions
    from tests.waiting import until
    async with house.serving():
        handle = await house.start("cancelled")

        async def waiting() -> bool:
            return any(name == "checkpoint" for name, _ in await _activities(house, handle.id))

        await until(waiting)
        await handle.cancel()
        with pytest.raises(WorkflowException) as end:
            await executions.result(handle)
    assert end.value.error_type == "Cancelled"
    assert [given["name"] for name, given in await _activities(house, handle.id) if name == "checkpoint"] == [
        "waiting", "cleaned"]


async def test_a_secret_travels_as_a_handle(house: House) -> None:
    """Workflow code gets a handle that prints as stars, the call that it is passed to gets the value; a missing one raises."""
    house.write("integrations/echo.py", """
        from bifrost import BaseIntegration

        class Echo(BaseIntegration):
            integration_name = "echo"

            async def authenticate(self):
                pass

            async def length(self, options):
                return len(options["token"])
    """)
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="handles")
        async def handles(context):
            secret = await context.get_secret("user_management_api_key")
            context.log("info", f"it is {str(secret)}", {"it": secret})
            try:
                await context.get_secret("nothing")
            except KeyError as error:
                missing = error.args[0]
            length = await context.get_integration("echo").length({"token": secret})
            return {"length": length, "missing": missing, "shown": str(secret)}
    """)
    async with house.serving():
        handle = await house.start("handles")
        result = await handle.result()
    assert result == {"length": len("canary-api-key-acme"), "shown": "********",
                      "missing": "Secret 'nothing' not found; tried acme/nothing and GLOBAL/nothing"}
    assert "canary-api-key-acme" not in (await handle.fetch_history()).to_json()


async def test_a_result_that_is_no_json_fails_with_its_type(house: House) -> None:
    """A result that cannot be stored is a clear error, not a workflow task that fails for ever."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="opaque")
        async def opaque(context):
            return {"it": object()}
    """)
    async with house.serving():
        with pytest.raises(ValidationError, match=r"cannot be stored: result\.it: builtins\.object is no JSON"):
            await house.run("opaque")


async def test_a_child_fails_with_its_own_error(house: House) -> None:
    """The error of a child workflow is caught in its parent as the same class."""
    house.write("workflows/a/b/workflow.py", """
        from bifrost import IntegrationError, workflow

        @workflow(name="child")
        async def child(context, code: int):
            raise IntegrationError("no", integration="x", status_code=code)

        @workflow(name="parent")
        async def parent(context):
            try:
                await context.execute_workflow("child", {"code": "418"})
            except IntegrationError as error:
                return error.status_code
    """)
    async with house.serving():
        assert await house.run("parent") == 418


async def test_the_context_knows_who_runs_for_whom(house: House) -> None:
    """Organization, caller, configuration and execution id are the ones of the start, in the run and in its calls."""
    house.write("integrations/who.py", """
        from bifrost import BaseIntegration

        class Who(BaseIntegration):
            integration_name = "who"

            async def authenticate(self):
                pass

            def am_i(self):
                return [self.context.execution_id, self.context.org_id, self.context.executed_by,
                        self.context.get_config("support_email")]
    """)
    house.write("workflows/a/b/workflow.py", """
        from bifrost import workflow

        @workflow(name="who")
        async def who(context, **extra):
            here = [context.execution_id, context.org_id, context.executed_by, context.get_config("support_email")]
            there = await context.get_integration("who").am_i()
            return {"here": here, "there": there, "name": context.org_name, "extra": context.get_variable("note"),
                    "has": [context.has_config("msgraph.tenant_id"), context.has_config("nope")]}
    """)
    async with house.serving():
        handle = await house.start("who", {"note": "hello"}, caller=Caller("u1", "ada@msp.example", "Ada"),
                                   execution_id=f"who-{house.cached}")
        result = await handle.result()
    expected = [handle.id, "acme", "u1", "help@msp.example"]
    assert result == {"here": expected, "there": expected, "name": "Acme", "extra": "hello", "has": [True, False]}
