"""The service ``Lease``: grant, revoke, keep alive, time to live, list."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Final

from braft_core.errors import LeaseExists
from braft_core.http2 import Call, CallFailed, Status
from braft_core.tokens import Role
from braft_etcd.backend import Backend
from braft_etcd.errors import failure
from braft_etcd.renewals import Renewals
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.wire import Values

__all__ = ["LeaseHandlers"]

#: etcd's longest ttl, which is the store's too, seconds.
_MAX_TTL: Final = 9_000_000_000
_MAX_ID: Final = (1 << 63) - 1
#: Ids that are drawn and turn out to be in use before giving up; one in 10^12 is with 10^6 leases.
_DRAWS: Final = 3
_PAGE: Final = 10_000
#: Renewals of one stream at once.
_MOST_OUTSTANDING: Final = 1_000


class LeaseHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._renewals = Renewals(self._renew)

    def calls(self) -> tuple[Rpc, ...]:
        """Return the calls of the service."""
        return (
            rpc("Lease/LeaseGrant", self.grant, role=Role.WRITE),
            rpc("Lease/LeaseRevoke", self.revoke, role=Role.WRITE),
            rpc("Lease/LeaseKeepAlive", stream=self.keep_alive, role=Role.WRITE),
            rpc("Lease/LeaseTimeToLive", self.time_to_live, role=Role.READ),
            rpc("Lease/LeaseLeases", self.leases, role=Role.READ),
        )

    async def stop(self) -> None:
        """End the task that renews."""
        await self._renewals.stop()

    async def grant(self, request: Values, call: Call) -> Values:
        """Make a lease, with an id of the caller or one that is drawn here."""
        if request["TTL"] > _MAX_TTL:
            raise failure(Status.OUT_OF_RANGE, "too large lease TTL")
        seconds = max(request["TTL"], 1)  # the store raises it to the least that it grants
        if request["ID"]:
            lease = request["ID"]
            ttl = await self._backend.execute(call, "grant", lease, seconds)
        else:
            lease, ttl = await self._draw(call, seconds)
        header = self._backend.header(self._backend.revision)
        return {"header": header, "ID": lease, "TTL": int(ttl)}

    async def _draw(self, call: Call, seconds: int) -> tuple[int, float]:
        for attempt in range(1, _DRAWS + 1):
            lease = secrets.randbelow(_MAX_ID) + 1
            try:
                return lease, await self._backend.execute(call, "grant", lease, seconds)
            except LeaseExists:
                if attempt == _DRAWS:
                    raise
        raise _no_lease()

    async def revoke(self, request: Values, call: Call) -> Values:
        """End a lease, and with it its keys."""
        _check(request["ID"])
        revision = await self._backend.execute(call, "revoke", request["ID"])
        return {"header": self._backend.header(revision)}

    async def keep_alive(
        self, requests: AsyncIterator[Values], _call: Call
    ) -> AsyncIterator[Values]:
        """Give leases their whole ttl again; a ttl of 0 says that there is no such lease."""
        outstanding = _Outstanding(self._renewals)
        reader = asyncio.create_task(outstanding.read(requests))
        try:
            while (renewed := await outstanding.next()) is not None:
                lease, ttl = renewed
                header = self._backend.header(self._backend.revision)
                yield {"header": header, "ID": lease, "TTL": ttl}
        finally:
            reader.cancel()
            await asyncio.wait([reader])
            outstanding.close()

    async def _renew(self, leases: list[int]) -> list[float]:
        ttls: list[float] = await self._backend.node.aexecute("store", "renew", leases)
        return ttls

    async def time_to_live(self, request: Values, call: Call) -> Values:
        """Return what is left of a lease; a ttl of -1 says that there is no such lease."""
        lease = request["ID"]
        found = await self._backend.query(call, "lease", lease) if lease > 0 else None
        header = self._backend.header(self._backend.revision)
        if found is None:
            return {"header": header, "ID": lease, "TTL": -1}
        granted, left, keys = found
        return {
            "header": header,
            "ID": lease,
            "TTL": int(left),
            "grantedTTL": int(granted),
            "keys": keys if request["keys"] else [],
        }

    async def leases(self, _request: Values, call: Call) -> Values:
        """List all leases."""
        found: list[int] = []
        while True:
            page = await self._backend.query(call, "leases", found[-1] if found else 0, _PAGE)
            found += page
            if len(page) < _PAGE:
                break
        header = self._backend.header(self._backend.revision)
        return {"header": header, "leases": [{"ID": lease} for lease in found]}


class _Outstanding:
    """The renewals of one stream, which go on while others are asked for."""

    def __init__(self, renewals: Renewals) -> None:
        self._renewals = renewals
        self._queue: asyncio.Queue[tuple[int, asyncio.Future[float]] | Exception | None]
        self._queue = asyncio.Queue(_MOST_OUTSTANDING)

    async def read(self, requests: AsyncIterator[Values]) -> None:
        """Begin a renewal for each request."""
        try:
            async for request in requests:
                await self._queue.put((request["ID"], self._begin(request["ID"])))
        except Exception as error:  # noqa: BLE001 - it ends the stream, whatever it is
            await self._queue.put(error)
        else:
            await self._queue.put(None)

    def _begin(self, lease: int) -> asyncio.Future[float]:
        if lease > 0:
            return self._renewals.renew(lease)
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        future.set_result(0)
        return future

    async def next(self) -> tuple[int, int] | None:
        """Return the next lease and its ttl; None at the end of the stream.

        :raises Exception: the renewal failed, or the stream.
        """
        found = await self._queue.get()
        if isinstance(found, Exception):
            raise found
        return None if found is None else (found[0], int(await found[1]))

    def close(self) -> None:
        """Give up what is outstanding."""
        while not self._queue.empty():
            found = self._queue.get_nowait()
            if isinstance(found, tuple):
                found[1].cancel()


def _check(lease: int) -> None:
    if lease <= 0:
        raise _no_lease()


def _no_lease() -> CallFailed:
    return failure(Status.NOT_FOUND, "requested lease not found")
