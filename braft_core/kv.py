"""``node.kv``: the maps of the service ``kv`` as Python calls, and what they need of a node.

Every method has an async variant of the same name with an ``a`` before it; both may be used from
any thread, the async ones on any loop. Errors are those of :meth:`braft_core.Node.execute` and
:meth:`braft_core.Node.query`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple, Protocol

from braft_core.pagination import DEFAULT_PAGE_SIZE, Page
from braft_core.runtime import clock

__all__ = ["KV", "LINEARIZABLE", "Caller", "StaleEntry"]

LINEARIZABLE = "linearizable"


class Caller(Protocol):
    """The part of the node that handles use."""

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """See :meth:`braft_core.Node.execute`."""

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """See :meth:`braft_core.Node.aexecute`."""

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = LINEARIZABLE,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """See :meth:`braft_core.Node.query`."""

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = LINEARIZABLE,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """See :meth:`braft_core.Node.aquery`."""

    @property
    def staleness(self) -> float:
        """See :attr:`braft_core.Node.staleness`."""


class StaleEntry(NamedTuple):
    """What a stale read found."""

    #: ``None`` if there is no such key; then ``revision`` is 0.
    value: Any
    revision: int
    #: How many seconds old it may be. See :attr:`braft_core.Node.staleness`.
    staleness: float


class KV:
    """Maps of keys to plain values, replicated. Revisions are log indexes: they only grow."""

    def __init__(self, caller: Caller, service: str = "kv") -> None:
        self._caller = caller
        self._service = service

    def put(self, map: str, key: str, value: Any, *, timeout: float | None = None) -> int:
        """Set ``key`` in ``map``; returns the new revision."""
        revision: int = self._caller.execute(self._service, "put", map, key, value, timeout=timeout)
        return revision

    async def aput(self, map: str, key: str, value: Any, *, timeout: float | None = None) -> int:
        """:meth:`put`, awaited."""
        revision: int = await self._caller.aexecute(
            self._service, "put", map, key, value, timeout=timeout
        )
        return revision

    def put_if(
        self, map: str, key: str, value: Any, revision: int, *, timeout: float | None = None
    ) -> int:
        """Set ``key`` if its revision is still ``revision`` (0: if it does not exist).

        :raises Conflict: it is another; ``data['revision']`` names the current one.
        """
        new: int = self._caller.execute(
            self._service, "put_if", map, key, value, revision, timeout=timeout
        )
        return new

    async def aput_if(
        self, map: str, key: str, value: Any, revision: int, *, timeout: float | None = None
    ) -> int:
        """:meth:`put_if`, awaited."""
        new: int = await self._caller.aexecute(
            self._service, "put_if", map, key, value, revision, timeout=timeout
        )
        return new

    def get(
        self,
        map: str,
        key: str,
        default: Any = None,
        *,
        consistency: str = LINEARIZABLE,
        timeout: float | None = None,
    ) -> Any:
        """The value of ``key``, or ``default`` if there is none."""
        found = self._caller.query(
            self._service, "get", map, key, consistency=consistency, timeout=timeout
        )
        return default if found is None else found[0]

    async def aget(
        self,
        map: str,
        key: str,
        default: Any = None,
        *,
        consistency: str = LINEARIZABLE,
        timeout: float | None = None,
    ) -> Any:
        """:meth:`get`, awaited."""
        found = await self._caller.aquery(
            self._service, "get", map, key, consistency=consistency, timeout=timeout
        )
        return default if found is None else found[0]

    def get_with_revision(
        self,
        map: str,
        key: str,
        *,
        consistency: str = LINEARIZABLE,
        timeout: float | None = None,
    ) -> tuple[Any, int] | None:
        """Value and revision of ``key``, or ``None``."""
        found = self._caller.query(
            self._service, "get", map, key, consistency=consistency, timeout=timeout
        )
        return None if found is None else (found[0], found[1])

    def get_stale(
        self,
        map: str,
        key: str,
        *,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> StaleEntry:
        """Value and revision of ``key`` in this node's state as it is, and how old that may be.

        :raises TooStale: it may be older than ``max_staleness`` seconds.
        """
        began, bound = clock.monotonic(), self._caller.staleness
        found = self._caller.query(
            self._service,
            "get",
            map,
            key,
            consistency="stale",
            max_staleness=max_staleness,
            timeout=timeout,
        )
        return _stale_entry(found, bound, began)

    async def aget_stale(
        self,
        map: str,
        key: str,
        *,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> StaleEntry:
        """:meth:`get_stale`, awaited."""
        began, bound = clock.monotonic(), self._caller.staleness
        found = await self._caller.aquery(
            self._service,
            "get",
            map,
            key,
            consistency="stale",
            max_staleness=max_staleness,
            timeout=timeout,
        )
        return _stale_entry(found, bound, began)

    def delete(self, map: str, key: str, *, timeout: float | None = None) -> bool:
        """Remove ``key``; returns whether it was there."""
        found: bool = self._caller.execute(self._service, "delete", map, key, timeout=timeout)
        return found

    async def adelete(self, map: str, key: str, *, timeout: float | None = None) -> bool:
        """:meth:`delete`, awaited."""
        found: bool = await self._caller.aexecute(
            self._service, "delete", map, key, timeout=timeout
        )
        return found

    def list(
        self, map: str, *, consistency: str = LINEARIZABLE, timeout: float | None = None
    ) -> dict[str, Any]:
        """All keys and values of ``map``, in the order of the keys, as they are at one time.

        For maps that a dict is the right form of: commands wait while the answer is made, about
        a second for a million keys. :meth:`items` and :meth:`page` read a map bit by bit.

        :raises Rejected: there is no such map.
        """
        found: dict[str, Any] = self._caller.query(
            self._service, "list", map, consistency=consistency, timeout=timeout
        )
        return found

    async def alist(
        self, map: str, *, consistency: str = LINEARIZABLE, timeout: float | None = None
    ) -> dict[str, Any]:
        """:meth:`list`, awaited."""
        found: dict[str, Any] = await self._caller.aquery(
            self._service, "list", map, consistency=consistency, timeout=timeout
        )
        return found

    def page(
        self,
        map: str,
        after: str = "",
        limit: int = DEFAULT_PAGE_SIZE,
        *,
        consistency: str = LINEARIZABLE,
        timeout: float | None = None,
    ) -> Page:
        """At most ``limit`` keys of ``map`` behind ``after``, in order, with their values.

        A page of large values (:data:`~braft_core.pagination.MAX_PAGE_BYTES`) has fewer; ``next``
        says whether there are more.

        :raises Rejected: the first page of a map that does not exist.
        """
        found = self._caller.query(
            self._service, "page", map, after, limit, consistency=consistency, timeout=timeout
        )
        return Page(found["items"], found["next"])

    async def apage(
        self,
        map: str,
        after: str = "",
        limit: int = DEFAULT_PAGE_SIZE,
        *,
        consistency: str = LINEARIZABLE,
        timeout: float | None = None,
    ) -> Page:
        """:meth:`page`, awaited."""
        found = await self._caller.aquery(
            self._service, "page", map, after, limit, consistency=consistency, timeout=timeout
        )
        return Page(found["items"], found["next"])

    def items(
        self,
        map: str,
        after: str = "",
        *,
        consistency: str = LINEARIZABLE,
        timeout: float | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """The keys and values of ``map`` behind ``after``, in order, read in pages as needed.

        Each page is as it is at its own time: a key that is there all the while comes exactly
        once, one that comes or goes meanwhile may.

        :raises Rejected: there is no such map. Raised, as all errors are, while iterating.
        """
        next_after: str | None = after
        while next_after is not None:
            page = self.page(map, next_after, consistency=consistency, timeout=timeout)
            yield from page.items.items()
            next_after = page.next

    async def aitems(
        self,
        map: str,
        after: str = "",
        *,
        consistency: str = LINEARIZABLE,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[str, Any]]:
        """:meth:`items`, for ``async for``."""
        next_after: str | None = after
        while next_after is not None:
            page = await self.apage(map, next_after, consistency=consistency, timeout=timeout)
            for entry in page.items.items():
                yield entry
            next_after = page.next


def _stale_entry(found: Any, bound: float, began: float) -> StaleEntry:
    # The bound was told before the state was read, so it is the older of the two.
    value, revision = (None, 0) if found is None else found
    return StaleEntry(value, revision, bound + clock.monotonic() - began)
