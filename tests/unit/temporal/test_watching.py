"""Measurements, log filters, health and slots, each without a server."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import socket
import weakref
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from temporalio.worker import SlotMarkUsedContext, SlotReleaseContext, SlotReserveContext, WorkerTuner

from bifrost import metrics
from bifrost.cli.health import Health, answering
from bifrost.dev.ports import free_port
from bifrost.errors import ConfigurationError, IntegrationError, ValidationError, WorkflowException
from bifrost.messages import NotNow
from bifrost.temporal import runtime, slots, worker
from bifrost.temporal.operating import measures
from bifrost.temporal.slots import Slots, Tuner
from tests.waiting import until

ANY = cast("SlotReserveContext", None)


@pytest.fixture
def recorded() -> Iterator[list[tuple[str, float, Mapping[str, str]]]]:
    """What is measured."""
    found: list[tuple[str, float, Mapping[str, str]]] = []
    metrics.use(lambda metric, value, labels: found.append((metric.name, value, labels)))
    yield found
    metrics.use(None)
    metrics._classes.clear()


@pytest.mark.parametrize(("error", "outcome"), [
    (None, "success"), (IntegrationError("no", status_code=404), "refused"), (IntegrationError("slow down", status_code=429), "throttled"),
    (IntegrationError("oh", status_code=503), "down"), (IntegrationError("unreachable"), "down"), (ValidationError("x"), "error"),
    (IntegrationError("it is down", details={NotNow.KEY: {}}), "held"), (asyncio.CancelledError(), "cancelled")])
def test_how_an_attempt_ends(recorded: list[tuple[str, float, Mapping[str, str]]], error: BaseException | None, outcome: str) -> None:
    """Each attempt counts once, by what the other system did, and takes time only if it was made; what it raised goes on."""
    with pytest.raises(type(error)) if error else contextlib.nullcontext(), measures.attempt("tool", lambda: "gold"):
        if error:
            raise error
    names = [name for name, _, _ in recorded]
    assert recorded[0] == ("bifrost_calls", 1, {"integration": "tool", "outcome": outcome, "organization_class": "gold"})
    assert outcome in metrics.OUTCOMES
    assert ("bifrost_call_duration" in names) is (outcome != "held")
    assert ("bifrost_call_throttles" in names) is (outcome == "throttled")


def test_labels_are_bounded(recorded: list[tuple[str, float, Mapping[str, str]]]) -> None:
    """However many classes a configuration makes up, a process tells a few apart; nobody's own name is a class by itself."""
    assert [metrics.organization_class(None), metrics.organization_class("")] == ["default", "default"]
    assert {metrics.organization_class(f"tier-{number}") for number in range(100)} == {
        *(f"tier-{number}" for number in range(metrics.MAX_CLASSES - 1)), "other"}
    assert metrics.organization_class("tier-3") == "tier-3"
    assert {label for metric in metrics.TABLE for label in metric.labels} == {"integration", "outcome", "organization_class", "workflow"}


def test_polls_that_fail_are_one_line_now_and_then() -> None:
    """The lines of a hundred polls become one plain line, with the reason, until its time is over; every other line stays as it is."""
    noisy = "[sdk_core] gRPC call poll_workflow_task_queue retried 6 times {'error': 'Status { code: Unavailable, message: \"tcp connect error\" }'}"

    def record(message: str) -> logging.LogRecord:
        return logging.LogRecord("temporalio.core", logging.WARNING, "", 0, message, (), None)

    now_and_then, each = runtime.Polls(every_seconds=3600), runtime.Polls(every_seconds=0)
    first = record(noisy)
    assert now_and_then.filter(first)
    assert first.getMessage() == "Temporal cannot be polled: trying on until it can (tcp connect error)"
    assert not now_and_then.filter(record(noisy))
    assert [each.filter(record(noisy)), each.filter(record("gRPC call poll_activity_task_queue retried 9 times"))] == [True, True]
    assert now_and_then.filter(other := record("something else"))
    assert other.getMessage() == "something else"


@pytest.mark.parametrize("address", ["nowhere.invalid:80", "192.0.2.1:80"])
async def test_addresses_that_are_not_this_machines(address: str) -> None:
    """Whoever has metrics or health answered where they cannot be is told the variable."""
    with pytest.raises(ConfigurationError, match=f"Metrics cannot be answered at {address}: .* Set BIFROST_METRICS_ADDRESS"):
        runtime.expose_metrics(address)
    with pytest.raises(ConfigurationError, match=f"Health cannot be answered at {address}: .* Set BIFROST_HEALTH_ADDRESS"):
        async with answering(Health({}), address):
            pass


async def test_readiness_takes_everything() -> None:
    """Ready is who serves, is not told to stop, and has lately had an answer of everything that it depends on."""
    answers: dict[str, Any] = {"vault": False}

    async def vault() -> bool:
        if isinstance(answers["vault"], Exception):
            raise answers["vault"]
        return bool(answers["vault"])

    health = Health({"vault": vault}, look_seconds=0.01, lately_seconds=0.2)
    port = free_port()

    async def page() -> dict[str, bool]:
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"http://127.0.0.1:{port}/readyz")
        assert (answer.status_code == 200) is answer.json()["ready"]
        return cast("dict[str, bool]", answer.json()["checks"])

    async def says(**checks: bool) -> None:
        async def so() -> bool:
            return await page() == {name.replace("_", " "): value for name, value in checks.items()}

        await until(so)

    async with answering(health, f"127.0.0.1:{port}"):
        await says(polling=False, not_stopping=True, vault=False)
        health.serving, answers["vault"] = True, True
        await says(polling=True, not_stopping=True, vault=True)
        answers["vault"] = WorkflowException("sealed")
        await says(polling=True, not_stopping=True, vault=False)
        health.stopping, answers["vault"] = True, True
        await says(polling=True, not_stopping=False, vault=True)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


async def test_nobody_answers_where_nobody_asked_for_it() -> None:
    """Without an address nothing listens."""
    async with answering(Health({}), ""):
        pass


def _used(permit: Any) -> SlotMarkUsedContext:
    return cast("SlotMarkUsedContext", SimpleNamespace(permit=permit))


def _done(permit: Any) -> SlotReleaseContext:
    return SlotReleaseContext(slot_info=None, permit=permit)


@pytest.mark.parametrize("c_library", [ctypes.CDLL, lambda _: object()])
def test_a_worker_settles(monkeypatch: pytest.MonkeyPatch, c_library: Any) -> None:
    """What was thrown away is gone and what is left is not looked at again, whichever C library there is."""
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    monkeypatch.setattr(ctypes, "CDLL", c_library)
    gone = weakref.ref(Knot())
    before = gc.get_freeze_count()
    try:
        runtime.settle()
        assert gone() is None
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


async def test_slots_are_limited_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds no slot waits for one, or no more; a closed worker gives out none, and is drained when its last task is done."""
    monkeypatch.setattr(slots, "QUIET", 0.05)
    given, kept = Slots(2), list[asyncio.Task[Any]]()
    first, second = await given.reserve_slot(ANY, kept.append), given.try_reserve_slot(ANY)
    assert given.try_reserve_slot(ANY) is None
    waiting, leaving = (asyncio.ensure_future(given.reserve_slot(ANY, kept.append)) for _ in range(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    kept[1].cancel()
    await asyncio.to_thread(lambda: given.release_slot(_done(second)))  # looked up as it is called, as the SDK does
    third = await asyncio.wait_for(waiting, 5)
    assert given.try_reserve_slot(ANY) is None
    with pytest.raises(asyncio.CancelledError):
        await leaving

    given.mark_slot_used(_used(first))
    draining = asyncio.create_task(given.drained())
    await asyncio.sleep(0)
    given.release_slot(_done(third))
    assert given.try_reserve_slot(ANY) is None
    assert not draining.done()
    given.release_slot(_done(first))
    await asyncio.wait_for(draining, 5)


def test_a_stopped_worker_waits_for_its_own_runs() -> None:
    """Their steps come back to whoever polls after the sticky time-out; only then may polls without a task count as idle."""
    assert worker.STICKY_TIMEOUT.total_seconds() < slots.QUIET < slots.LONGEST


async def test_draining_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls without a task are idle after a moment, and a task that does not end holds the stop up for so long and no longer."""
    monkeypatch.setattr(slots, "QUIET", 0.01)
    idle = Slots(1)
    await idle.reserve_slot(ANY, [].append)
    await asyncio.wait_for(idle.drained(), 5)
    busy = Slots(1)
    busy.mark_slot_used(_used(await busy.reserve_slot(ANY, [].append)))
    await asyncio.wait_for(busy.drained(idle=False), 5)
    monkeypatch.setattr(slots, "LONGEST", 0.05)
    await asyncio.wait_for(busy.drained(), 5)


async def test_another_sdk_is_refused() -> None:
    """One that makes its own of a tuner in another way would never ask for our slots, and serve without limits: it is told so."""
    with pytest.raises(RuntimeError, match=r"install the version in constraints\.txt"):
        WorkerTuner._to_bridge_tuner(Tuner(Slots(1), Slots(1)))
