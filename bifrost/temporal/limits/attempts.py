"""One attempt of an integration call, and when its failure is a "not now": what `calls` follows in the run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import structlog
from temporalio import activity

from bifrost import metrics
from bifrost.errors import IntegrationError
from bifrost.integrations.base import BaseIntegration, CircuitRules, Operation
from bifrost.integrations.call import current_call
from bifrost.integrations.circuit import Circuit
from bifrost.messages import NotNow
from bifrost.temporal import failures

_NOT_TAKEN = (425, 429)
"""HTTP statuses of answers that say the request was not looked at."""
_log = structlog.stdlib.get_logger("bifrost.activity")


class Attempts:
    """The attempts that one worker makes, and a circuit for each organization and integration."""

    def __init__(self) -> None:
        self._circuits: dict[tuple[str | None, str], Circuit] = {}

    @contextlib.contextmanager
    def one(self, org_id: str | None, integration: str, method: str, cls: type[BaseIntegration] | None) -> Iterator[None]:
        """What is inside is one attempt; nothing is done inside while the integration's system is down.

        Raises:
            IntegrationError: it is down, or what is inside failed so; with a `NotNow` where the run is to make the call once more.
        """
        circuit = self._circuit(org_id, integration, cls.circuit if cls else None)
        if circuit and (seconds := circuit.wait()):
            raise _down(integration, circuit.rules, seconds)
        try:
            yield
        except asyncio.CancelledError:
            details = activity.cancellation_details() if activity.in_activity() else None
            if circuit and details and details.timed_out:
                _note_failure(circuit, org_id, integration)
            raise
        except Exception as error:
            if circuit and failures.is_down(error, integration):
                _note_failure(circuit, org_id, integration)
            elif circuit and failures.has_answered(error):  # and not where nothing was asked, such as for a wrong argument
                circuit.succeeded()
            _note_refusal(error, Operation.of(cls, method))
            raise
        if circuit:
            circuit.succeeded()

    def _circuit(self, org_id: str | None, integration: str, rules: CircuitRules | None) -> Circuit | None:
        if rules is None:
            return None
        known = self._circuits.get((org_id, integration))
        if known is None or known.rules != rules:
            known = self._circuits[org_id, integration] = Circuit(rules)
        return known


def _note_failure(circuit: Circuit, org_id: str | None, integration: str) -> None:
    if circuit.failed():
        metrics.record(metrics.CIRCUIT_OPENINGS, integration=integration)
        _log.warning("the circuit is open: nothing is tried for a while", integration=integration, org_id=org_id,
                     open_seconds=circuit.rules.open_seconds)


def _down(integration: str, rules: CircuitRules, seconds: float) -> IntegrationError:
    reason = f"{integration} is down: {rules.failures} or more attempts in a row had no answer, or one of 500 and above"
    again = NotNow(reason=reason, after_seconds=seconds, attempts=current_call.get().attempt - 1, give_up_seconds=rules.give_up_seconds)
    return IntegrationError(reason, integration=integration, details={NotNow.KEY: again.model_dump()})


def _note_refusal(error: Exception, operation: Operation) -> None:
    """Have a call made once more that Temporal may not repeat, if the other system did not take it."""
    attempt = current_call.get().attempt
    if operation.repeatable or attempt >= operation.retry.max_attempts:
        return
    if isinstance(error, IntegrationError) and error.status_code in _NOT_TAKEN:
        asked = error.details.get("retry_after_seconds") or 0
        error.details[NotNow.KEY] = NotNow(reason=error.message, attempts=attempt,
                                           after_seconds=max(asked, operation.retry.seconds_after(attempt))).model_dump()
