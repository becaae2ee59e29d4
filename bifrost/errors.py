"""Every error that Bifrost raises on purpose, in one tree.

    WorkflowException                     a run failed for a reason somebody stated
    ├── ValidationError                   input is wrong; nothing was done
    ├── IntegrationError                  another system refused or could not be reached
    ├── ConfigurationError                an operator has to mend something
    │   └── DefinitionError               a decorator was used wrongly (also a ValueError)
    ├── NotFoundError                     no workflow, organization, … of that name
    ├── PermissionError                   the caller may not do this
    ├── TimeoutError                      time ran out (also the built-in TimeoutError)
    └── DeterminismError                  a run used something it could not repeat on replay

`error_type`, `message` and `details` are all there is to an error: the named attributes (`field`, `status_code`, …)
read `details`. So `to_dict` and `from_dict` carry an error whole across processes, histories and HTTP.
"""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class WorkflowException(Exception):  # noqa: N818 - the name is the guide's
    """The base of all errors that user code raises or catches.

    Args:
        message: What went wrong, for a person. With two positional strings the first is the error type (an older form).
        error_type: A stable name for programs; the class name by default.
        details: More facts, as JSON.
        extra: Further facts by keyword, merged into `details`.
    """

    def __init__(self, *args: Any, message: str | None = None, error_type: str | None = None,
                 details: Mapping[str, Any] | None = None, **extra: Any) -> None:
        if len(args) >= 2 and isinstance(args[1], str):
            error_type, message, *rest = args
            details = details if details is not None or not rest else rest[0]
        elif args:
            message = args[0]
            details = args[1] if len(args) > 1 and isinstance(args[1], Mapping) else details
        self.message = str(message) if message is not None else type(self).__name__
        self.error_type = error_type or type(self).__name__
        self.details: dict[str, Any] = {**extra, **(details or {})}
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.error_type, self.message, self.details)

    def to_dict(self) -> dict[str, Any]:
        """The error as `{"error", "message", "details"}`."""
        return {"error": self.error_type, "message": self.message, "details": self.details}


def _given(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


class ValidationError(WorkflowException):
    """Input is wrong. `field` names the parameter, when one parameter is to blame."""

    def __init__(self, message: str | None = None, field: str | None = None,
                 details: Mapping[str, Any] | None = None, **extra: Any) -> None:
        super().__init__(message=message, details={**_given(field=field), **(details or {})}, **extra)

    @property
    def field(self) -> str | None:
        """The parameter at fault, or None."""
        return self.details.get("field")


class IntegrationError(WorkflowException):
    """Another system refused, failed or could not be reached.

    `IntegrationError("msgraph", "refused", 403)` is accepted beside `IntegrationError("refused", integration="msgraph",
    status_code=403)`. An error without a `status_code` is taken for a network error, which may be retried.
    """

    def __init__(self, *args: Any, message: str | None = None, integration: str | None = None,
                 status_code: int | None = None, details: Mapping[str, Any] | None = None, **extra: Any) -> None:
        if len(args) >= 2 and isinstance(args[1], int):
            message, status_code = args[0], args[1]
        elif len(args) >= 2:
            integration, message = args[0], args[1]
            status_code = args[2] if len(args) > 2 else status_code
        elif args:
            message = args[0]
        facts = _given(integration=integration, status_code=status_code)
        super().__init__(message=message, details={**facts, **(details or {})}, **extra)

    @property
    def integration(self) -> str | None:
        """The integration's name, or None."""
        return self.details.get("integration")

    @property
    def status_code(self) -> int | None:
        """The HTTP status answered, or None where there was no answer."""
        return self.details.get("status_code")


class ConfigurationError(WorkflowException):
    """Something that an operator has to mend. `config_key` names it, when it is one key."""

    def __init__(self, message: str | None = None, config_key: str | None = None,
                 details: Mapping[str, Any] | None = None, **extra: Any) -> None:
        super().__init__(message=message, details={**_given(config_key=config_key), **(details or {})}, **extra)

    @property
    def config_key(self) -> str | None:
        """The key at fault, or None."""
        return self.details.get("config_key")


class DefinitionError(ConfigurationError, ValueError):
    """A decorator was used wrongly; the message names the file and the line."""


class NotFoundError(WorkflowException):
    """Nothing of that kind has that name. `details` carries `kind`, `name` and `near` (similar names)."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str], hint: str = "") -> NotFoundError:
        """Write the sentence: `Workflow 'x' not found. Did you mean 'y'?`, followed by `hint`."""
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
        parts = [f"{kind} '{name}' not found."]
        if near:
            parts.append(f"Did you mean {' or '.join(repr(match) for match in near)}?")
        return cls(" ".join([*parts, *([hint] if hint else [])]), kind=kind.lower(), name=name, near=near)


class PermissionError(WorkflowException):  # noqa: A001 - the name is the guide's
    """The caller may not do this."""

    def __init__(self, message: str | None = None, required_permission: str | None = None,
                 details: Mapping[str, Any] | None = None, **extra: Any) -> None:
        facts = _given(required_permission=required_permission)
        super().__init__(message=message, details={**facts, **(details or {})}, **extra)

    @property
    def required_permission(self) -> str | None:
        """The permission that was missing, or None."""
        return self.details.get("required_permission")


class TimeoutError(WorkflowException, builtins.TimeoutError):  # noqa: A001 - the name is the guide's
    """Time ran out. `TimeoutError(30)` writes its own sentence; times are in seconds."""

    def __init__(self, message: str | float | None = None, timeout_seconds: float | None = None,
                 details: Mapping[str, Any] | None = None, **extra: Any) -> None:
        if isinstance(message, int | float):
            message, timeout_seconds = None, message
        if message is None and timeout_seconds is not None:
            message = f"Workflow exceeded timeout of {timeout_seconds:g} seconds"
        facts = _given(timeout_seconds=timeout_seconds)
        super().__init__(message=message, details={**facts, **(details or {})}, **extra)

    @property
    def timeout_seconds(self) -> float | None:
        """The bound that was passed, in seconds, or None."""
        return self.details.get("timeout_seconds")


class DeterminismError(WorkflowException):
    """A run used something that it could not repeat on replay: a clock, a file, a socket, a thread.

    The message names the line and the cure. The run fails; nothing is silently different on replay.
    """


_CLASSES: dict[str, type[WorkflowException]] = {
    cls.__name__: cls
    for cls in (WorkflowException, ValidationError, IntegrationError, ConfigurationError, DefinitionError,
                NotFoundError, PermissionError, TimeoutError, DeterminismError)
}


def _rebuild(cls: type[WorkflowException], error_type: str, message: str,
             details: Mapping[str, Any]) -> WorkflowException:
    error = cls.__new__(cls)
    WorkflowException.__init__(error, message=message, error_type=error_type, details=details)
    return error


def from_dict(error: Mapping[str, Any]) -> WorkflowException:
    """The inverse of `WorkflowException.to_dict`; an unknown type becomes a `WorkflowException` that keeps the name."""
    error_type = str(error.get("error") or "WorkflowException")
    details = error.get("details") or {}
    return _rebuild(_CLASSES.get(error_type, WorkflowException), error_type, str(error.get("message") or ""),
                    details if isinstance(details, Mapping) else {"details": details})
