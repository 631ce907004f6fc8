"""``node.kv``: the maps of the service ``kv`` as Python calls.

Each method has an async variant with an ``a`` before its name. Methods may be called from any
thread, async ones on any event loop. Errors are those of :meth:`braft_core.Node.execute` and
:meth:`braft_core.Node.query`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple, Protocol

from braft_core.cluster_types import Consistency
from braft_core.pagination import DEFAULT_PAGE_SIZE, Page

__all__ = ["KV", "Caller", "StaleEntry"]


class Caller(Protocol):
    """The part of a node that handles use."""

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
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """See :meth:`braft_core.Node.query`."""

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """See :meth:`braft_core.Node.aquery`."""

    @property
    def staleness(self) -> float:
        """See :attr:`braft_core.Node.staleness`."""


class StaleEntry(NamedTuple):
    """The result of a stale read."""

    #: ``None`` if there is no such key; ``revision`` is 0 then.
    value: Any
    revision: int
    #: How many seconds old it may be, see :attr:`braft_core.Node.staleness`.
    staleness: float


class KV:
    """Replicated maps of keys to plain values. Revisions are log indexes: they only grow."""

    def __init__(self, caller: Caller, monotonic: Callable[[], float], service: str = "kv") -> None:
        self._caller = caller
        self._monotonic = monotonic
        self._service = service

    def put(self, map: str, key: str, value: Any, *, timeout: float | None = None) -> int:
        """Set ``key`` in ``map``; return the new revision."""
        revision: int = self._caller.execute(self._service, "put", map, key, value, timeout=timeout)
        return revision

    async def aput(self, map: str, key: str, value: Any, *, timeout: float | None = None) -> int:
        """Call :meth:`put` asynchronously."""
        revision: int = await self._caller.aexecute(
            self._service, "put", map, key, value, timeout=timeout
        )
        return revision

    def put_if(
        self, map: str, key: str, value: Any, revision: int, *, timeout: float | None = None
    ) -> int:
        """Set ``key`` if its revision is still ``revision`` (0: if it does not exist).

        :raises Conflict: the revision is another one, ``data['revision']``.
        """
        new: int = self._caller.execute(
            self._service, "put_if", map, key, value, revision, timeout=timeout
        )
        return new

    async def aput_if(
        self, map: str, key: str, value: Any, revision: int, *, timeout: float | None = None
    ) -> int:
        """Call :meth:`put_if` asynchronously."""
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
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Any:
        """Return the value of ``key``, or ``default`` if it does not exist."""
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
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Any:
        """Call :meth:`get` asynchronously."""
        found = await self._caller.aquery(
            self._service, "get", map, key, consistency=consistency, timeout=timeout
        )
        return default if found is None else found[0]

    def get_with_revision(
        self,
        map: str,
        key: str,
        *,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> tuple[Any, int] | None:
        """Return value and revision of ``key``, or ``None`` if it does not exist."""
        found = self._caller.query(
            self._service, "get", map, key, consistency=consistency, timeout=timeout
        )
        return None if found is None else (found[0], found[1])

    async def aget_with_revision(
        self,
        map: str,
        key: str,
        *,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> tuple[Any, int] | None:
        """Call :meth:`get_with_revision` asynchronously."""
        found = await self._caller.aquery(
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
        """Read ``key`` from this node's own state; return also how old that may be.

        :raises TooStale: the state may be older than ``max_staleness`` seconds.
        """
        # The bound is read before the state, so the time in between counts as well.
        began, bound = self._monotonic(), self._caller.staleness
        found = self._caller.query(
            self._service,
            "get",
            map,
            key,
            consistency="stale",
            max_staleness=max_staleness,
            timeout=timeout,
        )
        return _stale_entry(found, bound + self._monotonic() - began)

    async def aget_stale(
        self,
        map: str,
        key: str,
        *,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> StaleEntry:
        """Call :meth:`get_stale` asynchronously."""
        # The bound is read before the state, so the time in between counts as well.
        began, bound = self._monotonic(), self._caller.staleness
        found = await self._caller.aquery(
            self._service,
            "get",
            map,
            key,
            consistency="stale",
            max_staleness=max_staleness,
            timeout=timeout,
        )
        return _stale_entry(found, bound + self._monotonic() - began)

    def delete(self, map: str, key: str, *, timeout: float | None = None) -> bool:
        """Remove ``key``; return whether it existed."""
        found: bool = self._caller.execute(self._service, "delete", map, key, timeout=timeout)
        return found

    async def adelete(self, map: str, key: str, *, timeout: float | None = None) -> bool:
        """Call :meth:`delete` asynchronously."""
        found: bool = await self._caller.aexecute(
            self._service, "delete", map, key, timeout=timeout
        )
        return found

    def list(
        self, map: str, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> dict[str, Any]:
        """Return all keys and values of ``map``, ordered by key, at one point in time.

        Commands wait while the answer is built, about a second for a million keys. For large maps
        use :meth:`items` or :meth:`page`.

        :raises Rejected: there is no such map.
        """
        found: dict[str, Any] = self._caller.query(
            self._service, "list", map, consistency=consistency, timeout=timeout
        )
        return found

    async def alist(
        self, map: str, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> dict[str, Any]:
        """Call :meth:`list` asynchronously."""
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
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Page:
        """Return at most ``limit`` keys of ``map`` after ``after``, in order, with their values.

        A page of large values has fewer keys (:data:`~braft_core.pagination.MAX_PAGE_BYTES`).
        ``next`` says whether there are more.

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
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Page:
        """Call :meth:`page` asynchronously."""
        found = await self._caller.aquery(
            self._service, "page", map, after, limit, consistency=consistency, timeout=timeout
        )
        return Page(found["items"], found["next"])

    def items(
        self,
        map: str,
        after: str = "",
        *,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Iterate over keys and values of ``map`` after ``after``, in order, read in pages.

        Each page is read at its own time. A key that exists throughout comes exactly once; a key
        that is added or removed meanwhile may or may not come.

        :raises Rejected: there is no such map. Raised while iterating, as all errors are.
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
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[str, Any]]:
        """Iterate as :meth:`items`, with ``async for``."""
        next_after: str | None = after
        while next_after is not None:
            page = await self.apage(map, next_after, consistency=consistency, timeout=timeout)
            for entry in page.items.items():
                yield entry
            next_after = page.next


def _stale_entry(found: Any, staleness: float) -> StaleEntry:
    value, revision = (None, 0) if found is None else found
    return StaleEntry(value, revision, staleness)
