"""What `bifrost check` finds: each rule is seen to refuse, and what is allowed is seen to pass."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from bifrost.authoring.check import Finding, check
from bifrost.workspace import finder

HEAD = "import asyncio, os, time\nimport httpx\nfrom bifrost import activity, data_provider, param, workflow\n"
SHOP = """
from bifrost import BaseIntegration

class Shop(BaseIntegration):
    integration_name = "shop"
    async def authenticate(self): ...
    async def sell(self, item, *, size=1): ...
    @staticmethod
    def price(item): ...
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A workspace with one integration, one data provider and one workflow that needs a parameter."""
    folder = tmp_path / "workspace"
    _write(folder, "integrations/shop.py", SHOP)
    _write(folder, "data_providers/sizes.py", HEAD + "@data_provider(name='sizes')\nasync def sizes(context):\n    return []\n")
    _write(folder, "workflows/pack.py", HEAD + "@workflow(name='pack')\nasync def pack(context, item: str, note: str = ''): ...\n")
    yield folder
    finder.uninstall()


def _write(root: Path, path: str, source: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source))


def _body(root: Path, body: str, *, before: str = "", decorators: str = "") -> list[Finding]:
    """What is found in a workflow with this body, whose first line is line 10."""
    head = HEAD + before + "\n" * (7 - len((HEAD + before + decorators).splitlines()))
    indented = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    source = f"{head}@workflow(name='it')\n{decorators}async def it(context, item: str = ''):\n{indented}\n"
    (root / "workflows/it.py").write_text(source)
    return check(root)[1]


BODIES = [
    ("time.sleep(1)", "determinism", "time.sleep cannot be used inside a workflow: write `await asyncio.sleep"),
    ("os.environ['A']", "determinism", "os.environ"), ("os.getenv('A')", "determinism", "context.get_config"), ("open('x')", "determinism", "open()"),
    ("with open('x') as file: ...", "determinism", "open()"), ("httpx.get('u')", "determinism", "httpx.get"),
    ("httpx.Client().get('u')", "determinism", "httpx.Client"), ("await asyncio.to_thread(len)", "determinism", "asyncio.to_thread"),
    ("return [x for x in os.listdir()]", "determinism", "os.listdir"), ("'A' in os.environ", "determinism", "os.environ"),
    ("for x in os.environ: ...", "determinism", "os.environ"), ("import socket\nsocket.socket()", "determinism", "socket.socket"),
    ("from subprocess import run as go\ngo('ls')", "determinism", "subprocess.run"), ("f'{os.environ}'", "determinism", "os.environ"),
    ("def inner():\n    input()\ninner()", "determinism", "input()"),
    ("context.get_integration('shp')", "integration", "Integration 'shp' not found. Did you mean 'shop'?"),
    ("context.get_integration(name='shp')", "integration", "Did you mean 'shop'?"),
    ("await context.get_integration('shop').sel()", "integration", "Method 'sel' not found. Did you mean 'sell'?"),
    ("shop = context.get_integration('shop')\nawait shop.sell()", "arguments", "shop.sell: missing a required argument: 'item'; it is called as sell(item, *, size=1)"),
    ("(shop := context.get_integration('shop'))\nawait shop.sell('a', prize=1)", "arguments", "got an unexpected keyword argument 'prize'"),
    ("shop, x = context.get_integration('shop'), 1\nawait shop.price('a', 'b')", "arguments", "shop.price: too many positional arguments"),
    ("shop: object = context.get_integration('shop')\nawait shop.authenticate()", "integration", "Method 'authenticate' not found"),
    ("await context.execute_workflow('pak')", "workflow", "Workflow 'pak' not found. Did you mean 'pack'?"),
    ("await context.execute_workflow('pack')", "arguments", "workflow 'pack' needs item"),
    ("await context.execute_workflow('pack', {'note': 'x'})", "arguments", "workflow 'pack' needs item"),
    ("context.get_integration('shop').sell('a')", "await", "shop.sell is never awaited, so it is never called: write `await shop.sell"),
    ("context.wait_for_event('go')", "await", "context.wait_for_event is never awaited"),
    ("context.save_checkpoint()", "arguments", "context.save_checkpoint: missing a required argument: 'name'"),
    ("return context.org_idd", "context", "Context member 'org_idd' not found. Did you mean 'org_id'"),
    ("context.save_chekpoint('a')", "context", "Context member 'save_chekpoint' not found. Did you mean 'save_checkpoint'?"),
]


@pytest.mark.parametrize(("body", "rule", "message"), BODIES)
def test_what_a_run_would_refuse_is_found(root: Path, body: str, rule: str, message: str) -> None:
    """Each kind of mistake in a workflow's body is one finding, with its line, its rule and the cure."""
    found = _body(root, body)
    assert [(one.file, one.rule) for one in found] == [("workflows/it.py", rule)]
    assert message in found[0].message
    assert found[0].line == 9 + len(body.splitlines()) - ("def inner" in body)


FINE = """
    shop = context.get_integration("shop")
    await shop.sell("a", size=2)
    await shop.sell(*[1], **{})
    await shop.price("a")
    await context.get_integration(item).anything()
    await context.execute_workflow("pack", {"item": "a"})
    await context.execute_workflow("pack", {**{}})
    await context.execute_workflow("pack", context.config)
    await context.execute_workflow(item)
    await say("a", loud=True)
    context.log("info", context.org.name + context.caller.email + context.execution_id + str(context.org_id))
    await asyncio.sleep(1)
    await asyncio.gather(*(shop.sell(x) for x in "abc"))
    os.path.join("a", "b")
    try:
        pass
    except (httpx.HTTPError, OSError) as error:
        isinstance(error, httpx.HTTPStatusError)
    shop = item
    shop.anything()
    unknown_here()
    context.on_failure(shop.sell, "a", size=1)
    later = say("a")
    sorted([(1, 2)], key=lambda id: id[0])
    def inner(id, open): return open(id)
    match item:
        case {"id": id, "input": input}: input(id)
        case [open, *exit]: open(exit)
    found: "httpx.Client | None" = None
    both: httpx.Client | None = None
"""
SAY = "@activity\ndef say(word, loud=False): return open(word)\n"


def test_what_a_run_allows_is_not_found(root: Path) -> None:
    """Right calls, what cannot be known, what an activity does, and stand-ins where they may stand: nothing is said of them."""
    assert _body(root, FINE, before=SAY) == []


def test_an_activity_is_called_as_it_is_written(root: Path) -> None:
    """Its signature is held against the call."""
    assert [one.message for one in _body(root, "await say()", before=SAY)] == [
        "say: missing a required argument: 'word'; it is called as say(word, loud=False)"]


def test_functions_that_a_workflow_calls_are_read(root: Path) -> None:
    """In the same file, in its `lib` and in utils, as deep as calls go, each place once; what no workflow calls is not a run's."""
    _write(root, "utils/text.py", "import threading\ndef clean(x):\n    threading.Lock()\n    return clean(x)\ndef unused():\n    open('x')\n")
    _write(root, "workflows/a/one/lib/words.py", "from workspace.utils.text import clean\nasync def words(shop):\n    await shop.sel()\n    return clean(1)\n")
    _write(root, "workflows/a/one/workflow.py", """
        from bifrost import workflow
        from .lib import words
        @workflow(name="one")
        async def one(context):
            await words.words(context.get_integration("shop"))
            await words.words(shop=context.get_integration("shop"))
    """)
    assert [(one.file, one.line, one.rule) for one in check(root)[1]] == [
        ("utils/text.py", 3, "determinism"), ("workflows/a/one/lib/words.py", 3, "integration")]


IMPORTS = [
    ("utils/a.py", "def later():\n    import bifrost.settings", 2, "Workspace code cannot import engine module 'bifrost.settings'"),
    ("utils/a.py", "import importlib\nimportlib.import_module('engine.shared.storage')", 2, "engine module 'engine.shared.storage'"),
    ("utils/a.py", "def later():\n    return __import__('bifrost.errors')", 2, "engine module 'bifrost.errors'"),
    ("integrations/a.py", "from engine.shared.storage import x", 1, "engine module 'engine.shared.storage'"),
    ("workflows/a.py", "from workspace.workflows.pack import pack", 1, "run it with `await context.execute_workflow"),
    ("workflows/b/c/workflow.py", "\n\nfrom ...pack import pack", 3, "run it with `await context.execute_workflow"),
    ("integrations/a.py", "def later():\n    from workspace.workflows import pack", 2, "Only workflows lie above workflows"),
]


@pytest.mark.parametrize(("path", "source", "line", "message"), IMPORTS)
def test_imports_that_are_not_allowed_are_found(root: Path, path: str, source: str, line: int, message: str) -> None:
    """Wherever they stand, also where the file cannot be loaded for them, each is found once."""
    _write(root, path, source)
    found = check(root)[1]
    assert [(one.file, one.line, one.rule) for one in found] == [(path, line, "import")]
    assert message in found[0].message


def test_functions_that_are_called_later_are_read(root: Path) -> None:
    """What `context.map` and `context.on_failure` are given is a run's code, too."""
    before = "async def each(context, item):\n    context.get_integration('shp')\ndef undo(context, x):\n    open(x)\n"
    found = _body(root, "await context.map(each, [1])\ncontext.on_failure(undo, context, 'x')\nawait context.map('pack', [])", before=before)
    assert [(one.line, one.rule) for one in found] == [(5, "integration"), (7, "determinism")]


def test_what_cannot_be_loaded_is_found(root: Path) -> None:
    """Live, and as a run would load it."""
    _write(root, "integrations/broken.py", "x = (")
    _write(root, "workflows/cron.py", HEAD + "@workflow(name='cron', schedule='every day')\nasync def cron(context): ...")
    _write(root, "workflows/run.py", HEAD + "import sys\nLIVE = sys.modules['json'].loads\nassert LIVE('1') == 1\n@workflow(name='run')\nasync def run(context): ...")
    found = {one.file: one for one in check(root)[1]}
    assert (found["integrations/broken.py"].line, found["integrations/broken.py"].rule) == (1, "load")
    assert "The schedule of workflow 'cron' is no cron expression: 'every day' has 2 fields" in found["workflows/cron.py"].message
    assert found["workflows/run.py"].message.startswith("as a run loads it: DeterminismError: workspace/workflows/run.py:6: sys.modules")
    assert found["workflows/run.py"].line == 6


def test_options_that_nobody_provides_are_found(root: Path) -> None:
    """A parameter's data provider must be in the workspace."""
    [found] = _body(root, "...", decorators="@param('item', data_provider='sises')\n")
    assert (found.rule, found.message) == (
        "provider", "parameter 'item' of 'it': Data provider 'sises' not found. Did you mean 'sizes'?")


def test_inputs_of_a_data_provider_are_found_wanting(root: Path) -> None:
    """What it needs must be bound to a parameter, and what is bound must be something that it takes."""
    _write(root, "data_providers/of.py", HEAD + "@data_provider(name='of')\nasync def of(context, kind, colour=''): ...\n")
    _write(root, "workflows/it.py", HEAD + textwrap.dedent("""
        @workflow(name="it")
        @param("one", data_provider="of", data_provider_inputs={"kin": "two"})
        @param("two", data_provider="of", data_provider_inputs={"kind": "three", "colour": "three"})
        async def it(context, one: str, two: str, three: str): ...
    """))
    assert [(found.rule, found.message) for found in check(root)[1]] == [
        ("provider", "parameter 'one' of 'it': Input 'kin' not found. Did you mean 'kind'? The data provider 'of' takes: kind, colour"),
        ("provider", "parameter 'one' of 'it': the data provider 'of' needs kind: write data_provider_inputs={'kind': <a parameter>}")]


def test_data_providers_are_read(root: Path) -> None:
    """They may reach outside, and may neither pass checkpoints nor call what is not there."""
    _write(root, "data_providers/more.py", HEAD + textwrap.dedent("""
        @data_provider(name="more")
        @param("size", data_provider="sizes")
        async def more(context, size: str = ""):
            httpx.get(os.environ["A"])
            context.save_checkpoint("x")
            await context.get_integration("shop").sel()
    """))
    assert [(one.line, one.rule) for one in check(root)[1]] == [(9, "context"), (10, "integration")]


def test_packages_that_are_safe_are_not_found(root: Path) -> None:
    """What the settings list as workflow-safe may be used in a run."""
    assert [one.rule for one in _body(root, "httpx.URL('x')")] == ["determinism"]
    assert check(root, frozenset({"httpx"}))[1] == []


def test_findings_are_in_the_order_of_the_files(root: Path) -> None:
    """Sorted by file and line, each with all that is needed to mend it."""
    found = _body(root, "open('x')\ntime.sleep(1)")
    assert [str(one).split(" cannot")[0] for one in found] == [
        "workflows/it.py:10: determinism: open()", "workflows/it.py:11: determinism: time.sleep"]
    assert str(Finding("a.py", 0, "load", "why")) == "a.py: load: why"


def test_a_schedule_gives_no_parameters(root: Path) -> None:
    """So a workflow with one needs a default for each of its own: otherwise every execution of it would be refused."""
    _write(root, "workflows/audit.py", HEAD + "@workflow(name='audit', schedule='@daily')\nasync def audit(context, days: int, note: str = ''): ...\n")
    [found] = check(root)[1]
    assert (found.file, found.rule, found.message) == (
        "workflows/audit.py", "schedule", "a schedule gives 'audit' no parameters, and 'days' is required: give it a default")
