"""Parameters: from what a caller sent to what a workflow receives, or to one error that names every fault.

Direct calls and durable executions go through the same `bind`, so a test that calls a workflow sees what a run would.
"""

from __future__ import annotations

import copy
import graphlib
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from bifrost import hints
from bifrost.errors import ValidationError
from bifrost.models import GLOBAL, ParameterMetadata, Secret, WorkflowMetadata

# A syntax check, not a promise that mail arrives: one @, no white space, a dot in the domain, no empty label.
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Why a value was refused, in the words that follow the parameter's name."""


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _Refused("must be a string")
    return value


def _email(value: Any) -> str:
    text = _string(value).strip()
    if not _EMAIL.fullmatch(text):
        raise _Refused("must be an email address, such as ada@example.com")
    return text


def _int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise _Refused("must be a whole number")
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise _Refused("must be a whole number") from None


def _float(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _Refused("must be a number")
    return number


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise _Refused("must be true or false")


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise _Refused("must be JSON") from None


def _list(value: Any) -> list[Any]:
    """A list, its JSON, or (as forms and shells send it) its items with commas between them."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    parsed = _parsed(value)
    if isinstance(parsed, tuple):
        return list(parsed)
    if not isinstance(parsed, list):
        raise _Refused("must be a list")
    return parsed


def _date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Refused("must be a date, such as 2030-12-31") from None


def _datetime(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Refused("must be a date and time, such as 2030-12-31T09:00:00+00:00") from None


def _secret(value: Any) -> Secret:
    """A handle, or what stands for one. A text is refused: whoever sent it had it written in the execution's history."""
    try:
        given = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, dict) and given.keys() == {"secret_ref"} and isinstance(given["secret_ref"], str):
        return Secret(GLOBAL, given["secret_ref"])
    handle = given if isinstance(given, Secret) else Secret.from_wire(given)
    if handle is None:
        raise _Refused('must be a reference to a secret, {"secret_ref": NAME}, not its value, which would be written in the '
                       "execution's history: keep it with `bifrost secrets set NAME --org ID`")
    return handle


@dataclass(frozen=True, slots=True)
class _Type:
    coerce: Callable[[Any], Any]
    schema: Mapping[str, Any]


TYPES: Mapping[str, _Type] = {
    "string": _Type(_string, {"type": "string"}),
    "email": _Type(_email, {"type": "string", "format": "email"}),
    "int": _Type(_int, {"type": "integer"}),
    "float": _Type(_float, {"type": "number"}),
    "bool": _Type(_bool, {"type": "boolean"}),
    "json": _Type(_parsed, {}),
    "list": _Type(_list, {"type": "array"}),
    "date": _Type(_date, {"type": "string", "format": "date"}),
    "datetime": _Type(_datetime, {"type": "string", "format": "date-time"}),
    "secret": _Type(_secret, {"type": ["string", "object"], "format": "password", "writeOnly": True,
                              "properties": {"secret_ref": {"type": "string"}}, "required": ["secret_ref"],
                              "additionalProperties": False}),
    "any": _Type(lambda value: value, {}),
}
"""The types that `@param` knows, by name. `any` takes what it is given; `json` reads a string as JSON."""
UNSAID = ""
"""The type of a parameter that `@param` says none of, until the signature is read."""


def _at_least(value: Any, bound: Any) -> str | None:
    return None if value >= bound else f"must be at least {bound}"


def _at_most(value: Any, bound: Any) -> str | None:
    return None if value <= bound else f"must be at most {bound}"


def _units(value: Any, count: int) -> str:
    return ("character" if isinstance(value, str) else "item") + ("" if count == 1 else "s")


def _min_length(value: Any, bound: int) -> str | None:
    return None if len(value) >= bound else f"must have at least {bound} {_units(value, bound)}"


def _max_length(value: Any, bound: int) -> str | None:
    return None if len(value) <= bound else f"must have at most {bound} {_units(value, bound)}"


def _pattern(value: Any, pattern: str) -> str | None:
    return None if re.search(pattern, str(value)) else f"must match the pattern {pattern}"


def _enum(value: Any, allowed: Sequence[Any]) -> str | None:
    """One of them; of a list, each item. Dates may be listed as texts."""
    given = value if isinstance(value, list) else [value]
    if all(one in allowed or (isinstance(one, date) and one.isoformat() in allowed) for one in given):
        return None
    return f"must {'hold only' if isinstance(value, list) else 'be one of'}: {', '.join(map(str, allowed))}"


def _custom(value: Any, check: Callable[[Any], Any]) -> str | None:
    try:
        answer = check(value)
    except ValueError as refusal:
        return str(refusal) or "is not valid"
    return "is not valid" if answer is False else None


@dataclass(frozen=True, slots=True)
class _Rule:
    check: Callable[[Any, Any], str | None]
    keyword: str | None  # of JSON Schema
    argument: Callable[[Any], bool]
    wants: str
    types: frozenset[str] = frozenset(TYPES)


def _is_number(argument: Any) -> bool:
    return isinstance(argument, int | float) and not isinstance(argument, bool)


def _is_count(argument: Any) -> bool:
    return isinstance(argument, int) and _is_number(argument) and argument >= 0


def _is_pattern(argument: Any) -> bool:
    try:
        return isinstance(argument, str) and bool(re.compile(argument))
    except re.error:
        return False


def _is_choice(argument: Any) -> bool:
    return isinstance(argument, list | tuple) and bool(argument)


_NUMBERS, _TEXTS = frozenset({"int", "float"}), frozenset({"string", "email"})

RULES: Mapping[str, _Rule] = {
    "min": _Rule(_at_least, "minimum", _is_number, "a number", _NUMBERS),
    "max": _Rule(_at_most, "maximum", _is_number, "a number", _NUMBERS),
    "min_length": _Rule(_min_length, "minLength", _is_count, "a count", _TEXTS | {"list"}),
    "max_length": _Rule(_max_length, "maxLength", _is_count, "a count", _TEXTS | {"list"}),
    "pattern": _Rule(_pattern, "pattern", _is_pattern, "a regular expression", _TEXTS),
    "enum": _Rule(_enum, "enum", _is_choice, "a list of values"),
    "custom": _Rule(_custom, None, callable, "a function of the value"),
}
"""The keys that `validation=` knows, besides `message`, which replaces what a refusal says."""


def rule_fault(type_name: str, validation: Mapping[str, Any]) -> str | None:
    """Why these rules cannot be held against values of this type, or None if they can."""
    for key, argument in validation.items():
        rule = RULES.get(key)
        if rule is None and key != "message":
            return f"Unknown validation {key!r}. Must be one of: {', '.join([*RULES, 'message'])}"
        if rule and type_name not in rule.types:
            return f"the validation '{key}' is for {', '.join(sorted(rule.types))}, not for {type_name}; use 'custom'"
        if rule and not rule.argument(argument):
            return f"the validation '{key}' must be {rule.wants}, not {argument!r}"
    return None


def inputs_fault(parameters: Sequence[ParameterMetadata]) -> str | None:
    """Why the options of one of these parameters cannot be asked for by the others, or None if they can."""
    bound = {one.name: tuple(one.data_provider_inputs.values()) for one in parameters}
    for name, others in bound.items():
        unknown = [other for other in others if other not in bound]
        if unknown:
            return f"'{name}' gets its options by the parameter {unknown[0]!r}, which there is not"
    try:
        graphlib.TopologicalSorter(bound).prepare()
    except graphlib.CycleError as error:
        return f"'{error.args[1][0]}' can have no options before it has a value itself: {' needs '.join(map(repr, error.args[1][::-1]))}"
    return None


def with_default(parameter: ParameterMetadata) -> ParameterMetadata:
    """The parameter with its declared default coerced as a given value would be.

    Raises:
        ValidationError: the default is no value of its type.
    """
    if parameter.default_value is None:
        return parameter
    try:
        return replace(parameter, default_value=TYPES[parameter.type].coerce(parameter.default_value))
    except _Refused as refusal:
        raise ValidationError(f"the default_value {parameter.default_value!r} {refusal}", field=parameter.name) from None


def check(parameter: ParameterMetadata, value: Any) -> Any:
    """One value, coerced to its type and held against its rules.

    Raises:
        ValidationError: the value is refused; `field` names the parameter.
    """
    try:
        coerced = TYPES[parameter.type].coerce(value)
        for key, argument in parameter.validation.items():
            if key != "message" and (refusal := RULES[key].check(coerced, argument)):
                raise _Refused(refusal)
    except _Refused as refusal:
        message = parameter.validation.get("message") or f"Parameter '{parameter.name}' {refusal}"
        raise ValidationError(message, field=parameter.name) from None
    return coerced


def take(workflow: WorkflowMetadata, values: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """The arguments of a workflow's function; what is no parameter becomes a variable of the `OrganizationContext`.

    Raises:
        ValidationError: they are not as they must be, or there is no organization where the workflow needs one.
    """
    if workflow.requires_org and context.org is None:
        raise ValidationError(f"Workflow '{workflow.name}' needs an organization: give an org_id", field="org_id")
    bound = bind(workflow.parameters, values)
    for name, value in values.items():
        if name not in bound:
            context.set_variable(name, value)
    return bound


def bind(parameters: Sequence[ParameterMetadata], values: Mapping[str, Any]) -> dict[str, Any]:
    """All declared parameters with their coerced values; what is not declared is left out.

    A value of None, and an empty string where the type is not string, count as not given, as forms send them.

    Raises:
        ValidationError: with every refusal in `details["errors"]`, each with its field.
    """
    bound: dict[str, Any] = {}
    errors: list[ValidationError] = []
    for parameter in parameters:
        value = values.get(parameter.name)
        if value is None or (value == "" and (parameter.required or parameter.type != "string")):
            if parameter.required:
                errors.append(ValidationError(f"Missing required parameter: {parameter.name}", field=parameter.name))
            bound[parameter.name] = copy.deepcopy(parameter.default_value)  # a list that one run fills is not the next one's
            continue
        try:
            bound[parameter.name] = check(parameter, value)
        except ValidationError as error:
            errors.append(error)
    if errors:
        raise ValidationError("; ".join(map(str, errors)), field=errors[0].field, details={
            "errors": [{"field": error.field, "message": error.message} for error in errors]})
    return bound


def json_schema(parameters: Sequence[ParameterMetadata]) -> dict[str, Any]:
    """The parameters as a JSON Schema (draft 2020-12) of one object."""
    properties: dict[str, Any] = {}
    for parameter in parameters:
        schema: dict[str, Any] = {"title": parameter.label, **TYPES[parameter.type].schema}
        for key, argument in parameter.validation.items():
            keyword = RULES[key].keyword if key in RULES else None
            if keyword:
                of_list = parameter.type == "list" and keyword in ("minLength", "maxLength")
                schema[keyword.replace("Length", "Items") if of_list else keyword] = argument
        if parameter.help_text:
            schema["description"] = parameter.help_text
        if parameter.default_value is not None:
            schema["default"] = _reference(parameter.default_value)
        if parameter.data_provider:
            schema["x-data-provider"] = parameter.data_provider
        if parameter.data_provider_inputs:
            schema["x-data-provider-inputs"] = dict(parameter.data_provider_inputs)
        properties[parameter.name] = schema
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": properties,
            "required": [parameter.name for parameter in parameters if parameter.required]}


def _reference(default: Any) -> Any:
    return {"secret_ref": default.name} if isinstance(default, Secret) else default


@dataclass(frozen=True, slots=True)
class Declared:
    """What one `@param` says, and whether it says if a value is required."""

    parameter: ParameterMetadata
    says_required: bool


def of_signature(signature: inspect.Signature, declared: Sequence[Declared]) -> tuple[ParameterMetadata, ...]:
    """Declared parameters completed by the signature: types, defaults, what is required, and parameters only it names.

    The first argument of the function, the context, is not a parameter.
    """
    arguments = {argument.name: argument for argument in list(signature.parameters.values())[1:]
                 if argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)}
    complete = {one.parameter.name: _completed(one, arguments.get(one.parameter.name)) for one in declared}
    for name, argument in arguments.items():
        if name not in complete:
            said = ParameterMetadata(name=name, type=UNSAID, label=title(name))
            complete[name] = _completed(Declared(said, says_required=False), argument)
    return tuple(complete.values())


def _completed(declared: Declared, argument: inspect.Parameter | None) -> ParameterMetadata:
    said = declared.parameter
    default = None if argument is None or argument.default is argument.empty else argument.default
    optional = said.default_value is not None or argument is None or argument.default is not argument.empty
    return replace(
        said, type=said.type or (hints.type_of(argument.annotation) if argument else "any"),
        default_value=default if said.default_value is None else said.default_value,
        required=said.required if declared.says_required else not optional)


def title(name: str) -> str:
    """A label made of a name: `license_sku` becomes `License Sku`."""
    return name.replace("_", " ").title()
