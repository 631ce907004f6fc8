"""The output of the core: :class:`Ready`, the persistence contract, and events.

A driver must keep these rules; the safety of Raft depends on each:

1. Batches are persisted in order of their numbers, each atomically: ``hard_state``, then
   ``truncate_from`` or ``snapshot``, then ``entries``. Several batches may be joined into one
   durable write. The contents of a snapshot are durable before the log is cut behind it.
2. ``messages_after_persist`` of a batch leave only once that batch *and all before it* are
   durable (votes, terms and acknowledgements are durable before they are sent, Raft §5.1, §5.2).
   A batch with nothing to persist still waits for earlier ones.
3. ``messages`` may leave at once, in parallel with the write (thesis §10.2.1).
4. ``RaftCore.persisted(number)`` is called after each batch became durable, in order.
5. ``committed`` is applied in order; ``RaftCore.applied(index)`` reports progress.
6. A read of ``reads`` is served once the state machine has applied ``index``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from braft_core.raft.messages import Message
from braft_core.raft.types import Configuration, Entry, HardState, Role, SnapshotMeta

__all__ = [
    "Batch",
    "ConfigurationChanged",
    "ConfigurationCommitted",
    "Event",
    "LeaderChanged",
    "ReadReady",
    "Ready",
    "RoleChanged",
]


class ReadReady(NamedTuple):
    """A linearizable read may be served at ``index``; ``index`` is -1 if the leader was deposed."""

    read_id: int
    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index


class RoleChanged(NamedTuple):
    """This server's role or term changed."""

    role: Role
    term: int
    reason: str


class LeaderChanged(NamedTuple):
    """The leader that this server follows changed ("" = none known)."""

    leader: str
    term: int


class ConfigurationChanged(NamedTuple):
    """A configuration came into use: appended, or restored by truncation (Raft §6)."""

    configuration: Configuration
    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index


class ConfigurationCommitted(NamedTuple):
    """The latest configuration was committed."""

    configuration: Configuration
    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index


Event = RoleChanged | LeaderChanged | ConfigurationChanged | ConfigurationCommitted


@dataclass(slots=True)
class Ready:
    """One batch of consequences. See the module docstring for the order of things."""

    number: int
    #: Term and vote to store, if they changed.
    hard_state: HardState | None = None
    #: Delete stored entries from this index on first.
    truncate_from: int | None = None
    #: A received snapshot to restore. It replaces the log on disk before ``entries`` are stored,
    #: and the state before ``committed`` is applied.
    snapshot: SnapshotMeta | None = None
    #: Entries to store, consecutive.
    entries: list[Entry] = field(default_factory=list)
    #: To send at once.
    messages: list[Message] = field(default_factory=list)
    #: To send once this batch is durable.
    messages_after_persist: list[Message] = field(default_factory=list)
    #: Newly committed, durable entries, to apply in order (all types).
    committed: list[Entry] = field(default_factory=list)
    #: Reads that may be served.
    reads: list[ReadReady] = field(default_factory=list)
    #: Events for observers, in order.
    events: list[Event] = field(default_factory=list)

    @property
    def must_persist(self) -> bool:
        """True if the batch changes what is on disk."""
        return (
            bool(self.entries)
            or self.hard_state is not None
            or self.truncate_from is not None
            or self.snapshot is not None
        )


class Batch(NamedTuple):
    """A Ready on its way to the disk, and what is durable after it."""

    number: int
    hard_state: HardState | None
    last_index: int
    last_term: int
    emitted_at: float
    #: False if the batch has nothing to write.
    writes: bool
