"""The socket that an HTTP server listens on."""

from __future__ import annotations

import socket

from braft_core.errors import ConfigError

__all__ = ["listen"]

#: Connections that the kernel queues while the server is busy.
_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; an empty ``host`` means all addresses of this machine.

    :raises ConfigError: the socket cannot be bound; names address and port.
    """
    try:
        if host in ("", "::") and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"BRAFT_HPORT: cannot listen on {host or '*'} port {port}: {error};"
            " accepted: an address of this host and a port that is free",
            setting="BRAFT_HPORT",
            host=host,
            port=port,
        ) from error
