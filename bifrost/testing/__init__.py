"""The test kit: what a workspace's own tests may rely on.

Under pytest the fixtures are there by themselves (`plugin`): `bifrost_context` for tests without any server, and
`run_workflow` for executions on a real one. Names are loaded when they are first used, since pytest loads this package
wherever Bifrost is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bifrost.testing.fakes import FakeIntegration, UnscriptedCallError
    from bifrost.testing.memory import InMemoryContext
    from bifrost.testing.running import RunWorkflow, WorkflowRun
    from bifrost.testing.server import SharedServer

_HOME_OF = {"FakeIntegration": "bifrost.testing.fakes", "InMemoryContext": "bifrost.testing.memory",
            "RunWorkflow": "bifrost.testing.running", "SharedServer": "bifrost.testing.server",
            "UnscriptedCallError": "bifrost.testing.fakes", "WorkflowRun": "bifrost.testing.running"}

__all__ = ["FakeIntegration", "InMemoryContext", "RunWorkflow", "SharedServer", "UnscriptedCallError", "WorkflowRun"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bifrost.testing' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
