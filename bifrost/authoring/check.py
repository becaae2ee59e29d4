"""Everything that a run would refuse, found before anything runs.

The modules of the workspace are loaded, live and as a run would load them; workflows are read, not executed. What is found
is what the same rules would say later: the guard's of imports, the namespace's of what a run may not use, discovery's of
what cannot be loaded, and the catalog's of names.
"""

from __future__ import annotations

import ast
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifrost.authoring.source import Activity, Code, Context, Function, Integration, Meaning, Refused, Source
from bifrost.context import OrganizationContext
from bifrost.decorators import DATA_PROVIDER_ATTRIBUTE
from bifrost.errors import NotFoundError
from bifrost.integrations.registry import methods
from bifrost.models import DataProviderMetadata, ParameterMetadata, WorkflowMetadata
from bifrost.workspace import guard
from bifrost.workspace.catalog import Catalog
from bifrost.workspace.discovery import discover
from bifrost.workspace.finder import module_name
from bifrost.workspace.guard import PACKAGE
from bifrost.workspace.loader import Namespace
from bifrost.workspace.revision import Revision, snapshot

_WORKFLOWS_OWN = ("save_checkpoint", "execute_workflow", "wait_for_event")
"""Members of the context that only a workflow may use."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that would fail later.

    Attributes:
        file: Relative to the workspace.
        line: The line in it; 0 where no line is to blame.
        rule: load, import, determinism, await, integration, arguments, workflow, provider, schedule or context.
        message: What is wrong, and the cure.
    """

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}" if self.line else f"{self.file}: {self.rule}: {self.message}"


def check(root: Path, safe: frozenset[str] = frozenset()) -> tuple[Catalog, list[Finding]]:
    """Check a workspace: its catalog, and what is wrong, in the order of the files.

    Args:
        root: The workspace.
        safe: Packages that a run may use, beside those of the standard library that only compute.

    Raises:
        ConfigurationError: there is no such folder, or a file is not UTF-8.
    """
    revision = snapshot(root)
    catalog = discover(root, revision)
    found = list(_imports(revision))
    said = {(one.file, one.line) for one in found}
    found += [Finding(failure.file, failure.line or 0, "load", failure.reason) for failure in catalog.failures
              if (failure.file, failure.line) not in said]
    for entry in catalog.workflows.values():
        found += _of_parameters(entry.metadata, entry.path, catalog)
        found += _of_schedule(entry.metadata, entry.path)
        found += _read(revision, entry.path, entry.metadata, catalog, safe)
    for provider in catalog.data_providers.values():
        path = Path(provider.source.file).relative_to(root.resolve()).as_posix()
        found += _of_parameters(provider, path, catalog)
        found += _read(revision, path, provider, catalog, safe)
    return catalog, sorted(set(found))


# --- imports ------------------------------------------------------------------------------------------------------------


def _imports(revision: Revision) -> Iterator[Finding]:
    for path, source in revision.files.items():
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue  # discovery says so, where it matters
        module = module_name(path)
        package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
        for node in ast.walk(tree):
            for name, fromlist in _named_modules(node, {"__package__": package, "__file__": path}):
                if why := guard.fault(name, module, fromlist):
                    yield Finding(path, getattr(node, "lineno", 0), "import", why)


def _named_modules(node: ast.AST, namespace: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The modules that a statement, or a call of `import_module` or `__import__`, names."""
    match node:
        case ast.Import(names=names):
            return [(alias.name, []) for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            try:
                return [(guard.absolute_name(module or "", namespace, level), [alias.name for alias in names])]
            except ImportError:
                return []
        case ast.Call(func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="__import__" | "import_module"),
                      args=[ast.Constant(value=str(name)), *_]) if not name.startswith("."):
            return [(name, [])]
    return []


# --- names in decorators ------------------------------------------------------------------------------------------------


def _of_parameters(metadata: WorkflowMetadata | DataProviderMetadata, path: str, catalog: Catalog) -> Iterator[Finding]:
    for parameter in metadata.parameters:
        name = parameter.data_provider
        if name and name not in catalog.data_providers:
            yield Finding(path, metadata.source.line, "provider", f"parameter '{parameter.name}' of '{metadata.name}': "
                          f"{NotFoundError.of('Data provider', name, catalog.data_providers)}")
        elif name:
            for why in _of_inputs(parameter, catalog.data_providers[name]):
                yield Finding(path, metadata.source.line, "provider", f"parameter '{parameter.name}' of '{metadata.name}': {why}")


def _of_inputs(parameter: ParameterMetadata, provider: DataProviderMetadata) -> Iterator[str]:
    """What is wrong with what a data provider is given for a parameter."""
    known = {one.name: one for one in provider.parameters}
    for name in parameter.data_provider_inputs:
        if name not in known:
            yield str(NotFoundError.of("Input", name, known, f"The data provider '{provider.name}' takes: {', '.join(known) or 'none'}"))
    missing = [name for name, one in known.items() if one.required and name not in parameter.data_provider_inputs]
    if missing:
        yield (f"the data provider '{provider.name}' needs {', '.join(missing)}: write "
               f"data_provider_inputs={{{', '.join(f'{name!r}: <a parameter>' for name in missing)}}}")


def _of_schedule(metadata: WorkflowMetadata, path: str) -> Iterator[Finding]:
    if metadata.schedule:
        for parameter in metadata.parameters:
            if parameter.required and parameter.default_value is None:
                yield Finding(path, metadata.source.line, "schedule", f"a schedule gives '{metadata.name}' no parameters, and "
                              f"'{parameter.name}' is required: give it a default")


# --- code ---------------------------------------------------------------------------------------------------------------


def _read(revision: Revision, path: str, metadata: WorkflowMetadata | DataProviderMetadata, catalog: Catalog,
          safe: frozenset[str]) -> list[Finding]:
    try:
        source = Source(revision, _as_a_run_has_it(revision, path, metadata, safe))
    except Exception as error:  # noqa: BLE001 - whatever loading the file in a run raises
        file, line = _place(error, path)
        return [Finding(file, line, "load", f"as a run loads it: {type(error).__name__}: {error}")]
    inside = isinstance(metadata, WorkflowMetadata)
    return [finding for code in source.functions() for finding in _Checker(code, catalog, in_workflow=inside).findings()]


def _as_a_run_has_it(revision: Revision, path: str, metadata: WorkflowMetadata | DataProviderMetadata,
                     safe: frozenset[str]) -> Any:
    namespace = Namespace(revision, safe)
    if isinstance(metadata, WorkflowMetadata):
        return namespace.workflow(path, metadata.name)
    found = vars(namespace.load(module_name(path))).values()
    return next(one for value in found if isinstance(one := getattr(value, DATA_PROVIDER_ATTRIBUTE, None), DataProviderMetadata)
                and one.name == metadata.name)


def _place(error: BaseException, path: str) -> tuple[str, int]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(f"{PACKAGE}/")]
    return (frames[-1].filename.removeprefix(f"{PACKAGE}/"), frames[-1].lineno or 0) if frames else (path, 0)


class _Checker:
    """What is wrong in one function."""

    def __init__(self, code: Code, catalog: Catalog, *, in_workflow: bool) -> None:
        self._code = code
        self._catalog = catalog
        self._in_workflow = in_workflow

    def findings(self) -> Iterator[Finding]:
        for call, meaning in self._code.calls():
            for rule, message in self._of_call(call, meaning):
                yield self._finding(call, rule, message)
        for statement in self._code.node.body:
            yield from self._of_members(statement)
            yield from self._never_awaited(statement)
            if self._in_workflow:
                yield from self._refused(statement)

    def _finding(self, node: ast.expr, rule: str, message: str) -> Finding:
        return Finding(self._code.file, node.lineno, rule, message)

    # --- determinism ---------------------------------------------------------------------------------------------

    def _refused(self, statement: ast.stmt) -> Iterator[Finding]:
        for node in _without_annotations(statement):
            for used in _used(node):
                meaning = self._code.meaning(used)
                if isinstance(meaning, Refused):
                    yield self._finding(used, "determinism", meaning.why)

    # --- calls ---------------------------------------------------------------------------------------------------

    def _of_call(self, call: ast.Call, meaning: Meaning) -> Iterator[tuple[str, str]]:
        match meaning:
            case Context(member="get_integration"):
                yield from self._unknown(call, "integration", "Integration", self._catalog.integrations)
            case Context(member="execute_workflow"):
                yield from self._unknown(call, "workflow", "Workflow", self._known_workflows())
                yield from self._of_parameters(call)
        match meaning:
            case Context(member=str(member)) if inspect.isfunction(function := getattr(OrganizationContext, member, None)):
                yield from _misfit(call, function, f"context.{member}", bound=True)
            case Integration(name=name, method=str(method)) if name in self._catalog.integrations:
                yield from self._of_method(call, name, method)
            case Activity(metadata=activity):
                yield from _misfit(call, activity.function, activity.name, bound=False)

    def _of_members(self, statement: ast.stmt) -> Iterator[Finding]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and self._code.meaning(node.value) == Context():
                for rule, message in self._of_member(node.attr):
                    yield self._finding(node, rule, message)

    def _never_awaited(self, statement: ast.stmt) -> Iterator[Finding]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                meaning = self._code.meaning(node.value.func)
                if name := _awaitable(meaning):
                    yield self._finding(node.value, "await", f"{name} is never awaited, so it is never called: write `await {name}(…)`")

    def _of_member(self, member: str) -> Iterator[tuple[str, str]]:
        if not hasattr(OrganizationContext, member) and member not in OrganizationContext.__annotations__:
            known = [name for name in dir(OrganizationContext) if not name.startswith("_")]
            yield "context", str(NotFoundError.of("Context member", member, known))
        elif member in _WORKFLOWS_OWN and not self._in_workflow:
            yield "context", f"context.{member} belongs to the workflow and cannot be used in a data provider"

    def _known_workflows(self) -> set[str]:
        return {*self._catalog.workflows, *(name for failure in self._catalog.failures for name in failure.workflows)}

    def _unknown(self, call: ast.Call, rule: str, kind: str, known: Any) -> Iterator[tuple[str, str]]:
        name = _text(_argument(call, 0, "name"))
        if name is not None and name not in known:
            yield rule, str(NotFoundError.of(kind, name, known))

    def _of_parameters(self, call: ast.Call) -> Iterator[tuple[str, str]]:
        params = _argument(call, 1, "params")
        entry = self._catalog.workflows.get(_text(_argument(call, 0, "name")) or "")
        keys = [key.value if isinstance(key, ast.Constant) else None for key in params.keys] if isinstance(params, ast.Dict) else []
        if entry is None or None in keys or not (params is None or isinstance(params, ast.Dict)):
            return
        missing = [one.name for one in entry.metadata.parameters if one.required and one.name not in keys]
        if missing:
            yield "arguments", f"workflow '{entry.metadata.name}' needs {', '.join(missing)}"

    def _of_method(self, call: ast.Call, integration: str, method: str) -> Iterator[tuple[str, str]]:
        cls = self._catalog.integrations[integration]
        known = methods(cls)
        if method in known:
            function = inspect.getattr_static(cls, method)
            bound = not isinstance(function, staticmethod)
            yield from _misfit(call, getattr(function, "__func__", function), f"{integration}.{method}", bound=bound)
        elif not method.startswith("_"):
            yield "integration", str(NotFoundError.of("Method", method, known, f"The integration '{integration}' offers: "
                                                      f"{', '.join(known) or 'none'}"))


def _awaitable(meaning: Meaning | None) -> str | None:
    """The name of what is called, if the call does nothing until it is awaited."""
    match meaning:
        case Integration(name=name, method=str(method)):
            return f"{name}.{method}"
        case Activity(metadata=metadata):
            return metadata.name
        case Function(function=function) if inspect.iscoroutinefunction(function):
            return function.__name__
        case Context(member=str(member)) if inspect.iscoroutinefunction(getattr(OrganizationContext, member, None)):
            return f"context.{member}"
    return None


def _without_annotations(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement's nodes, but for annotations, where anything may be named."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns"):
                waiting += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, ast.AST)]


def _argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return call.args[position] if len(call.args) > position else named


def _text(expression: ast.expr | None) -> str | None:
    return expression.value if isinstance(expression, ast.Constant) and isinstance(expression.value, str) else None


def _misfit(call: ast.Call, function: Callable[..., Any], name: str, *, bound: bool) -> Iterator[tuple[str, str]]:
    """How the call's arguments do not fit the function, as far as they are counted and named."""
    if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*([None] if bound else []), *call.args, **{one.arg: one.value for one in call.keywords if one.arg})
    except TypeError as error:
        shown = signature.replace(parameters=list(signature.parameters.values())[int(bound):])
        yield "arguments", f"{name}: {error}; it is called as {name.rpartition('.')[2]}{shown}"


_USED: Mapping[type[ast.AST], tuple[str, ...]] = {
    ast.Call: ("func",), ast.Subscript: ("value",), ast.Await: ("value",), ast.For: ("iter",), ast.AsyncFor: ("iter",),
    ast.comprehension: ("iter",), ast.withitem: ("context_expr",), ast.Compare: ("left", "comparators"), ast.BinOp: ("left", "right"),
    ast.If: ("test",), ast.While: ("test",), ast.IfExp: ("test",), ast.FormattedValue: ("value",)}
"""Where code does something with an expression, so that a stand-in there would refuse."""


def _used(node: ast.AST) -> list[ast.expr]:
    found: list[ast.expr] = []
    for name in _USED.get(type(node), ()):
        value = getattr(node, name)
        found += value if isinstance(value, list) else [value]
    return found
