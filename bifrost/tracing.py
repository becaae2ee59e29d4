"""Traces of executions, where they are asked for: one from whoever starts an execution to the last HTTP request of its calls.

Off by default. `OTEL_TRACES_EXPORTER` turns them on (`otlp`, `console`, or any name that an installed package offers), and everything
else is said by OpenTelemetry's other variables
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/): `OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, …. It takes the extra: `pip install 'bifrost[tracing]'`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import AsyncIterator, MutableMapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from bifrost.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

VARIABLE: Final = "OTEL_TRACES_EXPORTER"
_GROUP: Final = "opentelemetry_traces_exporter"
_PROTOCOLS: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_tracers: list[Tracer] = []


def wanted() -> list[str]:
    """The exporters that the environment asks for."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    return [name for part in os.environ.get(VARIABLE, "").split(",") if (name := part.strip()) not in ("", "none")]


def start() -> bool:
    """Begin to trace this process, if the environment asks for it; says whether it is traced. May be called again.

    Raises:
        ConfigurationError: it asks for it, and something that takes is not installed.
    """
    if _tracers:
        return True
    names = wanted()
    if not names:
        return False
    try:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra, and slow to import
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"{VARIABLE} is set, and OpenTelemetry is not installed: pip install 'bifrost[tracing]'",
                                 config_key=VARIABLE) from error
    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or "bifrost"}))
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    use(provider)
    return True


def use(provider: Any) -> None:
    """Trace this process with an OpenTelemetry tracer provider; with None, not at all."""
    if provider is None:
        _tracers.clear()
        return
    importlib.import_module("opentelemetry.trace").set_tracer_provider(provider)
    _tracers[:] = [provider.get_tracer("bifrost")]


def tracer() -> Tracer | None:
    """What this process is traced with; None where it is not."""
    return _tracers[0] if _tracers else None


def _exporter(name: str) -> Any:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    wanted_name = _PROTOCOLS.get(protocol, name) if name == "otlp" else name
    for found in entry_points(group=_GROUP, name=wanted_name):
        try:
            return found.load()()
        except ImportError as error:
            raise ConfigurationError(f"{VARIABLE} names '{name}', and what it takes is not all installed ({error}): "
                                     "pip install 'bifrost[tracing]'", config_key=VARIABLE) from error
    known = ", ".join(sorted({one.name for one in entry_points(group=_GROUP)}))
    raise ConfigurationError(f"{VARIABLE} names '{name}', for which no package is installed (there are: {known}): "
                             "pip install 'bifrost[tracing]', or the exporter's own package", config_key=VARIABLE)


@contextlib.asynccontextmanager
async def request(method: str, host: str, port: int | None, headers: MutableMapping[str, str]) -> AsyncIterator[None]:
    """What is inside is one HTTP request: a span, which the other side finds in the W3C headers that are added to `headers`.

    Names and attributes are OpenTelemetry's (https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client), without the
    URL: paths and queries name people.
    """
    tracing = tracer()
    if tracing is None:
        yield
        return
    trace, propagate = importlib.import_module("opentelemetry.trace"), importlib.import_module("opentelemetry.propagate")
    attributes: dict[str, Any] = {"http.request.method": method, "server.address": host, **({"server.port": port} if port else {})}
    with tracing.start_as_current_span(method, kind=trace.SpanKind.CLIENT, attributes=attributes, record_exception=False,
                                       set_status_on_exception=False) as span:
        propagate.inject(headers)
        try:
            yield
        except Exception as error:
            if status := getattr(error, "status_code", None):
                span.set_attribute("http.response.status_code", status)
            span.set_attribute("error.type", type(error).__name__)  # and not its message, which quotes the answer
            span.set_status(trace.StatusCode.ERROR)
            raise
