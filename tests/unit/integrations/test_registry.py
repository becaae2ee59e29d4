"""Clients: one per organization and integration, authenticated once and again when it is needed; and calls by name."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

import pytest
import structlog

from bifrost import messages
from bifrost.errors import IntegrationError, NotFoundError, ValidationError
from bifrost.integrations.base import BaseIntegration, register_integration, registered_integrations
from bifrost.integrations.call import current_call
from bifrost.integrations.registry import BUILT_IN, bind, methods, unbind
from bifrost.record import Record


class Crm(BaseIntegration):
    """An integration that keeps what happens to it."""

    integration_name = "crm"
    made: ClassVar[list[Crm]] = []

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.events: list[Any] = []
        self.refuse: list[int | None] = []
        self.gate: asyncio.Event | None = None
        type(self).made.append(self)

    async def authenticate(self) -> None:
        self.events.append(("login", current_call.get().idempotency_key))
        await asyncio.sleep(0)
        if self.refuse and self.refuse[0] == 403:
            raise IntegrationError("no entry", status_code=self.refuse.pop(0))

    async def find(self, name: str, *, limit: int = 10) -> dict[str, Any]:
        if self.gate:
            await self.gate.wait()
        if self.refuse:
            raise IntegrationError("refused", status_code=self.refuse.pop(0))
        self.events.append(("find", name, limit))
        return {"displayName": name}

    async def keyed(self) -> str | None:
        key = current_call.get().next_key()
        self.events.append(("keyed", key))
        if self.refuse:
            raise IntegrationError("refused", status_code=self.refuse.pop(0))
        return key

    def thread(self) -> str:
        return threading.current_thread().name

    def deferred(self) -> Any:
        return self.find("deferred")

    async def anything(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    def leading(self, first: Any, *rest: Any) -> None:
        """A signature that names only some of its arguments."""

    def unnamed(self, first: Any, /, second: Any) -> None:
        """A signature with an argument without a name."""

    @classmethod
    def of_class(cls, first: Any) -> Any:
        return first

    @staticmethod
    def of_nobody(first: Any) -> Any:
        return first

    async def aclose(self) -> None:
        self.events.append("closed")
        await super().aclose()

    def _private(self) -> None:
        """Not a call."""

    not_a_method = 5


@pytest.fixture
def crm_world(world):
    """A world with the integration `crm`; `Crm.made` has the clients in order."""
    Crm.made = []
    world.classes["crm"] = Crm
    return world


def call(world, method, *args, org="acme", **kwargs):
    return world.pool.call(org, "crm", method, args, kwargs)


async def test_one_client_for_each_organization(crm_world):
    """An organization's calls share a client, which logs in once however many begin at once; others have their own."""
    await asyncio.gather(*(call(crm_world, "find", str(n)) for n in range(3)))
    await call(crm_world, "find", "other", org="bolt")
    acme, bolt = Crm.made
    assert [event[0] for event in acme.events] == ["login", "find", "find", "find"]
    assert [event[0] for event in bolt.events] == ["login", "find"]
    assert (acme.context.org_id, bolt.context.org_id) == ("acme", "bolt")


async def test_a_401_costs_one_new_login_and_one_repetition(crm_world):
    """A call answered with 401 is repeated once after a new login; a second 401 is the caller's."""
    await call(crm_world, "find", "warm")
    [client] = Crm.made
    client.refuse = [401]
    assert await call(crm_world, "find", "x") == {"displayName": "x"}
    assert [event[0] for event in client.events] == ["login", "find", "login", "find"]
    client.refuse = [401, 401]
    with pytest.raises(IntegrationError, match="refused"):
        await call(crm_world, "find", "x")


@pytest.mark.parametrize("status", [403, 500, None])
async def test_other_refusals_are_not_repeated_here(crm_world, status):
    """Anything but a 401 is for Temporal to retry, or not."""
    await call(crm_world, "find", "warm")
    Crm.made[0].refuse = [status]
    with pytest.raises(IntegrationError, match="refused"):
        await call(crm_world, "find", "x")
    assert [event[0] for event in Crm.made[0].events] == ["login", "find"]


async def test_many_401_at_once_cost_one_login(crm_world):
    """Calls that fail together log in together."""
    await call(crm_world, "find", "warm")
    [client] = Crm.made
    client.refuse, client.gate = [401, 401, 401], asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, client.gate.set)
    await asyncio.gather(*(call(crm_world, "find", str(n)) for n in range(3)))
    assert [event[0] for event in client.events].count("login") == 2


async def test_a_login_that_fails_is_tried_again_by_the_next_call(crm_world):
    """A failed login is the call's error and is not remembered."""
    await call(crm_world, "find", "warm")
    [client] = Crm.made
    client.refuse = [401, 403]
    with pytest.raises(IntegrationError, match="no entry"):
        await call(crm_world, "find", "x")
    await call(crm_world, "find", "y")
    assert [event[0] for event in client.events] == ["login", "find", "login", "login", "find"]


async def test_a_login_does_not_use_up_the_calls_keys(crm_world, calling):
    """Whether an attempt logs in or not, and whether it repeats itself, its requests carry the same keys."""
    calling(idempotency_key="key")
    assert await call(crm_world, "keyed") == "key"
    [client] = Crm.made
    calling(idempotency_key="other")
    client.refuse = [401]
    assert await call(crm_world, "keyed") == "other"
    assert client.events == [("login", None), ("keyed", "key"), ("keyed", "other"), ("login", None), ("keyed", "other")]


async def test_a_changed_configuration_is_a_new_login(crm_world):
    """An edit of the organization's configuration reaches a client that has logged in already."""
    await call(crm_world, "find", "a")
    crm_world.configure(crm_url="https://new.example")
    await call(crm_world, "find", "b")
    await call(crm_world, "find", "c")
    assert [event[0] for event in Crm.made[0].events] == ["login", "find", "login", "find", "find"]


async def test_a_tenant_that_has_moved_is_a_new_login(crm_world):
    """The organization's tenant stands beside its configuration."""
    await call(crm_world, "find", "a")
    crm_world.configure(tenant_id="another-tenant")
    await call(crm_world, "find", "b")
    assert [event[0] for event in Crm.made[0].events] == ["login", "find", "login", "find"]


async def test_a_reloaded_class_replaces_its_client_after_the_calls_that_use_it(crm_world):
    """A new class object takes the next call; the old client is closed when its last call has ended."""
    await call(crm_world, "find", "warm")
    [old] = Crm.made
    old.gate = asyncio.Event()
    running = asyncio.create_task(call(crm_world, "find", "slow"))
    await asyncio.sleep(0)

    class Reloaded(Crm):
        made: ClassVar[list[Crm]] = []

    crm_world.classes["crm"] = Reloaded
    await call(crm_world, "find", "new")
    assert "closed" not in old.events
    old.gate.set()
    await running
    assert old.events[-1] == "closed"
    assert [event[0] for event in Reloaded.made[0].events] == ["login", "find"]


async def test_a_reloaded_class_closes_an_idle_client_at_once(crm_world):
    """A client that nobody uses is closed when it is replaced; a failure to close it is logged and harms no call."""
    await call(crm_world, "find", "warm")

    class Reloaded(Crm):
        made: ClassVar[list[Crm]] = []

        async def aclose(self) -> None:
            raise OSError("stuck")

    crm_world.classes["crm"] = Reloaded
    await call(crm_world, "find", "new")
    assert Crm.made[0].events[-1] == "closed"
    crm_world.classes["crm"] = Crm
    with structlog.testing.capture_logs() as logs:
        await call(crm_world, "find", "newer")
    assert [(line["log_level"], line["error"]) for line in logs] == [("warning", "OSError('stuck')")]


async def test_closing_the_pool_closes_every_client(crm_world):
    """Closing the pool closes the clients; a later call opens a new one."""
    await call(crm_world, "find", "a")
    await crm_world.pool.aclose()
    assert Crm.made[0].events[-1] == "closed"
    await call(crm_world, "find", "b")
    assert len(Crm.made) == 2


async def test_an_unknown_integration_says_how_to_register_one(crm_world):
    """An unknown name is named, with similar ones and the cure."""
    with pytest.raises(NotFoundError, match=r"^Integration 'crn' not found\. Did you mean 'crm'\?.*register_integration"):
        await crm_world.pool.call("acme", "crn", "find", [], {})
    with pytest.raises(NotFoundError, match=r"^Integration 'xyz' not found\. Register"):
        crm_world.pool.context("acme").get_integration("xyz")


@pytest.mark.parametrize("method", ["fnd", "_private", "__init__", "authenticate", "get_secret", "get_config", "aclose",
                                    "not_a_method", "timeout_seconds", "context"])
async def test_only_public_methods_of_its_own_can_be_called(crm_world, method):
    """What is private, no method, or every integration's own machinery, is not found; no client is made for it."""
    with pytest.raises(NotFoundError, match=f"Method '{method}' not found.*The integration 'crm' offers: anything"):
        await call(crm_world, method)
    assert not Crm.made


async def test_a_misspelt_method_names_the_similar_one(crm_world):
    """A near miss is suggested; an integration without methods says so."""
    with pytest.raises(NotFoundError, match="Did you mean 'find'"):
        await call(crm_world, "fnd")

    class Empty(BaseIntegration):
        integration_name = "empty"

        async def authenticate(self) -> None:
            """Nothing to do."""

    crm_world.classes["empty"] = Empty
    with pytest.raises(NotFoundError, match="The integration 'empty' offers: none"):
        await crm_world.pool.call("acme", "empty", "find", [], {})


@pytest.mark.parametrize(("args", "kwargs", "reason"), [
    ((), {}, "missing a required argument: 'name'"), (("a", "b"), {}, "too many positional arguments"),
    (("a",), {"limits": 5}, "got an unexpected keyword argument 'limits'")])
async def test_arguments_that_do_not_fit_show_the_signature(crm_world, args, kwargs, reason):
    """Wrong arguments are refused before the other system is asked, and the message shows the right ones."""
    with pytest.raises(ValidationError) as caught:
        await call(crm_world, "find", *args, **kwargs)
    assert caught.value.message.startswith(f"crm.find: {reason}; it is called as find(name: 'str', *, limit: 'int' = 10)")
    assert not Crm.made[0].events


async def test_sync_methods_run_in_a_thread(crm_world):
    """A method that blocks does not block the worker; one that answers an awaitable is awaited."""
    assert await call(crm_world, "thread") != threading.current_thread().name
    assert await call(crm_world, "deferred") == {"displayName": "deferred"}


async def test_the_live_integration_calls_by_attribute(crm_world):
    """`context.get_integration` outside workflows answers authenticated methods, whose results read as records."""
    crm = crm_world.pool.context("acme").get_integration("crm")
    found = await crm.find("Ada", limit=1)
    assert isinstance(found, Record)
    assert found.display_name == "Ada"
    assert repr(crm) == "<integration crm of acme>"
    assert crm.find.__name__ == "find"
    with pytest.raises(AttributeError):
        crm._private  # noqa: B018 - reading it is the test


def test_methods_lists_what_may_be_called():
    """The methods of an integration, in order; the built-in ones are by their names."""
    assert methods(Crm) == ["anything", "deferred", "find", "keyed", "leading", "of_class", "of_nobody", "thread", "unnamed"]
    assert [name for name, cls in BUILT_IN.items() if cls.integration_name == name] == ["halopsa", "msgraph"]


@pytest.mark.parametrize(("method", "args", "kwargs", "bound"), [
    ("find", ("Ada",), {}, {"name": "Ada"}),
    ("find", ("Ada",), {"limit": 3}, {"name": "Ada", "limit": 3}),
    ("find", (), {"name": "Ada"}, {"name": "Ada"}),
    ("find", (), {}, {}),
    ("of_class", (1,), {}, {"first": 1}),
    ("of_nobody", (1,), {}, {"first": 1}),
    ("find", ("Ada", 3), {}, {"*": ["Ada", 3]}),
    ("find", ("Ada",), {"name": "Bob"}, {"*": ["Ada"], "name": "Bob"}),
    ("leading", (1, 2, 3), {}, {"*": [1, 2, 3]}),
    ("unnamed", (1,), {"second": 2}, {"*": [1], "second": 2}),
    ("absent", (1,), {"a": 2}, {"*": [1], "a": 2}),
    ("not_a_method", (1,), {}, {"*": [1]}),
])
def test_arguments_are_named_where_the_signature_names_them(method, args, kwargs, bound):
    """Positional arguments get their names; where one has none they all stay in order; unbind puts them back."""
    assert bind(Crm, method, args, kwargs) == bound
    positional, named = unbind(bound)
    assert (positional, named) == (([], {**bound}) if messages.POSITIONAL not in bound else (list(args), kwargs))


def test_binding_never_raises():
    """Without the class, or with an input nobody bound, arguments pass as they are."""
    assert bind(None, "find", (1,), {"a": 2}) == {"*": [1], "a": 2}
    assert unbind({"*": 5}) == ([5], {})


def test_registering_is_checked():
    """A name that cannot be one, and what is no integration, are refused; a class without a name gets it."""
    class Nameless(BaseIntegration):
        async def authenticate(self) -> None:
            """Nothing to do."""

    for name in ("Bad Name", "", None, "1a"):
        with pytest.raises(ValueError, match="Invalid integration name"):
            register_integration(name, Nameless)
    for cls in (object, Nameless(None), None):
        with pytest.raises(ValueError, match="not a class derived from BaseIntegration"):
            register_integration("nameless_one", cls)
    register_integration("nameless_one", Nameless)
    assert registered_integrations()["nameless_one"] is Nameless
    assert Nameless.integration_name == "nameless_one"
    register_integration("nameless_two", Nameless)
    assert Nameless.integration_name == "nameless_one"
