"""This process, made fit to execute runs: in UTC, with the log lines of the SDK's native part among Python's, measured, and settled."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import ipaddress
import logging
import os
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from temporalio import workflow
from temporalio.common import MetricMeter
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

from bifrost import metrics
from bifrost.errors import ConfigurationError
from bifrost.settings import METRICS_VARIABLE, host_and_port


def live_in_utc() -> None:
    """Make UTC this process's local time: a run's `datetime.now().timestamp()` must not depend on where its worker stands."""
    os.environ["TZ"] = "UTC"
    time.tzset()


def settle() -> None:
    """Clear up after the start, once everything is imported: what is there stays, and memory that it took to come there is given back.

    Python's garbage collector never looks at these objects again, which are most of a worker's; and C's allocator, where it is
    glibc's, keeps nothing that is free: https://man7.org/linux/man-pages/man3/malloc_trim.3.html.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def prepare() -> None:
    """Set the process's default runtime, before a client, worker or replayer is made. One that somebody has set stays.

    By itself the native part logs on standard output, which is for results.
    """
    try:
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=_logging())))
    except RuntimeError:
        logging.getLogger(__name__).debug("the default Temporal runtime was set before")


def expose_metrics(address: str) -> None:
    """Set the default runtime to one that answers `http://<address>/metrics`, with Temporal's metrics and Bifrost's.

    To be called before `prepare`, which `client.connect` calls.

    Raises:
        ConfigurationError: nothing can listen there.
    """
    try:
        runtime = Runtime(telemetry=TelemetryConfig(logging=_logging(), attach_service_name=False, metrics=PrometheusConfig(
            bind_address=_numeric(*host_and_port(METRICS_VARIABLE, address)), counters_total_suffix=True, unit_suffix=True,
            durations_as_seconds=True,
            histogram_bucket_overrides={metric.name: metric.buckets for metric in metrics.TABLE if metric.buckets})))
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"Metrics cannot be answered at {address}: {error}. Set {METRICS_VARIABLE} to another address of "
                                 "this machine's, or to nothing", config_key=METRICS_VARIABLE) from error
    Runtime.set_default(runtime)
    metrics.use(Instruments(runtime.metric_meter))


def _numeric(host: str, port: int) -> str:
    """The address as the SDK takes it, which looks up no names."""
    found = ipaddress.ip_address(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    return f"[{found}]:{port}" if found.version == 6 else f"{found}:{port}"


class Polls(logging.Filter):
    """Makes one plain line now and then of those that each of a worker's polls writes again and again while Temporal is away."""

    def __init__(self, every_seconds: float = 10) -> None:
        super().__init__()
        self._every_seconds = every_seconds
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not _POLL.search(record.getMessage()):
            return True
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._every_seconds
        refusal = _REASON.search(record.getMessage())
        record.msg, record.args = "Temporal cannot be polled: trying on until it can (%s)", (refusal[1] if refusal else "no answer",)
        return True


_POLL = re.compile(r"gRPC call poll_\w+ retried \d+ times")
_REASON = re.compile(r'message: \\?"([^"\\]*)')
_POLLS = Polls()


def _logging() -> LoggingConfig:
    logging.getLogger("temporalio.core").addFilter(_POLLS)
    return LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core"), append_target_to_name=False))


class Instruments:
    """Records Bifrost's metrics with the SDK's meter, so that one endpoint answers both. What a run repeats is not counted again."""

    def __init__(self, meter: MetricMeter) -> None:
        self._make: Mapping[str, Any] = {
            "counter": meter.create_counter, "histogram": meter.create_histogram_float, "gauge": meter.create_gauge_float}
        self._instruments: dict[str, Any] = {}

    def __call__(self, metric: metrics.Metric, value: float, labels: Mapping[str, str]) -> None:
        if workflow.in_workflow() and workflow.unsafe.is_replaying():
            return
        instrument = self._instruments.get(metric.name)
        if instrument is None:
            instrument = self._instruments[metric.name] = self._make[metric.kind](metric.name, metric.help, metric.unit or None)
        match metric.kind:
            case "counter":
                instrument.add(int(value), labels)
            case "histogram":
                instrument.record(value, labels)
            case "gauge":
                instrument.set(value, labels)
