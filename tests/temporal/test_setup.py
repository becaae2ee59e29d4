"""`bifrost setup`: what a Temporal namespace lacks is named, is made, and is left alone when it is there."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import ConfigurationError
from bifrost.messages import SEARCH_ATTRIBUTES
from bifrost.temporal import client as executions
from bifrost.temporal.operating import setup
from bifrost.temporal.operating.setup import State

FIVE = [f"search attribute {name}" for name in SEARCH_ATTRIBUTES]


async def _setup(server: TemporalServer, namespace: str, *arguments: str) -> tuple[int | None, str, str]:
    """The command as an operator runs it: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bifrost", "setup", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TEMPORAL_ADDRESS": server.address, "TEMPORAL_NAMESPACE": namespace})
    out, err = await asyncio.wait_for(process.communicate(), 90)
    return process.returncode, out.decode(), err.decode()


async def test_what_is_missing_is_named_and_made_once(temporal_server: TemporalServer) -> None:
    """`--check` names everything that a new namespace lacks and changes nothing; `--apply` makes it; then both find it there."""
    looked, shown, said = await _setup(temporal_server, "made-by-setup", "--check")
    assert looked == 1
    assert shown.count("missing") == 8
    assert "bifrost setup --apply" in said
    applied, printed, _ = await _setup(temporal_server, "made-by-setup", "--apply", "--json", "--retention", "3")
    answer = json.loads(printed)
    assert (applied, answer["ready"]) == (0, True)
    assert [need["name"] for need in answer["needs"]] == ["namespace made-by-setup", "retention", *FIVE, "rates of bifrost-rates"]
    assert {need["state"] for need in answer["needs"]} == {"made", "present"}
    assert answer["needs"][1]["found"] == "3 days"
    client = await executions.connect(temporal_server.address, "made-by-setup")
    again = await setup.apply(client, "bifrost", timedelta(days=1))  # a longer retention is left alone
    assert {need.state for need in again} == {State.PRESENT}
    assert again[1].found == "3 days"
    [longer] = [need for need in await setup.apply(client, "bifrost") if need.state is State.MADE]
    assert (longer.name, longer.found) == ("retention", "30 days")
    assert (await _setup(temporal_server, "made-by-setup", "--check"))[0] == 0


async def test_setup_has_to_be_told_what_to_do(temporal_server: TemporalServer) -> None:
    """Neither looking nor making is the default, so that nothing is made by mistake."""
    status, _, said = await _setup(temporal_server, "default")
    assert status == 2
    assert "--check or --apply" in said


async def test_a_search_attribute_of_another_type_is_refused(temporal_server: TemporalServer) -> None:
    """It is named with its type and the way out: Temporal cannot change it."""
    client = await executions.connect(temporal_server.address, "wrong-type")
    await setup.apply(client, "bifrost")
    await client.operator_service.remove_search_attributes(
        RemoveSearchAttributesRequest(namespace="wrong-type", search_attributes=["BifrostOrg"]))
    await client.operator_service.add_search_attributes(AddSearchAttributesRequest(
        namespace="wrong-type", search_attributes={"BifrostOrg": IndexedValueType.INDEXED_VALUE_TYPE_INT}))
    found = {need.name: need for need in await setup.check(client, "bifrost")}["search attribute BifrostOrg"]
    assert (found.found, found.state) == ("Int", State.MISSING)
    with pytest.raises(ConfigurationError, match=r"BifrostOrg with type Int; Bifrost needs Keyword\. Remove it"):
        await setup.apply(client, "bifrost")


@pytest.mark.parametrize(("status", "state"), [(RPCStatusCode.PERMISSION_DENIED, State.UNKNOWN), (RPCStatusCode.UNAVAILABLE, None)])
async def test_a_refusal_to_tell_is_no_absence(client: Client, monkeypatch: pytest.MonkeyPatch, status: RPCStatusCode,
                                               state: State | None) -> None:
    """What this client may not see is unknown, and stops nobody; any other refusal is an error that names what was asked for."""
    async def refused(*_: Any, **__: Any) -> Any:
        raise RPCError("not for you", status, b"")

    monkeypatch.setattr(client.operator_service, "list_search_attributes", refused)
    if state is None:
        with pytest.raises(ConfigurationError, match=r"refused to tell about search attribute BifrostOrg.*not for you"):
            await setup.check(client, "bifrost")
        return
    needs = {need.name: need.state for need in await setup.check(client, "bifrost")}
    assert [needs[name] for name in FIVE] == [state] * 5


async def test_what_may_not_be_made_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator is asked for where this client may not; what never appears is said, too."""
    async def refused(*_: Any, **__: Any) -> Any:
        raise RPCError("not for you", RPCStatusCode.PERMISSION_DENIED, b"")

    async def ignored(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(client.workflow_service, "update_namespace", refused)
    with pytest.raises(ConfigurationError, match=r"refused to make retention.*Have an operator run `bifrost setup --apply`"):
        await setup.apply(client, "bifrost", timedelta(days=9000))
    monkeypatch.setattr(client.workflow_service, "update_namespace", ignored)
    monkeypatch.setattr(setup, "_SETTLED_WITHIN", 0.0)
    with pytest.raises(ConfigurationError, match=r"make retention.*it is not there"):
        await setup.apply(client, "bifrost", timedelta(days=9000))


async def test_a_worker_does_with_what_it_may(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it may not list it takes for there, what another has just made too; what it may not register it says how to."""
    answers: list[Exception | Any] = []

    async def answered(*_: Any, **__: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def refused(status: RPCStatusCode) -> RPCError:
        return RPCError("not for you", status, b"")

    for service, method in ((client.operator_service, "list_search_attributes"), (client.operator_service, "add_search_attributes"),
                            (client.workflow_service, "register_namespace")):
        monkeypatch.setattr(service, method, answered)
    answers[:] = [refused(RPCStatusCode.PERMISSION_DENIED)]
    await setup.ensure_search_attributes(client)
    answers[:] = [ListSearchAttributesResponse(), refused(RPCStatusCode.ALREADY_EXISTS)]
    await setup.ensure_search_attributes(client)
    answers[:] = [refused(RPCStatusCode.ALREADY_EXISTS)]
    await setup._Namespace(client, setup.RETENTION).register()
    for given, said in (([refused(RPCStatusCode.UNAVAILABLE)], "refused to list"),
                        ([ListSearchAttributesResponse(), refused(RPCStatusCode.PERMISSION_DENIED)],
                         r"Run: temporal operator search-attribute create --name BifrostOrg --type Keyword")):
        answers[:] = given
        with pytest.raises(ConfigurationError, match=said):
            await setup.ensure_search_attributes(client)
