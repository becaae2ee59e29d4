"""Errors across the boundary between runs and activities: the same class with the same fields on the other side.

A `WorkflowException` travels as a Temporal `ApplicationError` whose type is the error's name and whose one detail is its
`to_dict()`. Temporal's and other people's errors are renamed here, once.
"""

from __future__ import annotations

import asyncio
import builtins
import math
from datetime import timedelta
from typing import Any

import httpx
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError, TimeoutType
from temporalio.exceptions import CancelledError as TemporalCancelledError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from bifrost import errors, redaction
from bifrost.errors import IntegrationError, TimeoutError, WorkflowException  # noqa: A004 - the name is the guide's
from bifrost.messages import NotNow

RETRIED_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
"""HTTP statuses after which the same call may succeed later."""

MAX_MESSAGE = 10_000
"""How many characters of an error's message are kept."""


def as_dict(error: BaseException) -> dict[str, Any]:
    """Any exception as `{"error", "message", "details"}`, without remembered secrets."""
    if isinstance(error, WorkflowException):
        described = error.to_dict()
    else:
        # A KeyError's text is the repr of its argument; the argument says it better.
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        described = {"error": type(error).__name__, "message": str(text), "details": {}}
    described["message"] = cut(described["message"])
    masked: dict[str, Any] = _masked(described)
    return masked


def cut(text: str) -> str:
    """A message as far as it may go: Temporal refuses failures of megabytes, again and again."""
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}… ({len(text) - MAX_MESSAGE} more characters)"


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return redaction.scrub(value)
    if isinstance(value, dict):
        return {redaction.scrub(str(key)): _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_masked(item) for item in value]
    plain = value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else redaction.scrub(str(value))


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def may_retry(error: BaseException) -> bool:
    """Whether a call that failed so may succeed when it is made again.

    An `IntegrationError` is judged by its status. One without a status is a network error, unless it wraps another one
    that has a status: integrations often catch an answer's error and raise their own. Another library's error is judged by
    the status it carries, or by the error of the network that it was raised from.
    """
    if isinstance(error, IntegrationError):
        if NotNow.KEY in error.details:  # the run makes the call once more
            return False
        statuses = [link.status_code for link in _chain(error)
                    if isinstance(link, IntegrationError) and link.status_code is not None]
        return statuses[0] in RETRIED_STATUSES if statuses else True
    if isinstance(error, WorkflowException):
        return isinstance(error, TimeoutError)
    if (status := _answered(error)) is not None:
        return status in RETRIED_STATUSES
    links = [error] if type(error).__module__ == "builtins" else _chain(error)
    return isinstance(error, httpx.TransportError) or any(
        isinstance(link, OSError | EOFError) and not isinstance(link, _OF_FILES) for link in links)


def is_down(error: BaseException, integration: str | None = None) -> bool:
    """Whether an error says that another system did not answer, or could not: this integration's, and not Vault, if it is named."""
    if not may_retry(error) or (integration and isinstance(error, IntegrationError) and error.integration not in (None, "", integration)):
        return False
    status = _status(error)
    return status is None or status >= 500


def has_answered(error: BaseException) -> bool:
    """Whether the other system has answered, with whatever status."""
    return _status(error) is not None


def _status(error: BaseException) -> int | None:
    return error.status_code if isinstance(error, IntegrationError) else _answered(error)


def _answered(error: BaseException) -> int | None:
    """The HTTP status in another library's error, as httpx and requests (`response.status_code`) or aiohttp keep it."""
    status = getattr(getattr(error, "response", None), "status_code", getattr(error, "status", None))
    return status if isinstance(status, int) else None


_OF_FILES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, builtins.PermissionError)


def _retry_after(error: BaseException) -> timedelta | None:
    seconds = error.details.get("retry_after_seconds") if isinstance(error, WorkflowException) else None
    return timedelta(seconds=min(seconds, _DAY)) if isinstance(seconds, int | float) and seconds > 0 else None


_DAY = 86_400


def application_error(error: BaseException, *, retry: bool, not_before: timedelta = timedelta(0)) -> ApplicationError:
    """The error as Temporal carries it, with the traceback and the cause of the original.

    Where the other side asked for a time until the next attempt, that holds, but not a shorter one than `not_before`: many
    systems ask for one second whatever their state is.
    """
    described = as_dict(error)
    asked = _retry_after(error) if retry else None
    carried = ApplicationError(described["message"], described, type=described["error"], non_retryable=not retry,
                               next_retry_delay=asked and max(asked, not_before))
    carried.__cause__ = error.__cause__
    carried.__suppress_context__ = True
    return carried.with_traceback(error.__traceback__)


def of_call(error: FailureError, what: str) -> BaseException:
    """What user code sees of a call (or a child workflow) that failed in the end: `what` names it."""
    # A local activity's failure comes without an ActivityError around it.
    cause = error.cause if isinstance(error, ActivityError | ChildWorkflowError) else error
    match cause:
        case ApplicationError():
            return from_application_error(cause)
        case TemporalCancelledError():
            return asyncio.CancelledError(f"{what} was cancelled")
        case TemporalTimeoutError(type=TimeoutType.HEARTBEAT):
            return TimeoutError(f"{what} was lost with its worker, in every attempt", operation=what)
        case TemporalTimeoutError():
            return TimeoutError(f"{what} did not end in time, in any attempt", operation=what)
        case _:
            return WorkflowException(f"{what} failed: {cause or error}", error_type=type(cause or error).__name__)


_UNREAD = "Failed decoding arguments"
"""What the SDK says where an activity's arguments cannot be read, such as a large one that is not in the store; its cause says it."""


def is_not_now(error: BaseException) -> bool:
    """Whether an activity did not begin, because its arguments cannot be read just now: the run is to make the call again."""
    return (isinstance(error, ApplicationError) and error.message == _UNREAD and isinstance(error.cause, IntegrationError)
            and NotNow.KEY in error.cause.details)


def from_application_error(error: ApplicationError) -> Exception:
    """The inverse of `application_error`; built-in exceptions come back as themselves."""
    if error.message == _UNREAD and isinstance(error.cause, ApplicationError):
        return from_application_error(error.cause)
    described = error.details[0] if error.details else None
    if not isinstance(described, dict) or not {"error", "message"} <= described.keys():  # not Bifrost's
        described = {"error": error.type, "message": error.message, "details": {"details": described} if described else {}}
    restored = _built_in(str(described["error"]), str(described["message"])) or errors.from_dict(described)
    if error.cause is not None:
        restored.__cause__ = from_application_error(error.cause) if isinstance(error.cause, ApplicationError) else error.cause
    return restored


def _built_in(name: str, message: str) -> Exception | None:
    """The built-in exception of that name, unless Bifrost has one or it cannot be raised with a message alone."""
    cls = getattr(builtins, name, None)
    if hasattr(errors, name) or not isinstance(cls, type) or not issubclass(cls, Exception):
        return None
    if issubclass(cls, UnicodeError | ExceptionGroup | StopIteration | StopAsyncIteration):
        return None
    return cls(message)
