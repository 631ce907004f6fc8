"""Public handles: ``node.distribute``, ``node.service(Counter)``, ``node.session()``.

Thin fronts of ``Node.execute`` and ``Node.query``. They may be used from any thread, their async
methods on any event loop. A method that waits has an async variant with an ``a`` before its name.
Errors are those of :meth:`braft_core.Node.execute` and :meth:`braft_core.Node.query`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar, cast

from braft_core.cluster_types import Consistency
from braft_core.errors import SessionExpired
from braft_core.kv import KV, Caller, StaleEntry
from braft_core.store import Store

__all__ = [
    "KV",
    "BoundCommand",
    "BoundQuery",
    "Distribute",
    "MarkedMethod",
    "ServiceHandle",
    "Session",
    "StaleEntry",
]

ServiceT = TypeVar("ServiceT")


class MarkedMethod(NamedTuple):
    """A method that is marked ``@command`` or ``@query``."""

    kind: Literal["command", "query"]
    #: Its name in the log and for ``Node.execute``.
    name: str
    #: Its parameters, without ``self`` and ``context``.
    signature: inspect.Signature

    def positional(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the arguments by position, as commands carry them.

        :raises TypeError: they do not fit the method.
        """
        if not kwargs:
            return args
        bound = self.signature.bind(*args, **kwargs)
        given = {name for name in bound.arguments if name in kwargs}
        bound.apply_defaults()
        # Defaults behind the last argument that was given stay those of the service.
        names = list(self.signature.parameters)
        last = max(len(args), *(names.index(name) + 1 for name in given))
        return bound.args[:last]


class BoundCommand:
    """A command of a service on a node; typed as ``method_types.CommandCall``."""

    __slots__ = ("_caller", "_method", "_service", "_timeout")

    def __init__(
        self, caller: Caller, service: str, method: MarkedMethod, timeout: float | None = None
    ) -> None:
        self._caller = caller
        self._service = service
        self._method = method
        self._timeout = timeout

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replicate the command, wait until it is applied, return its answer."""
        given = self._method.positional(args, kwargs)
        return self._caller.execute(self._service, self._method.name, *given, timeout=self._timeout)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Call it asynchronously."""
        given = self._method.positional(args, kwargs)
        return await self._caller.aexecute(
            self._service, self._method.name, *given, timeout=self._timeout
        )

    def with_options(self, *, timeout: float | None = None) -> BoundCommand:
        """Return the same command with a timeout in seconds."""
        return BoundCommand(self._caller, self._service, self._method, timeout)

    def __repr__(self) -> str:
        return f"<command {self._service}.{self._method.name}{self._method.signature}>"


class BoundQuery:
    """A query of a service on a node; typed as ``method_types.QueryCall``."""

    __slots__ = ("_caller", "_method", "_options", "_service")

    def __init__(
        self,
        caller: Caller,
        service: str,
        method: MarkedMethod,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._caller = caller
        self._service = service
        self._method = method
        self._options = options or {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the answer of the query."""
        given = self._method.positional(args, kwargs)
        return self._caller.query(self._service, self._method.name, *given, **self._options)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """Call it asynchronously."""
        given = self._method.positional(args, kwargs)
        return await self._caller.aquery(self._service, self._method.name, *given, **self._options)

    def with_options(
        self,
        *,
        timeout: float | None = None,
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
    ) -> BoundQuery:
        """Return the same query with other options, see :meth:`braft_core.Node.query`."""
        options = {
            "timeout": timeout,
            "consistency": consistency,
            "max_staleness": max_staleness,
        }
        return BoundQuery(self._caller, self._service, self._method, options)

    def __repr__(self) -> str:
        return f"<query {self._service}.{self._method.name}{self._method.signature}>"


class ServiceHandle:
    """A service on a node: ``handle.add(5)`` executes the command ``add`` of the cluster.

    ``await handle.add.acall(5)`` does the same asynchronously, and
    ``handle.add.with_options(timeout=30)(5)`` with another timeout. The attributes are the marked
    methods of the service's class, and nothing else of it.
    """

    def __init__(self, caller: Caller, service: str, methods: Mapping[str, MarkedMethod]) -> None:
        self._caller = caller
        self._service = service
        self._methods = methods

    def __getattr__(self, name: str) -> BoundCommand | BoundQuery:
        method = None if name.startswith("_") else self._methods.get(name)
        if method is None:
            known = ", ".join(sorted(self._methods)) or "none"
            raise AttributeError(
                f"{name!r} is not a command or query of service {self._service!r}; it has {known}"
            )
        if method.kind == "query":
            return BoundQuery(self._caller, self._service, method)
        return BoundCommand(self._caller, self._service, method)

    def __dir__(self) -> list[str]:
        return sorted(self._methods)

    def __repr__(self) -> str:
        return f"<service {self._service!r} with {', '.join(sorted(self._methods))}>"


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

    def set(
        self, items: Sequence[str] | Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, str]:
        """Replace all items, given as ids, or as ids and payloads; return the assignment.

        An id without a payload has the payload ``None``. The first assignment is empty: the leader
        reports the live nodes about a second after items came into use.
        """
        found: dict[str, str] = self._caller.execute(
            self._service, "distribute", items, timeout=timeout
        )
        return found

    async def aset(
        self, items: Sequence[str] | Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, str]:
        """Call :meth:`set` asynchronously."""
        found: dict[str, str] = await self._caller.aexecute(
            self._service, "distribute", items, timeout=timeout
        )
        return found

    def assignment(
        self, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> dict[str, str]:
        """Return the server id of each item's node. See :meth:`set` about the first second."""
        found: dict[str, str] = self._caller.query(
            self._service, "assignment", consistency=consistency, timeout=timeout
        )
        return found

    async def aassignment(
        self, *, consistency: Consistency = "linearizable", timeout: float | None = None
    ) -> dict[str, str]:
        """Call :meth:`assignment` asynchronously."""
        found: dict[str, str] = await self._caller.aquery(
            self._service, "assignment", consistency=consistency, timeout=timeout
        )
        return found

    def on_change(self, callback: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        """Call ``callback`` with this node's own items and payloads whenever they change.

        It runs on the node's events thread and may block. Return a function that ends it.
        """
        return self._watch(callback)


class _ClientSession(Protocol):
    """The part of the runtime's client session that a :class:`Session` uses."""

    @property
    def session_id(self) -> bytes:
        """The id of the registered session, empty before there is one."""

    def close(self, reason: SessionExpired) -> None:
        """Refuse further commands, and those that wait."""


class Session:
    """A client session: its commands are retried until their deadline, and applied once.

    Its first command registers it in the cluster. It ends with the ``with`` block, or after an
    hour without a command. Thread-safe. Reads are those of the node.

    All calls without a session share one that the node renews. A session of your own is never
    renewed: when it is lost, its calls raise :class:`~braft_core.errors.SessionExpired`, whose
    ``data['maybe_applied']`` says whether an earlier attempt may have been applied.
    """

    def __init__(
        self,
        caller: Caller,
        client_session: _ClientSession,
        execute: Callable[[str, str, tuple[Any, ...], float | None], Any],
        aexecute: Callable[[str, str, tuple[Any, ...], float | None], Awaitable[Any]],
        bind: Callable[[Caller, type[Any]], ServiceHandle],
        monotonic: Callable[[], float],
    ) -> None:
        self._caller = caller
        self._client_session = client_session
        self._execute = execute
        self._aexecute = aexecute
        self._bind = bind
        self.kv = KV(self, monotonic)
        self.store = Store(self)

    @property
    def id(self) -> str | None:
        """The random id of the session in the cluster; ``None`` before its first command."""
        return self._client_session.session_id.hex() or None

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """Execute a command in this session, as :meth:`braft_core.Node.execute`.

        :raises Busy: too many commands of this session are unacknowledged.
        :raises SessionExpired: the session has expired, or was closed.
        """
        return self._execute(service, command, args, timeout)

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """Call :meth:`execute` asynchronously."""
        return await self._aexecute(service, command, args, timeout)

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
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call :meth:`query` asynchronously."""
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

    def service(self, service: type[ServiceT]) -> ServiceT:
        """See :meth:`braft_core.Node.service`."""
        return cast(ServiceT, self._bind(self, service))

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
