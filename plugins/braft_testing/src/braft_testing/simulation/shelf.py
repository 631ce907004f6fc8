"""The snapshots of one simulated server: whole and durable once they are placed, or not there.

Keeps the promises of ``braft_core.abc.SnapshotStore``. The adversary may damage one.
"""

from __future__ import annotations

from braft_core.abc import surplus
from braft_core.raft.types import Configuration, SnapshotMeta

__all__ = ["Shelf"]


class Shelf:
    """A server's snapshots by id."""

    def __init__(self) -> None:
        self._placed: dict[str, tuple[SnapshotMeta, bytes]] = {}
        self._number = 0
        #: Ids of those whose contents cannot be read.
        self.damaged: set[str] = set()

    def place(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        contents: bytes,
    ) -> SnapshotMeta:
        """Keep a snapshot; from now on it survives every crash."""
        self._number += 1
        name = f"{index}-{term}-{self._number}"
        meta = SnapshotMeta(name, index, term, configuration, configuration_index, len(contents))
        self._placed[name] = (meta, contents)
        return meta

    def list(self) -> list[SnapshotMeta]:
        """All that are there, the newest first."""
        metas = [meta for meta, _ in self._placed.values()]
        return sorted(metas, key=lambda meta: (meta.index, meta.term, meta.id), reverse=True)

    def open(self, snapshot_id: str) -> bytes | None:
        """The contents, ``None`` if there is no such snapshot, or none that can be read."""
        found = self._placed.get(snapshot_id)
        return None if found is None or snapshot_id in self.damaged else found[1]

    def retain(self, count: int, keep: str) -> None:
        """See :meth:`SnapshotStore.retain`."""
        for meta in surplus(self.list(), count, keep):
            del self._placed[meta.id]

    def clear(self) -> None:
        """Forget everything."""
        self._placed.clear()
