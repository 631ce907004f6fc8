"""The pure consensus core of braft, usable alone.

Raft as in the paper and the thesis, as an event-in, :class:`Ready`-out state machine without I/O,
clock, thread or randomness of its own. Start with :class:`RaftCore` and the persistence contract
in :mod:`braft_core.raft.ready`.
"""

from braft_core.raft.config import RaftConfig
from braft_core.raft.core import RaftCore
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.raft.progress import ProgressState
from braft_core.raft.ready import (
    ConfigurationChanged,
    ConfigurationCommitted,
    Event,
    LeaderChanged,
    ReadReady,
    Ready,
    RoleChanged,
)
from braft_core.raft.status import PeerStatus
from braft_core.raft.types import (
    EMPTY_CONFIGURATION,
    Configuration,
    Entry,
    EntryType,
    HardState,
    Role,
    Server,
    SnapshotMeta,
    Suffrage,
    decode_configuration,
    encode_configuration,
)

__all__ = [
    "EMPTY_CONFIGURATION",
    "AppendEntries",
    "AppendEntriesResponse",
    "Configuration",
    "ConfigurationChanged",
    "ConfigurationCommitted",
    "Entry",
    "EntryType",
    "Event",
    "HardState",
    "InstallSnapshot",
    "InstallSnapshotResponse",
    "LeaderChanged",
    "Message",
    "PeerStatus",
    "ProgressState",
    "RaftConfig",
    "RaftCore",
    "ReadReady",
    "Ready",
    "Request",
    "RequestPreVote",
    "RequestPreVoteResponse",
    "RequestVote",
    "RequestVoteResponse",
    "Response",
    "Role",
    "RoleChanged",
    "Server",
    "SnapshotMeta",
    "Suffrage",
    "TimeoutNow",
    "TimeoutNowResponse",
    "decode_configuration",
    "encode_configuration",
]
