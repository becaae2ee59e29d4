"""The tests' Temporal server, where it cannot be started. That it can is seen in tests/temporal."""

from __future__ import annotations

import socket
import sys
import threading

import pytest

from bifrost.errors import ConfigurationError
from bifrost.testing import SharedServer, server


def test_without_the_program_it_says_what_to_install(tmp_path, monkeypatch):
    """Nothing is started, and the message has the command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    shared, before = SharedServer(tmp_path), threading.active_count()
    with pytest.raises(ConfigurationError, match=r"pip install 'bifrost\[embedded\]'"):
        shared.start()
    assert threading.active_count() == before


def test_a_port_that_is_always_taken_is_told(tmp_path, monkeypatch):
    """Another port is tried, a few times; then the error names it, and no thread is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tried, before = [], threading.active_count()
        monkeypatch.setattr(server, "free_port", lambda: tried.append(1) or taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="is taken"):
            SharedServer(tmp_path).start()
    assert (len(tried), threading.active_count()) == (3, before)
