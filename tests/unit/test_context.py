"""What all contexts share: configuration, variables, and what may be written down."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from bifrost.context import REDACTED, OrganizationContext, is_sensitive, sanitize
from bifrost.errors import ConfigurationError
from bifrost.models import Caller, OAuthCredentials, Organization, Secret


class _Context(OrganizationContext):
    """The port with nothing behind it."""

    def log(self, level: str, message: str, data: Any = None) -> None:
        self.lines = [*getattr(self, "lines", []), (level, message, data)]

    def save_checkpoint(self, name: str, data: Any = None) -> None: ...
    def get_integration(self, name: str) -> Any: ...
    async def get_secret(self, name: str) -> Any: ...
    async def get_oauth_connection(self, name: str) -> Any: ...
    async def execute_workflow(self, name: str, params: Any = None) -> Any: ...
    async def map(self, target: Any, items: Any, concurrency: int = 10) -> Any: ...
    def on_failure(self, function: Any, *args: Any, **kwargs: Any) -> None: ...
    async def wait_for_event(self, name: str, timeout: Any = None) -> Any: ...  # noqa: ASYNC109 - the port's


def _context(config: dict[str, Any], global_config: dict[str, Any] | None = None) -> _Context:
    return _Context(org=Organization("acme", "Acme", "tenant", config=config), global_config=global_config or {},
                    caller=Caller("u1", "ada@msp.example", "Ada"), execution_id="e1")


def test_who_runs_for_whom() -> None:
    """Organization and caller answer under the guide's names; without an organization they are None."""
    context = _context({})
    assert (context.org_id, context.org_name, context.tenant_id) == ("acme", "Acme", "tenant")
    assert (context.executed_by, context.executed_by_email, context.executed_by_name) == ("u1", "ada@msp.example", "Ada")
    nobody = _Context(org=None, global_config={"a": 1}, caller=Caller("u"), execution_id="e")
    assert (nobody.org_id, nobody.org_name, nobody.tenant_id, nobody.get_config("a")) == (None, None, None, 1)


def test_configuration_is_the_organizations_then_global_then_the_default() -> None:
    """A dotted key reaches inside, unless a key is spelled so; an entry with a type has that type."""
    context = _context({"api": {"url": "u"}, "api.port": 1, "on": {"value": "yes", "type": "bool"}, "off": {"value": False, "type": "bool"},
                        "count": {"value": "3", "type": "int"}, "tags": {"value": "[1]", "type": "json"}, "map": {"value": {}, "type": "json"},
                        "key": {"value": "name", "type": "secret_ref"}, "text": {"value": 5, "type": "string"}},
                       {"shared": "s", "api": {"url": "global", "other": "o"}})
    assert [context.get_config(key) for key in ("api.url", "api.port", "on", "off", "count", "tags", "map", "text", "shared", "api.other")] == [
        "u", 1, True, False, 3, [1], {}, "5", "s", "o"]
    assert context.get_config("key") == {"secret_ref": "name"}
    assert (context.get_config("none", 7), context.get_config("api.url.deeper")) == (7, None)
    assert (context.has_config("shared"), context.has_config("none")) == (True, False)


def test_an_entry_that_is_not_of_its_type_is_named() -> None:
    """A wrong value is an error with the key, not a default."""
    with pytest.raises(ConfigurationError, match="'count' is not of type int"):
        _context({"count": {"value": "many", "type": "int"}}).get_config("count")


def test_variables_are_kept() -> None:
    """What was set is answered, else the default."""
    context = _context({})
    context.set_variable("a", 1)
    assert (context.get_variable("a"), context.get_variable("b", 2)) == (1, 2)


@pytest.mark.parametrize(("key", "hidden"), [
    ("api_key", True), ("apiKey", True), ("X-API-Key", True), ("clientSecret", True), ("password", True), ("accessToken", True),
    ("api_tokens", True), ("secretKeys", True), ("APIKEY2", True), ("Set-Cookie", True), ("jwt", True), ("accesstoken", True), ("clientsecret", True), ("PASSWORD", True),
    ("credentials", True), ("Authorization", True), ("db-passphrase", True), ("pwd", True), ("privatekey", True), ("", False),
    ("turkey", False), ("tokenized", False), ("secretary", False), ("author", False), ("monkey", False), ("keyboard", False), ("email", False), ("tokenizer", False)])
def test_keys_are_sensitive_by_whole_words(key: str, hidden: bool) -> None:
    """`api_key` is a key to hide; `monkey` is none."""
    assert is_sensitive(key) is hidden


def test_what_is_written_down_is_hidden_and_cut() -> None:
    """Sensitive keys are hidden at every depth, long texts and lists are cut with a count, anything else is text."""
    written = sanitize({"user": {"password": "p", "name": "n"}, "token": None, "items": list(range(102)), "set": {"b", "a"},
                        "text": "x" * 1003, "at": object, "tuple": (1,), **{f"k{number}": 1 for number in range(100)}})
    assert written["user"] == {"password": REDACTED, "name": "n"}
    assert written["token"] is None
    assert written["items"][-1] == "… 2 more"
    assert written["set"] == ["a", "b"]
    assert written["text"].endswith("… (3 more characters)")
    assert written["tuple"] == [1]
    assert written["…"] == "7 more"


def test_a_tracked_call_is_a_line_of_the_log() -> None:
    """What worked is for debugging, what failed is a warning."""
    context = _context({})
    context._track_integration_call("shop", "GET", "/a", 200, 5)
    context._track_integration_call("shop", "GET", "/a", 500, 5, error="down")
    assert [line[0] for line in context.lines] == ["debug", "warning"]
    assert context.lines[1][2]["error"] == "down"


class _Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class _Login:
    user: str
    password: str = "open-sesame"


class _Account(pydantic.BaseModel):
    login: str
    api_key: str = "open-sesame"


@pytest.mark.parametrize("value", [
    _Login("ada"), _Account(login="ada"), {"deep": [_Login("ada")]}, OAuthCredentials("g", "open-sesame"),
    {"credentials": Secret("acme", "k"), "plain": Secret("acme", "k")}])
def test_objects_are_written_down_by_their_fields(value: Any) -> None:
    """A dataclass or model hides what a dictionary of the same fields would."""
    written = sanitize(value)
    assert "open-sesame" not in json.dumps(written)


def test_what_is_written_down_is_json() -> None:
    """Not-a-number, classes, keys of any type: all have a form in JSON, the one of a result where there is one."""
    written = sanitize({1: float("nan"), "inf": float("inf"), "class": _Login, "bytes": b"x", "login": _Login("ada"), "many": b"x" * 1001,
                        "at": datetime(2030, 1, 2, tzinfo=UTC), "day": date(2030, 1, 2), "colour": _Colour.RED, "price": Decimal("1.50")})
    assert json.loads(json.dumps(written, allow_nan=False)) == {
        "1": "nan", "inf": "inf", "class": str(_Login), "bytes": {"$bytes": "eA=="}, "login": {"user": "ada", "password": REDACTED},
        "many": "… (1001 bytes)", "at": "2030-01-02T00:00:00+00:00", "day": "2030-01-02", "colour": "red", "price": "1.50"}


def test_what_contains_itself_is_written_down_once() -> None:
    """A circle, or what is nested too deep, ends in an ellipsis."""
    circle: dict[str, Any] = {"a": 1}
    circle["again"] = [circle]
    assert sanitize(circle) == {"a": 1, "again": ["…"]}
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    assert "…" in json.dumps(sanitize(deep), ensure_ascii=False)


def test_an_entry_of_no_value_is_named() -> None:
    """None is no number, and says so by its key."""
    assert _context({"a": 1, "b": 2}, {"b": 3, "c": 4}).config == {"a": 1, "b": 2, "c": 4}
    with pytest.raises(ConfigurationError, match="'count' is not of type int") as refusal:
        _context({"count": {"value": None, "type": "int"}}).get_config("count")
    assert refusal.value.config_key == "count"
