"""Errors across the boundary: what is retried, what is carried, and what comes out at the other side."""

from __future__ import annotations

import asyncio
import builtins
import socket
from datetime import timedelta
from typing import Any

import httpx
import pytest
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    RetryState,
    TerminatedError,
    TimeoutType,
)
from temporalio.exceptions import CancelledError as TemporalCancelledError
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from bifrost import errors, redaction
from bifrost.errors import (
    ConfigurationError,
    DefinitionError,
    DeterminismError,
    IntegrationError,
    NotFoundError,
    ValidationError,
    WorkflowException,
)
from bifrost.temporal import failures

REQUEST = httpx.Request("GET", "https://shop.example")


def _raised(error: BaseException, *, cause: BaseException | None = None, context: BaseException | None = None) -> BaseException:
    error.__cause__, error.__context__ = cause, context
    return error


class _VendorError(Exception):
    """An error of some other library; `status` as aiohttp has it."""

    status: int | None = None


def _answered(status: int) -> _VendorError:
    error = _VendorError("answered")
    error.status = status
    return error


@pytest.mark.parametrize(("error", "retried"), [
    *[(IntegrationError("m", status_code=status), True) for status in (408, 425, 429, 500, 502, 503, 504, 599)],
    *[(IntegrationError("m", status_code=status), False) for status in (400, 401, 403, 404, 409, 422, 600)],
    (IntegrationError("no answer"), True),
    (_raised(IntegrationError("wrapped"), cause=IntegrationError("m", status_code=404)), False),
    (_raised(IntegrationError("wrapped"), cause=IntegrationError("m", status_code=503)), True),
    (_raised(IntegrationError("wrapped"), context=IntegrationError("m", status_code=404)), False),
    (_raised(IntegrationError("wrapped"), cause=_raised(ValueError(), cause=IntegrationError("m", status_code=400))), False),
    (_raised(IntegrationError("own", status_code=503), cause=IntegrationError("m", status_code=404)), True),
    (_raised(IntegrationError("wrapped"), cause=ValueError()), True),
    (ValidationError("m"), False), (errors.PermissionError("m"), False), (ConfigurationError("m"), False), (DefinitionError("m"), False),
    (NotFoundError("m"), False), (DeterminismError("m"), False), (WorkflowException("m"), False), (errors.TimeoutError("m"), True),
    (ConnectionResetError(), True), (ConnectionRefusedError(), True), (BrokenPipeError(), True), (socket.gaierror("name"), True),
    (builtins.TimeoutError(), True), (EOFError(), True), (asyncio.IncompleteReadError(b"", 1), True),
    (FileNotFoundError(), False), (builtins.PermissionError(), False), (IsADirectoryError(), False), (FileExistsError(), False),
    (NotADirectoryError(), False), (KeyError("a"), False), (TypeError(), False), (ValueError(), False), (AssertionError(), False), (ZeroDivisionError(), False),
    (_raised(KeyError("a"), context=ConnectionResetError()), False),
    (httpx.ConnectError("m"), True), (httpx.ReadTimeout("m"), True), (httpx.RemoteProtocolError("m"), True), (httpx.InvalidURL("m"), False),
    (httpx.HTTPStatusError("m", request=REQUEST, response=httpx.Response(503)), True),
    (httpx.HTTPStatusError("m", request=REQUEST, response=httpx.Response(404)), False),
    (_answered(429), True), (_answered(400), False), (_VendorError(), False), (_raised(_VendorError(), cause=ConnectionResetError()), True),
    (_raised(_VendorError(), context=_raised(_VendorError(), cause=builtins.TimeoutError())), True)], ids=repr)
def test_what_is_worth_another_attempt(error: BaseException, retried: bool) -> None:
    """Networks, timeouts and the statuses that pass by are; refusals, files and programming errors are not."""
    assert failures.may_retry(error) is retried


def test_a_circle_of_causes_ends() -> None:
    """Errors that were raised from each other are looked at once."""
    first, second = IntegrationError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert failures.may_retry(first)
    assert not failures.may_retry(_raised(_VendorError(), cause=_raised(_VendorError())))


@pytest.mark.parametrize(("seconds", "delay"), [
    (3, timedelta(seconds=3)), (0.5, timedelta(seconds=0.5)), (0, None), (-1, None), ("5", None), (None, None), (float("nan"), None),
    (10**12, timedelta(days=1)), (float("inf"), timedelta(days=1))])
def test_retry_after_is_the_next_delay(seconds: Any, delay: timedelta | None) -> None:
    """As far as it is a time, and a day at most; only where there is a next attempt."""
    error = IntegrationError("m", status_code=429, retry_after_seconds=seconds)
    assert failures.application_error(error, retry=True).next_retry_delay == delay
    assert failures.application_error(error, retry=False).next_retry_delay is None
    assert failures.application_error(ValueError("m"), retry=True).next_retry_delay is None


@pytest.mark.parametrize(("asked", "backoff", "delay"), [(1, 4, 4), (30, 4, 30), (0.249, 0, 0.249), (None, 4, None)])
def test_a_short_retry_after_does_not_defeat_the_backoff(asked: float | None, backoff: float, delay: float | None) -> None:
    """The longer of the two; where nothing is asked for, Temporal's own back-off is left alone."""
    error = IntegrationError("m", status_code=429, **({"retry_after_seconds": asked} if asked else {}))
    carried = failures.application_error(error, retry=True, not_before=timedelta(seconds=backoff))
    assert carried.next_retry_delay == (None if delay is None else timedelta(seconds=delay))


@pytest.mark.parametrize("error", [
    WorkflowException("m", details={"a": [1, {"b": None}]}), WorkflowException(message="m", error_type="Odd"), ValidationError("m", field="f"),
    IntegrationError("shop", "m", 503), ConfigurationError("m", config_key="k"), DefinitionError("m"), NotFoundError.of("Workflow", "a", ["ab"]),
    errors.PermissionError("m", required_permission="p"), errors.TimeoutError(30), DeterminismError("m", line="a:1"), ValueError("m"), TypeError("m"),
    KeyError("the secret 'a' is missing"), ZeroDivisionError("m"), RuntimeError(), ConnectionResetError("m"), ImportError("m"), AssertionError("m")], ids=repr)
def test_an_error_arrives_as_it_left(error: Exception) -> None:
    """The same class, message and details; a built-in exception as itself."""
    carried = failures.application_error(error, retry=False)
    assert (carried.type, carried.non_retryable) == (failures.as_dict(error)["error"], True)
    arrived = failures.from_application_error(carried)
    assert type(arrived) is (type(error) if not isinstance(error, WorkflowException) or type(error).__name__ != "Odd" else WorkflowException)
    assert str(arrived) == str(error)
    assert failures.as_dict(arrived) == failures.as_dict(error)


def test_traceback_and_cause_are_carried() -> None:
    """What was raised where, and from what, goes along; what was merely being handled does not."""
    try:
        try:
            raise KeyError("a")
        except KeyError as cause:
            raise IntegrationError("m") from cause
    except IntegrationError as error:
        carried, traceback = failures.application_error(error, retry=True), error.__traceback__
    assert carried.__traceback__ is traceback
    assert isinstance(carried.__cause__, KeyError)
    assert carried.__suppress_context__
    assert not carried.non_retryable


@pytest.mark.parametrize("name", ["UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError", "UnicodeError", "ExceptionGroup", "StopIteration",
                                  "StopAsyncIteration", "KeyboardInterrupt", "SystemExit", "int", "print", "ShopClosed", "None", ""])
def test_what_cannot_be_raised_from_a_message_keeps_its_name(name: str) -> None:
    """Other exceptions arrive as a WorkflowException with their name."""
    arrived = failures.from_application_error(ApplicationError("m", {"error": name, "message": "m", "details": {}}))
    assert type(arrived) is WorkflowException
    assert (arrived.error_type, arrived.message) == (name or "WorkflowException", "m")


@pytest.mark.parametrize("name", ["PermissionError", "TimeoutError"])
def test_bifrosts_names_go_before_the_built_in(name: str) -> None:
    """Where both have the name, the guide's class arrives."""
    assert type(failures.from_application_error(ApplicationError("m", {"error": name, "message": "m", "details": {}}))) is getattr(errors, name)


@pytest.mark.parametrize(("details", "kept"), [
    ((), {}), (("text",), {"details": "text"}), (({"code": 5},), {"details": {"code": 5}}), (({"error": "x"}, 2), {"details": {"error": "x"}})])
def test_errors_of_other_programs_keep_what_they_say(details: Any, kept: dict[str, Any]) -> None:
    """An ApplicationError that was not made here (another SDK's child workflow) arrives with its type, message and details."""
    arrived = failures.from_application_error(ApplicationError("it is closed", *details, type="ShopClosed"))
    assert isinstance(arrived, WorkflowException)
    assert arrived.to_dict() == {"error": "ShopClosed", "message": "it is closed", "details": kept}
    assert isinstance(failures.from_application_error(ApplicationError("m", type="ValueError")), ValueError)
    assert failures.from_application_error(ApplicationError("m")).args == ("m",)


def test_the_causes_of_an_error_arrive_with_it() -> None:
    """A chain of carried errors is a chain of errors; a cause of another kind stays what it is."""
    carried = failures.application_error(IntegrationError("outer"), retry=False)
    carried.__cause__ = failures.application_error(ValueError("inner"), retry=False)
    carried.__cause__.__cause__ = TerminatedError("ended")
    arrived = failures.from_application_error(carried)
    assert (type(arrived.__cause__), str(arrived.__cause__)) == (ValueError, "inner")
    assert arrived.__cause__ is not None
    assert isinstance(arrived.__cause__.__cause__, TerminatedError)


@pytest.mark.parametrize(("error", "described"), [
    (KeyError("text"), {"error": "KeyError", "message": "text", "details": {}}), (KeyError(), {"error": "KeyError", "message": "", "details": {}}),
    (KeyError(5), {"error": "KeyError", "message": "5", "details": {}}), (_VendorError("m"), {"error": "_VendorError", "message": "m", "details": {}}),
    (WorkflowException("m", a=(1, 2.5, None, True), b={3: object}, c={"x"}), {
        "error": "WorkflowException", "message": "m", "details": {"a": [1, 2.5, None, True], "b": {"3": str(object)}, "c": ["x"]}})])
def test_any_error_can_be_described(error: Exception, described: dict[str, Any]) -> None:
    """As JSON: the name, a sentence, and details in which anything else is text."""
    assert failures.as_dict(error) == described


def test_no_secret_is_carried() -> None:
    """A remembered value is masked in message, details at any depth, and keys' values of any kind."""
    redaction.remember("canary-value-1")
    error = WorkflowException("with canary-value-1", details={"a": ["canary-value-1", {"b": "x canary-value-1"}], "c": ValueError("canary-value-1")})
    carried = failures.application_error(error, retry=False)
    assert "canary" not in f"{carried.message}{carried.details}"
    assert "canary" not in str(failures.as_dict(KeyError("canary-value-1")))


def _activity(cause: BaseException | None) -> ActivityError:
    error = ActivityError("failed", scheduled_event_id=1, started_event_id=2, identity="w", activity_type="shop.buy", activity_id="1",
                          retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED)
    error.__cause__ = cause
    return error


def _child(cause: BaseException | None) -> ChildWorkflowError:
    error = ChildWorkflowError("failed", namespace="n", workflow_id="w", run_id="r", workflow_type="t", initiated_event_id=1, started_event_id=2,
                               retry_state=RetryState.IN_PROGRESS)
    error.__cause__ = cause
    return error


CALLS = [
    (lambda: ApplicationError("m", {"error": "IntegrationError", "message": "m", "details": {"status_code": 503}}), IntegrationError, "m"),
    (lambda: TemporalCancelledError("c"), asyncio.CancelledError, "shop.buy was cancelled"),
    (lambda: TemporalTimeoutError("t", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[]), errors.TimeoutError, "shop.buy was lost with its worker"),
    (lambda: TemporalTimeoutError("t", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]), errors.TimeoutError, "shop.buy did not end in time"),
    (lambda: TemporalTimeoutError("t", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[]), errors.TimeoutError, "did not end in time"),
    (lambda: TerminatedError("ended"), WorkflowException, "shop.buy failed: ended")]


@pytest.mark.parametrize("around", [_activity, _child, lambda cause: cause], ids=["activity", "child workflow", "local activity"])
@pytest.mark.parametrize(("cause", "expected", "said"), CALLS)
def test_what_user_code_sees_of_a_failed_call(around: Any, cause: Any, expected: type[BaseException], said: str) -> None:
    """The error that was raised there; for what Temporal itself reports, a typed error that names the call."""
    seen = failures.of_call(around(cause()), "shop.buy")
    assert type(seen) is expected
    assert said in str(seen)


def test_a_failure_without_a_cause_is_told_as_it_is() -> None:
    """Neither Temporal's silence nor a failure of an unknown kind is lost."""
    seen = failures.of_call(_activity(None), "shop.buy")
    assert isinstance(seen, WorkflowException)
    assert (seen.message, seen.error_type) == ("shop.buy failed: failed", "ActivityError")
    assert failures.of_call(FailureError("odd"), "shop.buy").args == ("shop.buy failed: odd",)
    timeout = failures.of_call(_activity(TemporalTimeoutError("t", type=None, last_heartbeat_details=[])), "shop.buy")
    assert isinstance(timeout, errors.TimeoutError)
    assert timeout.details == {"operation": "shop.buy"}
