"""The snapshots of one simulated server: whole and durable once stored, or absent.

Keeps the contract of ``braft_core.abc.SnapshotStore``. Faults may damage a snapshot.
"""

from __future__ import annotations

from braft_core.abc import surplus
from braft_core.raft.types import Configuration, SnapshotMeta

__all__ = ["SimulatedSnapshotStore"]


class SimulatedSnapshotStore:
    """A server's snapshots by id."""

    def __init__(self) -> None:
        self._placed: dict[str, tuple[SnapshotMeta, bytes]] = {}
        self._number = 0
        #: Ids of snapshots whose contents cannot be read.
        self.damaged: set[str] = set()

    def place(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        contents: bytes,
    ) -> SnapshotMeta:
        """Store a snapshot; from now on it survives every crash."""
        self._number += 1
        name = f"{index}-{term}-{self._number}"
        meta = SnapshotMeta(name, index, term, configuration, configuration_index, len(contents))
        self._placed[name] = (meta, contents)
        return meta

    def list(self) -> list[SnapshotMeta]:
        """Return all snapshots, the newest first."""
        metas = [meta for meta, _ in self._placed.values()]
        return sorted(metas, key=lambda meta: (meta.index, meta.term, meta.id), reverse=True)

    def open(self, snapshot_id: str) -> bytes | None:
        """Return the contents, ``None`` if the snapshot is missing or unreadable."""
        found = self._placed.get(snapshot_id)
        return None if found is None or snapshot_id in self.damaged else found[1]

    def retain(self, count: int, keep: str) -> None:
        """Delete old ones as :meth:`SnapshotStore.retain`."""
        for meta in surplus(self.list(), count, keep):
            del self._placed[meta.id]

    def clear(self) -> None:
        """Delete everything."""
        self._placed.clear()
