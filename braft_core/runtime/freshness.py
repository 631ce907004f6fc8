"""How old the state of this node may be: the bound of a stale read.

The promise: **what was committed longer ago than the bound is in the state.** It holds whatever is
lost, doubled, reordered or cut, and whoever crashes or stands still, if no message on the lane of
the entries is under way for longer than an election timeout. Under way is what a leader handed to
its transport and this process has not yet read from its sockets. Nobody can see that at the
receiving end without a question that went before, which is a linearizable read.

What it is made of:

* A leader that has committed an entry of its own term knows of all commits before its term, and of
  its own. A new leader does not yet, so that what it says until then counts for nothing.
* It may have been replaced without having noticed. It leads on for an election timeout and a
  heartbeat interval at most, counted from the sending of what a majority answered
  (``braft_core.raft.election.check_quorum``), however late the answers are.
* What it says was true when it left, up to an election timeout ago by the assumption. A word that
  says less than an earlier one was overtaken on its way, and counts for nothing.
* It came after this node last looked. No later moment is known, least of all after a pause.
* It counts once as much as it says is applied here.

All by monotonic clocks, that of this machine and that of the leader: if one of them is slow by one
per cent, so is the bound. Leaders that are not braft's must step down as soon as braft's do.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from braft_core.raft.messages import AppendEntries
from braft_core.raft.types import Role

__all__ = ["Freshness", "View"]


class Terms(Protocol):
    """A log, as far as the terms of its entries."""

    def term_at(self, index: int) -> int | None:
        """Term of the entry at ``index``, ``None`` if it is not there (any more)."""


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


class Freshness:
    """Written on the loop; :meth:`bound` may be called from any thread. All times in seconds."""

    def __init__(self, election_timeout: float, heartbeat_interval: float) -> None:
        #: For how long a leader may not notice that there is another one.
        self._unnoticed = election_timeout + heartbeat_interval
        #: For how long a message may be under way.
        self._under_way = election_timeout
        self._as_of = -inf
        #: The highest commit index that was said.
        self._newest = 0
        #: (as of when, how far was committed): the oldest that is not applied yet, and the newest.
        #: Replaced, never changed.
        self._said: tuple[tuple[float, int], ...] = ()

    def led(self, core: View, now: float, applied: int) -> None:
        """This node had the time ``now`` when it last checked that it leads, if it does."""
        if core.role is Role.LEADER and core.log.term_at(core.commit_index) == core.current_term:
            self._note(now, core.commit_index, applied)

    def heard(self, core: View, message: AppendEntries, before: float, applied: int) -> None:
        """The core took a message that came later than ``before``."""
        of_leader = message.sender == core.leader and message.term == core.current_term
        if not of_leader or message.heartbeat:
            return
        # Terms grow along the log. So an entry of the leader's own term here, not behind its
        # commit index, says of which term the entry there is, even if that is not here yet.
        index = min(message.leader_commit, core.last_index)
        if core.log.term_at(index) == message.term:
            self._note(before - self._under_way, message.leader_commit, applied)

    def _note(self, as_of: float, commit: int, applied: int) -> None:
        """What was committed at ``as_of`` is not beyond ``commit``, unless the leader is none."""
        if commit < self._newest:
            return
        self._newest = commit
        reached = [when for when, index in self._said if index <= applied]
        self._as_of = max(self._as_of, *reached) if reached else self._as_of
        ahead = tuple(said for said in self._said if said[1] > applied)
        self._said = (*ahead[:1], (as_of, commit))

    def bound(self, now: float, applied: int) -> float:
        """How many seconds old the state with ``applied`` entries may be; infinity if unknown."""
        reached = [when for when, index in self._said if index <= applied]
        return now - max(self._as_of, *reached, -inf) + self._unnoticed
