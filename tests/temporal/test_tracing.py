"""One trace from whoever starts an execution to the last HTTP request, where traces are asked for."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bifrost import tracing
from bifrost.dev.simulators.control import SimulatorControl
from bifrost.dev.temporal_server import TemporalServer
from bifrost.errors import ConfigurationError, IntegrationError
from bifrost.temporal import client as executions
from tests.temporal.conftest import House
from tests.temporal.till import SHOP

WORKFLOW = """
    from bifrost import workflow

    @workflow(name="sells")
    async def sells(context, item: str = "tea"):
        return await context.get_integration("shop").sell(item)
"""


@pytest.fixture
def cached() -> int:
    """A trace is the same however often a run is replayed."""
    return 0


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What this process's spans come to."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)


def _ancestors(span: ReadableSpan, by_id: dict[int, ReadableSpan]) -> list[str]:
    names = []
    while span.parent is not None:
        span = by_id[span.parent.span_id]
        names.append(span.name)
    return names


async def test_one_trace_from_start_to_the_last_request(
        spans: InMemorySpanExporter, house: House, temporal_server: TemporalServer, till: SimulatorControl, till_server: object) -> None:
    """The request's span descends from the start's by way of the run and the call, and the other side finds the trace in W3C headers.

    A request that is refused is a span in error, without the answer's text.
    """
    house.client = await executions.connect(temporal_server.address)
    house.write("integrations/shop.py", SHOP.format(url=till_server.url))  # type: ignore[attr-defined]
    house.write("workflows/sells.py", WORKFLOW)
    async with house.serving():
        assert await house.run("sells") == "tea"
        await till.fail("POST", "/sell/*", status=404, times=1)
        with pytest.raises(IntegrationError):
            await house.run("sells", {"item": "coffee"})
    finished = spans.get_finished_spans()
    by_id = {span.context.span_id: span for span in finished if span.context}
    sold, refused = [span for span in finished if span.kind is trace.SpanKind.CLIENT and span.name == "POST"]
    assert _ancestors(sold, by_id) == ["RunActivity:shop.sell", "StartActivity:shop.sell", "StartWorkflow:sells"]
    assert sold.status.is_ok or sold.status.status_code is trace.StatusCode.UNSET
    assert (refused.status.status_code, dict(refused.attributes or {})["http.response.status_code"]) == (trace.StatusCode.ERROR, 404)
    assert not refused.events
    [first, _] = await till.journal("POST")
    assert sold.context
    assert first.headers["traceparent"].startswith(f"00-{sold.context.trace_id:032x}-{sold.context.span_id:016x}-")


async def test_traces_are_off_unless_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of OpenTelemetry is imported by itself; what is asked for and is not installed is named."""
    assert (tracing.wanted(), tracing.start(), tracing.tracer()) == ([], False, None)
    code = "import sys, bifrost.cli.worker, bifrost.temporal.client; print('opentelemetry' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env={**os.environ})
    assert (await process.communicate())[0] == b"False\n"
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert not tracing.start()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(ConfigurationError, match=r"OTEL_TRACES_EXPORTER names 'pigeon', for which no package is installed \(there are: .*console"):
        tracing.start()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not tracing.start()


async def test_a_process_is_traced_as_the_environment_says(temporal_server: TemporalServer) -> None:
    """With `OTEL_TRACES_EXPORTER=console`, starting an execution from the command line writes its span before the process ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bifrost", "run", "traced", "--no-wait", stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TEMPORAL_ADDRESS": temporal_server.address, "OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "desk"})
    printed = (await asyncio.wait_for(process.communicate(), 60))[0]
    assert process.returncode == 0
    assert b'"name": "StartWorkflow:traced"' in printed
    assert b'"service.name": "desk"' in printed
