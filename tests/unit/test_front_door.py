"""The front door: one page, said once, and quick to open."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import bifrost
from bifrost.workspace import surface

PAGE = Path(bifrost.__file__).read_text()


def test_every_list_of_the_page_says_the_same() -> None:
    """What type checkers see, where names come from, and `__all__` are one list."""
    [block] = [node for node in ast.parse(PAGE).body if isinstance(node, ast.If)]
    seen = {(statement.module, alias.name) for statement in block.body if isinstance(statement, ast.ImportFrom) for alias in statement.names}
    assert seen == {(module, name) for module, names in bifrost._HOMES.items() for name in names}
    assert sorted(name for _, name in seen) == sorted(bifrost.__all__) == dir(bifrost)


def test_every_name_of_the_guide_is_there() -> None:
    """What the guide's files import from the older modules, and what the front door promises beside it."""
    for name in ("workflow", "param", "data_provider", "OrganizationContext", "WorkflowException", "ValidationError", "IntegrationError",
                 "ConfigurationError", "PermissionError", "TimeoutError", "DeterminismError", "WorkflowMetadata", "DataProviderMetadata",
                 "ParameterMetadata", "OAuthCredentials", "BaseIntegration", "register_integration", "Secret", "Record", "RetryRules"):
        assert name in bifrost.__all__
    for module, names in surface.ALIASES.items():
        assert set(names) <= set(bifrost.__all__), module
        alias = importlib.import_module(module)
        assert alias.__all__ == list(names)
        assert all(getattr(alias, name) is getattr(bifrost, name) is getattr(importlib.import_module(bifrost._HOME_OF[name]), name) for name in names)


@pytest.mark.parametrize(("statement", "absent"), [
    ("import bifrost", "httpx temporalio pydantic structlog hvac yaml click starlette asyncio"),
    ("from bifrost import ValidationError, Organization, Record, Secret", "httpx temporalio pydantic structlog asyncio"),
    ("from bifrost import workflow, param, data_provider, OrganizationContext", "httpx temporalio structlog hvac"),
    ("import bifrost\nfrom engine.shared.decorators import workflow", "temporalio hvac"), ("from bifrost import BaseIntegration", "temporalio hvac")])
def test_a_name_brings_in_no_more_than_it_needs(statement: str, absent: str) -> None:
    """Tests and tools that import workspace code do not wait for a server's libraries."""
    code = f"import sys\n{statement}\nprint(*[name for name in {absent.split()!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


def test_the_aliases_are_served_once() -> None:
    """Serving them again changes nothing; the packages above are packages, and only names that are aliases are found."""
    before = list(sys.meta_path)
    surface.serve_aliases()
    assert sys.meta_path == before
    for package in surface.PACKAGES:
        assert hasattr(importlib.import_module(package), "__path__")
    for name in ("engine.functions", "engine.shared.models.deeper", "engine.shared.nothing"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_a_star_brings_the_page() -> None:
    """`from bifrost import *` binds the public names and no other; a missing one is Python's own error."""
    namespace: dict[str, object] = {}
    exec("from bifrost import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(bifrost.__all__)
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'bifrost'"):
        exec("from bifrost import nothing")


@pytest.mark.parametrize(("name", "fromlist", "refused"), [
    ("json", ("x",), None), ("bifrost", None, None), ("bifrost", ("workflow", "testing", "*"), None), ("bifrost", ("workflow", "errors"), "bifrost.errors"),
    ("bifrost.testing", ("*",), None), ("bifrost.testing", ("plugin",), "bifrost.testing.plugin"), ("bifrost.testing.plugin", None, "bifrost.testing.plugin"),
    ("engine", None, None), ("engine", ("shared",), None), ("engine", ("shared", "admin"), "engine.admin"), ("engine.shared", ("models", "integrations"), None),
    ("engine.shared.models", ("anything",), None), ("engine.shared.keyvault", ("x",), "engine.shared.keyvault"), ("bifrosty", None, None), ("engines.x", None, None)])
def test_the_rule_itself(name: str, fromlist: tuple[str, ...] | None, refused: str | None) -> None:
    """Which module an import names that workspace code may not have."""
    assert surface.refuses(name, fromlist) == refused
