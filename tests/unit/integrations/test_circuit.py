"""The circuit breaker, with a clock of the test's own."""

from __future__ import annotations

from bifrost.integrations.base import CircuitRules
from bifrost.integrations.circuit import Circuit


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _open(clock: Clock) -> Circuit:
    circuit = Circuit(CircuitRules(failures=3, open_seconds=10, max_open_seconds=25), clock)
    assert [circuit.failed() for _ in range(3)] == [False, False, True]
    return circuit


def test_a_success_in_between_keeps_it_closed() -> None:
    """Failures count in a row only."""
    circuit = Circuit(CircuitRules(failures=2), Clock())
    for _ in range(5):
        assert not circuit.failed()
        circuit.succeeded()
        assert circuit.wait() is None


def test_whoever_asks_an_open_one_waits_for_the_rest_of_its_time_and_a_little() -> None:
    """What is left, and at most half of the whole time more; those that fail late, begun before, change nothing."""
    clock = Clock()
    circuit = _open(clock)
    clock.now += 4
    assert not circuit.failed()
    waits = [circuit.wait() for _ in range(50)]
    assert all(wait is not None and 6 <= wait <= 11 for wait in waits)
    assert len(set(waits)) > 1


def test_one_attempt_tells_whether_to_go_on() -> None:
    """After its time one goes ahead and the others wait; if that fails the time doubles, up to its bound; else it closes."""
    clock = Clock()
    circuit = _open(clock)
    for length in (10, 20, 25, 25):
        clock.now += length - 1
        assert circuit.wait() is not None
        clock.now += 1
        assert circuit.wait() is None
        assert circuit.wait() is not None
        assert not circuit.failed()
    clock.now += 25
    assert circuit.wait() is None
    circuit.succeeded()
    assert circuit.wait() is None
    assert [circuit.failed() for _ in range(3)] == [False, False, True]


def test_whoever_went_ahead_and_never_came_back_is_replaced() -> None:
    """A worker's attempt may be lost: after the same time again another one goes ahead."""
    clock = Clock()
    circuit = _open(clock)
    clock.now += 10
    assert circuit.wait() is None
    clock.now += 10
    assert circuit.wait() is None
