"""This process, made fit to execute runs: in UTC, and with the log lines of the SDK's native part among Python's."""

from __future__ import annotations

import functools
import logging
import os
import time

from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter


def live_in_utc() -> None:
    """Make UTC this process's local time: a run's `datetime.now().timestamp()` must not depend on where its worker stands."""
    os.environ["TZ"] = "UTC"
    time.tzset()


@functools.cache
def prepare() -> None:
    """Set the process's default runtime, before a client, worker or replayer is made. One that somebody has set stays.

    By itself the native part logs on standard output, which is for results.
    """
    try:
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(
            filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
            forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core"), append_target_to_name=False)))))
    except RuntimeError:
        logging.getLogger(__name__).debug("the default Temporal runtime was set before")
