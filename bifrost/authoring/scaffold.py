"""New workspace code: which files, with which text. Nothing is read or written here.

What is made loads, passes its own test with plain pytest, and is clean under ruff with every rule on that the sample
workspace is clean under.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bifrost.errors import ValidationError

_WIDTH = 120
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = frozenset({"workflow", "lib", "tests", "conftest"})


@dataclass(frozen=True, slots=True)
class Scaffold:
    """Files to be written.

    Attributes:
        files: Text by path, relative to the workspace, in the order of writing.
        tests: What to give to pytest, relative to the workspace.
    """

    files: Mapping[str, str]
    tests: str


_WORKFLOW = '''"""The workflow `$name`."""

from typing import Any

from bifrost import OrganizationContext, param, workflow


$decorator
@param("email", "email", "Email address", required=True)
async def $name(context: OrganizationContext, email: str) -> dict[str, Any]:
    """Take an email address, mark a checkpoint, and answer what was given."""
    context.log("info", "$name has begun", {"email": email})

    # Calls of other systems go here: `graph = context.get_integration("msgraph")`, then `await graph.get_user(email)`.
    # Each is retried and recorded: once it has answered, it is not made again, whatever becomes of the worker.

    context.save_checkpoint("begun", {"email": email})  # what came before is in history before the next call is made

    # Calls that build on those above go here.

    return {"success": True, "email": email}
'''

_DIAGRAM = """flowchart TD
    n1(["$name<br/>email"])
    n2("checkpoint begun")
    n3(["return success, email"])
    n1 --> n2
    n2 --> n3
"""

_WORKFLOW_TEST = '''"""$name without any server: the context is one in memory."""

import asyncio

import pytest

from bifrost import ValidationError
$import_


def test_a_checkpoint_is_marked(bifrost_context):
    """The result names the address, and so does the checkpoint."""
    # For an integration: `bifrost_context.integration("msgraph").answers("get_user", {"id": "1"})`.
    result = asyncio.run(bifrost_context.run($name, email="ada@example.com"))
    assert result == {"success": True, "email": "ada@example.com"}
    assert bifrost_context.checkpoints == [("begun", {"email": "ada@example.com"})]


def test_a_bad_address_is_refused(bifrost_context):
    """Parameters are checked as in a real run, before anything is done."""
    with pytest.raises(ValidationError) as caught:
        asyncio.run(bifrost_context.run($name, email="nobody"))
    assert caught.value.field == "email"
    assert bifrost_context.steps == []
'''

_INTEGRATION = '''"""The system `$name`, over its REST API.

Configuration `${name}_url`; secret `${name}_api_key`.
"""

from typing import Any
from urllib.parse import quote

from bifrost import BaseIntegration, ConfigurationError, register_integration


class $cls(BaseIntegration):
    """Calls of `$name`. `self.http` turns refusals into errors and keeps record of the calls."""

    integration_name = "$name"

    async def authenticate(self) -> None:
        """Take the organization's URL and key."""
        url = self.get_config("${name}_url")
        if not url:
            raise ConfigurationError("${name}_url is missing: add it to the organization's config",
                                     config_key="${name}_url")
        self.http.base_url = url
        self.http.token = await self.get_secret("${name}_api_key")  # sent as a bearer token

    async def get_item(self, item_id: str) -> dict[str, Any]:
        """One item; an unknown id is an `IntegrationError` with the status code 404."""
        response = await self.http.get(f"/items/{quote(item_id, safe='')}")
        item: dict[str, Any] = response.json()
        return item


register_integration("$name", $cls)
'''

_INTEGRATION_TEST = '''"""$name without its system: an httpx transport answers in place of the network."""

import asyncio

import httpx
import pytest

from bifrost import ConfigurationError, IntegrationError
from bifrost.testing import InMemoryContext
$import_

CONFIG = {"${name}_url": "https://api.example.com/v1"}


def answer(request):
    """What the system says to a request."""
    if request.headers["Authorization"] != "Bearer key":
        return httpx.Response(401)
    if request.url.path != "/v1/items/1":
        return httpx.Response(404, json={"message": "There is no such item"})
    return httpx.Response(200, json={"id": "1"})


def get_item(item_id, config):
    """Call the integration as a worker does: authenticated first."""
    integration = $cls(InMemoryContext(config=config, secrets={"${name}_api_key": "key"}))
    integration.http.transport = httpx.MockTransport(answer)

    async def call():
        try:
            await integration.authenticate()
            return await integration.get_item(item_id)
        finally:
            await integration.aclose()

    return asyncio.run(call())


def test_an_item_is_read():
    """The organization's URL and key are used."""
    assert get_item("1", CONFIG) == {"id": "1"}


@pytest.mark.parametrize("item_id", ["2", "../items/1"])
def test_an_unknown_id_is_refused(item_id):
    """The refusal has its status, and an id is never a path."""
    with pytest.raises(IntegrationError) as caught:
        get_item(item_id, CONFIG)
    assert caught.value.status_code == 404


def test_without_a_url_nothing_is_sent():
    """The error names what to configure."""
    with pytest.raises(ConfigurationError) as caught:
        get_item("1", {})
    assert caught.value.config_key == "${name}_url"
'''

_PROVIDER = '''"""Options: the organization's own list."""

from typing import Any

from bifrost import OrganizationContext, data_provider

DEFAULT = ["First", "Second"]
"""The options of an organization that configures none."""


$decorator
async def $name(context: OrganizationContext) -> list[dict[str, Any]]:
    """The list in the configuration `$name`, in its order."""
    # Options of another system come from an integration: `await context.get_integration("msgraph").get_users()`.
    return [{"label": one, "value": one} for one in context.get_config("$name") or DEFAULT]
'''

_PROVIDER_TEST = '''"""$name without any server: the context is one in memory."""

import asyncio

import pytest

$import_


@pytest.mark.parametrize(("configured", "offered"), [(["B", "A"], ["B", "A"]), (None, ["First", "Second"])])
def test_options_are_configured(bifrost_context, configured, offered):
    """The configured list in its order, or a sensible one."""
    bifrost_context.org_config["$name"] = configured
    assert [one["value"] for one in asyncio.run($name(bifrost_context))] == offered
'''


def workflow(name: str, category: str = "general", description: str = "") -> Scaffold:
    """A workflow in a folder of its own, with its diagram and its test.

    Args:
        name: What it is started by.
        category: The folder below `workflows`, and where lists show it.
        description: What it does; the name as words by default.

    Raises:
        ValidationError: a name cannot be one, or the description cannot be written.
    """
    check_name(name)
    check_name(category, field="category")
    folder = f"workflows/{category}/{name}"
    text = _texts(name, _decorator("workflow", name, description, category), f"workspace.workflows.{category}.{name}")
    return _distinct(name, Scaffold({
        f"{folder}/workflow.py": text(_WORKFLOW),
        f"{folder}/diagram.mmd": text(_DIAGRAM),
        f"{folder}/lib/__init__.py": text('"""What only `$name` needs."""\n'),
        f"{folder}/tests/__init__.py": '"""Tests of this workflow."""\n',
        f"{folder}/tests/test_workflow.py": text(_WORKFLOW_TEST),
    }, folder))


def integration(name: str) -> Scaffold:
    """An integration over HTTP, with its test. An organization needs `NAME_url` and the secret `NAME_api_key`.

    Raises:
        ValidationError: the name cannot be one.
    """
    check_name(name)
    cls = "".join(part.capitalize() for part in name.split("_")) + "Integration"
    if cls == "BaseIntegration":
        raise _refused(name, "is what every integration is: name the system", "name")
    text = _texts(name, "", f"workspace.integrations.{name}", cls)
    return Scaffold({f"integrations/{name}.py": text(_INTEGRATION), f"tests/test_{name}.py": text(_INTEGRATION_TEST)},
                    f"tests/test_{name}.py")


def provider(name: str, description: str = "") -> Scaffold:
    """A data provider, with its test.

    Args:
        name: What `@param(..., data_provider=name)` refers to.
        description: What it lists; the name as words by default.

    Raises:
        ValidationError: the name cannot be one, or the description cannot be written.
    """
    check_name(name)
    text = _texts(name, _decorator("data_provider", name, description, "general"), f"workspace.data_providers.{name}")
    return _distinct(name, Scaffold(
        {f"data_providers/{name}.py": text(_PROVIDER), f"tests/test_{name}.py": text(_PROVIDER_TEST)},
        f"tests/test_{name}.py"))


def check_name(name: str, field: str = "name") -> None:
    """Refuse a name that could not be that of a file, a module and a function, or that discovery would pass over.

    Raises:
        ValidationError: says what to write instead; `field` is to blame.
    """
    if not _NAME.fullmatch(name):
        raise _refused(name, "cannot be a name here: use lower-case letters, digits and underscores, a letter first", field)
    if keyword.iskeyword(name) or hasattr(builtins, name):
        raise _refused(name, f"means something else in Python: write more, such as '{name}_users'", field)
    if name in _RESERVED or name.startswith("test_"):
        raise _refused(name, "has a meaning of its own in a workspace: choose another name", field)


def _distinct(name: str, scaffold: Scaffold) -> Scaffold:
    """The scaffold, unless its code uses the name for something else, such as `context` or `asyncio`."""
    for path, text in scaffold.files.items():
        nodes = list(ast.walk(ast.parse(text))) if path.endswith(".py") else []
        taken = {node.arg for node in nodes if isinstance(node, ast.arg)}
        taken |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        defined = [node.name for node in nodes if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)]
        imported = [alias.asname or alias.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)
                    for alias in node.names]
        if name in taken or [*defined, *imported].count(name) > 1:
            raise _refused(name, "is used for something else in the code that would be written: choose another name", "name")
    return scaffold


def _refused(name: str, reason: str, field: str) -> ValidationError:
    return ValidationError(f"'{name}' {reason}", field=field)


def _texts(name: str, decorator: str, module: str, cls: str = "") -> Callable[[str], str]:
    """A function that fills in templates."""
    words = {"name": name, "cls": cls, "decorator": decorator, "import_": _import(module, cls or name)}
    return lambda template: string.Template(template).substitute(words)


def _import(module: str, name: str) -> str:
    """An import statement, wrapped where ruff would wrap it."""
    line = f"from {module} import {name}"
    return line if len(line) <= _WIDTH else f"from {module} import (\n    {name},\n)"


def _decorator(decorator: str, name: str, description: str, category: str) -> str:
    opening = f"@{decorator}("
    described = f"description={_quoted(description or name.replace('_', ' ').strip().capitalize())}"
    lines = [f'{opening}name="{name}"', described, f'category="{category}")']
    line = ", ".join(lines)
    return line if len(line) <= _WIDTH else f",\n{' ' * len(opening)}".join(lines)


def _quoted(text: str) -> str:
    """A Python literal of the text on one line, in the quotes that need no escaping.

    Raises:
        ValidationError: the text has characters that cannot be seen.
    """
    text = " ".join(text.split())
    if not text.isprintable():
        raise ValidationError(f"The description has characters that cannot be seen: {text!a}", field="description")
    quote = "'" if '"' in text and "'" not in text else '"'
    return quote + text.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote
