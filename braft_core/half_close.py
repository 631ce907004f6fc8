"""Close a connection for writing, so that the peer can read all that it was sent."""

from __future__ import annotations

import asyncio

__all__ = ["half_close"]


def half_close(transport: asyncio.WriteTransport) -> bool:
    """Say that nothing follows; return whether the peer may still send something.

    Where a connection cannot be closed by half, as with TLS, it is closed. One that the peer has
    reset meanwhile, which the loop has not noticed yet, is dropped.
    """
    if not transport.can_write_eof():
        transport.close()
        return False
    try:
        transport.write_eof()
    except OSError:
        transport.abort()
        return False
    return True
