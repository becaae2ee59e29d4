"""A circuit breaker: after many failures in a row nothing is tried for a while, and then one attempt tells whether to go on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from bifrost.integrations.base import CircuitRules


class Circuit:
    """The circuit of one organization's integration in one worker.

    Args:
        rules: When it opens, and for how long.
        clock: Seconds that only ever grow.
    """

    def __init__(self, rules: CircuitRules, clock: Callable[[], float] = time.monotonic) -> None:
        self.rules = rules
        self._clock = clock
        self._failures = 0
        self._open_for = rules.open_seconds
        self._open_until: float | None = None
        self._trying = False

    def wait(self) -> float | None:
        """How many seconds whoever asks must wait before asking again; None to go ahead.

        When the time of an open circuit is over, the first to ask goes ahead, and everybody else waits for what becomes of it.
        """
        if self._open_until is None:
            return None
        left = self._open_until - self._clock()
        if left <= 0:
            self._trying, self._open_until = True, self._clock() + self._open_for
            return None
        # Spread over half as long again: all who wait would otherwise ask in the same moment.
        return left + random.uniform(0, self._open_for / 2)  # noqa: S311 - nobody is to be kept from guessing it

    def succeeded(self) -> None:
        """The other system answered, whatever it said."""
        self._failures, self._open_for, self._open_until, self._trying = 0, self.rules.open_seconds, None, False

    def failed(self) -> bool:
        """The other system did not answer, or could not; says whether that opened the circuit."""
        self._failures += 1
        if self._open_until is None:
            if self._failures >= self.rules.failures:
                self._open_until = self._clock() + self._open_for
            return self._open_until is not None
        if self._trying:  # others that fail now were under way when it opened
            self._open_for = min(self._open_for * 2, self.rules.max_open_seconds)
            self._trying, self._open_until = False, self._clock() + self._open_for
        return False
