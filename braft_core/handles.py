"""What users hold in their hands: ``node.kv``, ``node.distribute``, ``node.service(Counter)``.

Thin, typed fronts of ``Node.execute`` and ``Node.query``. Every method has an ``async`` twin of
the same name with an ``a`` before it; both may be used from any thread, the twins on any loop.
Errors are those of :meth:`braft_core.Node.execute` and :meth:`braft_core.Node.query`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from braft_core.errors import SessionExpired
from braft_core.kv import KV, LINEARIZABLE, Caller, StaleEntry
from braft_core.runtime.sessions import ClientSession
from braft_core.serializers.command_types import TYPES
from braft_core.services.service import StateMachineService
from braft_core.services.sessions import shown

__all__ = ["KV", "Distribute", "ServiceHandle", "Session", "StaleEntry"]


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
        client_session: ClientSession,
        execute: Callable[[str, str, tuple[Any, ...], float | None], Any],
        aexecute: Callable[[str, str, tuple[Any, ...], float | None], Awaitable[Any]],
    ) -> None:
        self._caller = caller
        self._client_session = client_session
        self._execute = execute
        self._aexecute = aexecute
        self.kv = KV(self)

    @property
    def id(self) -> str:
        """The random id by which the cluster knows the session; "" before its first command."""
        return shown(self._client_session.session_id)

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
        self._client_session.close(SessionExpired("the session was closed", maybe_applied=False))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()
