"""How many files and connections the process may have open, and who gets how many of them.

A node that runs out of descriptors can open neither its log nor a connection to a peer. Each
listener therefore has a share of its own; what is left is for the disk, for outbound connections
and for the program that the node is part of.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Final

if sys.platform != "win32":
    import resource

__all__ = ["TARGET_LIMIT", "descriptor_limit", "inbound_connection_limit", "raise_descriptor_limit"]

#: What the limit is raised to, if the system allows it.
TARGET_LIMIT: Final = 65536
#: Descriptors of log, snapshots, outbound connections and event loops, which nobody else may take.
_RESERVED: Final = 128
#: The most connections that one listener accepts.
_MOST: Final = 4096
#: A limit beyond all of this, where the system has none.
_UNLIMITED: Final = 1 << 20


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open now."""
    if sys.platform == "win32":
        return _UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one, at most to :data:`TARGET_LIMIT`; return what it is now.

    A limit that is high enough stays as it is. So does one that the system does not let us raise.
    """
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = TARGET_LIMIT if hard == resource.RLIM_INFINITY else min(hard, TARGET_LIMIT)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return descriptor_limit()


def inbound_connection_limit(limit: int | None = None) -> int:
    """Return how many connections one listener may hold: a quarter of what is not reserved.

    A node has two listeners, for Raft and for HTTP, so that half of the descriptors stays free.

    :param limit: of descriptors; by default the one of this process.
    """
    limit = descriptor_limit() if limit is None else limit
    return max(8, min(_MOST, (limit - _RESERVED) // 4))
