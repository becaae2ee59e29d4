"""Stand-ins: what a module's top level may do with them, and that a run may do nothing."""

from __future__ import annotations

import contextvars
import math
import operator
import os

import pytest

from bifrost.errors import DeterminismError
from bifrost.workspace import determinism
from bifrost.workspace.determinism import RefusedModule, loading, stand_in
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision
from tests.still import StillRun

TOP_LEVEL = [
    "os.environ['X'] = '1'", "del os.environ['X']",
    "os.environ.setdefault('A', 'b')", "WORKERS = os.cpu_count() * 2 + 1", "WORKERS = 2 * (os.cpu_count() // 2) - 1", "N = 1 - os.getpid() % 7",
    "SAME = os.getenv('X') == '1'", "N = -os.getpid() ** 2 / 3", "N = 3 / os.getpid()", "N = 2 ** os.getpid() | 1 & os.getpid() ^ 3", "N = ~os.getpid() << 1 >> 1", "N = +abs(os.getpid())",
    "N = round(os.times().user)",
    "P = pathlib.Path(__file__).parent / 'x' / 'y'", "P = 'x' / pathlib.Path('y')", "T = pathlib.Path('x').read_text().splitlines()[0]", "L = threading.Lock()",
    "with threading.Lock() as lock:\n    INSIDE = 1",
    "N = next(itertools.count())", "S = os.environ['A'].lower().split(',')",
    "S = 'https://' + os.environ['HOST'] + '/v1'", "S = os.environ['A'] % 1",
    "R = httpx.Client(timeout=httpx.Timeout(5, connect=1))",
    "class A(httpx.Auth):\n    x = 1", "class E(httpx.HTTPError, ValueError): ...", "class G(lib.Base[int]): ...", "def f(a: httpx.Client | None = None) -> 'x': ...",
    "@lib.retry(times=3)\ndef f(): ...", "@lib.app.route('/x')\nasync def f(): ...", "X: dict[str, httpx.Client] = {}", "from typing import Optional\nX = Optional[httpx.Client]",
    "M = {httpx.Client: 1}[httpx.Client]", "M = lib.a @ lib.b", "M = lib.a >= lib.b, lib.a <= 1, lib.a < 1", "from lib.sub.deep import thing\nthing.x.y()",
    "import lib.sub.deep as d\nd.thing()"]


PLAIN = [
    "int(os.environ.get('LIMIT', '30'))", "float(os.getenv('RATE'))", "range(os.cpu_count())", "len(os.environ)", "[1][os.getpid()]",
    "os.path.join(os.environ['HOME'], 'x')", "'HOME' in os.environ", "[x for x in os.listdir()]", "next(iter(os.environ), None)",
    "list(reversed(os.listdir()))", "'%s' % os.environ['HOST']", "f\"{os.environ['HOST']}/v1\"", "str(os.getenv('X'))", "bool(os.getenv('DEBUG'))",
    "not os.getenv('Y')", "1 if os.getenv('X') == '1' else 2", "os.getenv('DRY', 'true').lower() == 'true' or 1", "round(os.times().user) + 0 or 1"]


@pytest.mark.parametrize("expression", PLAIN)
def test_a_top_level_makes_no_plain_value_of_what_is_refused(expression: str) -> None:
    """A number, a text or a decision made of the machine's answer is refused at once: later, nobody could tell it from a real one."""
    with determinism.running(StillRun()), pytest.raises(DeterminismError, match=r"^workspace/a\.py:2: os\."):
        Namespace(Revision({"a.py": f"import os\nVALUE = {expression}"})).load("workspace.a")


@pytest.mark.parametrize("line", TOP_LEVEL)
def test_a_top_level_may_do_anything_with_what_is_refused(line: str) -> None:
    """A file is loaded for its workflow even where its integration reads the environment or builds a client beside it."""
    with determinism.running(StillRun()):
        Namespace(Revision({"a.py": f"import os, pathlib, threading, httpx, itertools, lib\n{line}"})).load("workspace.a")


USES = {
    "call": lambda x: x(), "attribute": lambda x: x.deeper.still(), "item": lambda x: x["a"], "set": lambda x: operator.setitem(x, "a", 1), "delete": lambda x: operator.delitem(x, "a"),
    "length": len, "number": int, "fraction": float, "index": range, "path": os.fspath, "truth": bool, "in": lambda x: 1 in x, "loop": list, "next": next,
    "reversed": reversed, "add": lambda x: x + 1, "radd": lambda x: "a" + x, "sub": lambda x: x - 1, "rsub": lambda x: 1 - x, "mul": lambda x: x * 2, "rmul": lambda x: 2 * x,
    "div": lambda x: x / 2, "rdiv": lambda x: 2 / x, "floor": lambda x: x // 2, "rfloor": lambda x: 2 // x, "mod": lambda x: x % 2, "rmod": lambda x: 2 % x,
    "pow": lambda x: x ** 2, "rpow": lambda x: 2 ** x, "matmul": lambda x: x @ x, "neg": lambda x: -x, "pos": lambda x: +x, "abs": abs, "invert": lambda x: ~x, "and": lambda x: x & 1,
    "rand": lambda x: 1 & x, "or": lambda x: x | 1, "ror": lambda x: 1 | x, "xor": lambda x: x ^ 1, "rxor": lambda x: 1 ^ x, "lshift": lambda x: x << 1, "rshift": lambda x: x >> 1,
    "round": round, "text": str, "format": format, "equal": lambda x: x == "a", "unequal": lambda x: x != 1, "less": lambda x: x < 1, "more": lambda x: x > 1, "at most": lambda x: x <= 1, "at least": lambda x: x >= 1, "floor of": math.floor,
    "with": lambda x: x.__class__.__enter__(x), "leave": lambda x: x.__class__.__exit__(x, None, None, None), "await": lambda x: x.__class__.__await__(x)}


@pytest.mark.parametrize("use", USES)
def test_any_use_inside_a_run_is_refused(use: str) -> None:
    """After loading, whatever is done with a stand-in raises; nothing goes on with a made-up value."""
    thing = stand_in("lib.thing", "do something else")
    with pytest.raises(DeterminismError, match=r"lib\.thing.* cannot be used inside a workflow.*: do something else"):
        USES[use](thing)


@pytest.mark.parametrize("error", ["lib.Error", "lib.Error('x')", "Own('x')", "Own"])
def test_raising_a_refused_error_is_refused(error: str) -> None:
    """Another library's error means nothing to a run, which could not have got it."""
    module = Namespace(Revision({"a.py": f"import lib\nclass Own(lib.Error): ...\ndef f():\n    raise {error}"})).load("workspace.a")
    with pytest.raises(DeterminismError, match=r"workspace/a\.py:4: lib\.Error"):
        module.f()


def test_refused_errors_catch_nothing() -> None:
    """In an `except` clause, alone or among others, they let everything pass."""
    module = Namespace(Revision({"a.py": """
import lib
class Own(lib.Error): ...
def f(error):
    try:
        raise error
    except (lib.Error, lib.errors.Timeout, Own):
        return "refused"
    except lib.Other:
        return "refused"
    except Exception as caught:
        return isinstance(caught, lib.Error), issubclass(type(caught), lib.Error), issubclass(Own, lib.Error)
"""})).load("workspace.a")
    assert module.f(ValueError()) == (False, False, True)


def test_an_error_inside_a_refused_with_block_is_not_swallowed() -> None:
    """A stand-in's `with` block lets errors out."""
    with pytest.raises(ZeroDivisionError), loading(), stand_in("lib.lock"):
        _ = 1 / 0


def test_stand_ins_say_what_they_are() -> None:
    """Printed, a stand-in names what it stands for, so that a text made of it at the top level explains itself."""
    assert repr(stand_in("os.environ")) == "<os.environ: not inside a workflow>"
    assert stand_in("os.environ").__doc__ == "Refused: os.environ"
    assert repr(RefusedModule("lib")) == "<module 'lib'>"
    assert RefusedModule("lib").a is not RefusedModule("lib").a
    module = RefusedModule("lib")
    assert module.a is module.a
    assert module.a.b is module.a.b
    for thing in (module, module.a):
        with pytest.raises(AttributeError):
            _ = thing.__wrapped__


def test_a_run_is_current_only_inside() -> None:
    """Outside there is none, runs nest, and a run that is closed from another context (an evicted one) is no error."""
    first, second = StillRun(), StillRun()
    assert determinism.current() is None
    with determinism.running(first):
        with determinism.running(second):
            assert determinism.current() is second
        assert determinism.current() is first
    assert determinism.current() is None
    entered = determinism.running(first)
    contextvars.copy_context().run(entered.__enter__)
    entered.__exit__(None, None, None)
    assert determinism.current() is None


def test_a_refusal_of_a_package_names_its_line() -> None:
    """Code in the workspace's own `__init__.py` is workspace code, too."""
    module = Namespace(Revision({"__init__.py": "import lib\ndef f():\n    lib.x()"})).load("workspace")
    with pytest.raises(DeterminismError, match=r"^workspace/__init__\.py:3: lib\.x"):
        module.f()
