"""Parameters: coercion, rules, one report of all faults, JSON Schema, and what the signature says."""

from __future__ import annotations

import inspect
import typing
from datetime import UTC, date, datetime
from typing import Any

import pytest

from bifrost import parameters
from bifrost.errors import ValidationError
from bifrost.models import ParameterMetadata, Secret
from bifrost.parameters import Declared


def _parameter(type_name: str = "string", name: str = "x", **more: Any) -> ParameterMetadata:
    return ParameterMetadata(name=name, type=type_name, label=name.title(), **more)


@pytest.mark.parametrize(("type_name", "given", "expected"), [
    ("string", "a", "a"), ("email", " ada@acme.example ", "ada@acme.example"),
    ("int", "42", 42), ("int", 42, 42), ("int", 42.0, 42), ("float", "1.5", 1.5), ("float", 2, 2.0),
    ("bool", "yes", True), ("bool", "OFF", False), ("bool", True, True), ("bool", 0, False),
    ("json", '{"a": 1}', {"a": 1}), ("json", [1], [1]),
    ("list", '["a"]', ["a"]), ("list", "a, b,", ["a", "b"]), ("list", ("a",), ["a"]), ("list", ["a"], ["a"]),
    ("date", "2030-12-31", date(2030, 12, 31)), ("date", date(2030, 1, 2), date(2030, 1, 2)),
    ("datetime", "2030-12-31T09:00:00+00:00", datetime(2030, 12, 31, 9, tzinfo=UTC)),
    ("datetime", datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)), ("any", "{", "{"),
])
def test_a_value_becomes_its_type(type_name: str, given: Any, expected: Any) -> None:
    """What forms and shells send as text, and what programs send as it is, arrive as the same value."""
    assert parameters.check(_parameter(type_name), given) == expected


@pytest.mark.parametrize(("type_name", "given", "said"), [
    ("string", 1, "must be a string"), ("email", "invalid-email", "must be an email address"),
    ("email", "a@b", "must be an email address"), ("email", "a@b..c", "must be an email address"),
    ("int", "4.5", "must be a whole number"), ("int", 4.5, "must be a whole number"), ("int", True, "must be a whole number"),
    ("int", None, "must be a whole number"), ("float", "much", "must be a number"), ("float", "nan", "must be a number"),
    ("float", True, "must be a number"), ("bool", "perhaps", "must be true or false"), ("json", "{", "must be JSON"),
    ("list", {"a": 1}, "must be a list"), ("list", "[", "must be JSON"), ("list", 7, "must be a list"),
    ("date", "tomorrow", "must be a date"), ("datetime", "noon", "must be a date and time"), ("date", 5, "must be a date"), ("datetime", date(2030, 1, 1), "must be a date and time"), ("float", 10**400, "must be a number"),
    ("json", "[" * 100_000, "must be JSON"), ("date", datetime(2030, 1, 1, tzinfo=UTC), "must be a date"),
    ("int", "9" * 5_000, "must be a whole number"), ("int", float("inf"), "must be a whole number"), ("bool", None, "must be true"),
])
def test_a_value_of_another_type_is_refused(type_name: str, given: Any, said: str) -> None:
    """The refusal names the parameter and says what it must be."""
    with pytest.raises(ValidationError, match=f"Parameter 'x' {said}") as refusal:
        parameters.check(_parameter(type_name), given)
    assert refusal.value.field == "x"


@pytest.mark.parametrize(("type_name", "rule", "good", "bad", "said"), [
    ("int", {"min": 1}, 1, 0, "must be at least 1"), ("float", {"max": 2}, 2, 2.1, "must be at most 2"),
    ("string", {"min_length": 2}, "ab", "a", "must have at least 2 characters"),
    ("string", {"max_length": 1}, "a", "ab", "must have at most 1 character"),
    ("list", {"max_length": 1}, ["a"], ["a", "b"], "must have at most 1 item"),
    ("string", {"pattern": "^a"}, "ab", "ba", "must match the pattern"),
    ("string", {"enum": ["a", "b"]}, "a", "c", "must be one of: a, b"),
    ("string", {"custom": str.islower}, "a", "A", "is not valid"),
    ("string", {"pattern": "^a", "message": "Begin with a"}, "a", "b", "Begin with a"),
])
def test_a_rule_is_enforced(type_name: str, rule: dict[str, Any], good: Any, bad: Any, said: str) -> None:
    """Each rule lets the good value pass and refuses the bad one in its own words, or in those of `message`."""
    assert parameters.check(_parameter(type_name, validation=rule), good) == good
    with pytest.raises(ValidationError, match=said):
        parameters.check(_parameter(type_name, validation=rule), bad)


def test_a_custom_rule_says_why() -> None:
    """A ValueError of a custom rule is the refusal's text."""
    def weekday(_value: Any) -> None:
        raise ValueError("is no weekday")

    with pytest.raises(ValidationError, match="Parameter 'x' is no weekday"):
        parameters.check(_parameter(validation={"custom": weekday}), "a")


def test_all_faults_are_reported_together() -> None:
    """One error names every parameter at fault; the first is its field."""
    described = [_parameter(name="a", required=True), _parameter("int", name="b"), _parameter("email", name="c")]
    with pytest.raises(ValidationError) as refusal:
        parameters.bind(described, {"b": "x", "c": "y"})
    assert refusal.value.field == "a"
    assert [error["field"] for error in refusal.value.details["errors"]] == ["a", "b", "c"]
    assert "Missing required parameter: a; Parameter 'b' must be a whole number" in refusal.value.message


def test_what_is_not_given_has_its_default() -> None:
    """None, and an empty text where the type is not string, count as not given; a required empty text is missing."""
    described = [_parameter("int", name="a", default_value=3), _parameter(name="b"), _parameter("bool", name="c")]
    assert parameters.bind(described, {"a": "", "b": "", "other": 1}) == {"a": 3, "b": "", "c": None}
    with pytest.raises(ValidationError, match="Missing required parameter: x"):
        parameters.bind([_parameter(required=True)], {"x": ""})


def test_json_schema_describes_the_parameters() -> None:
    """Types, rules, defaults, help and required are there; a custom rule has no words in JSON Schema."""
    schema = parameters.json_schema([
        _parameter("email", name="e", required=True, help_text="Whose"),
        _parameter("list", name="l", validation={"min_length": 1, "custom": bool, "message": "m"}),
        _parameter("int", name="i", validation={"min": 1, "max": 2, "enum": [1, 2]}, default_value=1, data_provider="p",
                   data_provider_inputs={"of": "s"}),
        _parameter(name="s", validation={"max_length": 5, "pattern": "a"})])
    assert schema["required"] == ["e"]
    assert schema["properties"] == {
        "e": {"title": "E", "type": "string", "format": "email", "description": "Whose"},
        "l": {"title": "L", "type": "array", "minItems": 1},
        "i": {"title": "I", "type": "integer", "minimum": 1, "maximum": 2, "enum": [1, 2], "default": 1, "x-data-provider": "p",
              "x-data-provider-inputs": {"of": "s"}},
        "s": {"title": "S", "type": "string", "maxLength": 5, "pattern": "a"}}


def test_the_signature_completes_the_description() -> None:
    """Parameters that only the signature names are parameters too, with its types and defaults."""
    def function(context: Any, a: str, b: int = 2, c: bool | None = None, d: list[str] | None = None,
                 e: dict[str, Any] = {}, f=None, *, g: datetime, **rest: Any) -> None:  # noqa: B006
        del context, a, b, c, d, e, f, g, rest

    described = parameters.of_signature(inspect.signature(function, eval_str=True), [
        Declared(_parameter("email", name="a"), says_required=True), Declared(_parameter("int", name="b"), says_required=False)])
    assert [(one.name, one.type, one.required, one.default_value) for one in described] == [
        ("a", "email", False, None), ("b", "int", False, 2), ("c", "bool", False, None), ("d", "list", False, None),
        ("e", "json", False, {}), ("f", "any", False, None), ("g", "datetime", True, None)]
    postponed = parameters.of_signature(inspect.signature(function), [])
    assert [one.type for one in postponed] == ["string", "int", "bool", "list", "json", "any", "datetime"]
    assert described[2].label == "C"
    assert parameters.title("license_sku") == "License Sku"


@pytest.mark.parametrize(("type_name", "validation", "said"), [
    ("string", {"min": 1}, "the validation 'min' is for float, int, not for string; use 'custom'"),
    ("date", {"max": "2030-01-01"}, "not for date"), ("int", {"min_length": 1}, "is for email, list, string, not for int"),
    ("bool", {"pattern": "a"}, "not for bool"), ("int", {"min": "1"}, "'min' must be a number, not '1'"),
    ("int", {"max": True}, "must be a number"), ("string", {"min_length": -1}, "must be a count"),
    ("string", {"max_length": 1.5}, "must be a count"), ("string", {"pattern": "("}, "must be a regular expression, not '('"),
    ("string", {"pattern": 5}, "must be a regular expression"), ("string", {"enum": "abc"}, "must be a list of values"),
    ("string", {"enum": []}, "must be a list of values"), ("any", {"custom": "f"}, "must be a function of the value"),
    ("string", {"minimum": 1}, "Unknown validation 'minimum'. Must be one of: min, max"), ("int", {"min": 0, "max": 5}, None),
    ("email", {"pattern": "^a", "max_length": 5, "message": "no"}, None), ("date", {"custom": bool, "enum": [1]}, None)])
def test_rules_that_cannot_be_held_are_found(type_name: str, validation: dict[str, Any], said: str | None) -> None:
    """A rule that is for other types, or whose argument cannot be one, is found before any value comes."""
    fault = parameters.rule_fault(type_name, validation)
    assert fault is None if said is None else said in str(fault)


OLDER = vars(typing)  # spellings that a linter would have us replace, and users write


@pytest.mark.parametrize(("annotation", "type_name"), [
    ("str", "string"), ("Optional[int]", "int"), ("typing.Optional[float]", "float"), ("bool | None", "bool"), ("None | bool", "bool"),
    ("list[str]", "list"), ("List[str]", "list"), ("Dict[str, Any]", "json"), ("dict", "json"), ("datetime.date", "date"),
    ("dt.datetime | None", "datetime"), ("Optional[list[int]]", "list"), ("Customer", "any"), ("", "any"), (" str ", "string"), ("int | str", "any"), ("int | float", "float"), ("dict[str, list[int]] | None", "json"),
    ("Union[int, float, None]", "float"), ("'int | None'", "int"), ("a b", "any"), (int | str, "any"), (float | int | None, "float"), (list[str] | str, "any"),
    (int, "int"), (int | None, "int"), (None | int, "int"), (OLDER["Optional"][str], "string"),
    (OLDER["Union"][None, str], "string"), (list[str], "list"),
    (OLDER["List"][str], "list"), (OLDER["Dict"][str, int], "json"), (datetime, "datetime"), (date, "date"), (bytes, "any"), (Any, "any"),
    (inspect.Parameter.empty, "any")])
def test_a_type_is_read_from_an_annotation(annotation: Any, type_name: str) -> None:
    """Written or postponed, optional or not, in the older spelling or the newer."""
    argument = inspect.Parameter("a", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    [parameter] = parameters.of_signature(inspect.Signature([context, argument]), [])
    assert (parameter.type, parameter.required) == (type_name, True)


@pytest.mark.parametrize("value", [{"secret_ref": "api_key"}, '{"secret_ref": "api_key"}', {"$secret": {"org_id": "acme", "name": "api_key"}},
                                   Secret("acme", "api_key")])
def test_a_secret_is_given_by_reference(value: Any) -> None:
    """As the name of one, in JSON or not, or as the handle that a workflow has."""
    coerced = parameters.check(_parameter("secret"), value)
    assert isinstance(coerced, Secret)
    assert coerced.name == "api_key"


@pytest.mark.parametrize("value", ["hunter2", {"secret": "hunter2"}, {"secret_ref": 5}, ["hunter2"], 5, '{"secret_ref": "a", "b": 1}'])
def test_a_secret_is_never_given_by_value(value: Any) -> None:
    """A value is refused, and not repeated in what is said of it."""
    with pytest.raises(ValidationError, match="must be a reference to a secret") as refusal:
        parameters.check(_parameter("secret"), value)
    assert "hunter2" not in str(refusal.value.to_dict())


@pytest.mark.parametrize(("type_name", "allowed", "value", "refusal"), [
    ("list", ["a", "b"], ["b", "a"], None), ("list", ["a", "b"], ["a", "c"], "must hold only: a, b"), ("list", ["a"], [], None),
    ("date", ["2030-01-02"], "2030-01-02", None), ("date", ["2030-01-02"], "2030-01-03", "must be one of: 2030-01-02"), ("int", [1, 2], "2", None)])
def test_a_choice_of_any_type(type_name: str, allowed: list[Any], value: Any, refusal: str | None) -> None:
    """A list holds only what is allowed; a date may be allowed as a text."""
    parameter = _parameter(type_name, validation={"enum": allowed})
    if refusal is None:
        parameters.check(parameter, value)
        return
    with pytest.raises(ValidationError, match=refusal):
        parameters.check(parameter, value)


def test_a_default_is_nobodys_own() -> None:
    """A list that one run gets by default, and fills, is empty for the next."""
    parameter = _parameter("list", name="items", default_value=[])
    parameters.bind([parameter], {})["items"].append(1)
    assert parameters.bind([parameter], {}) == {"items": []}
