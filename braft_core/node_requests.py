"""The requests of a node: commands, queries, sessions, and waiting for the node to be ready."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar, cast

from braft_core.abc import Service
from braft_core.cluster_types import Consistency
from braft_core.config import Settings
from braft_core.errors import DeadlineExceeded, OutcomeUnknown, TooLarge
from braft_core.handles import ServiceHandle, Session
from braft_core.kv import Caller
from braft_core.runtime import clock
from braft_core.runtime.argument_checks import seconds
from braft_core.runtime.blocking import check_may_block
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.runtime.requests import Query, Request
from braft_core.runtime.sessions import ClientSession, SessionCommand
from braft_core.services.envelope import LONG_COMMAND, encode_command, read_need
from braft_core.services.service import StateMachineService

__all__ = ["RequestCalls"]

#: How much longer than its deadline a blocked caller waits for the runtime to settle it, seconds.
_GRACE = 2.0

ServiceT = TypeVar("ServiceT", bound=Service)
_T = TypeVar("_T")


class RequestCalls:
    """The commands and queries of a :class:`~braft_core.Node`."""

    _settings: Settings

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """Replicate a command, wait until it is applied, return its answer.

        If its outcome is unknown, because the leader died for instance, it is sent again until the
        deadline and applied once (``docs/sessions.md``).

        :param timeout: seconds, more than 0; default: the setting ``request_timeout``.
        :raises TypeError: an argument is not a plain value.
        :raises InvalidRequest: the timeout or an argument is not accepted.
        :raises NotApplied: it was surely not applied (no leader, not ready, too large, busy).
        :raises OutcomeUnknown: it may have been applied; the deadline passed or the node stopped.
        :raises Rejected: it was applied, and its answer is this error.
        """
        return self._execute(None, service, command, args, timeout)

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """Call :meth:`execute` asynchronously. Cancelling does not take the command back."""
        return await self._aexecute(None, service, command, args, timeout)

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Read from a service.

        :param consistency: ``linearizable`` sees every write that was acknowledged before the call.
            ``lease`` does too while no clock runs fast; it is cheaper on a leader with the setting
            ``lease_reads`` and linearizable elsewhere. ``stale`` reads this node's own state, which
            is at most :attr:`staleness` seconds old.
        :param max_staleness: the oldest state that a stale read accepts, seconds.
        :param timeout: seconds, more than 0; default: the setting ``request_timeout``.
        :raises InvalidRequest: the consistency, staleness or timeout is not accepted.
        :raises TooStale: the state may be older than ``max_staleness``.
        :raises DeadlineExceeded: the read was not served in time. Reads change nothing.
        :raises NotApplied: it could not be served. :raises Rejected: the service refused.
        """
        request = self._query(service, query, args, timeout, None)
        self._running().read(request, consistency, max_staleness)
        return self._wait(request)

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
        request = self._query(service, query, args, timeout, asyncio.get_running_loop())
        self._running().read(request, consistency, max_staleness)
        return await request.awaitable

    @property
    def staleness(self) -> float:
        """How many seconds old this node's own state may be.

        Writes that were acknowledged longer ago are in it. The bound is infinite while it is
        unknown: without a cluster, on a leader before its first commit of the term, and on a
        follower that has not heard from such a leader. It includes an election timeout and a
        heartbeat interval, during which a leader may be deposed without noticing. On a follower it
        includes another election timeout, the longest time that a message is assumed to travel
        (``braft_core.runtime.staleness``).
        """
        return self._running().staleness

    def service(self, service: type[ServiceT]) -> ServiceT:
        """Return a handle of a service, typed as the service's class.

        ``node.service(Counter).add(5)`` executes the command ``add`` in the cluster. Each command
        and query also has ``acall`` for ``await`` and ``with_options``. The handle has the commands
        and queries of the class and nothing else. See :class:`~braft_core.handles.ServiceHandle`.

        :raises TypeError: the class does not derive from ``StateMachineService``.
        """
        return cast(ServiceT, _bind(self, service))

    def session(self) -> Session:
        """Return a client session of your own, for a ``with`` statement.

        All calls without one share a session. See :class:`~braft_core.handles.Session`.
        """
        client_session = ClientSession(self._running().sessions, renews=False)
        return Session(
            self,
            client_session,
            partial(self._execute, client_session),
            partial(self._aexecute, client_session),
            _bind,
            clock.monotonic,
        )

    def barrier(self, timeout: float | None = None) -> None:
        """On the leader, wait until everything committed before is applied here."""
        self._waited(self._running().barrier(self._timeout(timeout)))

    async def abarrier(self, timeout: float | None = None) -> None:
        """Call :meth:`barrier` asynchronously."""
        await self._awaited(self._running().barrier(self._timeout(timeout)))

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the node is in a cluster whose leader it knows.

        :raises NotReady: not in time; the message says what is missing.
        :raises Stopped: the node has stopped, or stops meanwhile.
        """
        self._running().wait_ready(self._timeout(timeout))

    async def await_ready(self, timeout: float | None = None) -> None:
        """Call :meth:`wait_ready` asynchronously."""
        await self._running().await_ready(self._timeout(timeout))

    # -- plumbing --------------------------------------------------------------------------------

    def _running(self) -> NodeThreads:
        raise NotImplementedError

    def _waited(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._running().run(work)

    async def _awaited(self, work: Coroutine[Any, Any, _T]) -> _T:
        return await self._running().awaited(work)

    def _timeout(self, timeout: float | None) -> float:
        return seconds(timeout, self._settings.request_timeout)

    def _execute(
        self,
        client_session: ClientSession | None,
        service: str,
        command: str,
        args: tuple[Any, ...],
        timeout: float | None,
    ) -> Any:
        request = self._command(client_session, service, command, args, timeout, None)
        try:
            request.client_session.submit(request)
            return self._wait(request)
        finally:
            request.finish()

    async def _aexecute(
        self,
        client_session: ClientSession | None,
        service: str,
        command: str,
        args: tuple[Any, ...],
        timeout: float | None,
    ) -> Any:
        loop = asyncio.get_running_loop()
        request = self._command(client_session, service, command, args, timeout, loop)
        try:
            request.client_session.submit(request)
            return await request.awaitable
        finally:
            if not request.finished:  # it is when it was answered together with others
                request.finish()

    def _command(
        self,
        client_session: ClientSession | None,
        service: str,
        command: str,
        args: tuple[Any, ...],
        timeout: float | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> SessionCommand:
        """Make a command. :param client_session: ``None`` for the one that all calls share."""
        host = self._running()
        host.check_open()
        components = host.components
        components.machine.check_call(service, command, len(args))
        data = encode_command(components.serializer, service, command, args)
        limit = self._settings.max_value_bytes
        if len(data) > limit:
            raise TooLarge(
                f"command {service}.{command} has {len(data)} bytes; the limit is {limit} "
                "(BRAFT_MAX_VALUE_BYTES)",
                size=len(data),
                limit=limit,
            )
        wait = self._settings.request_timeout if timeout is None else self._timeout(timeout)
        if client_session is None:
            client_session = host.sessions.shared
        if len(data) <= LONG_COMMAND:
            return SessionCommand(client_session, data, wait, loop)
        need = read_need(components.machine.serializers, data)
        return SessionCommand(client_session, data, wait, loop, need)

    def _query(
        self,
        service: str,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> Query:
        return Query(service, query, args, self._timeout(timeout), loop)

    def _wait(self, request: Request) -> Any:
        check_may_block()
        try:
            return request.blocking.result(max(0.0, request.remaining()) + _GRACE)
        except concurrent.futures.TimeoutError:
            if isinstance(request, Query):
                raise DeadlineExceeded("the node did not answer the read in time") from None
            raise OutcomeUnknown(
                "the node did not answer in time; the outcome is unknown"
            ) from None


def _bind(caller: Caller, service: type[Any]) -> ServiceHandle:
    if not issubclass(service, StateMachineService):
        raise TypeError(f"{service.__qualname__} does not derive from StateMachineService")
    return ServiceHandle(caller, service.name, service.marked_methods())
