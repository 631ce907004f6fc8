"""The service ``v3lockpb.Lock``: a lock is a key under its name that was created first.

The keys are those of etcd's client recipes, so that both see the same locks.
"""

from __future__ import annotations

from typing import Any, Final

from braft_core.http2 import Call, CallFailed, Status
from braft_core.tokens import Role
from braft_etcd.backend import Backend
from braft_etcd.lease import LeaseHandlers
from braft_etcd.queueing import Queueing
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.waiting import KeyWaiter
from braft_etcd.wire import Values

__all__ = ["LockHandlers"]

_SERVICE: Final = "v3lockpb.Lock"
_CREATE: Final = 2


class LockHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend, leases: LeaseHandlers) -> None:
        self._backend = backend
        self._waiter = KeyWaiter(backend)
        self._queueing = Queueing(backend, leases)

    def calls(self) -> tuple[Rpc, ...]:
        """Return the calls of the service."""
        return (
            rpc(f"{_SERVICE}/Lock", self.lock, role=Role.WRITE),
            rpc(f"{_SERVICE}/Unlock", self.unlock, role=Role.WRITE),
        )

    async def stop(self) -> None:
        """Wait until the keys of callers that went away are deleted."""
        await self._queueing.stop()

    async def lock(self, request: Values, call: Call) -> Values:
        """Wait until the caller has the lock; return its key, which it deletes to unlock."""
        prefix = request["name"] + b"/"
        key, record = await self._queueing.enter(call, prefix, request["lease"], b"")
        async with self._queueing.leaving(key):
            await self._waiter.none_before(call, prefix, record[_CREATE])
            revision, count = await self._backend.query(call, "count", key)
            if not count:
                raise _expired()
        return {"header": self._backend.header(revision), "key": key}

    async def unlock(self, request: Values, call: Call) -> Values:
        """Give a lock back."""
        found: Any = await self._backend.execute(call, "delete", request["key"])
        return {"header": self._backend.header(found[0])}


def _expired() -> CallFailed:
    return CallFailed(Status.UNKNOWN, "mutex: session is expired")
