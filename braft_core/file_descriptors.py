"""The limit of open files, and the share of it that inbound connections may take.

A node without free descriptors can open neither its log nor a connection to a peer. So each
listener has a fixed share; the rest is for the disk, outbound connections and the program that
embeds the node.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Final

if sys.platform != "win32":
    import resource

__all__ = ["TARGET_LIMIT", "descriptor_limit", "inbound_connection_limit", "raise_descriptor_limit"]

#: The limit is raised to this value if the system allows it.
TARGET_LIMIT: Final = 65536
#: Descriptors reserved for log, snapshots, outbound connections and event loops.
_RESERVED: Final = 128
#: Most connections of one listener.
_MOST: Final = 4096
#: Stands for "no limit".
_UNLIMITED: Final = 1 << 20


def descriptor_limit() -> int:
    """Return the limit of open files of this process."""
    if sys.platform == "win32":
        return _UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one, at most to :data:`TARGET_LIMIT`; return the limit.

    A higher limit stays, and so does one that the system does not allow to raise.
    """
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = TARGET_LIMIT if hard == resource.RLIM_INFINITY else min(hard, TARGET_LIMIT)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return descriptor_limit()


def inbound_connection_limit(limit: int | None = None) -> int:
    """Return the most connections of one listener: a quarter of the unreserved descriptors.

    A node has two listeners, for Raft and for HTTP, so half of the descriptors stay free.

    :param limit: limit of open files; default: that of this process.
    """
    limit = descriptor_limit() if limit is None else limit
    return max(8, min(_MOST, (limit - _RESERVED) // 4))
