"""What a node does for its cluster, awaited: the counterparts of the blocking calls of a node."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from braft_core.runtime.lifecycle import NodeThreads

__all__ = ["AsyncCalls"]

_T = TypeVar("_T")


class AsyncCalls:
    """The awaitable half of :class:`~braft_core.Node`'s membership, leadership and snapshots.

    Each may be awaited on any loop but the node's own. If the caller is cancelled, the work is
    cancelled as well, as far as it has not taken effect.
    """

    def _running(self) -> NodeThreads:
        raise NotImplementedError

    def _timeout(self, timeout: float | None) -> float:
        raise NotImplementedError

    def _waited(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._running().run(work)

    async def _awaited(self, work: Coroutine[Any, Any, _T]) -> _T:
        return await self._running().awaited(work)

    async def acluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """Return what :meth:`cluster_view` does, awaited."""
        return await self._awaited(self._running().view_of_cluster(timeout))

    async def aadd_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Do what :meth:`add_member` does, awaited."""
        host = self._running()
        await self._awaited(host.addition(server_id, address, voter, self._timeout(timeout)))

    async def aremove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Do what :meth:`remove_member` does, awaited."""
        host = self._running()
        await self._awaited(host.change_of("remove_server", server_id, self._timeout(timeout)))

    async def apromote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Do what :meth:`promote_member` does, awaited."""
        host = self._running()
        await self._awaited(host.change_of("promote", server_id, self._timeout(timeout)))

    async def atransfer_leadership(self, to: str = "", timeout: float | None = None) -> str:
        """Do what :meth:`transfer_leadership` does, awaited."""
        return await self._awaited(self._running().transfer_to(to, self._timeout(timeout)))

    async def atake_snapshot(self, timeout: float | None = None) -> dict[str, Any]:
        """Do what :meth:`take_snapshot` does, awaited."""
        return await self._awaited(self._running().snapshot_of_now(self._timeout(timeout)))
