"""The snapshots of one node, for its callers: take one, list them, open one as a backup."""

from __future__ import annotations

import asyncio
from typing import Protocol

from braft_core.abc import Identity
from braft_core.cluster_types import SnapshotBackup, SnapshotInfo
from braft_core.errors import OutcomeUnknown, StorageError
from braft_core.raft import SnapshotMeta
from braft_core.runtime.components import Components
from braft_core.runtime.replica import Replica
from braft_core.storage.snapshot_file import encode_file

__all__ = ["NodeSnapshots"]


class _Server(Protocol):
    """What the snapshots of a node need of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def identity(self) -> Identity:
        """Who this node is."""

    def running(self) -> Replica:
        """Return the replica. :raises NotReady: this node is in no cluster."""


class NodeSnapshots:
    """Takes and reads the snapshots of one node."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._store = server.components.storage.snapshots

    async def take(self, timeout: float) -> SnapshotInfo:
        """*Loop.* Take a snapshot now."""
        try:
            async with asyncio.timeout(timeout):
                return _described(await self._server.running().snapshotter.request())
        except TimeoutError:
            raise OutcomeUnknown(
                f"the snapshot is not finished after {timeout:g} s; it goes on being written"
            ) from None

    def list(self) -> list[SnapshotInfo]:
        """*Any thread.* Return the snapshots of this node, newest first."""
        return [_described(meta) for meta in self._store.list()]

    def open(self, snapshot_id: str) -> SnapshotBackup:
        """*Any thread.* Return a snapshot and the bytes of its backup file."""
        for meta in self._store.list():
            if meta.id == snapshot_id:
                chunks = encode_file(meta, self._store.open(snapshot_id))
                name = self._server.components.settings.cluster_name
                cluster_id = self._server.identity.cluster_id
                return SnapshotBackup(_described(meta), name, cluster_id, chunks)
        raise StorageError(f"this node has no snapshot {snapshot_id!r}", id=snapshot_id)


def _described(meta: SnapshotMeta) -> SnapshotInfo:
    return SnapshotInfo(meta.id, meta.index, meta.term, meta.size, tuple(meta.configuration.ids))
