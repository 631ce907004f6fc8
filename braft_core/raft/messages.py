"""The six RPCs of the protocol as values, request and response.

Every message has the server ids ``sender`` and ``to``. A request also has:

* ``request_id``, unique until its sender restarts. The wire format has no such field. The sender's
  transport matches responses to requests, by RPC or by order on the pipeline, and sets the id of
  the request on the response that it delivers.
* ``context``, an opaque value by which the receiving transport routes the response back. The core
  copies it to the response without looking inside.

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

    A heartbeat has ``prev_log_index`` 0, no entries and ``leader_commit`` 0. It says who leads the
    term and nothing about the log. A transport chooses the channel by ``heartbeat``.
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
    #: The latest stamp of the receiver that the sender has seen; 0 for none and in heartbeats.
    echo: int = 0

    @property
    def heartbeat(self) -> bool:
        """True if the message has neither entries nor a log position."""
        return not self.entries and self.prev_log_index == 0 and self.leader_commit == 0


@dataclass(slots=True)
class AppendEntriesResponse:
    """Answer to AppendEntries. ``last_log`` is the responder's last index, or a hint on failure.

    ``lease``: the responder grants a vote lease: it votes for nobody for an election timeout.
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
    """Raft §5.2, §5.4.1. ``leadership_transfer``: the leader itself requested this election."""

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
    """Thesis §9.6: ask whether the receiver would vote in ``term``, the sender's term + 1."""

    sender: str
    to: str
    term: int
    last_log_index: int
    last_log_term: int
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class RequestPreVoteResponse:
    """Answer to RequestPreVote. ``term`` is the responder's current term."""

    sender: str
    to: str
    term: int
    granted: bool
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class TimeoutNow:
    """The leader tells the target of a leadership transfer to campaign at once (thesis §3.10)."""

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
    """Raft §7. ``meta.id`` is the snapshot's id in the local store; its bytes are not in here.

    The leader's transport reads the bytes from its store. The follower's transport stores all of
    them durably before it delivers the message to the core.
    """

    sender: str
    to: str
    term: int
    meta: SnapshotMeta
    request_id: int = 0
    context: Any = None


@dataclass(slots=True)
class InstallSnapshotResponse:
    """Answer to InstallSnapshot. ``success``: the snapshot is stored and will be restored.

    If a transfer breaks off, the leader's own transport answers without success and with term 0.
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
