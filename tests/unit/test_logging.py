"""Logs: one form for all loggers, and nothing secret in them."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from bifrost import redaction
from bifrost.context import REDACTED
from bifrost.logging import configure
from bifrost.settings import Settings

VALUE = "canary-5d1c-value"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level
    redaction.remember(VALUE)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@dataclass
class Lines:
    """What was logged, as one JSON object a line."""

    capture: pytest.CaptureFixture[str]

    def read(self) -> list[dict[str, Any]]:
        out, err = self.capture.readouterr()
        assert out == ""
        return [json.loads(line) for line in err.splitlines()]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    configure(Settings(log_format="json"))
    return Lines(capsys)


def test_structlog_and_the_standard_library_share_one_form(lines: Lines) -> None:
    """Both kinds of logger write level, name, time and event as JSON to standard error."""
    structlog.get_logger("ours").info("Hello", organization="acme")
    logging.getLogger("theirs").warning("Hello %s", "again")
    ours, theirs = lines.read()
    assert (ours["event"], ours["organization"], ours["level"], ours["logger"]) == ("Hello", "acme", "info", "ours")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("Hello again", "warning", "theirs")
    assert ours["timestamp"].endswith("Z")


def test_the_level_holds_for_both(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines below the level of the settings are not written."""
    configure(Settings(log_format="json", log_level="error"))
    structlog.get_logger("ours").warning("no")
    logging.getLogger("theirs").warning("no")
    structlog.get_logger("ours").error("yes")
    assert [line["event"] for line in Lines(capsys).read()] == ["yes"]


def test_chatty_libraries_are_quiet(lines: Lines) -> None:
    """Libraries that log every request do so only as warnings."""
    logging.getLogger("httpx").info("GET ...")
    assert lines.read() == []


def test_context_variables_are_part_of_a_line(lines: Lines) -> None:
    """What was bound for an execution stands in all of its lines."""
    with structlog.contextvars.bound_contextvars(execution_id="e1"):
        structlog.get_logger("ours").info("Hello")
    assert lines.read()[0]["execution_id"] == "e1"


class _Spelled:
    def __repr__(self) -> str:
        return f"<spelled {VALUE}>"


@pytest.mark.parametrize("held", [VALUE, f"in {VALUE} a text", [VALUE], (VALUE,), {"a": {"b": [VALUE]}}, {VALUE: 1}, _Spelled(),
                                  ValueError(VALUE), VALUE.encode()])
def test_a_remembered_value_never_reaches_a_line(lines: Lines, capsys: pytest.CaptureFixture[str], held: object) -> None:
    """Wherever it hides, in texts, containers, keys, objects and errors, it is masked."""
    structlog.get_logger("ours").info("Hello", held=held)
    structlog.get_logger("ours").info(f"{held}")
    logging.getLogger("theirs").warning("%s", held)
    logging.getLogger("theirs").warning("%(held)s", {"held": held})
    err = capsys.readouterr().err
    assert VALUE not in err
    assert len([json.loads(line) for line in err.splitlines()]) == 4


def test_tracebacks_are_masked(lines: Lines) -> None:
    """The message of an exception is masked with the rest of its traceback."""
    try:
        raise ValueError(VALUE)
    except ValueError:
        structlog.get_logger("ours").exception("Failed")
        logging.getLogger("theirs").exception("Failed")
    for line in lines.read():
        assert f"ValueError: {redaction.MASK}" in line["exception"]


def test_sensitive_keys_are_hidden(lines: Lines) -> None:
    """Values under telling keys are hidden at any depth, even if nobody remembered them; None says that there was none."""
    structlog.get_logger("ours").info("Hello", api_key="abc", nested={"password": "abc", "items": [{"token": "abc"}]}, secret=None,
                                      monkey="see")
    (line,) = lines.read()
    assert (line["api_key"], line["secret"], line["monkey"]) == (REDACTED, None, "see")
    assert line["nested"] == {"password": REDACTED, "items": [{"token": REDACTED}]}


def test_warnings_are_lines_too(lines: Lines) -> None:
    """With JSON, a warning does not break the format."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("careful", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "careful" in lines.read()[0]["event"]


def test_uncaught_exceptions_are_lines_too(lines: Lines) -> None:
    """What ends the process is one line of the log, masked as the others."""
    try:
        raise ValueError(VALUE)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    (line,) = lines.read()
    assert (line["level"], line["event"]) == ("critical", "Uncaught exception")
    assert f"ValueError: {redaction.MASK}" in line["exception"]


def test_an_interrupt_is_no_log_line(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is the user's own doing and is reported as Python does."""
    error = KeyboardInterrupt()
    sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err.strip() == "KeyboardInterrupt"


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """`console` writes readable lines, and masks them as well."""
    configure(Settings(log_format="console"))
    structlog.get_logger("ours").info("Hello", held=VALUE, plain=1)
    err = capsys.readouterr().err
    assert "Hello" in err
    assert "plain=1" in err
    assert not err.startswith("{")
    assert VALUE not in err


def test_auto_is_json_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, `auto` means JSON."""
    configure(Settings())
    structlog.get_logger("ours").info("Hello")
    assert Lines(capsys).read()[0]["event"] == "Hello"


def test_it_may_be_configured_again(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    """The second call replaces the first: no line is written twice."""
    configure(Settings(log_format="json"))
    structlog.get_logger("ours").info("Hello")
    assert len(lines.read()) == 1
