"""Ports for nodes that are started later: nobody else may be given them meanwhile."""

from __future__ import annotations

import socket
from contextlib import suppress

from braft_core.local_nodes import HOST, free_ports


def test_no_port_is_handed_out_twice_before_all_others() -> None:
    """Each node of a cluster takes its three by a call of its own, and listens later."""
    handed_out = [port for _ in range(300) for port in free_ports(3)]
    assert len(set(handed_out)) == len(handed_out)


def test_a_port_that_somebody_listens_on_is_not_handed_out() -> None:
    with _next_listener(free_ports(1)[0]) as taken:
        assert taken.getsockname()[1] not in free_ports(3)


def _next_listener(port: int) -> socket.socket:
    """Somebody who listens on the next port that nobody else on this machine does."""
    while True:
        port = port + 1 if port < 31_999 else 20_000
        with suppress(OSError):
            return socket.create_server((HOST, port))
