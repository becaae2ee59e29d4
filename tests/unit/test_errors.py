"""The error tree: every shape of call, and the way across a boundary and back."""

from __future__ import annotations

import asyncio
import builtins
import pickle
from typing import Any

import pytest

from bifrost import errors
from bifrost.errors import (
    ConfigurationError,
    DefinitionError,
    DeterminismError,
    IntegrationError,
    NotFoundError,
    PermissionError,  # noqa: A004 - the name is the guide's
    TimeoutError,  # noqa: A004 - the name is the guide's
    ValidationError,
    WorkflowException,
)

SHAPES: list[tuple[WorkflowException, str, str, dict[str, Any]]] = [
    (WorkflowException("it failed"), "WorkflowException", "it failed", {}),
    (WorkflowException("Odd", "it failed", {"a": 1}), "Odd", "it failed", {"a": 1}),
    (WorkflowException(message="it failed", error_type="WorkflowError", details={"a": 1}), "WorkflowError", "it failed", {"a": 1}),
    (WorkflowException("it failed", {"a": 1}), "WorkflowException", "it failed", {"a": 1}),
    (WorkflowException("it failed", details={"a": 1}, b=2), "WorkflowException", "it failed", {"a": 1, "b": 2}),
    (WorkflowException("Odd", "it failed", details={"a": 1}), "Odd", "it failed", {"a": 1}),
    (WorkflowException(), "WorkflowException", "WorkflowException", {}),
    (ValidationError("bad", field="email", details={"a": 1}), "ValidationError", "bad", {"field": "email", "a": 1}),
    (ValidationError("bad", "email"), "ValidationError", "bad", {"field": "email"}),
    (ValidationError(message="bad", details={"a": 1}), "ValidationError", "bad", {"a": 1}),
    (IntegrationError("API call failed"), "IntegrationError", "API call failed", {}),
    (IntegrationError("graph", "no", 403), "IntegrationError", "no", {"integration": "graph", "status_code": 403}),
    (IntegrationError("no", 403), "IntegrationError", "no", {"status_code": 403}),
    (IntegrationError("no", 403, integration="graph"), "IntegrationError", "no", {"integration": "graph", "status_code": 403}),
    (IntegrationError("graph", "no"), "IntegrationError", "no", {"integration": "graph"}),
    (IntegrationError(integration="graph", message="no", status_code=404, details={"a": 1}), "IntegrationError", "no",
     {"integration": "graph", "status_code": 404, "a": 1}),
    (IntegrationError(message="no", details={"a": 1}), "IntegrationError", "no", {"a": 1}),
    (ConfigurationError("m", missing_keys=["a"]), "ConfigurationError", "m", {"missing_keys": ["a"]}),
    (ConfigurationError("m", "key"), "ConfigurationError", "m", {"config_key": "key"}),
    (DefinitionError("m"), "DefinitionError", "m", {}),
    (PermissionError("m", "canRun"), "PermissionError", "m", {"required_permission": "canRun"}),
    (PermissionError("m", required_role="Admin", current_user="u"), "PermissionError", "m",
     {"required_role": "Admin", "current_user": "u"}),
    (TimeoutError(30), "TimeoutError", "Workflow exceeded timeout of 30 seconds", {"timeout_seconds": 30}),
    (TimeoutError(0.5), "TimeoutError", "Workflow exceeded timeout of 0.5 seconds", {"timeout_seconds": 0.5}),
    (TimeoutError(timeout_seconds=30), "TimeoutError", "Workflow exceeded timeout of 30 seconds", {"timeout_seconds": 30}),
    (TimeoutError(), "TimeoutError", "TimeoutError", {}),
    (TimeoutError("m", timeout_seconds=5, operation="x"), "TimeoutError", "m", {"timeout_seconds": 5, "operation": "x"}),
    (DeterminismError("m", line="a:1"), "DeterminismError", "m", {"line": "a:1"}),
    (NotFoundError.of("Workflow", "sinc", ["sync"]), "NotFoundError", "Workflow 'sinc' not found. Did you mean 'sync'?",
     {"kind": "workflow", "name": "sinc", "near": ["sync"]}),
]


@pytest.mark.parametrize(("error", "error_type", "message", "details"), SHAPES)
def test_every_documented_call_works(error: WorkflowException, error_type: str, message: str, details: dict[str, Any]) -> None:
    """Message first or by keyword, further keywords become details, and `str` is the message."""
    assert (error.error_type, error.message, error.details) == (error_type, message, details)
    assert str(error) == message
    assert error.to_dict() == {"error": error_type, "message": message, "details": details}


@pytest.mark.parametrize("error", [shape[0] for shape in SHAPES])
def test_an_error_comes_back_whole(error: WorkflowException) -> None:
    """`from_dict` and pickle restore class, type, message and details."""
    for restored in (errors.from_dict(error.to_dict()), pickle.loads(pickle.dumps(error))):
        assert type(restored) is type(error)
        assert restored.to_dict() == error.to_dict()
        assert str(restored) == str(error)


def test_details_answer_as_attributes() -> None:
    """The named fields read the details, so they survive every boundary; one that was not given is None."""
    assert ValidationError("m", field="f").field == "f"
    assert (IntegrationError("g", "m", 429).status_code, IntegrationError("g", "m").integration) == (429, "g")
    assert IntegrationError("m").status_code is None
    assert ConfigurationError("m", config_key="k").config_key == "k"
    assert PermissionError("m", required_permission="p").required_permission == "p"
    assert TimeoutError(3).timeout_seconds == 3


def test_an_unknown_type_keeps_its_name() -> None:
    """An error of a class that this process does not have is a WorkflowException with the name."""
    restored = errors.from_dict({"error": "ShopClosed", "message": "closed"})
    assert type(restored) is WorkflowException
    assert (restored.error_type, restored.details) == ("ShopClosed", {})
    assert errors.from_dict({}).error_type == "WorkflowException"


def test_built_in_relatives() -> None:
    """A timeout is also the built-in (and asyncio's) TimeoutError, a definition error a ValueError."""
    assert issubclass(TimeoutError, builtins.TimeoutError)
    assert issubclass(TimeoutError, asyncio.TimeoutError)
    assert issubclass(DefinitionError, ValueError)


def test_a_subclass_of_the_user_has_its_own_name() -> None:
    """The error type of a user's subclass is its class name."""
    class QuotaError(WorkflowException):
        pass

    assert QuotaError("full").error_type == "QuotaError"


def test_details_of_any_shape_come_back() -> None:
    """What another program put into an error's details is kept, whatever it is."""
    assert errors.from_dict({"error": "ValidationError", "message": "m", "details": "text"}).details == {"details": "text"}
    assert errors.from_dict({"error": None, "message": None, "details": None}).to_dict() == {
        "error": "WorkflowException", "message": "", "details": {}}


def test_a_subclass_of_the_user_survives_pickle() -> None:
    """A subclass keeps its class where that can be imported, and what was raised from it keeps its text."""
    error = pickle.loads(pickle.dumps(_ClosedError("closed", shop="s1")))
    assert type(error) is _ClosedError
    assert error.to_dict() == {"error": "_ClosedError", "message": "closed", "details": {"shop": "s1"}}


class _ClosedError(IntegrationError):
    pass


def test_not_found_without_likeness_and_with_a_hint() -> None:
    """Nothing similar is nothing to suggest; the hint closes the sentence."""
    error = NotFoundError.of("Organization", "zzz", ["acme"], "See the file.")
    assert str(error) == "Organization 'zzz' not found. See the file."
    assert error.details["near"] == []
    assert "Did you mean 'acme' or 'acme2'?" in str(NotFoundError.of("Organization", "acm", ["acme", "acme2"]))
