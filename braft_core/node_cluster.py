"""What a node does for its cluster: membership, leadership, snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from braft_core.cluster_types import Leader, Member, SnapshotBackup, SnapshotInfo
from braft_core.node_requests import RequestCalls
from braft_core.runtime.argument_checks import member_address, member_id, new_member_id

__all__ = ["ClusterCalls", "SnapshotCalls"]


class ClusterCalls(RequestCalls):
    """The membership and leadership of a :class:`~braft_core.Node`.

    If the caller of an async method is cancelled, the work is cancelled too, unless it has already
    taken effect.
    """

    @property
    def is_leader(self) -> bool:
        """Whether this node believes to lead now (a hint; only a commit proves it)."""
        return self._running().is_leader

    @property
    def leader(self) -> Leader | None:
        """The leader that this node knows, or ``None``."""
        server_id, address = self._running().leader
        return Leader(server_id, address) if server_id else None

    def members(self) -> list[Member]:
        """Return the configuration in use.

        :raises NotReady: this node is in no cluster, or has not received its members yet.
        """
        return self._running().members()

    def cluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the JSON of ``GET /raft``: all members' details, or why one did not answer."""
        return self._waited(self._running().view_of_cluster(timeout))

    async def acluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """Call :meth:`cluster_view` asynchronously."""
        return await self._awaited(self._running().view_of_cluster(timeout))

    def add_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Add a server as a nonvoter, and make it a voter once it has caught up."""
        self._waited(self._addition(server_id, address, voter, timeout))

    async def aadd_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Call :meth:`add_member` asynchronously."""
        await self._awaited(self._addition(server_id, address, voter, timeout))

    def remove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Remove a server from the configuration."""
        self._waited(self._change("remove_server", server_id, timeout))

    async def aremove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Call :meth:`remove_member` asynchronously."""
        await self._awaited(self._change("remove_server", server_id, timeout))

    def promote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Make a nonvoter a voter."""
        self._waited(self._change("promote", server_id, timeout))

    async def apromote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Call :meth:`promote_member` asynchronously."""
        await self._awaited(self._change("promote", server_id, timeout))

    def transfer_leadership(self, to: str | None = None, timeout: float | None = None) -> str:
        """Hand leadership to ``to`` or the most up-to-date voter; return the new leader's id."""
        return self._waited(self._transfer(to, timeout))

    async def atransfer_leadership(
        self, to: str | None = None, timeout: float | None = None
    ) -> str:
        """Call :meth:`transfer_leadership` asynchronously."""
        return await self._awaited(self._transfer(to, timeout))

    def on_leader_change(self, callback: Callable[[str | None, int], None]) -> Callable[[], None]:
        """Call ``callback(leader_id, term)`` on each change; the id is ``None`` if none is known.

        It runs on the events thread and may block. Return a function that ends it.
        """
        return self._running().events.listen(
            "leader", lambda leader, term: callback(leader or None, term)
        )

    def _addition(
        self, server_id: str, address: str, voter: bool, timeout: float | None
    ) -> Coroutine[Any, Any, None]:
        admin, limit = self._running().admin, self._timeout(timeout)
        kind = "add_voter" if voter else "add_nonvoter"
        return admin.change(kind, new_member_id(server_id), member_address(address), limit)

    def _change(
        self, kind: str, server_id: str, timeout: float | None
    ) -> Coroutine[Any, Any, None]:
        admin, limit = self._running().admin, self._timeout(timeout)
        return admin.change(kind, member_id(server_id), "", limit)

    def _transfer(self, to: str | None, timeout: float | None) -> Coroutine[Any, Any, str]:
        admin, limit = self._running().admin, self._timeout(timeout)
        return admin.request_transfer(member_id(to or "", may_be_empty=True), limit)


class SnapshotCalls(RequestCalls):
    """The snapshots of a :class:`~braft_core.Node`."""

    def take_snapshot(self, timeout: float | None = None) -> SnapshotInfo:
        """Take a snapshot of this node's state now, and compact its log.

        A node takes snapshots by itself as the log grows; this is for backups.

        :raises NotReady: nothing was applied yet. :raises StorageError: it could not be written.
        """
        return self._waited(self._running().snapshots.take(self._timeout(timeout)))

    async def atake_snapshot(self, timeout: float | None = None) -> SnapshotInfo:
        """Call :meth:`take_snapshot` asynchronously."""
        return await self._awaited(self._running().snapshots.take(self._timeout(timeout)))

    def snapshots(self) -> list[SnapshotInfo]:
        """Return the snapshots of this node, newest first. Reads the disk."""
        return self._running().snapshots.list()

    async def asnapshots(self) -> list[SnapshotInfo]:
        """Call :meth:`snapshots` asynchronously."""
        return await asyncio.to_thread(self.snapshots)

    def open_snapshot(self, snapshot_id: str) -> SnapshotBackup:
        """Return a snapshot and the bytes of its backup file, for ``braft snapshot restore``.

        Nothing is read before ``chunks`` is iterated, by any one thread. Deleting the snapshot
        meanwhile does not disturb the reader.

        :raises StorageError: there is no such snapshot.
        :raises StorageCorrupt: while iterating: it is damaged, so what came before is no backup.
        """
        return self._running().snapshots.open(snapshot_id)

    async def aopen_snapshot(self, snapshot_id: str) -> SnapshotBackup:
        """Call :meth:`open_snapshot` asynchronously. Iterating over ``chunks`` blocks."""
        return await asyncio.to_thread(self.open_snapshot, snapshot_id)
