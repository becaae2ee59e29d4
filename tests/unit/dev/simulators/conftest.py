"""One server of each simulator for this folder; every test works in a tenant of its own."""

from __future__ import annotations

import itertools

import httpx
import pytest

from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.simulators.msgraph import GraphSimulator
from bifrost.dev.simulators.server import SimulatorServer
from bifrost.dev.simulators.user_api import UserAPISimulator

_NUMBERS = itertools.count(1)
SECRET = "correct-horse-battery-staple"
SCOPE = "https://graph.microsoft.com/.default"


@pytest.fixture(scope="package")
async def graph_server():
    async with SimulatorServer(GraphSimulator(SECRET)) as server:
        yield server


@pytest.fixture(scope="package")
async def users_server():
    async with SimulatorServer(UserAPISimulator({"key-of-acme": "acme", "key-of-globex": "globex"})) as server:
        yield server


@pytest.fixture
def tenant():
    return f"tenant-{next(_NUMBERS)}"


@pytest.fixture
def client_form():
    """What a client sends for a token; keywords replace, None removes."""
    def form(**changes):
        sent = {"grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET, "scope": SCOPE}
        return {name: value for name, value in (sent | changes).items() if value is not None}
    return form


@pytest.fixture
def sign_in(client_form):
    """A client of a Graph simulator, signed in to a tenant."""
    async def client(server, tenant):
        async with httpx.AsyncClient(trust_env=False, verify=False) as login:
            answer = await login.post(f"{server.url}/{tenant}/oauth2/v2.0/token", data=client_form())
        return httpx.AsyncClient(base_url=server.url, trust_env=False, verify=False,
                                 headers={"Authorization": f"Bearer {answer.json()['access_token']}"})
    return client


@pytest.fixture
async def graph(graph_server, tenant, sign_in):
    async with await sign_in(graph_server, tenant) as client:
        yield client


@pytest.fixture
def a_user():
    """The body of a user that Graph accepts; keywords replace, None removes."""
    def body(name="ada", **changes):
        user = {"accountEnabled": True, "displayName": name.title(), "mailNickname": name,
                "userPrincipalName": f"{name}@acme.example", "usageLocation": "US",
                "passwordProfile": {"password": "Tr0ub4dor&3", "forceChangePasswordNextSignIn": True}}
        return {key: value for key, value in (user | changes).items() if value is not None}
    return body


@pytest.fixture
def create(graph, a_user):
    """Creates a user and returns its id."""
    async def user(name="ada", **changes):
        answer = await graph.post("/v1.0/users", json=a_user(name, **changes))
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]
    return user


@pytest.fixture
async def control(graph_server):
    async with SimulatorControl(graph_server.url) as control:
        yield control
        await control.clear()
        await control.release()
