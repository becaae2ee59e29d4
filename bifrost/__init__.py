"""Bifrost: plain `async def` workflows that survive crashes, deploys and months of waiting, on Temporal.

This page is the public surface, and `bifrost.testing` is the test kit. Everything else is private: workspace code that
imports it is refused. Names are loaded when they are first used, so that `import bifrost` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bifrost.workspace import surface as _surface

if TYPE_CHECKING:
    from bifrost.context import OrganizationContext
    from bifrost.decorators import activity, data_provider, param, workflow
    from bifrost.errors import (
        ConfigurationError,
        DeterminismError,
        IntegrationError,
        NotFoundError,
        PermissionError,  # noqa: A004 - the name is the guide's
        TimeoutError,  # noqa: A004 - the name is the guide's
        ValidationError,
        WorkflowException,
    )
    from bifrost.integrations.base import BaseIntegration, CircuitRules, operation, register_integration
    from bifrost.models import (
        ActivityMetadata,
        Caller,
        DataProviderMetadata,
        OAuthCredentials,
        Organization,
        ParameterMetadata,
        RetryRules,
        Schedule,
        Secret,
        WorkflowMetadata,
    )
    from bifrost.record import Record

_HOMES = {
    "bifrost.context": ("OrganizationContext",),
    "bifrost.decorators": ("activity", "data_provider", "param", "workflow"),
    "bifrost.errors": ("ConfigurationError", "DeterminismError", "IntegrationError", "NotFoundError",
                       "PermissionError", "TimeoutError", "ValidationError", "WorkflowException"),
    "bifrost.integrations.base": ("BaseIntegration", "CircuitRules", "operation", "register_integration"),
    "bifrost.models": ("ActivityMetadata", "Caller", "DataProviderMetadata", "OAuthCredentials", "Organization", "ParameterMetadata",
                       "RetryRules", "Schedule", "Secret", "WorkflowMetadata"),
    "bifrost.record": ("Record",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ActivityMetadata",
    "BaseIntegration",
    "Caller",
    "CircuitRules",
    "ConfigurationError",
    "DataProviderMetadata",
    "DeterminismError",
    "IntegrationError",
    "NotFoundError",
    "OAuthCredentials",
    "Organization",
    "OrganizationContext",
    "ParameterMetadata",
    "PermissionError",
    "Record",
    "RetryRules",
    "Schedule",
    "Secret",
    "TimeoutError",
    "ValidationError",
    "WorkflowException",
    "WorkflowMetadata",
    "activity",
    "data_provider",
    "operation",
    "param",
    "register_integration",
    "workflow",
]

_surface.serve_aliases()


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bifrost' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
