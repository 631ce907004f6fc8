"""Limits of messages and configurations.

Every server refuses what exceeds them, so they are part of the protocol and cannot be set. They are
far above what a cluster needs and far below what would harm a server that reads it.
"""

from __future__ import annotations

__all__ = [
    "MAX_ADDRESS",
    "MAX_CONFIGURATION_BYTES",
    "MAX_ENTRIES",
    "MAX_INDEX",
    "MAX_SERVERS",
    "MAX_SERVER_ID",
    "MAX_TERM",
    "MAX_TERM_STEP",
]

#: Terms are smaller than this, so that they can grow by one and fit into 64 bits.
MAX_TERM = 1 << 62
#: The most by which one message may raise a server's term. An isolated server without PreVote that
#: campaigns each second needs half a year to get that far ahead.
MAX_TERM_STEP = 1 << 24
#: The largest log index.
MAX_INDEX = 1 << 62
#: Entries of one AppendEntries. braft sends at most 2048, HashiCorp raft 1024.
MAX_ENTRIES = 4096

#: Servers of one configuration, and characters of an id and of an address.
MAX_SERVERS = 1024
MAX_SERVER_ID = 256
MAX_ADDRESS = 512
#: Bytes of an encoded configuration.
MAX_CONFIGURATION_BYTES = 1 << 20
