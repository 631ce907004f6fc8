"""What a leader knows about one follower, and how much it may send it (etcd's three states).

* PROBE: the follower's log is unknown; one message at a time.
* REPLICATE: a bounded window of messages is in flight, and ``next_index`` runs ahead.
* SNAPSHOT: the follower needs entries before our log and is sent a snapshot. It gets only
  heartbeats until the transfer has succeeded or failed, however long that takes.
"""

from __future__ import annotations

from enum import IntEnum
from math import inf
from typing import NamedTuple

__all__ = ["InFlight", "Progress", "ProgressState"]

_MAX_HEARTBEATS = 64
_MAX_LATE = 64


class ProgressState(IntEnum):
    """How entries flow to a follower."""

    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


class InFlight(NamedTuple):
    """One unanswered AppendEntries; its success proves a match up to ``last_index``."""

    prev_index: int
    last_index: int
    size: int
    sent_at: float


class Progress:
    """A leader's view of one other server.

    Only answers to requests that are listed here count, so that a stale or duplicate
    acknowledgement proves nothing.
    """

    __slots__ = (
        "_bytes",
        "acked_request",
        "commit_sent",
        "heartbeats",
        "inflight",
        "last_contact",
        "late",
        "leased_at",
        "match_index",
        "next_index",
        "paused",
        "progressed_at",
        "proved_at",
        "snapshot_index",
        "snapshot_request",
        "stamp",
        "state",
    )

    def __init__(self, next_index: int, now: float) -> None:
        self.match_index = 0
        self.next_index = next_index
        self.state = ProgressState.PROBE
        self.inflight: dict[int, InFlight] = {}
        #: Requests that timed out. Their answers still count, or a follower whose disk is slower
        #: than our timeout would never catch up.
        self.late: dict[int, InFlight] = {}
        self.heartbeats: dict[int, float] = {}
        #: Highest request id that was answered: the answer was made after that request was sent.
        self.acked_request = 0
        #: When an answer last arrived; initially the time at which the leader was elected.
        self.last_contact = now
        #: When the latest answered request was sent: the follower was in our term at that time or
        #: later. An answer may be old when it arrives. Initially as ``last_contact``.
        self.proved_at = now
        #: When the latest request was sent whose answer granted a vote lease.
        self.leased_at = -inf
        #: When an answer last freed room in the window.
        self.progressed_at = now
        self.commit_sent = 0
        #: The latest stamp of its answers.
        self.stamp = 0
        #: Send only heartbeats until the next heartbeat is due.
        self.paused = False
        #: Index of the snapshot that is being sent, and the id of that request.
        self.snapshot_index = 0
        self.snapshot_request = 0
        self._bytes = 0

    def may_send(self, max_messages: int, max_bytes: int) -> bool:
        """Return True if the window has room."""
        if self.paused or self.state is ProgressState.SNAPSHOT:
            return False
        if self.state is ProgressState.PROBE:
            return not self.inflight
        return len(self.inflight) < max_messages and self._bytes < max_bytes

    def sent(self, request_id: int, record: InFlight) -> None:
        """Record an AppendEntries that is being sent."""
        if not self.inflight:
            self.progressed_at = record.sent_at
        self.inflight[request_id] = record
        self._bytes += record.size
        if self.state is ProgressState.REPLICATE:
            self.next_index = record.last_index + 1

    def heartbeat_sent(self, request_id: int, now: float) -> None:
        """Record a heartbeat that is being sent."""
        self.heartbeats[request_id] = now
        if len(self.heartbeats) > _MAX_HEARTBEATS:
            del self.heartbeats[next(iter(self.heartbeats))]

    def answered(self, request_id: int, now: float, *, lease: bool) -> InFlight | float | None:
        """Remove and return the record of an answered request; ``None`` if it is not listed."""
        record: InFlight | float | None = self.inflight.pop(request_id, None)
        if isinstance(record, InFlight):
            self._bytes -= record.size
            self.progressed_at = now
        else:
            record = self.late.pop(request_id, None) or self.heartbeats.pop(request_id, None)
        if record is not None:
            self.last_contact = now
            self.acked_request = max(self.acked_request, request_id)
            sent_at = record.sent_at if isinstance(record, InFlight) else record
            self.proved_at = max(self.proved_at, sent_at)
            if lease:
                self.leased_at = max(self.leased_at, sent_at)
        return record

    def accepted(self, last_index: int) -> bool:
        """Note that the follower holds our log up to ``last_index``; return True if that is new."""
        advanced = last_index > self.match_index
        self.match_index = max(self.match_index, last_index)
        self.next_index = max(self.next_index, self.match_index + 1)
        if self.state is not ProgressState.SNAPSHOT:
            self.state = ProgressState.REPLICATE
        return advanced

    def probe(self, next_index: int | None = None, *, pause: bool = False) -> None:
        """Empty the window and determine again how far the follower's log matches."""
        self.late.update(self.inflight)
        while len(self.late) > _MAX_LATE:
            del self.late[next(iter(self.late))]
        self.inflight.clear()
        self._bytes = 0
        self.state = ProgressState.PROBE
        self.next_index = max(self.match_index + 1, 1 if next_index is None else next_index)
        self.paused = pause

    def snapshot_sent(self, request_id: int, index: int) -> None:
        """Record a snapshot up to ``index`` that is being sent."""
        self.probe()
        self.state = ProgressState.SNAPSHOT
        self.snapshot_request, self.snapshot_index = request_id, index

    def expired(self, now: float, timeout: float) -> bool:
        """Return True if no request in flight was answered for ``timeout``."""
        return bool(self.inflight) and now - self.progressed_at >= timeout
