"""The SDK's native part in this process: its log lines join Python's, since by itself it writes on standard output."""

from __future__ import annotations

import functools
import logging

from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter


@functools.cache
def prepare() -> None:
    """Set the process's default runtime, before a client, worker or replayer is made. One that somebody has set stays."""
    try:
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(
            filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
            forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core"), append_target_to_name=False)))))
    except RuntimeError:
        logging.getLogger(__name__).debug("the default Temporal runtime was set before")
