"""What an integration is: a class whose public methods are calls that an execution makes durably.

Each call from a workflow becomes one Temporal activity named `<integration>.<method>`, retried as declared here.
"""

from __future__ import annotations

import abc
import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bifrost.errors import DefinitionError
from bifrost.integrations.http import IntegrationHTTP
from bifrost.models import RetryRules

if TYPE_CHECKING:
    from bifrost.context import OrganizationContext

_NAME = re.compile(r"[a-z_][a-z0-9_]*")


class BaseIntegration(abc.ABC):
    """The base of every integration.

    One instance serves one organization in one worker. `authenticate` runs once before its first call, and again after a
    call that another system answered with 401.

    Class attributes:
        integration_name: The name that `context.get_integration` takes.
        timeout_seconds: How long one attempt of a call may take.
        retry: How a failed call is retried; a workflow's `retry_policy` goes before it.
    """

    integration_name: ClassVar[str] = ""
    timeout_seconds: ClassVar[float] = 60
    retry: ClassVar[RetryRules] = RetryRules()

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
    if not cls.integration_name:
        cls.integration_name = name
    _registered[name] = cls


def registered_integrations() -> Mapping[str, type[BaseIntegration]]:
    """Every registered integration by name."""
    return dict(_registered)
