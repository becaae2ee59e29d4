"""Microsoft's own Python SDK, unmodified, against the Graph simulator: what both understand is Graph's wire format."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from datetime import datetime
from types import SimpleNamespace
from uuid import UUID

import httpx
import pytest

from bifrost.dev.simulators.graph_directory import SKU_IDS
from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.server import SimulatorServer

E3 = UUID(SKU_IDS["ENTERPRISEPACK"])
SECRET = "sdk-canary-60b1"
# The SDK warns of its own classes while it is imported, which happens with the first request of each kind.
pytestmark = [
    pytest.mark.filterwarnings("ignore:GetQueryParameters is deprecated:DeprecationWarning:kiota_abstractions"),
    pytest.mark.filterwarnings("ignore:This class is deprecated:DeprecationWarning:msgraph"),
]


@pytest.fixture(scope="module")
def microsoft() -> SimpleNamespace:
    """What the tests use of the SDK; it is so large that only they import it, and only that."""
    models = "msgraph.generated.models"
    return SimpleNamespace(**{name: getattr(importlib.import_module(module), name) for name, module in {
        "AioHttpTransport": "azure.core.pipeline.transport",
        "ClientSecretCredential": "azure.identity.aio",
        "RequestConfiguration": "kiota_abstractions.base_request_configuration",
        "AzureIdentityAuthenticationProvider": "kiota_authentication_azure.azure_identity_authentication_provider",
        "GraphServiceClient": "msgraph",
        "GraphRequestAdapter": "msgraph.graph_request_adapter",
        "options": "msgraph.graph_request_adapter",
        "GraphClientFactory": "msgraph_core",
        "AssignedLicense": f"{models}.assigned_license",
        "Group": f"{models}.group",
        "ODataError": f"{models}.o_data_errors.o_data_error",
        "PasswordProfile": f"{models}.password_profile",
        "ReferenceCreate": f"{models}.reference_create",
        "User": f"{models}.user",
        "AssignLicensePostRequestBody":
            "msgraph.generated.users.item.assign_license.assign_license_post_request_body",
    }.items()})


@pytest.fixture(scope="module")
async def graph(microsoft: SimpleNamespace) -> AsyncIterator[SimpleNamespace]:
    """The SDK's client of a tenant of the simulator (`client`), and the simulator."""
    class Plain(microsoft.AioHttpTransport):
        # azure-identity takes no authority without TLS, and the simulator has none: the last step drops the s.
        async def send(self, request, **kwargs):
            request.url = request.url.replace("https://", "http://", 1)
            return await super().send(request, **kwargs)

    simulator = GraphSimulator(SECRET, idempotent=False)
    # The SDK's own transport closes none that it wraps: so this one is made, and closed, here.
    async with (SimulatorServer(simulator) as server, httpx.AsyncHTTPTransport(verify=False) as wire,
                microsoft.ClientSecretCredential("acme", "app", SECRET, authority=server.url.replace("http:", "https:"),
                                                 transport=Plain(use_env_settings=False)) as credential):
        # On loopback the SDK sends tokens over http as well.
        adapter = microsoft.GraphRequestAdapter(
            microsoft.AzureIdentityAuthenticationProvider(credential, scopes=["https://graph.microsoft.com/.default"]),
            microsoft.GraphClientFactory.create_with_default_middleware(
                client=httpx.AsyncClient(transport=wire), options=microsoft.options))
        adapter.base_url = f"{server.url}/v1.0"
        yield SimpleNamespace(client=microsoft.GraphServiceClient(request_adapter=adapter), simulator=simulator)


@pytest.fixture
def asking(microsoft: SimpleNamespace):
    """A request's query options, as the SDK takes them: of a request builder, by name."""
    def configuration(builder, **query):
        [parameters] = [member for name, member in vars(type(builder)).items() if name.endswith("GetQueryParameters")]
        return microsoft.RequestConfiguration(query_parameters=parameters(**query))
    return configuration


@pytest.fixture
def create(microsoft: SimpleNamespace, graph: SimpleNamespace):
    async def user(name, **more):
        return await graph.client.users.post(microsoft.User(
            account_enabled=True, display_name=name.title(), mail_nickname=name, usage_location="US",
            user_principal_name=f"{name}@acme.example",
            password_profile=microsoft.PasswordProfile(password="Tr0ub4dor&3", force_change_password_next_sign_in=True),
            **more))
    return user


async def test_users(microsoft, graph, create, asking):
    """The SDK creates, gets, updates, disables, signs out and deletes users, and follows the pages of their list."""
    users = graph.client.users
    made = [await create(name, department="R&D's") for name in ("ann", "ben", "cem")]
    assert (made[0].display_name, made[0].user_principal_name) == ("Ann", "ann@acme.example")
    page = await users.get(asking(users, filter="department eq 'R&D''s'", select=["id", "displayName", "createdDateTime"],
                                  top=2))
    assert isinstance(page.value[0].created_date_time, datetime)
    last = await users.with_url(page.odata_next_link).get()
    assert [user.id for user in [*page.value, *last.value]] == [user.id for user in made]
    assert last.odata_next_link is None

    ann = users.by_user_id(made[0].id)
    await ann.patch(microsoft.User(job_title="Engineer", account_enabled=False))
    read = await users.by_user_id("ann@acme.example").get(asking(ann, select=["jobTitle", "accountEnabled"]))
    assert (read.job_title, read.account_enabled, read.display_name) == ("Engineer", False, None)
    assert (await ann.revoke_sign_in_sessions.post()).value is True
    await ann.delete()
    with pytest.raises(microsoft.ODataError) as caught:
        await ann.get()
    assert (caught.value.response_status_code, caught.value.error.code) == (404, "Request_ResourceNotFound")
    assert caught.value.error.inner_error.request_id


async def test_a_conflict_is_typed(microsoft, create):
    """A name that is taken reaches the SDK's caller as an ODataError with Graph's code, sentence and details."""
    await create("dan")
    with pytest.raises(microsoft.ODataError) as caught:
        await create("dan")
    error = caught.value.error
    assert (caught.value.response_status_code, error.code) == (400, "Request_BadRequest")
    assert [(detail.code, detail.target) for detail in error.details] == [("ObjectConflict", "userPrincipalName")]


async def test_licences(microsoft, graph, create):
    """The SDK reads subscriptions, assigns a licence, reads it at the user, and takes it away."""
    async def change(add=(), remove=()):
        return await user.assign_license.post(microsoft.AssignLicensePostRequestBody(
            add_licenses=[microsoft.AssignedLicense(sku_id=one, disabled_plans=[]) for one in add],
            remove_licenses=list(remove)))

    made = await create("eva")
    user = graph.client.users.by_user_id(made.id)
    skus = {sku.sku_part_number: sku for sku in (await graph.client.subscribed_skus.get()).value}
    assert (skus["ENTERPRISEPACK"].sku_id, skus["ENTERPRISEPACK"].prepaid_units.enabled) == (E3, 25)
    assert (await change(add=[E3])).id == made.id
    [details] = (await user.license_details.get()).value
    assert (details.sku_id, details.sku_part_number) == (E3, "ENTERPRISEPACK")
    assert details.service_plans[0].service_plan_name == skus["ENTERPRISEPACK"].service_plans[0].service_plan_name
    await change(remove=[E3])
    assert (await user.license_details.get()).value == []
    with pytest.raises(microsoft.ODataError, match="does not have a corresponding license"):
        await change(remove=[E3])


async def test_groups(microsoft, graph, create, asking):
    """The SDK creates and gets groups, and adds, lists (typed, page by page) and removes members."""
    groups = graph.client.groups
    made = await groups.post(microsoft.Group(display_name="Pilots", mail_enabled=False, mail_nickname="pilots",
                                             security_enabled=True, group_types=[]))
    [found] = (await groups.get(asking(groups, filter="displayName eq 'Pilots'"))).value
    assert (found.id, found.mail_nickname, found.group_types) == (made.id, "pilots", [])
    group, users = groups.by_group_id(made.id), [await create(name) for name in ("fay", "gus")]
    assert (await group.get()).display_name == "Pilots"
    base = graph.client.request_adapter.base_url
    for user in users:
        await group.members.ref.post(microsoft.ReferenceCreate(odata_id=f"{base}/directoryObjects/{user.id}"))
    first = await group.members.get(asking(group.members, top=1))
    last = await group.members.with_url(first.odata_next_link).get()
    assert [(type(one), one.display_name) for one in [*first.value, *last.value]] == [
        (microsoft.User, "Fay"), (microsoft.User, "Gus")]
    fay = group.members.by_directory_object_id(users[0].id).ref
    await fay.delete()
    assert [one.id for one in (await group.members.get()).value] == [users[1].id]
    with pytest.raises(microsoft.ODataError) as caught:
        await fay.delete()
    assert caught.value.response_status_code == 404


async def test_reports(graph, asking):
    """The SDK reads sign-ins and alerts, newest first, filtered and page by page, with their enumerations and times typed."""
    reports = graph.simulator.directory("acme").reports
    ada = {"id": str(UUID(int=1)), "displayName": "Ada", "userPrincipalName": "ada@acme.example"}
    for day in (1, 2, 3):
        reports.add_sign_in(ada, createdDateTime=f"2026-11-0{day}T08:00:00Z", status={"errorCode": 50126 * (day == 2)})
    sign_ins = graph.client.audit_logs.sign_ins
    page = await sign_ins.get(asking(sign_ins, filter="createdDateTime ge 2026-11-02T00:00:00Z", top=1))
    more = await sign_ins.with_url(page.odata_next_link).get()
    assert [(one.created_date_time.day, one.status.error_code) for one in [*page.value, *more.value]] == [(3, 0), (2, 50126)]
    assert (page.value[0].location.city, page.value[0].risk_state.value) == ("Redmond", "none")

    reports.add_alert("Malware", severity="high")
    reports.add_alert("Phishing")
    alerts = graph.client.security.alerts_v2
    [alert] = (await alerts.get(asking(alerts, filter="severity eq 'high'"))).value
    assert (alert.title, alert.severity.value, alert.status.value) == ("Malware", "high", "new")
    assert (alert.detection_source.value, alert.service_source.value) == ("antivirus", "microsoftDefenderForEndpoint")
