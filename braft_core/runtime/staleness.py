"""How old the state of this node may be: the bound of a stale read.

The promise: **what was committed longer ago than the bound is in the state.** It holds whatever
messages are lost, duplicated, reordered or delayed, and whichever processes crash or pause.

It is computed so:

* A leader's message was made after the leader had seen the stamp that comes with it
  (``braft_core.raft.stamps``), and that stamp was made here at a known time. When a message arrives
  says nothing: it may have waited for as long as this process, or the network, stood still. A
  message without a stamp of ours, as leaders that are not braft's send it, counts for nothing.
* A leader that has committed an entry of its own term knows of all commits before its term, and of
  its own. A new leader does not yet, so that what it says until then counts for nothing.
* It may have been replaced without having noticed. It leads on for an election timeout and a
  heartbeat interval at most, counted from the sending of what a majority answered
  (``braft_core.raft.election.check_quorum``), however late the answers are.
* A message counts once as much as it says is applied here.

All by clocks that count the time in which a machine is suspended (``braft_core.runtime.clock``),
that of this machine and that of the leader. If one of them is slow by one per cent, so is the
bound.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from braft_core.raft.messages import AppendEntries
from braft_core.raft.types import Role

__all__ = ["StalenessBound", "View"]


class Terms(Protocol):
    """A log, as far as the terms of its entries."""

    def term_at(self, index: int) -> int | None:
        """Term of the entry at ``index``, ``None`` if it is not there (any more)."""


class Marks(Protocol):
    """The stamps on a core's answers."""

    def made_at(self, stamp: int) -> float:
        """When a stamp was made, -infinity if that is not known."""


class View(Protocol):
    """What is asked of a core."""

    @property
    def role(self) -> Role:
        """Its part in the current term."""

    @property
    def current_term(self) -> int:
        """The latest term it knows."""

    @property
    def leader(self) -> str:
        """Whom it follows, "" for nobody."""

    @property
    def commit_index(self) -> int:
        """The highest index it knows to be committed."""

    @property
    def last_index(self) -> int:
        """Index of its last entry."""

    @property
    def log(self) -> Terms:
        """Its log."""

    @property
    def stamps(self) -> Marks:
        """The stamps on its answers."""


class StalenessBound:
    """Written on the loop; :meth:`bound` may be called from any thread. All times in seconds."""

    def __init__(self, election_timeout: float, heartbeat_interval: float) -> None:
        #: For how long a leader may not notice that there is another one.
        self._unnoticed = election_timeout + heartbeat_interval
        self._as_of = -inf
        #: The highest commit index that was said.
        self._newest = 0
        #: (as of when, how far was committed): the oldest that is not applied yet, and the newest.
        #: Replaced, never changed.
        self._said: tuple[tuple[float, int], ...] = ()

    def observe_leadership(self, core: View, now: float, applied: int) -> None:
        """Note that this node, if it leads, checked its leadership at ``now``."""
        if core.role is Role.LEADER and core.log.term_at(core.commit_index) == core.current_term:
            self._note(now, core.commit_index, applied)

    def observe_append(self, core: View, message: AppendEntries, applied: int) -> None:
        """Note an append that the core has just accepted."""
        of_leader = message.sender == core.leader and message.term == core.current_term
        said_after = core.stamps.made_at(message.echo)
        if not of_leader or message.heartbeat or said_after == -inf:
            return
        # Terms grow along the log. So an entry of the leader's own term here, not behind its
        # commit index, says of which term the entry there is, even if that is not here yet.
        index = min(message.leader_commit, core.last_index)
        if core.log.term_at(index) == message.term:
            self._note(said_after, message.leader_commit, applied)

    def _note(self, as_of: float, commit: int, applied: int) -> None:
        """Note that at ``as_of`` nothing beyond ``commit`` was committed under this leader.

        Reordered appends, whose commit index is lower than one already seen, are ignored.
        """
        if commit < self._newest:
            return
        self._newest = commit
        ahead: tuple[tuple[float, int], ...] = ()
        for said in self._said:
            if said[1] > applied:
                ahead = ahead or (said,)
            elif said[0] > self._as_of:
                self._as_of = said[0]
        self._said = (*ahead, (as_of, commit))

    def seconds(self, now: float, applied: int) -> float:
        """Return how old the state with ``applied`` entries may be; infinity if unknown."""
        reached = [when for when, index in self._said if index <= applied]
        return now - max(self._as_of, *reached, -inf) + self._unnoticed
