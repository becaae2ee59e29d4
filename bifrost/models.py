"""The words that every room shares: who runs, for whom, and what the decorators recorded.

Plain frozen dataclasses: they import quickly, compare by value and cannot be changed behind anybody's back.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NoReturn

from bifrost.errors import DefinitionError

BYTES_KEY = "$bytes"
"""The key under which bytes travel, in base64: `{"$bytes": "AA=="}`; never change it."""
GLOBAL = "GLOBAL"
"""The fallback scope of configuration and secrets; never the id of an organization."""


@dataclass(frozen=True, slots=True)
class OrganizationLimits:
    """What an organization may use of the platform; None for no limit.

    Attributes:
        executions: How many of its executions run at once; the others wait for their turn.
        executions_per_minute: How many of them begin in a minute.
    """

    executions: int | None = None
    executions_per_minute: int | None = None

    def over(self, everywhere: OrganizationLimits) -> OrganizationLimits:
        """These limits, and those of all organizations where there is none."""
        return OrganizationLimits(*(everybodys if own is None else own for own, everybodys in (
            (self.executions, everywhere.executions), (self.executions_per_minute, everywhere.executions_per_minute))))


OVERLAPS = ("skip", "buffer_one", "buffer_all", "cancel_other", "allow_all")
"""What may become of a scheduled execution whose predecessor still runs."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a workflow runs by itself: `@workflow(schedule=Schedule("0 9 * * 1", timezone="Europe/Berlin"))`.

    Attributes:
        cron: Five fields (minute, hour, day, month, weekday), or `@daily` and the like.
        timezone: The clock that `cron` is read by, as the IANA database names it. A time that a change of clocks leaves out
            does not come that day; one that it repeats comes once or twice, by the zone.
        overlap: What becomes of an execution whose predecessor still runs: `skip` leaves it out, `buffer_one` and
            `buffer_all` let one or all wait, `cancel_other` cancels the predecessor, `allow_all` runs both.
        catchup_seconds: How late an execution may still begin when Temporal was down at its time; at least 10. A day by
            default: no outage of a night loses the weekly audit, and no job of last month runs today. How late a worker
            comes does not matter: what was started waits for one.
        jitter_seconds: By how much, at most, each execution is delayed, so that those of many organizations spread.
        enabled: Whether organizations have it that do not say so themselves.
    """

    cron: str
    timezone: str = "UTC"
    overlap: str = "skip"
    catchup_seconds: float = 86_400
    jitter_seconds: float = 0
    enabled: bool = True

    def __str__(self) -> str:
        return self.cron if self.timezone == "UTC" else f"{self.cron} {self.timezone}"


@dataclass(frozen=True, slots=True)
class ScheduleOverride:
    """What an organization says about a workflow's schedule; None where it says nothing.

    Attributes:
        cron: Its own times.
        timezone: Its own clock.
        paused: Whether the schedule exists and rests.
        enabled: Whether there is one at all.
    """

    cron: str | None = None
    timezone: str | None = None
    paused: bool | None = None
    enabled: bool | None = None

    def over(self, everybodys: ScheduleOverride) -> ScheduleOverride:
        """This, and what is said for all organizations where this says nothing."""
        own = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        return replace(everybodys, **own)

    def applied_to(self, schedule: Schedule) -> Schedule:
        """The schedule with the times of this."""
        return replace(schedule, cron=self.cron or schedule.cron, timezone=self.timezone or schedule.timezone)


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant. `config` is plain; a secret in it is a reference, `{"secret_ref": NAME}`. `schedules` is by workflow."""

    id: str
    name: str
    tenant_id: str | None = None
    active: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    limits: OrganizationLimits = OrganizationLimits()
    schedules: Mapping[str, ScheduleOverride] = field(default_factory=dict)

    @property
    def org_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def is_active(self) -> bool:
        """The same as `active`."""
        return self.active


@dataclass(frozen=True, slots=True)
class Caller:
    """Who started an execution."""

    user_id: str
    email: str = ""
    name: str = ""


SCHEDULER = Caller(user_id="system:scheduler", name="Scheduler")
"""The caller of an execution that a schedule started."""
SYSTEM_CALLER = Caller(user_id="system", name="System")
"""The caller of an execution that was started without saying who starts it."""


class ExecutionStatus(enum.StrEnum):
    """What became of an execution; always derived from Temporal, never stored beside it."""

    SCHEDULED = "Scheduled"
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCESS = "Success"
    COMPLETED_WITH_ERRORS = "CompletedWithErrors"
    FAILED = "Failed"
    TIMEOUT = "Timeout"
    CANCELLED = "Cancelled"
    TERMINATED = "Terminated"


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where something was written: `file:line`."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class ParameterMetadata:
    """One parameter of a workflow or data provider, as `@param` or the signature describes it.

    `data_provider_inputs` says of the data provider's parameters which of the workflow's they are.
    """

    name: str
    type: str
    label: str
    required: bool = False
    validation: Mapping[str, Any] = field(default_factory=dict)
    data_provider: str | None = None
    default_value: Any = None
    help_text: str | None = None
    validate_options: bool = False
    data_provider_inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkflowMetadata:
    """What `@workflow` recorded. `timeout_seconds` of 0 means no timeout; `schedule` is as it was written."""

    name: str
    description: str
    function: Callable[..., Any] = field(repr=False, compare=False)
    source: SourceLocation
    category: str = "General"
    tags: tuple[str, ...] = ()
    execution_mode: str = "sync"
    timeout_seconds: float = 0
    retry_policy: Mapping[str, Any] = field(default_factory=dict)
    schedule: str | Schedule | None = None
    requires_org: bool = True
    expose_in_forms: bool = True
    requires_approval: bool = False
    parameters: tuple[ParameterMetadata, ...] = ()

    @property
    def timing(self) -> Schedule | None:
        """The schedule, whole; None without one."""
        return self.schedule if isinstance(self.schedule, Schedule) else Schedule(self.schedule) if self.schedule else None


@dataclass(frozen=True, slots=True)
class DataProviderMetadata:
    """What `@data_provider` recorded. `cache_ttl_seconds` of 0 means that answers are never cached.

    `stale_seconds` is how long after that the last good answer is served while there is no new one; `timeout_seconds` bounds
    one attempt.
    """

    name: str
    description: str
    function: Callable[..., Any] = field(repr=False, compare=False)
    source: SourceLocation
    category: str = "General"
    cache_ttl_seconds: float = 300
    parameters: tuple[ParameterMetadata, ...] = ()
    stale_seconds: float = 0
    timeout_seconds: float = 60
    retry_policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActivityMetadata:
    """What `@activity` recorded. `timeout_seconds` bounds one attempt; without a `retry_policy` the workflow's holds."""

    name: str
    description: str
    function: Callable[..., Any] = field(repr=False, compare=False)
    source: SourceLocation
    timeout_seconds: float = 60
    retry_policy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How often a call is tried, and how long it waits in between, in seconds."""

    max_attempts: int = 5
    initial_seconds: float = 0.5
    factor: float = 2
    max_seconds: float = 60

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> RetryRules:
        """The rules that a `retry_policy` dictionary spells, in any of its spellings.

        Raises:
            DefinitionError: an unknown key, or a number out of range.
        """
        names = {alias: name for name, aliases in _SPELLINGS.items() for alias in aliases}
        unknown = sorted(set(policy) - set(names))
        if unknown:
            raise DefinitionError(f"Unknown retry_policy key {', '.join(map(repr, unknown))}; known: "
                                  f"{', '.join(sorted(names))}")
        given = {names[key]: value for key, value in policy.items()}
        wrong = [key for key, value in policy.items() if isinstance(value, bool) or not isinstance(value, int | float)]
        rules = cls() if wrong else cls(**{"max_seconds": max(cls().max_seconds, given.get("initial_seconds", 0)), **given})
        if wrong or rules.max_attempts < 1 or rules.factor < 1 or not 0 < rules.initial_seconds <= rules.max_seconds:
            raise DefinitionError("A retry_policy needs numbers: max_attempts >= 1, backoff >= 1 and 0 < backoff_seconds <= "
                                  f"max_backoff_seconds; got {dict(policy)}")
        return rules

    def seconds_after(self, attempt: int) -> float:
        """How long to wait after this attempt, counted from 1."""
        return float(min(self.initial_seconds * self.factor ** (attempt - 1), self.max_seconds))


_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "max_attempts": ("max_attempts", "maxAttempts"),
    "factor": ("backoff", "backoff_multiplier", "backoffMultiplier"),
    "initial_seconds": ("backoff_seconds", "backoffSeconds"),
    "max_seconds": ("max_backoff_seconds", "maxBackoffSeconds"),
}


@dataclass(slots=True)
class OAuthCredentials:
    """A token of a named OAuth connection. Its `repr` never shows a token."""

    connection_name: str
    access_token: str = field(repr=False)
    token_type: str = "Bearer"
    expires_at: datetime | None = None
    refresh_token: str | None = field(default=None, repr=False)
    scopes: str = ""

    def is_expired(self, leeway_seconds: float = 0) -> bool:
        """Whether the token has expired, or does so within `leeway_seconds`. A token without an expiry never has."""
        if self.expires_at is None:
            return False
        expires_at = self.expires_at if self.expires_at.tzinfo else self.expires_at.replace(tzinfo=UTC)
        return datetime.now(UTC) + timedelta(seconds=leeway_seconds) >= expires_at

    def is_valid(self) -> bool:
        """The opposite of `is_expired`."""
        return not self.is_expired()

    def get_auth_header(self) -> str:
        """The value for an `Authorization` header."""
        return f"{self.token_type} {self.access_token}"


class Secret:
    """A handle of a secret, as workflow code sees it: the name, never the value.

    Pass it as an argument of an integration call or an `@activity`, also within lists, dictionaries, dataclasses and
    models; the value is read where the call is made. Where it is shown (`str`, `repr`, an f-string, a log line, a checkpoint,
    a result) it is stars. Whatever else needs its text raises TypeError, because whatever workflow code holds is written to
    Temporal's history.
    """

    __slots__ = ("name", "org_id")

    org_id: str
    name: str

    WIRE_KEY: ClassVar[str] = "$secret"
    """The key under which a handle travels: `{"$secret": {"org_id": ..., "name": ...}}`."""

    def __init__(self, org_id: str, name: str) -> None:
        object.__setattr__(self, "org_id", org_id)
        object.__setattr__(self, "name", name)

    def to_wire(self) -> dict[str, Any]:
        """The handle as JSON."""
        return {self.WIRE_KEY: {"org_id": self.org_id, "name": self.name}}

    @classmethod
    def from_wire(cls, value: Any) -> Secret | None:
        """The handle that `value` stands for, or None if it stands for none."""
        if isinstance(value, dict) and value.keys() == {cls.WIRE_KEY}:
            inner = value[cls.WIRE_KEY]
            if isinstance(inner, dict) and inner.keys() == {"org_id", "name"}:
                return cls(inner["org_id"], inner["name"])
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("A secret handle cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.org_id, self.name)

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, ********)"

    def __str__(self) -> str:
        return "********"

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError(
            f"The secret '{self.name}' is a handle here and has no text: pass it as it is to an integration call or an `@activity`, "
            "which get the value, instead of using its text in the workflow")

    __add__ = __radd__ = __mul__ = __rmul__ = __mod__ = __rmod__ = __len__ = __iter__ = __getitem__ = __contains__ = __bytes__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __index__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(str, name):
            self._refuse()
        raise AttributeError(f"A secret handle has no '{name}'")

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            return (self.org_id, self.name) == (other.org_id, other.name)
        if isinstance(other, str | bytes):
            self._refuse()
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.org_id, self.name))

    def __bool__(self) -> bool:
        return True
