"""What user code may call: one abstract `OrganizationContext`.

There are three of them: the durable one (inside a workflow), the live one (inside integrations and data providers) and
the test kit's. What they share is here: who runs for whom, configuration lookup, variables, and what may be written down.
"""

from __future__ import annotations

import abc
import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from bifrost.errors import ConfigurationError
from bifrost.models import BYTES_KEY, Caller, OAuthCredentials, Organization, Secret

_SENSITIVE = re.compile(r"\w*(secret|password|passwd|passphrase|token|credential)s?|(api|access|auth|private|secret)?keys?|pwd|authorization|cookies?|jwts?|bearer")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
REDACTED = "***REDACTED***"
"""What stands where a value may not be written down."""
MAX_TEXT, MAX_ITEMS, MAX_DEPTH = 1_000, 100, 50
"""How much of a text (characters), a list or mapping (items) and a structure (levels) a checkpoint or log line keeps."""


def is_sensitive(key: str) -> bool:
    """Whether a value under this key is one to hide: by its words, so `api_key` is and `monkey` is not."""
    return any(_SENSITIVE.fullmatch(word.lower()) for word in _WORDS.findall(key))


def sanitize(value: Any, key: str = "", above: frozenset[int] = frozenset()) -> Any:
    """`value` as it may be written down: sensitive keys hidden, long texts and lists cut, everything else as JSON.

    Args:
        value: What to write down.
        key: What it stands under.
        above: The ids of what it stands in; what contains itself is left out.
    """
    if key and is_sensitive(key) and value is not None:
        return REDACTED
    if id(value) in above or len(above) > MAX_DEPTH:
        return "…"
    inside = above | {id(value)}
    match value:
        case Mapping():
            items = list(value.items())
            kept = {str(name): sanitize(item, str(name), inside) for name, item in items[:MAX_ITEMS]}
            return kept if len(items) <= MAX_ITEMS else {**kept, "…": f"{len(items) - MAX_ITEMS} more"}
        case list() | tuple() | set() | frozenset():
            listed = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
            kept_items = [sanitize(item, above=inside) for item in listed[:MAX_ITEMS]]
            return kept_items if len(listed) <= MAX_ITEMS else [*kept_items, f"… {len(listed) - MAX_ITEMS} more"]
    fields = _fields(value)
    return _written(value) if fields is None else sanitize(fields, above=inside)


def _written(value: Any) -> Any:
    """What holds nothing else, as it may be written down."""
    match value:
        case Enum():
            return _written(value.value)
        case None | bool() | int() | float():
            return str(value) if isinstance(value, float) and not math.isfinite(value) else value
        case bytes() | bytearray():
            return {BYTES_KEY: base64.b64encode(value).decode()} if len(value) <= MAX_TEXT else f"… ({len(value)} bytes)"
    text = value.isoformat() if isinstance(value, date | time) else str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} more characters)"


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass or pydantic model, whose text would show what their names hide."""
    named = getattr(type(value), "__dataclass_fields__", None) or getattr(type(value), "model_fields", None)
    return {name: getattr(value, name, None) for name in named} if isinstance(named, dict) else None


_NO_VALUE = object()


def _look_up(config: Mapping[str, Any], key: str) -> Any:
    """The entry of `key`, which may be dotted (`api.base_url`) unless a key is spelled exactly so."""
    if key in config:
        return config[key]
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _NO_VALUE
        value = value[part]
    return value


def _typed(key: str, entry: Any) -> Any:
    """The value of an entry: as it is, or as its `{"value": ..., "type": ...}` says."""
    if not (isinstance(entry, Mapping) and entry.keys() == {"value", "type"}):
        return entry
    value, type_name = entry["value"], entry["type"]
    try:
        match type_name:
            case "int":
                return int(value)
            case "bool":
                return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1", "yes", "on")
            case "json":
                return json.loads(value) if isinstance(value, str) else value
            case "secret_ref":
                return {"secret_ref": value}
            case _:
                return str(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The configuration '{key}' is not of type {type_name}: {error}",
                                 config_key=key) from error


class OrganizationContext(abc.ABC):
    """The first argument of every workflow and data provider.

    Attributes:
        org: The organization, or None in an execution without one.
        caller: Who started the execution.
        execution_id: The execution's id, which is its Temporal workflow id.
        scheduled_at: The time that the execution was started for, in UTC, whenever it really began: its schedule's, or that
            of a start that was put off. None in any other.
    """

    org: Organization | None
    caller: Caller
    execution_id: str
    scheduled_at: datetime | None

    def __init__(self, *, org: Organization | None, global_config: Mapping[str, Any], caller: Caller,
                 execution_id: str, scheduled_at: datetime | None = None) -> None:
        self.org = org
        self.caller = caller
        self.execution_id = execution_id
        self.scheduled_at = scheduled_at
        self._scopes = [org.config if org else {}, global_config]
        self._variables: dict[str, Any] = {}

    @property
    def org_id(self) -> str | None:
        """The organization's id."""
        return self.org.id if self.org else None

    @property
    def org_name(self) -> str | None:
        """The organization's name."""
        return self.org.name if self.org else None

    @property
    def tenant_id(self) -> str | None:
        """The organization's Microsoft Entra tenant."""
        return self.org.tenant_id if self.org else None

    @property
    def executed_by(self) -> str:
        """The caller's id."""
        return self.caller.user_id

    @property
    def executed_by_email(self) -> str:
        """The caller's email address."""
        return self.caller.email

    @property
    def executed_by_name(self) -> str:
        """The caller's name."""
        return self.caller.name

    @property
    def config(self) -> dict[str, Any]:
        """Everything that is configured, as it is written: the organization's entries over the global ones."""
        return {**self._scopes[1], **self._scopes[0]}

    def get_config(self, key: str, default: Any = None) -> Any:
        """The organization's configuration, else the global one, else `default`. `key` may be dotted."""
        for scope in self._scopes:
            entry = _look_up(scope, key)
            if entry is not _NO_VALUE:
                return _typed(key, entry)
        return default

    def has_config(self, key: str) -> bool:
        """Whether the organization or the global scope configures `key`."""
        return any(_look_up(scope, key) is not _NO_VALUE for scope in self._scopes)

    def set_variable(self, key: str, value: Any) -> None:
        """Keep a value for the rest of this run."""
        self._variables[key] = value

    def get_variable(self, key: str, default: Any = None) -> Any:
        """A value kept by `set_variable`."""
        return self._variables.get(key, default)

    @abc.abstractmethod
    def log(self, level: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        """Write a line to the execution's log. Levels: debug, info, warning, error; an unknown one counts as info."""

    @abc.abstractmethod
    def save_checkpoint(self, name: str, data: Any = None) -> Any:
        """Mark a durable boundary: what came before is in history before any later call is made.

        May be awaited; need not be.
        """

    @abc.abstractmethod
    def get_integration(self, name: str) -> Any:
        """The organization's client of an integration, authenticated when it is first used.

        Raises:
            NotFoundError: no integration of that name.
        """

    @abc.abstractmethod
    async def get_secret(self, name: str) -> str | Secret:
        """A secret of the organization, else the global one: in a workflow a handle, elsewhere the value.

        Raises:
            KeyError: neither place has it.
        """

    @abc.abstractmethod
    async def get_oauth_connection(self, name: str) -> OAuthCredentials:
        """Credentials of a named OAuth connection."""

    @abc.abstractmethod
    async def execute_workflow(self, name: str, params: Mapping[str, Any] | None = None) -> Any:
        """Run another workflow for the same organization and answer its result."""

    @abc.abstractmethod
    async def map(self, target: str | Callable[..., Any], items: Iterable[Any], concurrency: int = 10) -> Any:
        """Call `target` for each item, `concurrency` at once, however many there are; a failure stops nothing.

        Answers `{"results", "failures", "succeeded", "failed"}`: results in the order of the items (None where one failed),
        failures as `{"index", "item", "error"}`.

        Args:
            target: The name of a workflow, whose parameters the items are; or a function that stands at the top of a file,
                an `@activity` too, called with the item, or with the context and the item if its first argument is `context`.
            items: JSON values.
            concurrency: How many items are under way at once.

        Raises:
            ValidationError: `target` is neither, or `concurrency` is not above 0.
        """

    @abc.abstractmethod
    def on_failure(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Keep an undo call: made, in reverse order, if the execution fails, runs out of time or is cancelled.

        `context.on_failure(graph.delete_user, user["id"])`. Any function will do; calls in it are durable.

        Raises:
            ValidationError: `function` is no function.
        """

    @abc.abstractmethod
    async def wait_for_event(self, name: str, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109
        """Wait for the Temporal signal `name` and answer its payload. `timeout` is in seconds.

        Raises:
            TimeoutError: the event did not come in time.
        """

    def _track_integration_call(self, integration: str, method: str, endpoint: str, status_code: int,
                                duration_ms: int, error: str | None = None) -> None:
        """Record an HTTP call made by hand; `BaseIntegration.http` records its own. A `status_code` of 0: no answer."""
        level = "debug" if status_code < 400 and not error else "warning"
        outcome = f"answered {status_code}" if status_code else "got no answer"
        self.log(level, f"{integration}: {method} {endpoint} {outcome}", {
            "integration": integration, "method": method, "endpoint": endpoint, "status_code": status_code,
            "duration_ms": duration_ms, **({"error": error} if error else {})})
