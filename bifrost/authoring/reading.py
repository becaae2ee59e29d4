"""Code read as a flow: what a workflow does, in the order in which it does it.

Only calls, checkpoints and waiting are told, with the branches, loops and errors around them: a branch or loop around
nothing is left out. A workspace function stands where it is called for the first time; a later call names it only.
"""

from __future__ import annotations

import ast
import asyncio
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from bifrost.authoring.flow import (
    Block,
    Branch,
    Called,
    Handler,
    Item,
    Jump,
    Loop,
    Parallel,
    Raise,
    Return,
    Step,
    Try,
    holds,
    without_last_return,
)
from bifrost.authoring.source import (
    Activity,
    Code,
    Context,
    Function,
    FunctionNode,
    Integration,
    Meaning,
    Source,
    Value,
)
from bifrost.workspace import shims

WIDTH = 60
"""How much of an expression is told, in characters."""

_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_MEMBERS = {"save_checkpoint": ("checkpoint", "checkpoint"), "execute_workflow": ("call", "workflow"),
            "wait_for_event": ("wait", "wait for event")}
"""The context's members that are told, with their shape and words."""

_SLEEP = shims.MODULES["asyncio"].sleep
"""`asyncio.sleep`, as a run has it."""


def _is_told(item: Item) -> bool:
    return isinstance(item, Step | Return | Raise)


def _is_error(item: Item) -> bool:
    return isinstance(item, Raise)


def _is_work(item: Item) -> bool:
    """Whether a function with this in it is told where it is called: for a `return`, or for calling itself, it is not."""
    return isinstance(item, Raise) or (isinstance(item, Step) and not item.recursive)


def read(source: Source) -> Block:
    """What a workflow does."""
    return _Reader(source.entry, {}).block(source.entry.node.body)


class _Plain(ast.NodeTransformer):
    """Takes each `await` off what is awaited: in a chart everything is."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)  # type: ignore[no-any-return]


def _text(node: ast.AST) -> str:
    return _short(ast.unparse(_Plain().visit(copy.deepcopy(node))))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else f"{text[:WIDTH - 1].rstrip()}…"


class _Reader:
    """Reads one function.

    Args:
        code: The function.
        seen: Which functions have been read, and whether there was anything in them; None while one is being read.
    """

    def __init__(self, code: Code, seen: dict[Any, bool | None]) -> None:
        self._code = code
        self._seen = seen
        inner = [node for statement in code.node.body for node in ast.walk(statement)]
        self._local = {node.name: node for node in inner if isinstance(node, FunctionNode)}
        self._held = dict(_held(code, inner))

    def block(self, nodes: Iterable[ast.AST]) -> Block:
        """Everything in the order of the text, until nothing can follow."""
        items: list[Item] = []
        for node in nodes:
            items += self.visit(node)
            if items and isinstance(items[-1], Return | Raise | Jump):
                break
        return tuple(items)

    def visit(self, node: ast.AST) -> Block:
        """What a part of the code does."""
        return self._READ_BY.get(type(node), _Reader._children)(self, node)

    def _children(self, node: ast.AST) -> Block:
        return self.block(ast.iter_child_nodes(node))

    # --- statements ----------------------------------------------------------------------------------------------

    def _nothing(self, _node: ast.AST) -> Block:
        return ()

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> Block:
        if node.value is None or node.value in self._held.values():
            return ()
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return self.block([node.value, *targets])

    def _return(self, node: ast.Return) -> Block:
        match node.value:
            case None | ast.Constant(value=None):
                return (Return("return"),)
            case ast.Dict(keys=keys) if keys and all(isinstance(key, ast.Constant) for key in keys):
                said = _short(", ".join(str(key.value) for key in keys if isinstance(key, ast.Constant)))
            case value:
                said = _text(value)
        return (*self.visit(node.value), Return(f"return {said}"))

    def _raise(self, node: ast.Raise) -> Block:
        if node.exc is None:
            return (Raise("raise", None),)
        named = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return (*self.visit(node.exc), Raise(f"raise {_text(named)}", next(iter(self._classes(named)), None)))

    def _break(self, _node: ast.Break) -> Block:
        return (Jump(leaves=True),)

    def _continue(self, _node: ast.Continue) -> Block:
        return (Jump(leaves=False),)

    def _if(self, node: ast.If) -> Block:
        return self._branch(node.test, ("yes", node.body), ("no", node.orelse))

    def _if_exp(self, node: ast.IfExp) -> Block:
        return self._branch(node.test, ("yes", [node.body]), ("no", [node.orelse]))

    def _branch(self, test: ast.expr, *arms: tuple[str, Sequence[ast.AST]]) -> Block:
        before, read = self.visit(test), tuple((label, self.block(body)) for label, body in arms)
        return (*before, Branch(_text(test), read)) if any(body for _, body in read) else before

    def _bool_op(self, node: ast.BoolOp) -> Block:
        """What comes second happens only if what came first leaves it open."""
        blocks = [self.visit(value) for value in node.values]
        first = next((place for place, block in enumerate(blocks[1:], start=1) if block), None)
        if first is None:
            return blocks[0]
        test = node.values[0] if first == 1 else ast.BoolOp(node.op, node.values[:first])
        rest = tuple(item for block in blocks[first:] for item in block)
        return (*blocks[0], Branch(_text(test), (("yes" if isinstance(node.op, ast.And) else "no", rest),
                                                 ("no" if isinstance(node.op, ast.And) else "yes", ()))))

    def _match(self, node: ast.Match) -> Block:
        before, arms = self.visit(node.subject), []
        for case in node.cases:
            takes_all = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None and case.guard is None
            label = "otherwise" if takes_all else _text(case.pattern) + (f" if {_text(case.guard)}" if case.guard else "")
            arms.append((label, self.block(case.body)))
        if not any(body for _, body in arms):
            return before
        return (*before, Branch(f"match {_text(node.subject)}", (*arms, *([] if takes_all else [("otherwise", ())]))))

    def _for(self, node: ast.For | ast.AsyncFor) -> Block:
        before, body, otherwise = self.visit(node.iter), self.block(node.body), self.block(node.orelse)
        if not holds(body + otherwise, _is_told):
            return before
        return (*before, Loop(f"for {_text(node.target)} in {_text(node.iter)}", (), body, otherwise))

    def _while(self, node: ast.While) -> Block:
        head, body, otherwise = self.visit(node.test), self.block(node.body), self.block(node.orelse)
        if not holds(head + body + otherwise, _is_told):
            return ()
        ends = not (isinstance(node.test, ast.Constant) and node.test.value)
        return (Loop(f"while {_text(node.test)}", head, body, otherwise, "yes" if ends else "", "no" if ends else None),)

    def _try(self, node: ast.Try | ast.TryStar) -> Block:
        body, otherwise = self.block(node.body), self.block(node.orelse)
        handlers = tuple(self._handler(handler) for handler in node.handlers)
        final = self.block(node.finalbody)
        caught = any(handler.body for handler in handlers) or (bool(handlers) and holds(body, _is_error))
        if not caught and not final:
            return (*body, *otherwise)
        return (Try(body, handlers if caught else (), otherwise, final),)

    def _handler(self, node: ast.ExceptHandler) -> Handler:
        listed = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
        named = ", ".join(_text(one) for one in listed)
        errors = tuple(error for one in listed for error in self._classes(one)) if listed else (BaseException,)
        return Handler(f"except {named}".rstrip(), errors, self.block(node.body))

    def _classes(self, node: ast.expr) -> list[type]:
        meaning = self._code.meaning(node)
        return [meaning.value] if isinstance(meaning, Value) and isinstance(meaning.value, type) else []

    # --- expressions ---------------------------------------------------------------------------------------------

    def _comprehension(self, node: _COMPREHENSIONS) -> Block:
        text, before, body = self._each(node)
        return (*before, Loop(text, (), body)) if body else before

    def _each(self, node: _COMPREHENSIONS) -> tuple[str, Block, Block]:
        """What a comprehension goes through, what is done before, and what for each."""
        first, *others = node.generators
        inner = [*first.ifs, *(part for one in others for part in (one.iter, *one.ifs)),
                 *([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])]
        text = " ".join(_text(one) for one in node.generators)
        return text.replace("async for", "for"), self.visit(first.iter), self.block(inner)

    def _call(self, node: ast.Call) -> Block:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        local = self._local.get(name)
        meaning = None if local else self._code.meaning(node.func)
        if isinstance(meaning, Value) and meaning.value is asyncio.gather:
            return self._gather(node)
        before = self.block([node.func, *node.args, *node.keywords])
        if local:
            key = (self._code.file, local.lineno, frozenset(self._code.given.items()))
            return (*before, *self._inline(name, key, self, local))
        return (*before, *self._called(node, meaning))

    def _called(self, node: ast.Call, meaning: Meaning | None) -> Block:
        if isinstance(meaning, Function):
            code = self._code.into(node, meaning)
            if code is None:
                return ()
            key = (code.file, code.node.lineno, frozenset(code.given.items()))
            return self._inline(code.node.name, key, _Reader(code, self._seen), code.node)
        step = self._step(node, meaning)
        return (step,) if step else ()

    def _step(self, node: ast.Call, meaning: Meaning | None) -> Step | None:
        match meaning:
            case Integration(name=name, method=str(method)):
                return Step("call", f"{name}.{method}")
            case Activity(metadata=metadata):
                return Step("call", metadata.name)
            case Context(member=str(member)) if member in _MEMBERS:
                shape, words = _MEMBERS[member]
                return Step(shape, f"{words} {self._said(node, 'name')}")
            case Value(value=value) if value is _SLEEP and (seconds := self._said(node, "delay")) != "0":
                return Step("wait", f"sleep {seconds} s")
        return None

    def _said(self, node: ast.Call, name: str) -> str:
        """A call's first argument: its value where that is known."""
        given = [*node.args[:1], *(one.value for one in node.keywords if one.arg == name)]
        return _short(self._spelled(given[0])) if given else "…"

    def _spelled(self, node: ast.expr) -> str:
        match node:
            case ast.JoinedStr(values=parts):
                return "".join(map(self._spelled, parts))
            case ast.FormattedValue(value=value):
                return f"{{{_text(value)}}}"
        meaning = self._code.meaning(node)
        known = isinstance(meaning, Value) and isinstance(meaning.value, str | int | float)
        return str(meaning.value) if known else _text(node)  # type: ignore[union-attr]

    def _inline(self, name: str, key: Any, reader: _Reader, node: FunctionNode) -> Block:
        if key in self._seen:
            known = self._seen[key]
            return () if known is False else (Step("plain", name, recursive=known is None),)
        self._seen[key] = None
        body = without_last_return(reader.block(node.body))
        self._seen[key] = holds(body, _is_work)
        return (Called(body),) if self._seen[key] else ()

    def _gather(self, node: ast.Call) -> Block:
        before: Block = ()
        arms: list[tuple[str, Block]] = []
        for argument in self._gathered(node.args):
            inner = argument.value if isinstance(argument, ast.Starred) else argument
            if isinstance(inner, _COMPREHENSIONS) and isinstance(argument, ast.Starred):
                text, first, body = self._each(inner)
                before += first
                arms.append((text, body))
            else:
                arms.append(("", self.visit(inner)))
        arms = [(label, body) for label, body in arms if body]
        if len(arms) == 1 and not arms[0][0]:
            return before + arms[0][1]
        return (*before, Parallel(tuple(arms))) if arms else before

    def _gathered(self, arguments: Iterable[ast.expr]) -> Iterable[ast.expr]:
        """The arguments of a gather; a name stands for what was held for it, and a list for what is in it."""
        for argument in arguments:
            starred = isinstance(argument, ast.Starred)
            inner = argument.value if isinstance(argument, ast.Starred) else argument
            if isinstance(inner, ast.Name):
                inner = self._held.get(inner.id, inner)
            if starred and isinstance(inner, ast.List | ast.Tuple):
                yield from self._gathered(inner.elts)
            else:
                yield ast.Starred(inner, ast.Load()) if starred else inner

    _READ_BY: ClassVar[Mapping[type[ast.AST], Callable[[_Reader, Any], Block]]] = {
        **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda), _nothing),
        **dict.fromkeys((ast.Assign, ast.AnnAssign, ast.AugAssign), _assign),
        **dict.fromkeys((ast.For, ast.AsyncFor), _for),
        **dict.fromkeys((ast.Try, ast.TryStar), _try),
        **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), _comprehension),
        ast.Return: _return, ast.Raise: _raise, ast.Break: _break, ast.Continue: _continue, ast.If: _if, ast.IfExp: _if_exp,
        ast.BoolOp: _bool_op, ast.Match: _match, ast.While: _while, ast.Call: _call,
    }
    """How each part of the code is read; of any other, its parts are."""


def _held(code: Code, nodes: list[ast.AST]) -> Iterable[tuple[str, ast.expr]]:
    """Coroutines that are made in one place and gathered in another, by the name that they have in between."""
    gathered = {inner.id for node in nodes if isinstance(node, ast.Call) for argument in node.args
                if isinstance(meaning := code.meaning(node.func), Value) and meaning.value is asyncio.gather
                and isinstance(inner := argument.value if isinstance(argument, ast.Starred) else argument, ast.Name)}
    for name in sorted(gathered):
        stored = [node for node in nodes if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)]
        for node in nodes:
            match node:
                case ast.Assign(targets=[target], value=value) if [target] == stored:
                    if all(isinstance(one, ast.Call) for one in _made(value)):
                        yield name, value


def _made(value: ast.expr) -> list[ast.expr]:
    match value:
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return elements
        case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element):
            return [element]
    return [value]
