"""``store.leases``: leases by their ids, for who renews them by itself or only looks.

:meth:`braft_core.Node.lease` is what a process should hold: it is renewed, and reports its loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from braft_core.cluster_types import Consistency
from braft_core.errors import LeaseNotFound
from braft_core.store.caller import StoreCaller
from braft_core.store.lease import GONE, draw_lease_id

__all__ = ["LeaseInfo", "Leases"]

#: Ids in one answer.
_PAGE = 10_000


class LeaseInfo(NamedTuple):
    """A lease, as of the last entry of the log."""

    id: int
    #: Seconds that were granted.
    ttl: float
    #: Seconds left.
    remaining: float
    #: Its keys, in order; a client gets the first 10,000.
    keys: list[bytes]


class Leases:
    """The leases of the store. Thread-safe."""

    def __init__(self, caller: StoreCaller, service: str = "store") -> None:
        self._caller = caller
        self._service = service

    def grant(self, ttl: float, *, id: int = 0, timeout: float | None = None) -> LeaseInfo:
        """Make a lease, which ends unless it is renewed within each ttl.

        :param ttl: seconds.
        :param id: the id, drawn at random by default.
        :raises LeaseExists: there is a lease with this id.
        :raises InvalidArgument: the ttl or id is not accepted.
        """
        lease = id or draw_lease_id()
        granted = self._caller.execute(self._service, "grant", lease, ttl, timeout=timeout)
        return LeaseInfo(lease, granted, granted, [])

    async def agrant(self, ttl: float, *, id: int = 0, timeout: float | None = None) -> LeaseInfo:
        """Call :meth:`grant` asynchronously."""
        lease = id or draw_lease_id()
        granted = await self._caller.aexecute(self._service, "grant", lease, ttl, timeout=timeout)
        return LeaseInfo(lease, granted, granted, [])

    def renew(self, id: int, *, timeout: float | None = None) -> float:
        """Let a lease last its ttl from now on; return the ttl.

        :raises LeaseNotFound: there is no such lease.
        """
        [ttl] = self._caller.execute(self._service, "renew", [id], timeout=timeout)
        return _renewed(id, ttl)

    async def arenew(self, id: int, *, timeout: float | None = None) -> float:
        """Call :meth:`renew` asynchronously."""
        [ttl] = await self._caller.aexecute(self._service, "renew", [id], timeout=timeout)
        return _renewed(id, ttl)

    def revoke(self, id: int, *, timeout: float | None = None) -> int:
        """End a lease, which deletes its keys; return the revision of the store.

        :raises LeaseNotFound: there is no such lease.
        """
        revision: int = self._caller.execute(self._service, "revoke", id, timeout=timeout)
        return revision

    async def arevoke(self, id: int, *, timeout: float | None = None) -> int:
        """Call :meth:`revoke` asynchronously."""
        revision: int = await self._caller.aexecute(self._service, "revoke", id, timeout=timeout)
        return revision

    def get(
        self,
        id: int,
        *,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> LeaseInfo | None:
        """Return a lease with its keys, ``None`` if there is none."""
        answer = self._caller.query(
            self._service, "lease", id, consistency=consistency, timeout=timeout
        )
        return _info(id, answer)

    async def aget(
        self,
        id: int,
        *,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> LeaseInfo | None:
        """Call :meth:`get` asynchronously."""
        answer = await self._caller.aquery(
            self._service, "lease", id, consistency=consistency, timeout=timeout
        )
        return _info(id, answer)

    def ids(
        self, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> list[int]:
        """Return the ids of all leases, in order. Many leases take several reads."""
        found: list[int] = []
        page: list[int] | None = None
        while page is None or len(page) == _PAGE:
            page = self._caller.query(
                self._service,
                "leases",
                found[-1] if found else 0,
                _PAGE,
                consistency=consistency,
                timeout=timeout,
            )
            found += page or []
        return found

    async def aids(
        self, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> list[int]:
        """Call :meth:`ids` asynchronously."""
        found: list[int] = []
        page: list[int] | None = None
        while page is None or len(page) == _PAGE:
            page = await self._caller.aquery(
                self._service,
                "leases",
                found[-1] if found else 0,
                _PAGE,
                consistency=consistency,
                timeout=timeout,
            )
            found += page or []
        return found


def _renewed(lease: int, ttl: float) -> float:
    if ttl == 0:
        raise LeaseNotFound(f"there is no lease {lease}: {GONE}", lease=lease)
    return ttl


def _info(lease: int, answer: Any) -> LeaseInfo | None:
    return None if answer is None else LeaseInfo(lease, answer[0], answer[1], answer[2])
