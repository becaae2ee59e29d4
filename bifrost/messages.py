"""Every name and message that is stored in Temporal's history.

Histories outlive releases: a name here is never renamed, a field is never given another meaning, and a new field has a
default. The shape of the start argument, the activity names and the search attributes are public.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

TASK_QUEUE: Final = "bifrost"

BEGIN: Final = "begin"
CHECKPOINT: Final = "checkpoint"
LOCATE_SECRET: Final = "locate_secret"
ENGINE_ACTIVITIES: Final = (BEGIN, CHECKPOINT, LOCATE_SECRET)
"""Activity types that no `@activity` may have; an integration's have a dot."""

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

CONTEXT_ARGUMENT: Final = "$context"
"""The key of `{"$context": true}`, which stands for the workflow's context among an `@activity`'s arguments."""
POSITIONAL: Final = "*"
"""The key of an integration call's input that holds positional arguments the signature does not name."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")


class CallerMessage(_Message):
    """Who starts an execution."""

    model_config = ConfigDict(extra="forbid")

    user_id: str
    email: str = ""
    name: str = ""


class StartMessage(_Message):
    """The one argument of every workflow."""

    model_config = ConfigDict(extra="forbid")

    org_id: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    caller: CallerMessage | None = None


class BeginRequest(_Message):
    """What `begin` is asked: may this execution run, and with what?"""

    workflow: str
    org_id: str | None = None


def hash_probe() -> int:
    """What this process's hash seed makes of a text: equal in two processes whose sets of strings have one order."""
    return hash("bifrost") & 0xFFFFFFFF


class BeginAnswer(_Message):
    """What an execution knows from its start to its end, however long that is and whatever changes meanwhile.

    `path` is the file of the revision that defines the workflow. `hash_probe` tells the worker's hash seed, which decides
    the order of sets of strings.
    """

    revision: str
    path: str
    hash_probe: int | None = None
    org_name: str | None = None
    tenant_id: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    global_config: dict[str, Any] = Field(default_factory=dict)
    integrations: list[str] = Field(default_factory=list)


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


class CodeReference(_Message):
    """The second input of an `@activity`'s call: where its code is. The first are its named arguments."""

    revision: str
    module: str
    function: str


class CallContext(_Message):
    """What crosses from an execution to its activities, in the header `bifrost-context`."""

    execution_id: str
    origin_run_id: str
    workflow: str
    org_id: str | None = None
    caller: CallerMessage
