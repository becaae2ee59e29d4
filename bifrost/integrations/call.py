"""What belongs to one call of an integration, while the client that makes it serves many at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bifrost.models import SYSTEM_CALLER, Caller


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of one call, or one run of a data provider.

    Attributes:
        execution_id: The execution that makes it.
        caller: Who started that execution.
        idempotency_key: The same in every attempt of a call and no other; None where there is no such promise.
        workflow: The execution's workflow.
        activity: What is called: `<integration>.<method>`, or the data provider's name.
        attempt: Which attempt this is, from 1.
        scheduled_at: The time that the execution was started for, or None.
        variables: What `set_variable` kept during the call.
    """

    execution_id: str = ""
    caller: Caller = SYSTEM_CALLER
    idempotency_key: str | None = None
    workflow: str = ""
    activity: str = ""
    attempt: int = 1
    scheduled_at: datetime | None = None
    variables: dict[str, Any] = field(init=False, default_factory=dict, repr=False, compare=False)
    _numbers: Iterator[int] = field(init=False, default_factory=lambda: itertools.count(1), repr=False, compare=False)

    def next_key(self) -> str | None:
        """The `Idempotency-Key` of the call's next request: the key itself, then followed by `-2`, `-3` and so on.

        A repeated attempt makes the same requests in the same order, so each of them finds its key again.
        """
        if self.idempotency_key is None:
            return None
        number = next(self._numbers)
        return self.idempotency_key if number == 1 else f"{self.idempotency_key}-{number}"


NO_CALL = Call()
"""What `current_call` answers outside a call."""

current_call: ContextVar[Call] = ContextVar("current_call", default=NO_CALL)
"""The call that is being made; tasks and threads that it starts see the same one."""
