"""All calls of one node, and who may make them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from braft_core.abc import NodeAPI
from braft_core.audit import audit
from braft_core.http2 import Call, Method
from braft_core.tokens import Keyring, Role
from braft_etcd.auth import Access, AuthHandlers
from braft_etcd.backend import Backend
from braft_etcd.cluster import ClusterHandlers
from braft_etcd.election import ElectionHandlers
from braft_etcd.kv import KV
from braft_etcd.leader_guard import LeaderGuard
from braft_etcd.lease import LeaseHandlers
from braft_etcd.lock import LockHandlers
from braft_etcd.maintenance import MaintenanceHandlers
from braft_etcd.options import EtcdOptions
from braft_etcd.rpc import Rpc, method
from braft_etcd.snapshot import SnapshotHandlers
from braft_etcd.watch import WatchHandlers

__all__ = ["Api"]

#: Election timeouts without a leader after which streams that demand one end.
_PATIENCE = 3


class Api:
    """The calls of one node. Belongs to the loop of the front end."""

    def __init__(self, node: NodeAPI, keyring: Keyring, options: EtcdOptions) -> None:
        self.backend = Backend(node, options.version)
        self._access = Access(keyring, time.time)
        patience = _PATIENCE * float(node.settings.election_timeout)
        self._guard = LeaderGuard(self.backend, patience)
        self._leases = LeaseHandlers(self.backend)
        self._locks = LockHandlers(self.backend, self._leases)
        self._elections = ElectionHandlers(self.backend, self._leases)
        parts = (
            KV(self.backend),
            self._leases,
            ClusterHandlers(self.backend),
            MaintenanceHandlers(self.backend),
            AuthHandlers(self.backend, self._access),
            SnapshotHandlers(self.backend),
            WatchHandlers(self.backend, options.progress),
            self._locks,
            self._elections,
        )
        #: By path.
        self.calls: Mapping[str, Rpc] = {each.path: each for part in parts for each in part.calls()}
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Follow the node's leader."""
        self.backend.refresh()
        self._unlisten = self.backend.node.on_leader_change(self.backend.leader_changed)
        self._guard.start()

    async def stop(self) -> None:
        """End all tasks."""
        if self._unlisten is not None:
            self._unlisten()
        await self._guard.stop()
        await self._locks.stop()
        await self._elections.stop()
        await self._leases.stop()

    def methods(self) -> dict[str, Method]:
        """Return the calls as handlers of bytes, by path."""
        return {path: method(called, self) for path, called in self.calls.items()}

    async def enter(self, call: Call, role: Role | None) -> None:
        """See :class:`~braft_etcd.rpc.Gate`."""
        await self._access.check(call, role)
        self._guard.check(call)

    def note(self, call: Call, path: str, role: Role | None) -> None:
        """Write a call that needs the role ``admin`` to the audit log."""
        if role is Role.ADMIN:
            audit(path, by=f"{call.peer.address} (the etcd API)")

    def guard(self, call: Call, answers: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """See :class:`~braft_etcd.rpc.Gate`."""
        return self._guard.guard(call, answers)
