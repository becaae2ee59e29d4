"""Free ports on this machine."""

from __future__ import annotations

import random
import socket

from bifrost.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
"""The only address that the embedded servers listen on."""

_RANGE = range(20_000, 30_000)
"""Below what Linux, macOS and Windows give out themselves, for a connection or to a server that asks for any port, and below what
Kubernetes takes for its nodes: so between the asking and the taking only another one that asks here can come first."""
_TRIES = 100


def _bind(port: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connection is only winding down counts as free, one that is listened on does not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
        return int(probe.getsockname()[1])


def free_port(preferred: int = 0) -> int:
    """`preferred` if nothing listens there on 127.0.0.1, else one from 20000 to 29999. 0 prefers none.

    The port is free at the time of asking; whoever wants it should take it soon.
    """
    chance = random.SystemRandom()  # processes that were forked from one another share no state of it
    for port in ([preferred] if preferred else []) + chance.sample(_RANGE, _TRIES):
        try:
            return _bind(port)
        except OSError:
            continue
    return _bind(0)  # pragma: no cover - a hundred in a row are taken: let the system find one


def require_free(port: int, server: str) -> None:
    """Refuse to go on where something else already listens on 127.0.0.1: it would be taken for the server.

    Raises:
        ConfigurationError: the port is taken; names the port and the server that was to have it.
    """
    if free_port(port) != port:
        raise ConfigurationError(f"Port {port} on {LOOPBACK}, which {server} was to listen on, is taken. "
                                 "End the program that has it, or choose another port", port=port)
