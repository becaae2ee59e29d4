"""What an integration is: a class whose public methods are calls that an execution makes durably.

Each call from a workflow becomes one Temporal activity named `<integration>.<method>`, retried as declared here.
"""

from __future__ import annotations

import abc
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from bifrost.errors import DefinitionError
from bifrost.integrations.http import IntegrationHTTP
from bifrost.models import RetryRules

if TYPE_CHECKING:
    from bifrost.context import OrganizationContext

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_OPTIONS = "_bifrost_operation"
_Method = TypeVar("_Method", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Operation:
    """How a method of an integration is called: the class's attributes, and over them what `@operation` says.

    Attributes:
        timeout_seconds: How long one attempt may take.
        heartbeat_seconds: After how long without a sign of life of its worker an attempt is lost, and made again elsewhere.
        retry: How a failed call is retried; a workflow's `retry_policy` goes before it.
        repeatable: Whether an attempt may be made again that may have done its work.
        rate_per_second: How many attempts a second an organization makes, over all workers; None for no limit.
        short: Whether it takes little time (`SHORT_SECONDS` at most) and may be made again with those beside it: it is then made
            within the execution's own step, as a local activity of Temporal's, which takes a third of the time. The history
            has its result, and not what it was given. Where a worker is lost, all short calls since the step began are made
            again. It has to be repeatable, and can have no rate. An execution keeps to what was so when it began.
    """

    timeout_seconds: float = 60
    heartbeat_seconds: float = 2
    retry: RetryRules = field(default_factory=RetryRules)
    repeatable: bool = True
    rate_per_second: float | None = None
    short: bool = False

    @classmethod
    def of(cls, integration: type[BaseIntegration] | None, method: str) -> Self:
        """How this method is called; of an integration that is not known, how any would be."""
        if integration is None:
            return cls()
        own = getattr(getattr(integration, method, None), _OPTIONS, {})
        of_class = {name: getattr(integration, name) for name in cls.__slots__ if hasattr(BaseIntegration, name)}
        return cls(**{**of_class, **own})

    def check(self, where: str) -> None:
        """Refuse what cannot be; `where` names it.

        Raises:
            DefinitionError: a number is not above 0, or something is no number.
        """
        for name in ("timeout_seconds", "heartbeat_seconds", "rate_per_second"):
            _check_positive(where, name, getattr(self, name), optional=name == "rate_per_second")
        if self.rate_per_second is not None and not MIN_RATE <= self.rate_per_second <= MAX_RATE:
            raise DefinitionError(f"{where}: rate_per_second must be from {MIN_RATE} to {MAX_RATE}, not {self.rate_per_second}")
        if self.short and not (self.repeatable and self.rate_per_second is None):
            raise DefinitionError(f"{where}: what is short has to be repeatable and can have no rate_per_second")
        if not isinstance(self.retry, RetryRules):
            raise DefinitionError(f"{where}: retry must be RetryRules(...), not {self.retry!r}")


SHORT_SECONDS = 5.0
"""How long an attempt of a short operation may take, where its `timeout_seconds` is not less; a step of an execution lasts ten."""
MIN_RATE, MAX_RATE = 0.001, 1000
"""What a rate may be, in calls a second: Temporal's own bounds of a fairness weight."""


def _check_positive(where: str, name: str, value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise DefinitionError(f"{where}: {name} must be a number above 0, not {value!r}")


def operation(*, timeout_seconds: float | None = None, heartbeat_seconds: float | None = None, retry: RetryRules | None = None,
              repeatable: bool | None = None, rate_per_second: float | None = None, short: bool | None = None) -> Callable[[_Method], _Method]:
    """Say how one method of an integration is called, where that differs from the class's attributes of the same names; `short` is of
    methods alone.

        class Billing(BaseIntegration):
            rate_per_second = 5

            @operation(repeatable=False, timeout_seconds=120)
            async def charge(self, customer: str, amount: Decimal): ...

        class Directory(BaseIntegration):
            @operation(short=True)
            async def department_of(self, user: str) -> str: ...

    See `Operation` for what each means. With `repeatable=False` an attempt is made again only if the answer says that it was
    refused before it was taken (HTTP 425 and 429). A method's own `rate_per_second` is counted apart from its class's.

    Raises:
        DefinitionError: a number is not above 0, or options do not go together.
    """
    options = {name: value for name, value in locals().items() if value is not None}

    def decorate(method: _Method) -> _Method:
        replace(Operation(), **options).check(f"@operation of '{getattr(method, '__qualname__', method)}'")
        setattr(method, _OPTIONS, options)
        return method

    return decorate


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When calls of a system that is down are no longer tried, but wait.

    Attributes:
        failures: After how many attempts in a row, each without an answer or with one of 500 and above.
        open_seconds: How long nothing is tried then; doubled each time that the one attempt after it fails as well.
        max_open_seconds: The longest of these times.
        give_up_seconds: How long a call waits in all before it fails.
    """

    failures: int = 20
    open_seconds: float = 10
    max_open_seconds: float = 120
    give_up_seconds: float = 3600


class BaseIntegration(abc.ABC):
    """The base of every integration.

    One instance serves one organization in one worker. `authenticate` runs once before its first call, and again after a
    call that another system answered with 401.

    Class attributes:
        integration_name: The name that `context.get_integration` takes.
        timeout_seconds, heartbeat_seconds, retry, repeatable, rate_per_second: How its methods are called; see `Operation`.
        max_concurrent: How many calls an organization has under way at once, over all workers; None for no limit. It costs
            two signals a call.
        circuit: When calls wait because the other system is down; None for never.
    """

    integration_name: ClassVar[str] = ""
    timeout_seconds: ClassVar[float] = 60
    heartbeat_seconds: ClassVar[float] = 2
    retry: ClassVar[RetryRules] = RetryRules()
    repeatable: ClassVar[bool] = True
    rate_per_second: ClassVar[float | None] = None
    max_concurrent: ClassVar[int | None] = None
    circuit: ClassVar[CircuitRules | None] = CircuitRules()

    def __init__(self, context: OrganizationContext) -> None:
        self.context = context
        self.http = IntegrationHTTP(self.integration_name, context)

    @abc.abstractmethod
    async def authenticate(self) -> Any:
        """Obtain what calls need (tokens, headers, a base URL) and keep it on `self`."""

    async def get_secret(self, name: str) -> str:
        """The value of a secret of the organization, else the global one.

        Raises:
            KeyError: neither place has it.
        """
        return await self.context.get_secret(name)  # type: ignore[return-value]  # a value: this is not workflow code

    def get_config(self, key: str, default: Any = None) -> Any:
        """The organization's configuration, else the global one, else `default`."""
        return self.context.get_config(key, default)

    async def aclose(self) -> None:
        """Close the connections; called when the worker lets go of this client."""
        await self.http.aclose()


_registered: dict[str, type[BaseIntegration]] = {}


def register_integration(name: str, cls: type[BaseIntegration]) -> None:
    """Make `cls` answer to `context.get_integration(name)`. A later registration of the same name replaces it.

    A class that names itself nothing gets the name.

    Raises:
        DefinitionError: the name cannot be one, or `cls` is not an integration.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DefinitionError(f"Invalid integration name {name!r}: use lower-case letters, digits and underscores")
    if not (inspect.isclass(cls) and issubclass(cls, BaseIntegration)):
        raise DefinitionError(f"The integration '{name}' is not a class derived from BaseIntegration: {cls!r}")
    Operation.of(cls, "").check(f"The integration '{name}'")
    for method, value in vars(cls).items():
        if hasattr(value, _OPTIONS):
            Operation.of(cls, method).check(f"The integration '{name}', method '{method}'")
    _check_positive(f"The integration '{name}'", "max_concurrent", cls.max_concurrent, optional=True)
    if not cls.integration_name:
        cls.integration_name = name
    _registered[name] = cls


def registered_integrations() -> Mapping[str, type[BaseIntegration]]:
    """Every registered integration by name."""
    return dict(_registered)
