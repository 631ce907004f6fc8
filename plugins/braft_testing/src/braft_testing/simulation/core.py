"""The interface of a consensus core that the simulator needs, as protocols.

The simulator checks a core by its public interface only. Any class with this interface can be
checked, first of all ``braft_core.raft.RaftCore``. The simulator must not know how a core works
inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from braft_core.raft.config import RaftConfig
from braft_core.raft.core import RaftCore
from braft_core.raft.messages import Message
from braft_core.raft.ready import Ready
from braft_core.raft.status import PeerStatus
from braft_core.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    SnapshotMeta,
)
from braft_core.runtime.staleness import View

__all__ = ["Core", "CoreFactory", "CoreLog", "raft_core"]


class CoreLog(Protocol):
    """The log as a view."""

    @property
    def last_index(self) -> int:
        """Index of the last entry, 0 for an empty log."""

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at ``index``."""

    @property
    def compacted_index(self) -> int:
        """Index of the entry just before the first one that is still stored."""

    def slice(self, low: int, high: int) -> Sequence[Entry]:
        """Return the entries ``low <= index < high``."""

    def configuration_entry_at(self, index: int) -> tuple[int, Configuration]:
        """Return the configuration in force at ``index``, and the index of its entry."""


class Core(View, Protocol):
    """One server's consensus core. See ``braft_core.raft.ready`` for the persistence contract."""

    @property
    def server_id(self) -> str:
        """The id of this server."""

    @property
    def last_applied(self) -> int:
        """The last index reported to :meth:`applied`."""

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""

    @property
    def log(self) -> CoreLog:
        """Its log, read-only."""

    def step(self, message: Message) -> None:
        """Process a message."""

    def tick(self, now: float) -> None:
        """Advance the clock to ``now``."""

    def propose(
        self,
        commands: Sequence[bytes],
        *,
        type: EntryType = EntryType.COMMAND,
        appended_at: int = 0,
    ) -> tuple[int, int]:
        """Append entries; return the index of the first, and the term."""

    def read(self, read_id: int) -> None:
        """Request a linearizable read; ``Ready.reads`` answers."""

    def lease_read(self) -> int:
        """Return the index at which a read may be served now, -1 without a lease."""

    def snapshot_taken(self, meta: SnapshotMeta, compact_to: int) -> int:
        """Report a stored snapshot; return the index up to which the log was compacted."""

    def change_membership(self, kind: str, server_id: str, address: str = "") -> int:
        """Change the configuration by one server."""

    def transfer_leadership(self, to: str = "") -> str:
        """Transfer leadership."""

    def persisted(self, number: int) -> None:
        """Report that the batch of that number is durable."""

    def applied(self, index: int) -> None:
        """Report that the state machine has applied up to ``index``."""

    def connection_lost(self, peer: str) -> None:
        """Report that the connection to ``peer`` broke."""

    def unreachable(self, peer: str) -> None:
        """Report that requests to ``peer`` were dropped."""

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Enable or disable campaigns."""

    def step_down(self, reason: str) -> None:
        """Give up leadership."""

    @property
    def leader_silent_for(self) -> float:
        """Seconds since the last message of the leader."""

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The snapshot that it sends to others."""

    def peers(self) -> Sequence[PeerStatus]:
        """Return a leader's view of the others."""

    def poll(self) -> Ready | None:
        """Return the next batch, or None."""

    def next_deadline(self) -> float:
        """Return the latest time of the next tick."""


class CoreFactory(Protocol):
    """Builds a core from what a disk holds."""

    def __call__(
        self,
        server_id: str,
        *,
        config: RaftConfig,
        random: Callable[[], float],
        now: float,
        hard_state: HardState,
        entries: Sequence[Entry],
        compacted_index: int = 0,
        compacted_term: int = 0,
        snapshot: SnapshotMeta | None = None,
    ) -> Core:
        """Start as a follower."""


def raft_core(
    server_id: str,
    *,
    config: RaftConfig,
    random: Callable[[], float],
    now: float,
    hard_state: HardState,
    entries: Sequence[Entry],
    compacted_index: int = 0,
    compacted_term: int = 0,
    snapshot: SnapshotMeta | None = None,
) -> Core:
    """Return the core under test, a ``braft_core.raft.RaftCore``."""
    return RaftCore(
        server_id,
        config=config,
        random=random,
        now=now,
        hard_state=hard_state,
        entries=entries,
        compacted_index=compacted_index,
        compacted_term=compacted_term,
        snapshot=snapshot,
    )
