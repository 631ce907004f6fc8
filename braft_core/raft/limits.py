"""What a message or a configuration may hold at most, whoever made it.

Every server refuses what is beyond these numbers, so none may make it: they are part of the
protocol, and not settings. They are far above what a cluster needs and far below what would harm a
server that reads it.
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
    "TERM_LEAP",
]

#: Terms are below, so that they can always grow by one and be stored in 64 bits.
MAX_TERM = 1 << 62
#: By how much one message may raise a server's term. With an election each second and no PreVote, a
#: server that is alone needs half a year to get so far.
TERM_LEAP = 1 << 24
#: Log indexes are at most this.
MAX_INDEX = 1 << 62
#: Entries of one AppendEntries. A leader of braft sends 2048 at most, one of HashiCorp raft 1024.
MAX_ENTRIES = 4096

#: Servers of one configuration, and characters of an id and of an address.
MAX_SERVERS = 1024
MAX_SERVER_ID = 256
MAX_ADDRESS = 512
#: Bytes of an encoded configuration.
MAX_CONFIGURATION_BYTES = 1 << 20
