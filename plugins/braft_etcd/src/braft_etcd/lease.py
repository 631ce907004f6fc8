"""The service ``Lease``: grant, revoke, keep alive, time to live, list."""

from __future__ import annotations

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
        header = self._backend.header(await self._backend.revision())
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
        async for request in requests:
            lease = request["ID"]
            ttl = await self._renewals.renew(lease) if lease > 0 else 0
            header = self._backend.header(await self._backend.revision())
            yield {"header": header, "ID": lease, "TTL": int(ttl)}

    async def _renew(self, leases: list[int]) -> list[float]:
        ttls: list[float] = await self._backend.node.aexecute("store", "renew", leases)
        return ttls

    async def time_to_live(self, request: Values, call: Call) -> Values:
        """Return what is left of a lease; a ttl of -1 says that there is no such lease."""
        lease = request["ID"]
        found = await self._backend.query(call, "lease", lease) if lease > 0 else None
        header = self._backend.header(await self._backend.revision())
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
        header = self._backend.header(await self._backend.revision())
        return {"header": header, "leases": [{"ID": lease} for lease in found]}


def _check(lease: int) -> None:
    if lease <= 0:
        raise _no_lease()


def _no_lease() -> CallFailed:
    return failure(Status.NOT_FOUND, "requested lease not found")
