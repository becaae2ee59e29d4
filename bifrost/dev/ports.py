"""Free ports on this machine."""

from __future__ import annotations

import socket

from bifrost.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
"""The only address that the embedded servers listen on."""


def _bind(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connection is only winding down counts as free, one that is listened on does not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
        return int(probe.getsockname()[1])


def free_port(preferred: int = 0) -> int:
    """`preferred` if nothing listens there on 127.0.0.1, else a port that the system picks. 0 prefers none.

    The port is free at the time of asking; whoever wants it should take it soon.
    """
    try:
        return _bind(preferred)
    except OSError:
        return _bind(0)


def require_free(port: int, server: str) -> None:
    """Refuse to go on where something else already listens on 127.0.0.1: it would be taken for the server.

    Raises:
        ConfigurationError: the port is taken; names the port and the server that was to have it.
    """
    if free_port(port) != port:
        raise ConfigurationError(f"Port {port} on {LOOPBACK}, which {server} was to listen on, is taken. "
                                 "End the program that has it, or choose another port", port=port)
