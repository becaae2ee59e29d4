"""A workflow's code, read: what its expressions stand for, without running the workflow.

The modules are loaded in the namespace that a run would have, so names mean here exactly what they would mean there: the
workspace's functions, an `@activity`, a stand-in that a run refuses. What only a run knows is followed through plain
assignments and arguments: the context, an integration that was got from it. What cannot be known so has no meaning here.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from bifrost.decorators import ACTIVITY_ATTRIBUTE
from bifrost.models import ActivityMetadata, WorkflowMetadata
from bifrost.workspace import determinism
from bifrost.workspace.guard import PACKAGE
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Context:
    """The context, or one of its members: `context.save_checkpoint` has the member `save_checkpoint`."""

    member: str | None = None


@dataclass(frozen=True, slots=True)
class Integration:
    """An integration that was got from the context, or one of its methods."""

    name: str
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the workspace, which a run executes."""

    function: FunctionType = field(compare=False)
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Activity:
    """An `@activity`."""

    metadata: ActivityMetadata


@dataclass(frozen=True, slots=True)
class Refused:
    """What a run may not use, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Value:
    """Anything else that is known: a module, a class, a constant."""

    value: Any = field(compare=False)


Meaning = Context | Integration | Function | Activity | Refused | Value


class Code:
    """One function of the workspace, and what the names in it stand for.

    Attributes:
        file: Relative to the workspace.
        node: Its syntax tree; line numbers are the file's.
    """

    def __init__(self, source: Source, function: FunctionType, file: str, node: FunctionNode, names: Mapping[str, Meaning]) -> None:
        self.file = file
        self.node = node
        self.given = dict(names)
        self._source = source
        self._globals = function.__globals__
        self._closure = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
        self._names: dict[str, Meaning | None] = dict(names)
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
            if argument is not None:
                self._names.setdefault(argument.arg, None)
        for statement in node.body:
            for inner in ast.walk(statement):
                self._bind(inner)

    def meaning(self, expression: ast.expr) -> Meaning | None:
        """What an expression stands for, as far as it is known."""
        match expression:
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=owner, attr=name):
                return self._attribute(self.meaning(owner), name)
            case ast.Await(value=inner) | ast.NamedExpr(value=inner):
                return self.meaning(inner)
            case ast.Call():
                return self._called(expression)
            case ast.Constant(value=value):
                return Value(value)
        return None

    def calls(self) -> Iterator[tuple[ast.Call, Meaning]]:
        """Every call in it whose function is known, in the order of the text."""
        found = [node for statement in self.node.body for node in ast.walk(statement) if isinstance(node, ast.Call)]
        for node in sorted(found, key=lambda one: (one.lineno, one.col_offset)):
            if (meaning := self.meaning(node.func)) is not None:
                yield node, meaning

    def into(self, call: ast.Call, function: Function) -> Code | None:
        """The code of a workspace function as this call calls it: its arguments stand for what they stand for here."""
        return self._given(function, call.args, call.keywords)

    def handed_over(self, call: ast.Call, member: str | None) -> Code | None:
        """The code of a workspace function that `context.map` or `context.on_failure` is given to call later."""
        function = self.meaning(call.args[0]) if call.args else None
        if not isinstance(function, Function):
            return None
        if member == "on_failure":
            return self._given(function, call.args[1:], call.keywords)
        names = list(inspect.signature(function.function).parameters)
        return self._source.code(function, {"context": Context()} if names[:1] == ["context"] else {})

    def _given(self, function: Function, args: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> Code | None:
        try:
            names = list(inspect.signature(function.function).parameters)
        except (TypeError, ValueError):
            return None
        given = dict(zip(names, args, strict=False)) | {one.arg: one.value for one in keywords if one.arg}
        meanings = {name: meaning for name, value in given.items()
                    if isinstance(meaning := self.meaning(value), Context | Integration)}
        return self._source.code(function, meanings)

    # --- names ---------------------------------------------------------------------------------------------------

    def _bind(self, statement: ast.AST) -> None:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.NamedExpr(target=ast.Name(id=name), value=value):
                self._assign(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._assign(name, value)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if len(targets) == len(values):
                for target, value in zip(targets, values, strict=True):
                    if isinstance(target, ast.Name):
                        self._assign(target.id, value)
            case ast.Import() | ast.ImportFrom():
                self._names.update(self._imported(statement))
            case (ast.Name(id=str(name), ctx=ast.Store()) | ast.arg(arg=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name))
                  | ast.MatchMapping(rest=str(name)) | ast.ExceptHandler(name=str(name)) | ast.FunctionDef(name=str(name))
                  | ast.AsyncFunctionDef(name=str(name)) | ast.ClassDef(name=str(name))):
                self._names.setdefault(name, None)

    def _assign(self, name: str, value: ast.expr) -> None:
        meaning = self.meaning(value)
        known = meaning if isinstance(meaning, Context | Integration | Function | Activity) else None
        # A name that means two things means nothing that is known.
        self._names[name] = known if self._names.get(name, known) == known else None

    def _imported(self, statement: ast.Import | ast.ImportFrom) -> dict[str, Meaning | None]:
        scope: dict[str, Any] = {name: self._globals[name] for name in ("__name__", "__package__", "__file__", "__builtins__") if name in self._globals}
        before = set(scope)
        try:
            with determinism.loading():
                exec(compile(ast.Module([statement], []), self.file, "exec"), scope)  # noqa: S102 - an import statement
        except Exception:  # noqa: BLE001 - what cannot be imported is found elsewhere
            return {alias.asname or alias.name.partition(".")[0]: None for alias in statement.names}
        return {name: self._source.meaning_of(value) for name, value in scope.items() if name not in before}

    def _named(self, name: str) -> Meaning | None:
        if name in self._names:
            return self._names[name]
        for scope in (self._closure, self._globals, self._globals.get("__builtins__", {}), vars(builtins)):
            if isinstance(scope, Mapping) and name in scope:
                return self._source.meaning_of(scope[name])
        return None

    def _attribute(self, owner: Meaning | None, name: str) -> Meaning | None:
        match owner:
            case Context(member=None):
                return Context(name)
            case Integration(name=integration, method=None):
                return Integration(integration, name)
            case Refused():
                return owner
            case Value(value=ModuleType() | type() as value):
                try:
                    return self._source.meaning_of(getattr(value, name))
                except AttributeError:
                    return None
        return None

    def _called(self, call: ast.Call) -> Meaning | None:
        if self.meaning(call.func) != Context("get_integration"):
            return None
        match call.args, call.keywords:
            case ([given], []) | ([], [ast.keyword(arg="name", value=given)]):
                name = self.meaning(given)  # a constant of the module is as good as a text
                return Integration(name.value) if isinstance(name, Value) and isinstance(name.value, str) else None
        return None


class Source:
    """A workflow's code, and that of every workspace function it calls.

    Attributes:
        metadata: The workflow, as a run would load it.
        entry: The workflow function itself.
    """

    def __init__(self, revision: Revision, metadata: WorkflowMetadata) -> None:
        self._revision = revision
        self.metadata = metadata
        entry = self.meaning_of(metadata.function)
        assert isinstance(entry, Function), "a workflow is a function of the workspace"
        context = next(iter(inspect.signature(metadata.function).parameters))
        code = self.code(entry, {context: Context()})
        assert code is not None, "a loaded function has its source"
        self.entry = code

    def functions(self) -> list[Code]:
        """The workflow and every workspace function that it calls, directly or not; each once for what it is given."""
        found: list[Code] = []
        waiting = [self.entry]
        seen: set[tuple[str, int, frozenset[tuple[str, Meaning]]]] = set()
        while waiting:
            code = waiting.pop(0)
            key = (code.file, code.node.lineno, frozenset(code.given.items()))
            if key in seen:
                continue
            seen.add(key)
            found.append(code)
            for call, meaning in code.calls():
                inner = None
                if isinstance(meaning, Function):
                    inner = code.into(call, meaning)
                elif isinstance(meaning, Context) and meaning.member in ("map", "on_failure"):
                    inner = code.handed_over(call, meaning.member)
                waiting += [inner] if inner is not None else []
        return found

    def code(self, function: Function, names: Mapping[str, Meaning]) -> Code | None:
        """The code of a function, whose arguments stand for what `names` says; None where the source has no such function."""
        node = _functions(self._revision, function.file).get(function.line)
        return Code(self, function.function, function.file, node, names) if node else None

    @staticmethod
    def meaning_of(value: Any) -> Meaning:
        """What an object stands for that was found in the run's namespace."""
        if why := determinism.refusal_of(value):
            return Refused(why)
        activity = getattr(value, ACTIVITY_ATTRIBUTE, None)
        if isinstance(activity, ActivityMetadata):
            return Activity(activity)
        if isinstance(value, FunctionType):
            function = inspect.unwrap(value)
            file = function.__code__.co_filename
            if isinstance(function, FunctionType) and file.startswith(f"{PACKAGE}/"):
                return Function(function, file.removeprefix(f"{PACKAGE}/"), function.__code__.co_firstlineno)
        return Value(value)


@functools.lru_cache(maxsize=1024)
def _functions(revision: Revision, file: str) -> dict[int, FunctionNode]:
    """Every function of a file, by the line where it begins: that of its first decorator, as code objects have it."""
    return {min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]): node
            for node in ast.walk(ast.parse(revision.files[file])) if isinstance(node, FunctionNode)}


def read(revision: Revision, path: str, name: str, safe: frozenset[str] = frozenset()) -> Source:
    """Read the workflow `name`, which the file at `path` of the revision defines.

    Args:
        revision: Whose source is read.
        path: Relative to the workspace.
        name: The workflow's name.
        safe: Packages that a run may use, beside those of the standard library that only compute.

    Raises:
        NotFoundError: the file does not define it.
        Exception: whatever loading the file in a run would raise.
    """
    return Source(revision, Namespace(revision, safe).workflow(path, name))
