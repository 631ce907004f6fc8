"""What can be read of a core between its inputs: role, term, indexes, peers.

Nothing here changes the core. Everything is read on the thread that owns it, except where a method
allows any thread.
"""

from __future__ import annotations

from typing import NamedTuple

from braft_core.raft.log import RaftLog
from braft_core.raft.progress import ProgressState
from braft_core.raft.stamps import Stamps
from braft_core.raft.state import RaftState
from braft_core.raft.types import Configuration, Role, SnapshotMeta

__all__ = ["CoreStatus", "PeerStatus"]


class PeerStatus(NamedTuple):
    """A leader's view of one other server."""

    server_id: str
    match_index: int
    next_index: int
    state: ProgressState
    #: Seconds since it last answered.
    silent_for: float


class CoreStatus:
    """The readable side of :class:`~braft_core.raft.core.RaftCore`."""

    def __init__(self, state: RaftState) -> None:
        self._state = state

    @property
    def server_id(self) -> str:
        """This server's id."""
        return self._state.server_id

    @property
    def role(self) -> Role:
        """This server's role in the current term."""
        return self._state.role

    @property
    def current_term(self) -> int:
        """The latest term this server has seen."""
        return self._state.current_term

    @property
    def voted_for(self) -> str:
        """The server that got our vote in the current term; "" if none did."""
        return self._state.voted_for

    @property
    def leader(self) -> str:
        """The leader that this server follows; "" if none is known."""
        return self._state.leader

    @property
    def leader_silent_for(self) -> float:
        """Seconds since the last message of the leader; infinite if there was none."""
        return self._state.now - self._state.leader_contact

    @property
    def commit_index(self) -> int:
        """The highest index that this server knows to be committed."""
        return self._state.commit_index

    @property
    def last_applied(self) -> int:
        """The highest index that the state machine has applied."""
        return self._state.last_applied

    @property
    def last_index(self) -> int:
        """Index of the last entry of the log."""
        return self._state.log.last_index

    @property
    def log(self) -> RaftLog:
        """The log, to be read only."""
        return self._state.log

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The newest snapshot, which is sent to followers that need entries before our log."""
        return self._state.snapshot

    @property
    def stamps(self) -> Stamps:
        """The stamps on this server's answers, to be read only."""
        return self._state.stamps

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""
        return self._state.configuration

    @property
    def transferring_to(self) -> str:
        """The target of the leadership transfer under way; "" without a transfer."""
        return self._state.transfer_to

    def peers(self) -> list[PeerStatus]:
        """Return the leader's view of the others, in configuration order. Any thread may call."""
        # One atomic copy, because the owner may change the dict meanwhile.
        now, progress = self._state.now, list(self._state.progress.items())
        return [
            PeerStatus(server, p.match_index, p.next_index, p.state, now - p.last_contact)
            for server, p in progress
        ]
