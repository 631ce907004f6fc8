"""The six RPCs of the protocol as values, request and response.

Every message names ``sender`` and ``to`` by server id. A request carries ``request_id``, unique
within its sender's life, which the *requesting* side's transport puts on the response it hands
back: the wire format itself has no such field, a transport matches responses to requests by RPC or
by order on the pipeline. A request also carries ``context``, an opaque value of the receiving
transport by which the response finds its way home; the core copies it and never looks inside.

Every request is answered exactly once, unless the node dies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from braft_core.raft.types import Entry, SnapshotMeta

__all__ = [
    "AppendEntries",
    "AppendEntriesResponse",
    "InstallSnapshot",
    "InstallSnapshotResponse",
    "Message",
    "Request",
    "RequestPreVote",
    "RequestPreVoteResponse",
    "RequestVote",
    "RequestVoteResponse",
    "Response",
    "TimeoutNow",
    "TimeoutNowResponse",
]


@dataclass(slots=True)
class AppendEntries:
    """Replication (Raft §5.3) and heartbeat (§5.2).

    A heartbeat is the form with ``prev_log_index`` 0, no entries and ``leader_commit`` 0: "I lead
    this term", and nothing about the log. ``heartbeat`` tells a transport which lane it takes.
    """

    sender: str
    to: str
    term: int
    prev_log_index: int
    prev_log_term: int
    entries: Sequence[Entry]
    leader_commit: int
    request_id: int = 0
    context: Any = None
    #: The latest stamp of the receiver that the sender had seen when it made this; 0 for none. A
    #: heartbeat has none.
    echo: int = 0

    @property
    def heartbeat(self) -> bool:
        """Whether this is the bare form that says nothing about the log."""
        return not self.entries and self.prev_log_index == 0 and self.leader_commit == 0


@dataclass(slots=True)
class AppendEntriesResponse:
    """``last_log`` is the responder's last log index; on failure it is the leader's hint.

    ``lease``: the responder promises to vote for nobody for an election timeout from now on.
    ``stamp``: see :mod:`braft_core.raft.stamps`; 0 for none.
    """

    sender: str
    to: str
    term: int
    success: bool
    last_log: int
    no_retry_backoff: bool = False
    lease: bool = False
    request_id: int = 0
    context: Any = None
    stamp: int = 0


@dataclass(slots=True)
class RequestVote:
    """Raft §5.2, §5.4.1. ``leadership_transfer``: the leader itself asked for this election."""

    sender: str
    to: str
    term: int
    last_log_index: int
    last_log_term: int
    leadership_transfer: bool = False
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class RequestVoteResponse:
    """The vote of ``sender`` in ``term``."""

    sender: str
    to: str
    term: int
    granted: bool
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class RequestPreVote:
    """Thesis §9.6: would you vote for me in ``term`` (the sender's current term + 1)?"""

    sender: str
    to: str
    term: int
    last_log_index: int
    last_log_term: int
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class RequestPreVoteResponse:
    """``term`` is the responder's current term."""

    sender: str
    to: str
    term: int
    granted: bool
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class TimeoutNow:
    """Thesis §3.10: the leader bids its successor to campaign at once."""

    sender: str
    to: str
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class TimeoutNowResponse:
    """Receipt of TimeoutNow; says nothing about the election."""

    sender: str
    to: str
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class InstallSnapshot:
    """Raft §7. The bytes travel beside the message; ``meta.id`` names them in the local store.

    The leader's transport reads them from its store; the follower's has stored them, durably and
    whole, before the message reaches the core.
    """

    sender: str
    to: str
    term: int
    meta: SnapshotMeta
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class InstallSnapshotResponse:
    """``success``: the snapshot is stored and will be restored.

    A transfer that broke off is answered by the sender's own transport, without success, in term 0.
    """

    sender: str
    to: str
    term: int
    success: bool
    request_id: int = 0
    context: Any = None


Request = AppendEntries | RequestVote | RequestPreVote | TimeoutNow | InstallSnapshot
Response = (
    AppendEntriesResponse
    | RequestVoteResponse
    | RequestPreVoteResponse
    | TimeoutNowResponse
    | InstallSnapshotResponse
)
Message = Request | Response
