"""How large what arrives may be, and how much of it there may be at a time.

The numbers are shared by all transports: a node is bounded in the same way, however it is reached.
"""

from __future__ import annotations

from typing import Final

from braft_core import peer

__all__ = ["MAX_CALL", "MAX_CONTROL", "call_limit"]

#: Bytes of a vote, a heartbeat's like and TimeoutNow: a header of ids and an address, some numbers.
MAX_CONTROL: Final = 64 << 10
#: Bytes of a peer call that carries no commands. The largest are configurations.
MAX_CALL: Final = 1 << 20


def call_limit(request: type[peer.PeerRequest]) -> int | None:
    """Return the largest request of that type in bytes; ``None``: the transport's own limit."""
    return None if request is peer.ProposeRequest else MAX_CALL
