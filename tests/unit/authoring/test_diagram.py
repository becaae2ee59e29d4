"""Workflows as flowcharts: what is drawn of their code, and what leads where."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from bifrost.authoring import scaffold
from bifrost.authoring.diagram import diagram
from bifrost.errors import NotFoundError
from bifrost.workspace.revision import Revision, snapshot

SAMPLE = Path(__file__).parents[3] / "workspace"
PATH = "workflows/flow.py"
HEAD = """
import asyncio
import random

from bifrost import IntegrationError, ValidationError, WorkflowException, activity, workflow
from workspace.utils.parts import *

NAME, SYSTEM = "by_constant", "msgraph"


@workflow(name="flow")
async def flow(context, a=1, b=2):
    graph = context.get_integration("msgraph")
"""


def draw(body: str, parts: str = "", more: str = "") -> str:
    """The chart of a workflow with this body, `parts` in a file of its own, and `more` below the workflow."""
    return diagram(Revision({PATH: HEAD + textwrap.indent(textwrap.dedent(body), "    ") + "\n\n" + textwrap.dedent(more),
                             "utils/parts.py": f"from bifrost import *\n{textwrap.dedent(parts)}"}), PATH, "flow")


def flow(body: str, parts: str = "", more: str = "") -> list[str]:
    """The chart's edges by what the nodes say; the first node is called `start`."""
    chart = draw(body, parts, more)
    nodes = {**dict(re.findall(r'^    (n\d+)\W+"(.*)"\W+$', chart, re.MULTILINE)), "n1": "start"}
    edges = re.findall(r'^    (n\d+) (-->|-\.->)(?:\|"(.*)"\|)? (n\d+)$', chart, re.MULTILINE)
    assert len(nodes) + len(edges) + 1 == chart.count("\n")
    assert {target for *_, target in edges} == set(nodes) - {"n1"}  # everything that is drawn is reached
    return [f"{nodes[one]} {'-' if arrow == '-->' else '.'}{label}> {nodes[other]}" for one, arrow, label, other in edges]


def test_what_is_drawn_and_how():
    """Each kind of step has its shape: integration, activity and child workflow; checkpoint; event and sleep; ends."""
    assert draw("""
        await graph.create_user(a)
        context.save_checkpoint("created", {})
        await context.execute_workflow("child", {})
        await look_up(a)
        await context.wait_for_event("approved", timeout=60)
        await asyncio.sleep(60)
        return {"a": 1, "b": 2}
    """, "@activity\ndef look_up(x): ...") == textwrap.dedent("""\
        flowchart TD
            n1(["flow<br/>a, b"])
            n2[["msgraph.create_user"]]
            n3("checkpoint created")
            n4[["workflow child"]]
            n5[["look_up"]]
            n6[/"wait for event approved"/]
            n7[/"sleep 60 s"/]
            n8(["return a, b"])
            n1 --> n2
            n2 --> n3
            n3 --> n4
            n4 --> n5
            n5 --> n6
            n6 --> n7
            n7 --> n8
        """)


def test_a_workflow_without_parameters_or_steps():
    """There is a beginning and an end."""
    revision = Revision({PATH: "from bifrost import workflow\n@workflow(name='flow')\nasync def f(context):\n    x = len('a')\n"})
    assert diagram(revision, PATH, "flow") == (
        'flowchart TD\n    n1(["flow<br/>no parameters"])\n    n2(["return"])\n    n1 --> n2\n')


def test_a_workflow_that_is_not_there():
    """The error is that of a run."""
    with pytest.raises(NotFoundError):
        diagram(Revision({PATH: ""}), PATH, "flow")


@pytest.mark.parametrize(("call", "said"), [
    ("context.save_checkpoint(NAME)", "checkpoint by_constant"),
    ("context.save_checkpoint(name='x')", "checkpoint x"),
    ("await context.save_checkpoint(f'user_{a}_{b + 1!r}')", "checkpoint user_{a}_{b + 1}"),
    ("context.save_checkpoint(str(a))", "checkpoint str(a)"),
    ("context.save_checkpoint()", "checkpoint …"),
    (f"context.save_checkpoint('{'x' * 99}')", f"checkpoint {'x' * 59}…"),
    ("await context.get_integration(SYSTEM).get_user(a)", "msgraph.get_user"),
    ("x = (await context.get_integration(name='msgraph').get_user(a))['id']", "msgraph.get_user"),
    ("await context.wait_for_event(name=NAME)", "wait for event by_constant"),
    ("await asyncio.sleep(delay=a * 2)", "sleep a * 2 s"),
    ("await asyncio.wait_for(graph.get_user(a), 5)", "msgraph.get_user"),
    ("async with asyncio.timeout(5):\n    await graph.get_user(a)", "msgraph.get_user"),
    ("asyncio.create_task(graph.get_user(a))", "msgraph.get_user"),
])
def test_a_step_is_called_what_it_says(call, said):
    """Constants and f-strings are read; what only a run knows stands as it is written, shortened."""
    assert flow(call) == [f"start -> {said}", f"{said} -> return"]


@pytest.mark.parametrize("call", [
    "context.log('info', 'x')", "x = context.get_config('y')", "random.random()", "await asyncio.sleep(0)", "x: int", "f = graph",
    "f = lambda: graph.get_user(a)", "if a:\n    b = 2\nelse:\n    b = 3", "for x in b:\n    if x:\n        continue",
    "while a:\n    break", "try:\n    b = int(a)\nexcept ValueError:\n    b = 0", "match a:\n    case 1:\n        b = 2",
    "x = [y for y in b if y]", "x = a and b or 3", "x = 1 if a else 2", "async def f():\n    await graph.get_user(a)",
    "class A:\n    def f(self):\n        graph.get_user(a)", "await asyncio.gather(context.get_secret('x'))",
])
def test_everything_else_is_left_out(call):
    """A branch, loop or `try` around nothing is nothing, and a definition is no call."""
    assert flow(call) == ["start -> return"]


def test_branches():
    """`elif` leads from the `no`; an arm that ends leads nowhere, and the others come together."""
    assert flow("""
        if a > 3 and b == "x":
            await graph.one()
        elif b:
            raise ValidationError("no")
        else:
            context.log("info", "nothing to see")
        if not a:
            return None
        await graph.two()
    """) == [
        "start -> a #gt; 3 and b == 'x'", "a #gt; 3 and b == 'x' -yes> msgraph.one", "a #gt; 3 and b == 'x' -no> b",
        "b -yes> raise ValidationError", "msgraph.one -> not a", "b -no> not a", "not a -yes> return", "not a -no> msgraph.two",
        "msgraph.two -> return"]


def test_branches_within_expressions():
    """`x if y else z`, `and` and `or` decide what is called; a call in a condition comes before the branch."""
    assert flow("x = await graph.one() if a else await graph.two()") == [
        "start -> a", "a -yes> msgraph.one", "a -no> msgraph.two", "msgraph.one -> return", "msgraph.two -> return"]
    assert flow("x = a and b and await graph.one()") == [
        "start -> a and b", "a and b -yes> msgraph.one", "msgraph.one -> return", "a and b -no> return"]
    assert flow("x = await graph.one() or await graph.two()") == [
        "start -> msgraph.one", "msgraph.one -> graph.one()", "graph.one() -no> msgraph.two", "msgraph.two -> return",
        "graph.one() -yes> return"]
    assert flow("if await graph.one():\n    return 1") == [
        "start -> msgraph.one", "msgraph.one -> graph.one()", "graph.one() -yes> return 1", "graph.one() -no> return"]


def test_match():
    """Each case is an arm; what none takes goes on."""
    body = ("match a:\n    case 'x' | \"y\":\n        await graph.one()\n    case {'k': v} if v:\n        return v\n"
            "    case Z():\n        pass\n")
    edges = ["start -> match a", "match a -'x' | 'y'> msgraph.one", "match a -{'k': v} if v> return v"]
    assert flow(body) == [*edges, "msgraph.one -> return", "match a -Z(), otherwise> return"]
    assert flow(f"{body}    case _:\n        return 2") == [
        *edges, "match a -otherwise> return 2", "msgraph.one -> return", "match a -Z()> return"]


def test_loops():
    """The end of a turn leads back; `break` leaves the loop, past its `else`; what is gone through is fetched once."""
    assert flow("""
        for user in await graph.users():
            if user:
                continue
            if a:
                break
            await graph.one(user)
        else:
            await graph.two()
    """) == [
        "start -> msgraph.users", "msgraph.users -> for user in graph.users()", "for user in graph.users() -each> user",
        "user -yes> for user in graph.users()", "user -no> a", "a -no> msgraph.one", "msgraph.one -> for user in graph.users()",
        "for user in graph.users() -done> msgraph.two", "msgraph.two -> return", "a -yes> return"]
    assert flow("async for page in graph.pages():\n    await graph.one(page)")[-2:] == [
        "msgraph.one -> for page in graph.pages()", "for page in graph.pages() -done> return"]


def test_while():
    """A call in the condition is made before each turn; `while True` ends only by `break` or `return`."""
    assert flow("while not await graph.ready():\n    await asyncio.sleep(5)") == [
        "start -> msgraph.ready", "msgraph.ready -> while not graph.ready()", "while not graph.ready() -yes> sleep 5 s",
        "sleep 5 s -> msgraph.ready", "while not graph.ready() -no> return"]
    assert flow("while True:\n    await graph.one()\nawait graph.never()") == [
        "start -> while True", "while True -> msgraph.one", "msgraph.one -> while True"]
    assert flow("while True:\n    if await graph.one():\n        break")[-2:] == [
        "graph.one() -no> while True", "graph.one() -yes> return"]


def test_comprehensions_are_loops():
    """What they are filtered by stands with what they go through."""
    assert flow("x = {u: await graph.one(u) for u in a if u}") == [
        "start -> for u in a if u", "for u in a if u -each> msgraph.one", "msgraph.one -> for u in a if u", "for u in a if u -done> return"]


def test_errors():
    """A handler's edge says what it catches; an error of a known class leads to the handler that a run would find."""
    assert flow("""
        try:
            await graph.one()
            if a:
                raise IntegrationError("x")
        except ValidationError:
            return 1
        except (KeyError, WorkflowException) as error:
            raise ValidationError("y") from error
        except Exception:
            raise
        else:
            await graph.two()
    """) == [
        "start -> try", "try -> msgraph.one", "msgraph.one -> a", "a -yes> raise IntegrationError", "a -no> msgraph.two",
        "try .except ValidationError> return 1", "try .except KeyError, WorkflowException> raise ValidationError",
        "raise IntegrationError .> raise ValidationError", "try .except Exception> raise", "msgraph.two -> return"]


@pytest.mark.parametrize(("handler", "raised", "caught"), [
    ("except:", "ValueError", True), ("except Exception:", "made(a)", True), ("except KeyError:", "made(a)", False),
    ("except LookupError:", "KeyError", True), ("except KeyError:", "LookupError('x')", False), ("except Unknown:", "KeyError", False)])
def test_what_is_not_known_is_caught_by_what_catches_everything(handler, raised, caught):
    """An error that nothing here catches ends the workflow."""
    edges = flow(f"try:\n    await graph.one()\n    raise {raised}\n{handler}\n    await graph.two()")
    assert (f"raise {raised.removesuffix('(a)').removesuffix(chr(40) + repr('x') + ')')} .> msgraph.two" in edges) is caught
    assert "msgraph.two -> return" in edges


def test_an_error_that_is_swallowed_goes_on():
    """A handler with nothing in it is drawn where an error is raised that it catches, and left out otherwise."""
    assert flow("try:\n    if a:\n        raise KeyError\n    await graph.one()\nexcept KeyError:\n    pass") == [
        "start -> try", "try -> a", "a -yes> raise KeyError", "a -no> msgraph.one", "msgraph.one -> return",
        "try .except KeyError> return", "raise KeyError .> return"]
    assert flow("try:\n    await graph.one()\nexcept KeyError:\n    pass") == ["start -> msgraph.one", "msgraph.one -> return"]


def test_finally():
    """Everything that leaves a `try` goes through its `finally`, also what returns or raises; then nothing goes on."""
    assert flow("try:\n    await graph.one()\nfinally:\n    await graph.two()") == [
        "start -> msgraph.one", "msgraph.one -finally> msgraph.two", "msgraph.two -> return"]
    assert flow("""
        try:
            if a:
                return 1
            raise KeyError
        except ValueError:
            raise
        finally:
            await graph.two()
        await graph.never()
    """) == [
        "start -> try", "try -> a", "a -yes> return 1", "a -no> raise KeyError", "try .except ValueError> raise",
        "return 1 -finally> msgraph.two", "raise KeyError -finally> msgraph.two", "raise -finally> msgraph.two"]


def test_gathered_calls_are_parallel():
    """They part and come together; one call alone does not."""
    assert flow("x, y = await asyncio.gather(graph.one(a), graph.two(b), context.get_secret('s'))") == [
        "start -> at the same time", "at the same time -> msgraph.one", "at the same time -> msgraph.two",
        "msgraph.one -> all done", "msgraph.two -> all done", "all done -> return"]
    assert flow("await asyncio.gather(graph.one(a))") == ["start -> msgraph.one", "msgraph.one -> return"]


@pytest.mark.parametrize("gathered", [
    "await asyncio.gather(*(graph.one(u) for u in a))",
    "calls = [graph.one(u) for u in a]\nawait asyncio.gather(*calls, return_exceptions=True)",
    "calls = [asyncio.create_task(graph.one(u)) for u in a]\nawait asyncio.gather(*calls)"])
def test_a_gathered_list_is_parallel_for_each(gathered):
    """However the list is spelled, its calls stand where they are awaited together."""
    assert flow(gathered) == ["start -> at the same time", "at the same time -for u in a> msgraph.one", "msgraph.one -> all done",
                              "all done -> return"]


def test_what_is_gathered_may_have_been_made_anywhere():
    """What cannot be found stands where it is made."""
    assert flow("x = []\nx.append(graph.one())\nawait asyncio.gather(*x)") == ["start -> msgraph.one", "msgraph.one -> return"]
    assert flow("x = a or [graph.one()]\nawait asyncio.gather(*x)")[-2:] == ["msgraph.one -> return", "a -yes> return"]


def test_gathered_names_stand_for_what_they_were_given():
    """Tasks and coroutines that are made first and gathered later, in a list or one by one."""
    expected = ["start -> at the same time", "at the same time -> msgraph.one", "at the same time -> msgraph.two",
                "msgraph.one -> all done", "msgraph.two -> all done", "all done -> return"]
    assert flow("x = graph.one()\ny = asyncio.create_task(graph.two())\nawait asyncio.gather(x, y)") == expected
    assert flow("x = [graph.one(), graph.two()]\nawait asyncio.gather(*x)") == expected

PARTS = """
    async def find(graph, name):
        if not name:
            return None
        found = await graph.find(name)
        return found[0] if found else None

    def checked(x):
        if x < 0:
            raise ValueError("negative")
        return x

    def pure(x):
        for y in x:
            if y:
                return pure(y)
        return 1

    negative = lambda x: checked(-x)

    async def tree(graph, node):
        await graph.visit(node)
        for child in node:
            await tree(graph, child)

    async def closing(graph):
        try:
            if graph:
                return await graph.one()
        finally:
            await graph.two()
        await graph.three()
"""


def test_workspace_functions_are_drawn_where_they_are_called():
    """Their `return` leads on behind the call; what they do last is no end; a second call names the function."""
    assert flow("await find(graph, a)\nawait find(graph, b)", PARTS) == [
        "start -> not name", "not name -no> msgraph.find", "msgraph.find -> find", "not name -yes> find", "find -> return"]


def test_a_function_for_another_integration_is_drawn_again():
    """What is called differs, so it is another picture."""
    assert flow("await find(graph, a)\nawait find(context.get_integration('crm'), b)", PARTS)[-3:] == [
        "not name -no> crm.find", "crm.find -> return", "not name -yes> return"]


def test_functions_that_only_compute_are_left_out():
    """One that raises is not: an error ends the workflow."""
    assert flow("pure(a)\npure(b)\nnegative(a)", PARTS) == ["start -> return"]
    assert flow("checked(a)", PARTS) == ["start -> x #lt; 0", "x #lt; 0 -yes> raise ValueError", "x #lt; 0 -no> return"]


def test_recursion_ends():
    """A function that calls itself is named where it does."""
    assert flow("await tree(graph, a)", PARTS) == [
        "start -> msgraph.visit", "msgraph.visit -> for child in node", "for child in node -each> tree",
        "tree -> for child in node", "for child in node -done> return"]


def test_a_return_within_a_function_goes_through_finally():
    """Behind it, both what returned and what ended leads on as it should."""
    assert flow("await closing(graph)", PARTS) == [
        "start -> graph", "graph -yes> msgraph.one", "graph -no, finally> msgraph.two", "msgraph.one -finally> msgraph.two",
        "msgraph.two -> msgraph.three", "msgraph.three -> return", "msgraph.two -> return"]


def test_functions_within_the_workflow_are_drawn_too():
    """They see what the workflow sees."""
    assert flow("""
        async def onboard(user):
            if not user:
                return
            await graph.one(user)
        await asyncio.gather(*(onboard(user) for user in a))
    """) == ["start -> at the same time", "at the same time -for user in a> not user", "not user -no> msgraph.one",
             "msgraph.one -> all done", "not user -yes> all done", "all done -> return"]


def test_a_function_below_the_workflow_is_drawn():
    """Where it stands does not matter."""
    assert flow("await later(context)", more="async def later(c):\n    c.save_checkpoint('late')") == [
        "start -> checkpoint late", "checkpoint late -> return"]


def test_any_text_is_safe():
    """Conditions, names and patterns hold whatever a person writes; long ones are cut."""
    nasty = """%%{init: {}}%% "quotes" [x] (y) {z} | `t` ; end # &lt; \\\\ 場所"""
    chart = draw(f"if a == {nasty!r}:\n    context.save_checkpoint({nasty!r})\nif {' and '.join(['a > b'] * 50)}:\n    return {nasty!r}")
    assert '("checkpoint #37;#37;{init: {}}#37;#37; #quot;quotes#quot; [x] (y) {z} | #96;t#96; ; end #35; #amp;' in chart
    assert max(map(len, re.sub(r"#\w+;", "?", chart).splitlines())) < 90


def test_nothing_is_executed_but_the_top_of_modules():
    """What a run would be refused is drawn as well as anything."""
    assert flow("open('/nowhere')\nawait graph.one()\nraise SystemExit") == [
        "start -> msgraph.one", "msgraph.one -> raise SystemExit"]


@pytest.mark.parametrize("file", sorted(SAMPLE.rglob("workflow.py")), ids=lambda file: file.parent.name)
def test_the_samples_have_their_diagrams(file):
    """Each `diagram.mmd` of the sample workspace is what `bifrost diagram --write` would write now."""
    path = file.relative_to(SAMPLE).as_posix()
    assert file.with_name("diagram.mmd").read_text("utf-8") == diagram(snapshot(SAMPLE), path, file.parent.name)


def test_a_new_workflow_has_its_diagram():
    """What `bifrost new workflow` writes fits the workflow that it writes."""
    files = scaffold.workflow("offboard").files
    path = "workflows/general/offboard/workflow.py"
    assert files["workflows/general/offboard/diagram.mmd"] == diagram(Revision({path: files[path]}), path, "offboard")
