"""The service ``KV``: Range, Put, DeleteRange, Txn, Compact."""

from __future__ import annotations

from typing import Final

from braft_core.errors import Compacted
from braft_core.http2 import Call
from braft_core.tokens import Role
from braft_etcd.backend import Backend
from braft_etcd.operations import (
    deleted,
    put_answer,
    range_answer,
    read_delete,
    read_put,
    read_range,
)
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.transactions import read_txn, txn_answer
from braft_etcd.wire import Values

__all__ = ["KV"]

_COMPACTED: Final = "that revision is compacted"


class KV:
    """Handlers of one node."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def calls(self) -> tuple[Rpc, ...]:
        """Return the calls of the service."""
        return (
            rpc("KV/Range", self.range, role=Role.READ),
            rpc("KV/Put", self.put, role=Role.WRITE),
            rpc("KV/DeleteRange", self.delete_range, role=Role.WRITE),
            rpc("KV/Txn", self.txn, role=Role.WRITE),
            rpc(
                "KV/Compact",
                self.compact,
                role=Role.WRITE,
                request="CompactionRequest",
                response="CompactionResponse",
            ),
        )

    async def range(self, request: Values, call: Call) -> Values:
        """Read keys, linearizably unless the request says serializable."""
        given = read_range(request)
        if request["serializable"]:
            found = await self._backend.stale("range", *given)
        else:
            found = await self._backend.query(call, "range", *given)
        return range_answer(found, self._backend.header(found[0]))

    async def put(self, request: Values, call: Call) -> Values:
        """Store a value."""
        found = await self._backend.execute(call, "put", *read_put(request))
        return put_answer(found, self._backend.header(found[0]))

    async def delete_range(self, request: Values, call: Call) -> Values:
        """Delete keys."""
        found = await self._backend.execute(call, "delete", *read_delete(request))
        return deleted(found, self._backend.header(found[0]))

    async def txn(self, request: Values, call: Call) -> Values:
        """Do one of two lists of operations."""
        compares, then, otherwise = read_txn(request)
        found = await self._backend.execute(call, "txn", compares, then, otherwise)
        return txn_answer(found, self._backend.header(found[0]), request)

    async def compact(self, request: Values, call: Call) -> Values:
        """Forget old revisions. Memory is freed with later writes, also if ``physical`` is set."""
        if request["revision"] <= 0:
            raise Compacted(_COMPACTED)
        await self._backend.execute(call, "compact", request["revision"])
        return {"header": self._backend.header(self._backend.revision)}
