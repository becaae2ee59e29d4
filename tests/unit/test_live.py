"""The live context: what it looks up now, whose call it serves, and what belongs to the workflow."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest
import structlog

from bifrost import redaction
from bifrost.errors import ConfigurationError, IntegrationError, NotFoundError, WorkflowException
from bifrost.integrations.call import NO_CALL, Call, current_call
from bifrost.live import LiveContext, live_pool
from bifrost.logging import configure
from bifrost.models import Caller, Organization
from bifrost.organizations.memory import MemoryOrganizations
from bifrost.secrets.memory import MemorySecrets
from bifrost.settings import Settings


class Edited(MemoryOrganizations):
    """A store that is edited while it is in use."""

    def edit(self, *organizations, **global_config):
        self._organizations = list(organizations)
        self._global_config = global_config


@pytest.fixture
def store():
    return Edited([Organization("acme", "Acme Ltd", "acme-tenant", config={"colour": "red"})], {"support": "help@x.example"})


@pytest.fixture
def secrets():
    return MemorySecrets({"acme": {"key": "acme-canary-1"}, "GLOBAL": {"shared": "global-canary-1"}})


@pytest.fixture
def context(store, secrets):
    return live_pool(dict, store, secrets).context("acme")


async def during(call, function):
    """What `function` answers while `call` is the current one."""
    async def run():
        current_call.set(call)
        return function()

    return await asyncio.create_task(run())


def test_one_context_for_an_organization(store, secrets):
    """The pool's context of an organization is one object; without an organization there is one, too."""
    pool = live_pool(dict, store, secrets)
    assert pool.context("acme") is pool.context("acme")
    assert isinstance(pool.context("acme"), LiveContext)
    nobody = pool.context(None)
    assert (nobody.org, nobody.org_id, nobody.org_name, nobody.tenant_id) == (None, None, None, None)
    assert nobody.get_config("support") == "help@x.example"


def test_organization_and_configuration_are_looked_up_each_time(context, store):
    """An edit takes effect at the next look, without a restart; an organization that has gone is an error."""
    assert (context.org_name, context.tenant_id, context.get_config("colour")) == ("Acme Ltd", "acme-tenant", "red")
    assert context.config == {"colour": "red", "support": "help@x.example"}
    store.edit(Organization("acme", "Acme Inc", config={"colour": "blue"}), support="new@x.example")
    assert (context.org_name, context.tenant_id, context.get_config("colour")) == ("Acme Inc", None, "blue")
    assert context.config == {"colour": "blue", "support": "new@x.example"}
    assert context.has_config("colour")
    assert not context.has_config("size")
    store.edit()
    with pytest.raises(NotFoundError, match="Organization 'acme' not found"):
        context.get_config("colour")
    assert context.org_id == "acme"


async def test_the_call_says_who_runs(context):
    """Execution and caller are those of the current call; outside a call they are nobody's."""
    call = Call(execution_id="run-1", caller=Caller("u1", "ada@acme.example", "Ada"))
    assert await during(call, lambda: (context.execution_id, context.caller, context.executed_by,
                                       context.executed_by_email, context.executed_by_name)) == (
        "run-1", call.caller, "u1", "ada@acme.example", "Ada")
    assert (context.execution_id, context.executed_by) == ("", "system")


async def test_variables_live_as_long_as_the_call(context):
    """What one call keeps is not seen by another, and outside calls not by another context."""
    first, second = Call(execution_id="1"), Call(execution_id="2")
    await during(first, lambda: context.set_variable("x", 1))
    assert await during(first, lambda: context.get_variable("x")) == 1
    assert await during(second, lambda: context.get_variable("x", "none")) == "none"
    context.set_variable("x", 3)
    assert context.get_variable("x") == 3
    assert NO_CALL.variables == {}


async def test_secrets_are_values_here(context):
    """get_secret answers the value, the organization's first, then the global one; a missing one is a KeyError."""
    assert [await context.get_secret("key"), await context.get_secret("shared")] == ["acme-canary-1", "global-canary-1"]
    with pytest.raises(KeyError, match="Secret 'none' not found; tried acme/none and GLOBAL/none"):
        await context.get_secret("none")


@pytest.mark.parametrize(("level", "written"), [
    ("debug", "debug"), ("INFO", "info"), ("warn", "warning"), ("warning", "warning"), ("error", "error"),
    ("critical", "critical"), ("shout", "info"), (None, "info")])
async def test_levels(context, level, written):
    """Known levels are kept, unknown ones count as info."""
    with structlog.testing.capture_logs() as logs:
        context.log(level, "hello")
    assert [(line["log_level"], line["event"]) for line in logs] == [(written, "hello")]


async def test_a_line_says_whose_it_is_and_hides_sensitive_keys(context):
    """A line carries execution, organization and activity; its data is sanitised."""
    call = Call(execution_id="run-1", workflow="onboard", activity="crm.find")
    with structlog.testing.capture_logs() as logs:
        await during(call, lambda: context.log("info", "found", {"api_key": "canary", "count": 3, "event": "x"}))
        context.log("info", "outside", {})
    assert logs == [
        {"event": "found", "log_level": "info", "execution_id": "run-1", "org_id": "acme", "workflow": "onboard",
         "activity": "crm.find", "data": {"api_key": "***REDACTED***", "count": 3, "event": "x"}},
        {"event": "outside", "log_level": "info", "org_id": "acme"}]


async def test_no_secret_value_reaches_the_log(context, monkeypatch):
    """Even a secret in the middle of a message or of data leaves the process as stars."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    handlers, level, config = logging.root.handlers[:], logging.root.level, structlog.get_config()
    try:
        configure(Settings(log_format="json"))
        secret = await context.get_secret("key")
        context.log("error", f"100% wrong: {secret}", {"note": f"it was {secret}"})
    finally:
        logging.captureWarnings(capture=False)
        logging.basicConfig(handlers=handlers, level=level, force=True)
        structlog.configure(**config)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["data"]) == ("100% wrong: ********", {"note": "it was ********"})
    assert (line["level"], line["logger"]) == ("error", "bifrost.workflow")


async def test_http_calls_made_by_hand_are_logged(context):
    """_track_integration_call writes a line: quiet if it went well, a warning if not, and no status if there was none."""
    facts = {"integration": "crm", "method": "GET", "endpoint": "/x", "duration_ms": 5}
    with structlog.testing.capture_logs() as logs:
        context._track_integration_call(**facts, status_code=200)
        context._track_integration_call(**facts, status_code=503, error="busy")
        context._track_integration_call(**facts, status_code=0, error="cut")
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("debug", "crm: GET /x answered 200"), ("warning", "crm: GET /x answered 503"),
        ("warning", "crm: GET /x got no answer")]
    assert logs[1]["data"] == {**facts, "status_code": 503, "error": "busy"}


async def test_what_belongs_to_the_workflow_is_refused(context):
    """Checkpoints, other workflows and events are the workflow's; the refusal says so, where, and what to do."""
    with pytest.raises(WorkflowException, match=r"context.save_checkpoint belongs to the workflow.*move it into the"):
        context.save_checkpoint("x", {})
    with pytest.raises(WorkflowException, match=r"context.execute_workflow belongs to the workflow"):
        await context.execute_workflow("other", {})
    with pytest.raises(WorkflowException, match=r"context.wait_for_event belongs to the workflow"):
        await context.wait_for_event("approved", timeout=5)
    with pytest.raises(WorkflowException, match=r"context.map belongs to the workflow"):
        await context.map("other", [1])
    with pytest.raises(WorkflowException, match=r"context.on_failure belongs to the workflow"):
        context.on_failure(print)
    with pytest.raises(WorkflowException, match=r"data provider \(in crm.find\)"):
        await during(Call(activity="crm.find"), lambda: context.save_checkpoint("x"))


async def test_an_integration_that_there_is_not(context):
    """An unknown integration is refused when it is asked for."""
    with pytest.raises(NotFoundError, match="Integration 'xyz' not found"):
        context.get_integration("xyz")


async def test_an_oauth_connection_is_a_cached_token(context, store, secrets, token_endpoint):
    """A connection is the configuration entry of its name; its token is kept until the entry or its secret changes."""
    def connect(client_id):
        return {"token_url": f"{token_endpoint.url}/token", "client_id": client_id,
                "client_secret": {"secret_ref": "key"}, "scope": "all"}

    store.edit(Organization("acme", "Acme", config={"erp": connect("app")}))
    first, again = [await context.get_oauth_connection("erp") for _ in range(2)]
    assert (first.connection_name, first.get_auth_header(), first.scopes) == ("erp", "Bearer access-canary-1", "all")
    assert again is first
    assert token_endpoint.forms == [{"grant_type": "client_credentials", "client_id": "app",
                                     "client_secret": "acme-canary-1", "scope": "all"}]
    await secrets.write("acme", "key", "acme-canary-2")
    assert (await context.get_oauth_connection("erp")).access_token == "access-canary-2"
    store.edit(Organization("acme", "Acme", config={"erp": connect("other")}))
    assert (await context.get_oauth_connection("erp")).access_token == "access-canary-3"
    assert "access-canary" not in redaction.mask("access-canary-3")


async def test_organizations_never_share_a_token(store, token_endpoint):
    """One entry in the GLOBAL scope with one client serves every organization, each in its own tenant and with its own secret;
    50 calls of each at once make one request for each.
    """
    orgs = ("acme", "bolt")
    store.edit(*(Organization(org, org, f"{org} tenant") for org in orgs), erp={
        "token_url": token_endpoint.url + "/{tenant_id}/token", "client_id": "app", "client_secret": {"secret_ref": "key"}})
    pool = live_pool(dict, store, MemorySecrets({org: {"key": f"{org}-secret"} for org in orgs}))
    answers = await asyncio.gather(*(pool.context(org).get_oauth_connection("erp") for _ in range(50) for org in orgs))
    tokens = {org: {answer.access_token for answer in answers[number::2]} for number, org in enumerate(orgs)}
    asked = {path: form["client_secret"] for path, form in zip(token_endpoint.paths, token_endpoint.forms, strict=True)}
    assert asked == {"/acme tenant/token": "acme-secret", "/bolt tenant/token": "bolt-secret"}
    assert len(token_endpoint.forms) == 2
    assert all(len(own) == 1 for own in tokens.values())
    assert tokens["acme"] != tokens["bolt"]


async def test_an_oauth_connection_that_is_not_configured(context, store, secrets):
    """A missing or incomplete connection names the organization and the keys; a server that is not there, or a tenant
    that nobody has, is an error.
    """
    with pytest.raises(ConfigurationError, match="Organization 'acme' has no configuration 'erp'; it takes token_url"):
        await context.get_oauth_connection("erp")
    store.edit(Organization("acme", "Acme", config={"erp": {"token_url": "http://127.0.0.1:1/token", "client_id": "app",
                                                            "client_secret": {"secret_ref": "key"}}}))
    with pytest.raises(IntegrationError, match=r"erp could not be reached: POST 127.0.0.1:1/token"):
        await context.get_oauth_connection("erp")
    tenants = {"token_url": "http://127.0.0.1:1/{tenant_id}", "client_id": "app", "client_secret": {"secret_ref": "shared"}}
    store.edit(Organization("acme", "Acme"), erp=tenants)
    for nobody, reason in ((context, "'acme' has none"), (live_pool(dict, store, secrets).context(None), "no organization here")):
        with pytest.raises(ConfigurationError, match=f"token_url of the configuration 'erp' takes .*tenant_id, and .*{reason}"):
            await nobody.get_oauth_connection("erp")
