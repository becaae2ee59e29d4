"""Decorators: what they record, what they refuse, and that a decorated function stays a function."""

from __future__ import annotations

import functools
import inspect
from datetime import date
from typing import Any
from unittest.mock import MagicMock

import pytest

from bifrost import data_provider, param, workflow
from bifrost.decorators import location_of
from bifrost.errors import DefinitionError, ValidationError


@workflow(name="greet", description="Greets", category="talk", tags=["a"], execution_mode="async", timeout_seconds=5,
          retry_policy={"maxAttempts": 2, "backoff": 3, "backoffSeconds": 1, "maxBackoffSeconds": 9},
          schedule="0 9 * * 1", requires_org=False, expose_in_forms=False)
@param("email", "email", "Address", required=True)
@param("times", "int", validation={"min": 1})
async def greet(context: Any, email: str, times: int = 2, *, loud: bool = False) -> list[Any]:
    """Say hello.

    More.
    """
    return [context, email, times, loud]


async def test_a_decorated_function_is_called_as_it_was() -> None:
    """By position or by name, with any context, parameters arrive coerced, with the defaults of the signature."""
    context = MagicMock()
    assert await greet(context, "ada@acme.example") == [context, "ada@acme.example", 2, False]
    assert await greet(context, email="ada@acme.example", times="3", loud="yes") == [context, "ada@acme.example", 3, True]
    assert await greet(context=context, email="ada@acme.example") == [context, "ada@acme.example", 2, False]
    assert (greet.__name__, inspect.getdoc(greet)[:10]) == ("greet", "Say hello.")
    assert list(inspect.signature(greet).parameters) == ["context", "email", "times", "loud"]
    assert inspect.iscoroutinefunction(greet)


async def test_a_direct_call_is_checked() -> None:
    """A direct call is refused by the same rules as an execution; one of the wrong shape by Python's own."""
    with pytest.raises(ValidationError, match="'email' must be an email address"):
        await greet(MagicMock(), email="invalid-email")
    with pytest.raises(ValidationError, match="Missing required parameter: email"):
        await greet(MagicMock())
    with pytest.raises(TypeError, match="unexpected"):
        await greet(MagicMock(), "ada@acme.example", nothing=1)
    with pytest.raises(TypeError, match="needs a context"):
        await greet(email="ada@acme.example")


def test_metadata_is_recorded() -> None:
    """What the decorators were told is on the function, the parameters in the order read."""
    metadata = greet._workflow_metadata  # type: ignore[attr-defined]
    assert (metadata.name, metadata.description, metadata.category, metadata.tags) == ("greet", "Greets", "talk", ("a",))
    assert [(one.name, one.label, one.type) for one in metadata.parameters] == [
        ("email", "Address", "email"), ("times", "Times", "int"), ("loud", "Loud", "bool")]
    assert metadata.source.file == __file__
    assert location_of(greet) == metadata.source

    @data_provider(name="sizes", cache_ttl_seconds=0)
    @param("kind", "string")
    async def sizes(context: Any, kind: str = "all") -> list[Any]:
        """All sizes there are."""
        return [context, kind]

    provider = sizes._data_provider_metadata  # type: ignore[attr-defined]
    assert (provider.name, provider.description, provider.cache_ttl_seconds) == ("sizes", "All sizes there are.", 0)
    assert [one.name for one in provider.parameters] == ["kind"]
    assert (provider.stale_seconds, provider.timeout_seconds, provider.retry_policy) == (0, 60, {})


async def test_a_data_provider_may_be_sync() -> None:
    """It is awaited all the same, with its inputs checked."""
    @data_provider(name="sizes", stale_seconds=5, timeout_seconds=2, retry_policy={"max_attempts": 2})
    @param("kind", "int", data_provider="kinds", validate_options=True, data_provider_inputs={"of": "group"})
    def sizes(context: Any, kind: int, group: str = "") -> list[Any]:
        return [context, kind, group]

    assert await sizes("context", "7") == ["context", 7, ""]  # type: ignore[misc]
    provider = sizes._data_provider_metadata  # type: ignore[attr-defined]
    assert (provider.stale_seconds, provider.timeout_seconds, provider.retry_policy) == (5, 2, {"max_attempts": 2})
    kind = provider.parameters[0]
    assert (kind.data_provider, kind.validate_options, kind.data_provider_inputs) == ("kinds", True, {"of": "group"})


async def test_a_function_may_take_any_parameter() -> None:
    """With `**params` a described parameter need not be an argument of its own, and others pass through."""
    @workflow(name="open")
    @param("a", "int")
    async def opened(context: Any, **params: Any) -> dict[str, Any]:
        del context
        return params

    assert await opened(MagicMock(), a="1", b="2") == {"a": 1, "b": "2"}


def _plain() -> Any:
    async def function(context: Any, a: str = "") -> None:
        del context, a
    return function


def _sync(context: Any) -> None:
    del context


async def _empty() -> None:
    pass


def _yielding(context: Any) -> Any:
    yield context


async def _unnamed(context: Any, *args: Any) -> None:
    del context, args


@pytest.mark.parametrize(("decorate", "function", "said"), [
    (workflow(name="Bad name!"), _plain(), "Invalid workflow name 'Bad name!'"),
    (workflow(name="a", execution_mode="banana"), _plain(), "Invalid execution_mode 'banana'"),
    (workflow(name="a", execution_mode="scheduled"), _plain(), "has no schedule"),
    (workflow(name="a", timeout_seconds=-5), _plain(), "is negative"),
    (workflow(name="a", retry_policy={"max": 1}), _plain(), "Unknown retry_policy key 'max'"),
    (workflow(name="a", retry_policy={"max_attempts": 0}), _plain(), "max_attempts >= 1"),
    (workflow(name="a", retry_policy={"max_attempts": "3"}), _plain(), "needs numbers"),
    (workflow(name="a"), _sync, "must be an async function"),
    (workflow(name="a"), _empty, "takes no context"),
    (workflow(name="a"), _unnamed, "arguments without a name"),
    (workflow(name="a"), greet, "is decorated twice"),
    (data_provider(name="a", cache_ttl_seconds=-1), _plain(), "is negative"),
    (data_provider(name="a", stale_seconds="60"), _plain(), "stale_seconds of data provider 'a' must be a number of at most"),
    (data_provider(name="a", cache_ttl_seconds=float("nan")), _plain(), "cache_ttl_seconds of data provider 'a' must be a number"),
    (data_provider(name="a", timeout_seconds=0), _plain(), "timeout_seconds of data provider 'a' must be above 0"),
    (data_provider(name="a", retry_policy={"max": 1}), _plain(), "Data provider 'a': Unknown retry_policy key 'max'"),
    (data_provider(name="a"), functools.partial(_sync), "The data provider 'a' is no function"),
    (data_provider(name="a"), _yielding, "yields, and its options travel whole: return a list"),
    (data_provider(name="a"), lambda *, context: [context], "takes no context"),
    (param("a", "string", validate_options=True), _plain(), "has no data_provider whose options it could be held against"),
    (param("a", "string", data_provider_inputs={"b": "a"}), _plain(), "whose options it could get by data_provider_inputs"),
    (lambda function: workflow(name="w")(param("a", data_provider="p", data_provider_inputs={"x": "b"})(function)), _plain(),
     "Parameter 'a' gets its options by the parameter 'b', which there is not"),
    (lambda function: workflow(name="w")(param("a", data_provider="p", data_provider_inputs={"x": "a"})(function)), _plain(),
     "'a' can have no options before it has a value itself: 'a' needs 'a'"),
    (param("a", "colour"), _plain(), "Invalid parameter type 'colour' of 'a' in function. Must be one of: string"),
    (param("a", "string", validation={"minimum": 1}), _plain(), "Unknown validation 'minimum'"),
    (param("a", "string"), greet, "put it below"),
    (lambda function: param("a", "string")(param("a", "int")(function)), _plain(), "described twice"),
    (lambda function: workflow(name="a")(param("b", "int")(function)), _plain(), "does not take"),
])
def test_what_cannot_work_is_refused_at_once(decorate: Any, function: Any, said: str) -> None:
    """The refusal says file and line, what is wrong, and what to write."""
    with pytest.raises(DefinitionError) as refusal:
        decorate(function)
    assert said in str(refusal.value)
    assert str(refusal.value).startswith(f"{__file__}:")
    assert isinstance(refusal.value, ValueError)


async def _named_only(*, context: Any) -> None:
    del context


async def _any(**context: Any) -> None:
    del context


@pytest.mark.parametrize(("decorate", "said"), [
    (lambda: workflow(_plain()), '@workflow needs a name: write @workflow(name="function")'),
    (lambda: data_provider(_plain()), '@data_provider needs a name: write @data_provider(name="function")'),
    (lambda: workflow(name="a")(_named_only), "takes no context: make `context` its first argument"),
    (lambda: workflow(name="a")(_any), "takes no context"),
    (lambda: workflow(name="a", tags="m365")(_plain()), "tags of workflow 'a' are one text: write tags=['m365']"),
    (lambda: workflow(name="a", timeout_seconds="60")(_plain()), "timeout_seconds of workflow 'a' is no number: '60'"),
    (lambda: data_provider(name="1a")(_plain()), "Invalid data provider name '1a'"),
    (lambda: workflow(name=5)(_plain()), "Invalid workflow name 5"),
    (lambda: workflow(name="a")(MagicMock), "The workflow 'a' must be an async function: write `async def MagicMock`"),
    (lambda: workflow(name="a")(functools.partial(_sync)), "must be an async function: write `async def a`"),
    (lambda: param("a", "colour")(MagicMock), "Invalid parameter type 'colour'"),
    (lambda: param("a", "string", validation={"min": 1})(_plain()), "Parameter 'a' of function: the validation 'min' is for float, int"),
])
def test_common_mistakes_are_told_where_they_are_made(decorate: Any, said: str) -> None:
    """Also where there is no function to name: the line is then that of whoever decorates."""
    with pytest.raises(DefinitionError) as refusal:
        decorate()
    assert said in str(refusal.value)
    assert str(refusal.value).startswith(f"{__file__}:")
    assert (refusal.value.details["file"], refusal.value.details["line"] > 0) == (__file__, True)


def test_what_param_does_not_say_is_in_the_signature() -> None:
    """Type, default and whether a value is required; what `@param` says goes before it."""
    @workflow(name="silent")
    @param("name")
    @param("count", validation={"min": 1})
    @param("day", default_value="2030-01-02")
    @param("note", "string")
    @param("maybe", required=False)
    @param("forced", required=True)
    async def silent(context: Any, name: str, count: int, day: date, note: str | None = None, maybe: bool = True, forced: float = 1.0,
                     extra: list[str] = []) -> None: ...  # noqa: B006 - users write it

    described = silent._workflow_metadata.parameters  # type: ignore[attr-defined]
    assert [(one.name, one.type, one.required, one.default_value) for one in described] == [
        ("name", "string", True, None), ("count", "int", True, None), ("day", "date", False, date(2030, 1, 2)),
        ("note", "string", False, None), ("maybe", "bool", False, True), ("forced", "float", True, 1.0), ("extra", "list", False, [])]


@pytest.mark.parametrize(("options", "said"), [
    ({"validation": {"min_length": 1}}, "Parameter 'a' of function: the validation 'min_length' is for email, list, string, not for int"),
    ({"default_value": "many"}, "Parameter 'a' of function: the default_value 'many' must be a whole number"),
    ({"type": "date", "default_value": "soon"}, "Parameter 'a' of function: the default_value 'soon' must be a date")])
def test_what_is_said_must_fit_the_type(options: dict[str, Any], said: str) -> None:
    """Rules and default are held against the type, also where it is read from the signature."""
    async def function(context: Any, a: int) -> None: ...
    with pytest.raises(DefinitionError) as refusal:
        workflow(name="it")(param("a", **options)(function))
    assert said in str(refusal.value)
