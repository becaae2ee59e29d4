"""Which parameter type an annotation means."""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Mapping
from typing import Any

_OF_ANNOTATION: Mapping[str, str] = {"str": "string", "int": "int", "float": "float", "bool": "bool", "list": "list",
                                     "dict": "json", "datetime": "datetime", "date": "date"}


def type_of(annotation: Any) -> str:
    """The parameter type of an annotation; by name, because user code may have postponed or virtualised it.

    Several types, besides None, are `any`; whole and other numbers are `float`.
    """
    if isinstance(annotation, str):
        try:
            names = _written_names(ast.parse(annotation.strip(), mode="eval").body)
        except SyntaxError:
            names = []
    else:
        union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
        members = [one for one in typing.get_args(annotation) if one is not type(None)] if union else [annotation]
        names = [getattr(typing.get_origin(one) or one, "__name__", "") for one in members]
    found = {_OF_ANNOTATION.get({"List": "list", "Dict": "dict"}.get(name, name), "any") for name in names}
    if found == {"int", "float"}:
        return "float"
    return found.pop() if len(found) == 1 else "any"


def _written_names(annotation: ast.expr) -> list[str]:
    """The names of the types in an annotation that is a text, without None."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _written_names(left) + _written_names(right)
        case ast.Subscript(value=ast.Name(id="Optional" | "Union") | ast.Attribute(attr="Optional" | "Union"), slice=inner):
            members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return [name for member in members for name in _written_names(member)]
        case ast.Subscript(value=value):
            return _written_names(value)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return [name]
        case ast.Constant(value=str(text)):
            return _written_names(ast.parse(text, mode="eval").body)
    return []
