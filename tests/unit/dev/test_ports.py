"""Ports for the embedded servers."""

from __future__ import annotations

import socket

import pytest

from bifrost.dev.ports import LOOPBACK, free_port, require_free
from bifrost.errors import ConfigurationError


def test_a_free_port_that_is_preferred_is_answered() -> None:
    """Whoever asks for a port gets that one if he can."""
    port = free_port()
    assert port in range(20_000, 30_000)  # nobody who asks the system for any port is given one of these
    assert free_port(port) == port
    require_free(port, "a server")


def test_a_taken_port_is_replaced() -> None:
    """Where something listens on the preferred port, another one is answered; who insists is refused."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) not in {port, 0}
        with pytest.raises(ConfigurationError, match=f"Port {port} on 127.0.0.1, which a server was to listen on, is taken"):
            require_free(port, "a server")
