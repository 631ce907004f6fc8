"""What users hold in their hands: ``node.kv``, ``node.distribute``, ``node.service(Counter)``.

Thin, typed fronts of ``Node.execute`` and ``Node.query``. Every method has an ``async`` twin of
the same name with an ``a`` before it; both may be used from any thread, the twins on any loop.
Errors are those of :meth:`braft_core.Node.execute` and :meth:`braft_core.Node.query`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from braft_core.errors import SessionExpired
from braft_core.runtime.sessions import Keeper
from braft_core.serializers.types import TYPES
from braft_core.services.service import StateMachineService

__all__ = ["KV", "Distribute", "ServiceHandle", "Session", "StaleEntry"]

LINEARIZABLE = "linearizable"


class Caller(Protocol):
    """The part of the node that handles use."""

    def execute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any: ...

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any: ...

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = LINEARIZABLE,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any: ...

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = LINEARIZABLE,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any: ...

    @property
    def staleness(self) -> float: ...


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
        began, bound = time.monotonic(), self._caller.staleness
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
        began, bound = time.monotonic(), self._caller.staleness
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
        """All keys and values of ``map``.

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


def _stale_entry(found: Any, bound: float, began: float) -> StaleEntry:
    # The bound was told before the state was read, so it is the older of the two.
    value, revision = (None, 0) if found is None else found
    return StaleEntry(value, revision, bound + time.monotonic() - began)


class Distribute:
    """Items spread evenly and stickily over the live nodes."""

    def __init__(
        self,
        caller: Caller,
        watch: Callable[[Callable[[Mapping[str, Any]], None]], Callable[[], None]],
        service: str = "distribute",
    ) -> None:
        self._caller = caller
        self._watch = watch
        self._service = service

    def set(self, items: Sequence[str] | Mapping[str, Any], *, timeout: float | None = None) -> Any:
        """Replace the items that are spread, given as ids, or as ids and payloads.

        An id without a payload has ``None``. Returns the assignment as it is then; at first it is
        empty, until the leader has told, about a second after items came into use, which nodes
        are there.
        """
        return self._caller.execute(self._service, "distribute", items, timeout=timeout)

    async def aset(
        self, items: Sequence[str] | Mapping[str, Any], *, timeout: float | None = None
    ) -> Any:
        """:meth:`set`, awaited."""
        return await self._caller.aexecute(self._service, "distribute", items, timeout=timeout)

    def assignment(self, *, consistency: str = LINEARIZABLE) -> dict[str, Any]:
        """Item to server id of the node that has it. See :meth:`set` about the first second."""
        found: dict[str, Any] = self._caller.query(
            self._service, "assignment", consistency=consistency
        )
        return found

    async def aassignment(self, *, consistency: str = LINEARIZABLE) -> dict[str, Any]:
        """:meth:`assignment`, awaited."""
        found: dict[str, Any] = await self._caller.aquery(
            self._service, "assignment", consistency=consistency
        )
        return found

    def on_change(self, callback: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        """Call ``callback`` with this node's own items and payloads whenever they change.

        It runs on the node's events thread and may block. Returns a function that ends it.
        """
        return self._watch(callback)


class ServiceHandle:
    """Any service by attribute: ``handle.add(5)`` executes the command or query ``add``.

    ``handle.aio.add(5)`` is the same, awaited. Names in ``queries`` are read, others executed.
    ``handle.apply(PlaceOrder(...))`` executes the command that is marked with that command type.
    """

    def __init__(
        self, caller: Caller, service: str, queries: frozenset[str], *, aio: bool = False
    ) -> None:
        self._caller = caller
        self._service = service
        self._queries = queries
        self._aio = aio

    @property
    def aio(self) -> ServiceHandle:
        """The same service with awaitable methods."""
        return ServiceHandle(self._caller, self._service, self._queries, aio=True)

    def apply(self, command: object, /, *, timeout: float | None = None) -> Any:
        """Execute the command for an object of a registered type. With :attr:`aio`, awaitable.

        :raises TypeError: its class is no command type.
        """
        known = TYPES.of(type(command))
        if known is None:
            raise TypeError(
                f"{type(command).__qualname__} is no command type; registered: "
                f"{', '.join(TYPES.names) or 'none'}"
            )
        method = self._caller.aexecute if self._aio else self._caller.execute
        return method(self._service, known.name, command, timeout=timeout)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        reading = name in self._queries
        caller = self._caller
        if self._aio:
            method = caller.aquery if reading else caller.aexecute
        else:
            method = caller.query if reading else caller.execute
        service = self._service

        def call(*args: Any, **options: Any) -> Any:
            return method(service, name, *args, **options)

        call.__name__ = call.__qualname__ = name
        return call


class Session:
    """A client session: commands that are tried again until their deadline, and applied once.

    It is opened in the cluster by its first command and closed at the end of the ``with`` block;
    an hour without a command ends it, too. Thread-safe. Reads are the node's own.

    What it adds to the session that all calls of the node share: when it is lost, that is told
    apart (:class:`~braft_core.errors.SessionExpired`, with ``data['maybe_applied']``) and never
    mended behind the caller's back by another session.
    """

    def __init__(
        self,
        caller: Caller,
        keeper: Keeper,
        execute: Callable[[str, str, tuple[Any, ...], float | None], Any],
        aexecute: Callable[[str, str, tuple[Any, ...], float | None], Awaitable[Any]],
    ) -> None:
        self._caller = caller
        self._keeper = keeper
        self._execute = execute
        self._aexecute = aexecute
        self.kv = KV(self)

    @property
    def id(self) -> int:
        """The log index by which the cluster knows the session; 0 before its first command."""
        return self._keeper.session

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """As :meth:`braft_core.Node.execute`, and:

        :raises Busy: too many commands of this session are under way.
        :raises SessionExpired: the session is gone, or was closed.
        """
        return self._execute(service, command, args, timeout)

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """:meth:`execute`, awaited."""
        return await self._aexecute(service, command, args, timeout)

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
        return self._caller.query(
            service,
            query,
            *args,
            consistency=consistency,
            max_staleness=max_staleness,
            timeout=timeout,
        )

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = LINEARIZABLE,
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """:meth:`query`, awaited."""
        return await self._caller.aquery(
            service,
            query,
            *args,
            consistency=consistency,
            max_staleness=max_staleness,
            timeout=timeout,
        )

    @property
    def staleness(self) -> float:
        """See :attr:`braft_core.Node.staleness`."""
        return self._caller.staleness

    def service(self, service: type[StateMachineService]) -> ServiceHandle:
        """See :meth:`braft_core.Node.service`."""
        return ServiceHandle(self, service.name, service.query_names())

    def close(self) -> None:
        """End the session without waiting for that, nor for commands under way. Idempotent."""
        self._keeper.close(SessionExpired("the session was closed", maybe_applied=False))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
