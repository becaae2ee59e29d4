"""Every name and message that is stored in Temporal's history.

Histories outlive releases: a name here is never renamed, a field is never given another meaning, and a new field has a
default. The shape of the start argument, the activity names and the search attributes are public.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

TASK_QUEUE: Final = "bifrost"

BEGIN: Final = "begin"
CHECKPOINT: Final = "checkpoint"
LOCATE_SECRET: Final = "locate_secret"
TAKE_TURN: Final = "take_turn"
WHO_ENDED: Final = "who_ended"
ENGINE_ACTIVITIES: Final = (BEGIN, CHECKPOINT, LOCATE_SECRET, TAKE_TURN, WHO_ENDED)
"""Activity types that no `@activity` may have; an integration's have a dot."""
DESCRIBE_PROVIDER: Final = "bifrost.describe_provider"
FETCH_OPTIONS: Final = "bifrost.fetch_options"
CHECK_OPTIONS: Final = "bifrost.check_options"

TURNSTILE: Final = "bifrost.turnstile"
"""The workflow type of a turnstile; see `temporal.limits.turnstile`."""
ENTER: Final = "enter"
LEAVE: Final = "leave"
ADMITTED: Final = "bifrost.admitted"
"""The signal that lets an execution in; no event of user code."""

OPTIONS: Final = "bifrost.options"
"""The workflow type of a data provider's list; see `temporal.providers.options`."""
REFRESH: Final = "refresh"
"""The signal that has a list fetched anew."""
ENGINE_WORKFLOWS: Final = (TURNSTILE, OPTIONS)
"""Workflow types that are no execution of user code."""

APPROVE: Final = "approve"
"""The update by which an execution is approved or rejected."""

CONTEXT_HEADER: Final = "bifrost-context"
LOG_MEMO: Final = "bifrost_log"
GLOBAL_SCOPE: Final = "GLOBAL"

ORG_ATTRIBUTE: Final = "BifrostOrg"
OUTCOME_ATTRIBUTE: Final = "BifrostOutcome"
CHECKPOINT_ATTRIBUTE: Final = "BifrostCheckpoint"
REVISION_ATTRIBUTE: Final = "BifrostRevision"
CALLER_ATTRIBUTE: Final = "BifrostCaller"
SEARCH_ATTRIBUTES: Final = (ORG_ATTRIBUTE, OUTCOME_ATTRIBUTE, CHECKPOINT_ATTRIBUTE, REVISION_ATTRIBUTE,
                            CALLER_ATTRIBUTE)
"""All of type Keyword."""

SCHEDULED_TIME_ATTRIBUTE: Final = "TemporalScheduledStartTime"
"""Temporal's own: the nominal time of an execution that a schedule started."""

CONTEXT_ARGUMENT: Final = "$context"
"""The key of `{"$context": true}`, which stands for the workflow's context among an `@activity`'s arguments."""
POSITIONAL: Final = "*"
"""The key of an integration call's input that holds positional arguments the signature does not name."""


Via = Literal["form", "api", "schedule", "operator", "workflow"]
"""The door that an execution came through."""
Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
"""A moment, in UTC; in ISO 8601 where it is stored."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")


class CallerMessage(_Message):
    """Who starts an execution."""

    model_config = ConfigDict(extra="forbid")

    user_id: str
    email: str = ""
    name: str = ""


class CodeReference(_Message):
    """The second input of an `@activity`'s call: where its code is. The first are its named arguments."""

    revision: str
    module: str
    function: str


class ApprovalMessage(_Message):
    """The argument of the update `approve`."""

    model_config = ConfigDict(extra="forbid")

    by: CallerMessage
    approved: bool = True
    note: str = ""


class MapMessage(_Message):
    """A part of `context.map`, which an execution of the same workflow makes for the one that maps.

    `workflow` or `code` is what is called for each item; `path` is the file of the revision that defines the workflow.
    """

    revision: str
    path: str
    items: list[Any]
    concurrency: int
    workflow: str | None = None
    code: CodeReference | None = None


class StartMessage(_Message):
    """The one argument of every workflow. `map` is Bifrost's own.

    `via` says which door it came through; without it, whoever may start Temporal workflows did, an operator. `begin_at` is
    the time that it is started for: the run waits for it, where it is not over.
    """

    model_config = ConfigDict(extra="forbid")

    org_id: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    caller: CallerMessage | None = None
    via: Via | None = None
    begin_at: Moment | None = None
    map: MapMessage | None = None


class BeginRequest(_Message):
    """What `begin` is asked: may this execution run, and with what?

    `revision` and `path` are given for a part of another execution, which runs that one's code.
    """

    workflow: str
    org_id: str | None = None
    revision: str | None = None
    path: str | None = None


def hash_probe() -> int:
    """What this process's hash seed makes of a text: equal in two processes whose sets of strings have one order."""
    return hash("bifrost") & 0xFFFFFFFF


class LimitsMessage(_Message):
    """How many executions of an organization run at once, and how many begin in a minute."""

    executions: int | None = None
    executions_per_minute: int | None = None


class BeginAnswer(_Message):
    """What an execution knows from its start to its end, however long that is and whatever changes meanwhile.

    `path` is the file of the revision that defines the workflow. `hash_probe` tells the worker's hash seed, which decides
    the order of sets of strings. `limits` are the organization's; `max_concurrent` says of integrations how many of its calls
    are under way at once; `short` are the calls that are made within a step.
    """

    revision: str
    path: str
    hash_probe: int | None = None
    org_name: str | None = None
    tenant_id: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    global_config: dict[str, Any] = Field(default_factory=dict)
    integrations: list[str] = Field(default_factory=list)
    limits: LimitsMessage | None = None
    max_concurrent: dict[str, int] = Field(default_factory=dict)
    short: list[str] = Field(default_factory=list)


class LogLine(_Message):
    """One line of an execution's log; `at` is ISO 8601 in UTC."""

    at: str
    level: str
    message: str
    data: dict[str, Any] | None = None


class CheckpointMessage(_Message):
    """The input of the `checkpoint` activity: the checkpoint, and the log lines since the one before.

    Without a name it only carries log lines.
    """

    name: str | None = None
    data: Any = None
    at: str
    log: list[LogLine] = Field(default_factory=list)


class CallContext(_Message):
    """What crosses from an execution to its activities, in the header `bifrost-context`.

    `attempts_before` are attempts of the same call that an activity before this one has made. `scheduled_at` is the nominal
    time of an execution that was started for one.
    """

    execution_id: str
    origin_run_id: str
    workflow: str
    org_id: str | None = None
    caller: CallerMessage
    attempts_before: int = 0
    scheduled_at: Moment | None = None


class NotNow(_Message):
    """What an integration call's error has under `again` in its details, where the run is to wait and make the call once more.

    `attempts` have been made so far; `give_up_seconds` bounds what the call waits in all.
    """

    KEY: ClassVar[str] = "again"

    reason: str
    after_seconds: float
    attempts: int
    give_up_seconds: float | None = None


def turnstile_id(task_queue: str, place: str) -> str:
    """The execution id of a place's turnstile; the workers of another task queue have their own."""
    return f"bifrost-turnstile/{task_queue}/{place}"


def schedule_id(task_queue: str, workflow: str, org_id: str | None) -> str:
    """The id of the Temporal schedule of a workflow for an organization, or GLOBAL: `bifrost/weekly_license_audit/acme`.

    With the search attribute `BifrostOrg`, which says the same organization, it tells Bifrost's schedules from others. The
    executions that it starts have this id, too, with their nominal time behind it: `…/acme-2026-11-30T09:00:00Z`.
    """
    return f"{task_queue}/{workflow}/{org_id or GLOBAL_SCOPE}"


class TurnMessage(_Message):
    """Who wants a turn where, with the limits that the place has by what the asker knows.

    `asked` is what the asker calls it; `ticket` is made when it is asked for first, by the run that is under way then, so that
    what an earlier run was admitted with lets nobody in after a reset.
    """

    place: str
    asked: str
    ticket: str = ""
    execution_id: str
    concurrency: int | None = None
    per_minute: int | None = None


class TurnstileState(_Message):
    """What a turnstile starts with; all but empty where it goes on from a history that became long."""

    waiting: list[TurnMessage] = Field(default_factory=list)
    inside: list[TurnMessage] = Field(default_factory=list)
    admitted: list[str] = Field(default_factory=list)
    concurrency: int | None = None
    per_minute: int | None = None


class ResumeMessage(_Message):
    """What a resume writes down in the reason of its reset: the code that the run goes on with.

    Without `revision`, what `begin` answered holds. `integrations` are those that the code may call. With `keep`, calls that
    had succeeded since the point of the reset are not made again.
    """

    revision: str | None = None
    path: str | None = None
    integrations: list[str] | None = None
    keep: bool = True


class ProviderMessage(_Message):
    """Whose list of a data provider, for which inputs."""

    org_id: str | None = None
    provider: str
    inputs: dict[str, Any] = Field(default_factory=dict)


def options_id(task_queue: str, asked: ProviderMessage) -> str:
    """The id of the runs that fetch and keep one list. Lists of two organizations never have one id."""
    org_id = asked.org_id or GLOBAL_SCOPE
    derived_from = json.dumps([task_queue, org_id, asked.provider, asked.inputs], sort_keys=True)  # never change it
    digest = hashlib.sha256(derived_from.encode(errors="surrogatepass")).hexdigest()
    return f"bifrost-options/{task_queue}/{org_id}/{asked.provider}/{digest[:24]}"


class ProviderRules(_Message):
    """How a data provider is called, as the newest code declares it, in seconds."""

    timeout_seconds: float
    heartbeat_seconds: float
    max_attempts: int
    initial_seconds: float
    factor: float
    max_seconds: float
    cache_ttl_seconds: float
    stale_seconds: float


class KeptOptions(_Message):
    """A list that a data provider answered: valid until `expires_at`, and of use until `ends_at` while it fails."""

    options: list[dict[str, Any]]
    expires_at: AwareDatetime
    ends_at: AwareDatetime


class OptionsState(_Message):
    """What a run of `bifrost.options` starts with: the list that it keeps, or none, which it then fetches at once.

    `failure` is why there is no newer one, as `{"error", "message", "details"}`.
    """

    asked: ProviderMessage
    kept: KeptOptions | None = None
    failure: dict[str, Any] | None = None


class OptionCheck(_Message):
    """A parameter whose values have to be among a data provider's options."""

    parameter: str
    provider: str
    inputs: dict[str, Any] = Field(default_factory=dict)
    values: list[Any]
