"""How activities are tried again: an engine's own always, and what users declare as they declare it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Protocol

from temporalio.common import RetryPolicy

ENGINE: Final = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5))
"""Of what the engine does itself: until it succeeds, every few seconds."""


class Rules(Protocol):
    """What is declared, as `RetryRules` has it; times in seconds."""

    @property
    def initial_seconds(self) -> float: ...
    @property
    def factor(self) -> float: ...
    @property
    def max_seconds(self) -> float: ...


def declared(rules: Rules, max_attempts: int) -> RetryPolicy:
    """The waits of these rules, for so many attempts."""
    return RetryPolicy(initial_interval=timedelta(seconds=rules.initial_seconds), backoff_coefficient=rules.factor,
                       maximum_interval=timedelta(seconds=rules.max_seconds), maximum_attempts=max_attempts)
