"""The values of the consensus core: entries, servers, configurations, hard state.

They are immutable and have no behaviour besides their encoding. Nothing here knows about messages,
disks or time.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgpack

from braft_core.errors import DecodeError
from braft_core.raft.limits import (
    MAX_ADDRESS,
    MAX_CONFIGURATION_BYTES,
    MAX_SERVER_ID,
    MAX_SERVERS,
)

__all__ = [
    "EMPTY_CONFIGURATION",
    "Configuration",
    "Entry",
    "EntryType",
    "HardState",
    "Role",
    "Server",
    "SnapshotMeta",
    "Suffrage",
    "check_configuration",
    "decode_configuration",
    "encode_configuration",
]

#: Limits of keys of a map and bytes of a text in an encoded configuration. Later versions may
#: add keys.
_MAX_KEYS = 64
_MAX_TEXT = 4096


class EntryType(IntEnum):
    """The kind of a log entry; the numbers are those of HashiCorp raft."""

    COMMAND = 0
    NOOP = 1
    BARRIER = 4
    CONFIGURATION = 5


class Entry(NamedTuple):
    """One log entry. ``appended_at`` is the leader's wall clock in nanoseconds since the epoch."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    term: int
    type: int
    data: bytes
    extensions: bytes = b""
    appended_at: int = 0


class Suffrage(IntEnum):
    """Whether a server votes (HashiCorp's vocabulary; a thesis "learner" is a Nonvoter)."""

    VOTER = 0
    NONVOTER = 1
    STAGING = 2


class Server(NamedTuple):
    """A member of a configuration. ``address`` is ``host:port`` of its Raft port."""

    id: str
    address: str
    suffrage: Suffrage = Suffrage.VOTER


class Configuration(NamedTuple):
    """A cluster membership: an ordered tuple of servers, ids unique."""

    servers: tuple[Server, ...] = ()

    @property
    def voters(self) -> tuple[str, ...]:
        """Ids of the servers that vote, in configuration order."""
        return tuple(s.id for s in self.servers if s.suffrage == Suffrage.VOTER)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all servers, in configuration order."""
        return tuple(s.id for s in self.servers)

    def get(self, server_id: str) -> Server | None:
        """Return the server with that id; ``None`` if it is not a member."""
        for server in self.servers:
            if server.id == server_id:
                return server
        return None

    def is_voter(self, server_id: str) -> bool:
        """Return True if that server is a voting member."""
        server = self.get(server_id)
        return server is not None and server.suffrage == Suffrage.VOTER


EMPTY_CONFIGURATION = Configuration()


class SnapshotMeta(NamedTuple):
    """Describes a snapshot: the state after all entries up to ``index`` were applied."""

    id: str
    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    term: int
    configuration: Configuration
    configuration_index: int
    #: Size of its contents in bytes.
    size: int = 0
    #: Checksum of the store that holds it; 0 before it is stored.
    checksum: int = 0


class HardState(NamedTuple):
    """What must survive a restart: the current term, and the vote in it ("" if none)."""

    term: int = 0
    voted_for: str = ""


class Role(IntEnum):
    """A server's role in the current term. A PRE_CANDIDATE has sent PreVotes (thesis §9.6)."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


def encode_configuration(configuration: Configuration) -> bytes:
    """Encode as the payload of a CONFIGURATION entry: msgpack of ``{"Servers": [...]}``.

    It uses the older msgpack profile (no str8, no bin), which HashiCorp raft reads.
    """
    servers = [
        {"Suffrage": int(s.suffrage), "ID": s.id, "Address": s.address}
        for s in configuration.servers
    ]
    packed: bytes = msgpack.packb({"Servers": servers}, use_bin_type=False)
    return packed


def decode_configuration(data: bytes) -> Configuration:
    """Decode a CONFIGURATION entry's payload.

    :raises DecodeError: the bytes are no configuration, or exceed a limit. Unknown keys are
        ignored.
    """
    if len(data) > MAX_CONFIGURATION_BYTES:
        raise DecodeError(
            f"not a configuration: {len(data)} bytes; at most {MAX_CONFIGURATION_BYTES} are "
            "accepted"
        )
    try:
        raw = msgpack.unpackb(
            data,
            raw=False,
            max_array_len=MAX_SERVERS,
            max_map_len=_MAX_KEYS,
            max_str_len=_MAX_TEXT,
            max_bin_len=_MAX_TEXT,
            max_ext_len=_MAX_TEXT,
        )
        servers = tuple(
            Server(_text(s["ID"]), _text(s["Address"]), Suffrage(s.get("Suffrage", 0)))
            for s in raw["Servers"] or ()
        )
    except Exception as error:
        raise DecodeError(f"not a configuration: {error}") from error
    configuration = Configuration(servers)
    check_configuration(configuration)
    return configuration


def check_configuration(configuration: Configuration) -> None:
    """Refuse a configuration that no server may use.

    :raises DecodeError: it has too many servers, a duplicate, or an unusable id or address.
    """
    servers = configuration.servers
    if len(servers) > MAX_SERVERS:
        raise DecodeError(
            f"not a configuration: {len(servers)} servers; at most {MAX_SERVERS} are accepted"
        )
    for server in servers:
        for name, text, most in (
            ("id", server.id, MAX_SERVER_ID),
            ("address", server.address, MAX_ADDRESS),
        ):
            if not 0 < len(text) <= most:
                raise DecodeError(
                    f"not a configuration: a server's {name} has {len(text)} characters; 1 to "
                    f"{most} are accepted"
                )
    if len({s.id for s in servers}) != len(servers):
        raise DecodeError("not a configuration: a server id appears twice")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return value
    raise TypeError(f"expected text, got {type(value).__name__}")
