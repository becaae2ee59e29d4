"""Structured logs on standard error, through structlog; the standard library's loggers join them.

Every line passes the redaction net. `BIFROST_LOG_FORMAT=json` prints one JSON object a line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from bifrost import redaction
from bifrost.context import REDACTED, is_sensitive
from bifrost.settings import Settings


def _mask(value: Any, key: str = "") -> Any:
    if key and is_sensitive(key) and value is not None:
        return REDACTED
    if isinstance(value, str):
        return redaction.mask(value)
    if isinstance(value, Mapping):
        return {name: _mask(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask(item) for item in value]
    return value


def redact(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A structlog processor that hides sensitive keys and remembered values."""
    return cast("structlog.typing.EventDict", {key: _mask(value, key) for key, value in event.items()})


def _mask_line(_logger: Any, _method: str, line: Any) -> str:
    """The last processor: hides in the finished line too what objects, tracebacks and URLs spell."""
    return redaction.scrub(str(line))


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        structlog.get_logger(__name__).critical("Uncaught exception", exc_info=(kind, error, traceback))


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is when a line is written: it may be exchanged, and the former one closed."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        """Ignored: the base class sets what it was constructed with."""


def configure(settings: Settings) -> None:
    """Set up logging for this process, uncaught exceptions and warnings included. May be called again."""
    level = logging.getLevelName(settings.log_level.upper())
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=str) if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    handler = _StandardError()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer, _mask_line]))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for chatty in ("httpx", "httpcore", "urllib3", "temporalio"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(), wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False)
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)  # a failed attempt has a line of our own
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
