"""What a run has done and would undo: the saga pattern.

`context.on_failure(graph.delete_user, user_id)` is kept until the run ends. If it fails, runs out of time or is cancelled,
the undo calls are made in reverse order, each an ordinary call: retried, recorded, shown.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bifrost.errors import ValidationError


class _Log(Protocol):
    def log(self, level: str, message: str, data: Mapping[str, Any] | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class _Step:
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))


class Undo:
    """The undo calls of one run."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Keep an undo call.

        Raises:
            ValidationError: it is no function, or a call that was made already.
        """
        if inspect.iscoroutine(function):
            function.close()
            raise ValidationError("on_failure takes a function and its arguments, not a call: write "
                                  "context.on_failure(graph.delete_user, user_id)", field="on_failure")
        if not callable(function):
            raise ValidationError(f"on_failure takes a function and its arguments, not {function!r}", field="on_failure")
        self._steps.append(_Step(function, args, kwargs))

    async def run(self, context: _Log) -> list[dict[str, Any]]:
        """Make the undo calls, the last one first, and answer what became of each.

        One that fails does not keep the others from being made.
        """
        answered: list[dict[str, Any]] = []
        while self._steps:
            step = self._steps.pop()
            try:
                result = step.function(*step.args, **step.kwargs)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:  # noqa: BLE001 - whatever user code raises
                context.log("error", f"{step.name} could not be undone with", {"error": str(error)})
                answered.append({"undo": step.name, "error": str(error)})
            else:
                context.log("info", f"undone: {step.name}")
                answered.append({"undo": step.name})
        return answered
