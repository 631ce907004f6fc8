"""Queues of callers: a key each, under a common prefix, in the order of their creation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from braft_core.errors import BraftError
from braft_core.http2 import Call
from braft_etcd.backend import Backend
from braft_etcd.lease import LeaseHandlers
from braft_etcd.wire.messages import message

__all__ = ["Queueing"]

#: The ttl of a lease that a caller without one gets, seconds.
_TTL: Final = 60
_CREATED, _EQUAL = 1, 0
_RANGE, _PUT = 0, 1


class Queueing:
    """Adds and removes the keys. Belongs to the loop of the front end."""

    def __init__(self, backend: Backend, leases: LeaseHandlers) -> None:
        self._backend = backend
        self._leases = leases
        self._leaving: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Wait until the keys of callers that went away are deleted."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=1.0)

    async def enter(self, call: Call, prefix: bytes, lease: int, value: bytes) -> tuple[bytes, Any]:
        """Add a key for a lease unless it is there; return it and its record.

        :param lease: 0: one is made, which ends unless somebody renews it.
        """
        if not lease:
            request = message("LeaseGrantRequest").new() | {"TTL": _TTL}
            lease = (await self._leases.grant(request, call))["ID"]
        key = prefix + b"%x" % lease
        found = await self._backend.execute(
            call,
            "txn",
            [[_CREATED, _EQUAL, key, b"", 0]],
            [[_PUT, key, value, lease], [_RANGE, key]],
            [[_RANGE, key]],
        )
        return key, found[2][-1][3][0]

    @asynccontextmanager
    async def leaving(self, key: bytes) -> AsyncIterator[None]:
        """Delete a key if its caller goes away, or fails, before its turn."""
        try:
            yield
        except BaseException:
            task = asyncio.create_task(self._delete(key))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
            raise

    async def _delete(self, key: bytes) -> None:
        with suppress(BraftError):  # it goes with its lease
            await self._backend.node.aexecute("store", "delete", key)
