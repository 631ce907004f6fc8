"""A transport over plain TCP for clusters of braft nodes alone: ``BRAFT_TRANSPORT=tcp``.

Registers it with braft.
"""

from __future__ import annotations

from braft_core.abc import Transport
from braft_core.plugin import hookimpl
from braft_tcp.transport import TcpTransport

__all__ = ["TcpTransport", "braft_register_transport"]


@hookimpl
def braft_register_transport() -> type[Transport]:
    """Return the transport ``tcp``."""
    return TcpTransport
