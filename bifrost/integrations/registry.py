"""Clients: one for each organization and integration in a worker, and how a call finds its method.

A client is made when it is first called, and authenticated lazily: before its first call, after a call that was answered
with 401, and when the organization's configuration has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from bifrost import calling, messages
from bifrost.context import OrganizationContext
from bifrost.errors import IntegrationError, NotFoundError, ValidationError
from bifrost.integrations.base import BaseIntegration, Operation
from bifrost.integrations.call import current_call
from bifrost.integrations.halopsa import HaloPSAIntegration
from bifrost.integrations.msgraph import MSGraphIntegration
from bifrost.record import record

_log = structlog.stdlib.get_logger("bifrost.integrations")

Classes = Callable[[], Mapping[str, type[BaseIntegration]]]
"""Answers the integrations there are now, by name."""

BUILT_IN: Mapping[str, type[BaseIntegration]] = {
    built_in.integration_name: built_in for built_in in (HaloPSAIntegration, MSGraphIntegration)}
"""The integrations that come with Bifrost; a registered one of the same name goes before them."""


class _Client:
    """An integration's client with the state of its authentication."""

    def __init__(self, integration: BaseIntegration) -> None:
        self.integration = integration
        self.users = 0
        self.retired = False
        self._lock = asyncio.Lock()
        self._logins = 0
        self._logged_in_with: tuple[str | None, Mapping[str, Any]] | None = None

    async def authenticated(self, *, since: int | None = None) -> int:
        """Authenticate unless that has been done; with `since`, unless it has been done again since that login.

        Answers the number of the login in force. One task authenticates, the others wait for it.
        """
        async with self._lock:
            configured = (self.integration.context.tenant_id, self.integration.context.config)
            if self._logged_in_with != configured or since == self._logins:
                self._logged_in_with = None
                # A login is made by some attempts of a call and not by others: it must not use up the call's keys.
                reset = current_call.set(replace(current_call.get(), idempotency_key=None))
                try:
                    await self.integration.authenticate()
                finally:
                    current_call.reset(reset)
                self._logins += 1
                self._logged_in_with = configured
            return self._logins

    async def close_if_idle(self) -> None:
        """Close it once nobody can use it any more. A failure is logged: the call that happens to close it has its own."""
        if self.retired and self.users == 0:
            try:
                await self.integration.aclose()
            except Exception as error:  # noqa: BLE001 - whatever user code raises
                _log.warning("An integration client could not be closed", error=repr(error),
                             integration=self.integration.integration_name)


class ClientPool:
    """The clients of one worker.

    Args:
        classes: Answers the integrations by name, at each call, so that a reload takes effect: a client whose class is no
            longer the one of its name is replaced, and closed after the calls that still use it.
        context_of: Makes an organization's context; it is given the organization's id and this pool.
    """

    def __init__(self, classes: Classes, context_of: Callable[[str | None, ClientPool], OrganizationContext]) -> None:
        self.classes = classes
        self._context_of = context_of
        self._contexts: dict[str | None, OrganizationContext] = {}
        self._clients: dict[tuple[str | None, str], _Client] = {}

    def context(self, org_id: str | None) -> OrganizationContext:
        """The context that an organization's clients share; also what its data providers are given."""
        if org_id not in self._contexts:
            self._contexts[org_id] = self._context_of(org_id, self)
        return self._contexts[org_id]

    def of(self, org_id: str | None, integration: str) -> LiveIntegration:
        """An organization's integration, whose methods can be called.

        Raises:
            NotFoundError: no integration of that name.
        """
        self._class(integration)
        return LiveIntegration(self, org_id, integration)

    async def call(self, org_id: str | None, integration: str, method: str, args: Sequence[Any],
                   kwargs: Mapping[str, Any]) -> Any:
        """Call a public method of an organization's client, authenticated. A sync method runs in a thread.

        A call that is answered with 401 is repeated once, after a new login: tokens expire and secrets are rotated.

        Raises:
            NotFoundError: no integration, or no public method of it, has that name; names similar ones.
            ValidationError: the arguments do not fit the method; shows its signature.
            Exception: what the method and `authenticate` raise.
        """
        cls = self._class(integration)
        check_method(cls, integration, method)
        async with self._using(org_id, integration, cls) as client:
            function = getattr(client.integration, method)
            check_arguments(function, integration, method, args, kwargs)
            login = await client.authenticated()
            try:
                return await calling.call(function, args, kwargs)
            except IntegrationError as error:
                if error.status_code != 401:
                    raise
            await client.authenticated(since=login)
            # The copy numbers its requests from the start: the repetition finds the keys of the first try again.
            reset = current_call.set(replace(current_call.get()))
            try:
                return await calling.call(function, args, kwargs)
            finally:
                current_call.reset(reset)

    async def aclose(self) -> None:
        """Close every client, those in use as soon as they no longer are."""
        clients, self._clients = list(self._clients.values()), {}
        self._contexts = {}
        for client in clients:
            client.retired = True
            await client.close_if_idle()

    def _class(self, integration: str) -> type[BaseIntegration]:
        classes = self.classes()
        if integration not in classes:
            raise NotFoundError.of("Integration", integration, classes, hint=(
                f"Register a class derived from BaseIntegration in the workspace's integrations folder: "
                f'register_integration("{integration}", YourClass)'))
        return classes[integration]

    @contextlib.asynccontextmanager
    async def _using(self, org_id: str | None, integration: str, cls: type[BaseIntegration]) -> AsyncIterator[_Client]:
        key = (org_id, integration)
        client, outdated = self._clients.get(key), None
        if client is None or type(client.integration) is not cls:
            outdated = client
            client = self._clients[key] = _Client(cls(self.context(org_id)))
        client.users += 1
        try:
            if outdated:
                outdated.retired = True
                await outdated.close_if_idle()
            yield client
        finally:
            client.users -= 1
            await client.close_if_idle()


class LiveIntegration:
    """What `get_integration` answers outside workflows: every attribute is a method of the real client."""

    def __init__(self, pool: ClientPool, org_id: str | None, name: str) -> None:
        self._pool = pool
        self._org_id = org_id
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return record(await self._pool.call(self._org_id, self._name, method, args, kwargs))

        call.__name__ = method
        return call

    def __repr__(self) -> str:
        return f"<integration {self._name} of {self._org_id}>"


def methods(cls: type[BaseIntegration]) -> list[str]:
    """The names of the methods that may be called: public, and not what every integration has."""
    return [name for name in dir(cls) if _is_offered(cls, name)]


def _is_offered(cls: type[BaseIntegration], name: str) -> bool:
    return not name.startswith("_") and not hasattr(BaseIntegration, name) and inspect.isroutine(getattr(cls, name, None))


def short_methods(cls: type[BaseIntegration]) -> Sequence[str]:
    """The names of those that are short; looked for once."""
    if cls not in _SHORT:
        _SHORT[cls] = tuple(name for name in methods(cls) if Operation.of(cls, name).short)
    return _SHORT[cls]


_SHORT: WeakKeyDictionary[type[BaseIntegration], Sequence[str]] = WeakKeyDictionary()


def check_method(cls: type[BaseIntegration], integration: str, method: str) -> None:
    """Refuse a method that may not be called.

    Raises:
        NotFoundError: it is none; names similar ones, and all there are.
    """
    if not _is_offered(cls, method):
        known = methods(cls)
        raise NotFoundError.of("Method", method, known, hint=(
            f"The integration '{integration}' offers: {', '.join(known) or 'none'}"))


def check_arguments(function: Callable[..., Any], integration: str, method: str, args: Sequence[Any],
                    kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that a method does not take.

    Raises:
        ValidationError: they do not fit; shows the signature.
    """
    plain, bound_to = (function.__func__, [function.__self__]) if inspect.ismethod(function) else (function, [])
    try:
        _signature(plain).bind(*bound_to, *args, **kwargs)
    except TypeError as error:
        raise ValidationError(f"{integration}.{method}: {error}; it is called as {method}{inspect.signature(function)}",
                              integration=integration, method=method) from error


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """A function's signature, looked at once: a run and its activity need it in every call, and looking is a fifth of what they add to one."""
    if not inspect.isfunction(function):
        return inspect.signature(function)  # not all of those may be referred to weakly
    if function not in _SIGNATURES:
        _SIGNATURES[function] = inspect.signature(function)
    return _SIGNATURES[function]


_SIGNATURES: WeakKeyDictionary[Callable[..., Any], inspect.Signature] = WeakKeyDictionary()


def bind(cls: type[BaseIntegration] | None, method: str, args: Sequence[Any],
         kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments by name, as an activity's input shows them; defaults are not filled in.

    Where the signature cannot name every positional argument, all of them stand under `messages.POSITIONAL`: half of them
    by name and half by position could not be put together again. Never raises: whoever makes the call refuses it.
    """
    names = _positional_names(cls, method)
    if len(args) <= len(names) and not set(names[:len(args)]) & set(kwargs):
        return {**dict(zip(names, args, strict=False)), **kwargs}
    return {messages.POSITIONAL: list(args), **kwargs}


def _positional_names(cls: type[BaseIntegration] | None, method: str) -> list[str]:
    """The names of the leading arguments that may be given by position or by name, without `self`."""
    function = inspect.getattr_static(cls, method, None) if cls else None
    try:
        listed = list(_signature(getattr(function, "__func__", function)).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []
    if not isinstance(function, staticmethod):
        del listed[:1]
    if any(parameter.kind is parameter.POSITIONAL_ONLY for parameter in listed):
        return []
    return [parameter.name for parameter in listed if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


def unbind(arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The inverse of `bind`: positional arguments and keyword arguments."""
    named = dict(arguments)
    positional = named.pop(messages.POSITIONAL, [])
    return (list(positional) if isinstance(positional, list | tuple) else [positional]), named
