"""What a replica starts from: log, term and snapshot that the store holds while none runs."""

from __future__ import annotations

from dataclasses import replace

from braft_core.abc import NO_SNAPSHOT, Storage, StoredState, WriteBatch
from braft_core.raft import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    SnapshotMeta,
    encode_configuration,
)

__all__ = ["InitialState"]


class InitialState:
    """What the next replica of this node starts from. Lives on the loop.

    Its methods write to the store. They are called before the writer thread of a replica starts, or
    after it has ended: while it runs, it alone uses the store.

    :param stored: what the store holds.
    :param snapshot: the snapshot that the state machine begins from.
    """

    def __init__(
        self, storage: Storage, stored: StoredState, snapshot: SnapshotMeta | None
    ) -> None:
        self._storage, self._stored, self._snapshot = storage, stored, snapshot

    @property
    def stored(self) -> StoredState:
        """Log and hard state."""
        return self._stored

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The snapshot that the state machine begins from."""
        return self._snapshot

    def bootstrap(self, configuration: Configuration) -> None:
        """Begin the log with a configuration, durably, unless it has entries."""
        if self._stored.entries:
            return
        data = encode_configuration(configuration)
        hard_state, first = HardState(1, ""), Entry(1, 1, EntryType.CONFIGURATION, data)
        self._storage.write([WriteBatch(hard_state, entries=[first])])
        self._stored = replace(self._stored, hard_state=hard_state, entries=[first])

    def clear(self) -> None:
        """Delete log, term and snapshot, durably."""
        self._storage.write([WriteBatch(HardState(), truncate_from=1, snapshot=NO_SNAPSHOT)])
        self._stored, self._snapshot = StoredState(HardState(), []), None
