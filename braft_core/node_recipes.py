"""The recipes of a node: what its processes may do one at a time, or in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from braft_core.recipes import (
    Election,
    Leadership,
    Lock,
    Party,
    Rendezvous,
    Semaphore,
    Transaction,
    asingleton,
    atransact,
    singleton,
    transact,
)
from braft_core.runtime import clock
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.store import Held, NodeStore
from braft_core.store.keys import Bytes

__all__ = ["RecipeCalls"]

_T = TypeVar("_T")


class RecipeCalls:
    """The recipes of a :class:`~braft_core.Node`. ``docs/recipes.md`` has examples."""

    store: NodeStore

    def lock(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Lock:
        """Return a lock of the cluster, for a ``with`` or ``async with`` statement.

        :param ttl: seconds after which it is free if this process dies; see :meth:`Node.lease`.
        :param wait: the longest time to wait for it, seconds; 0: do not wait. Requests to the
            cluster may take a second each beside it. ``None``: as long as it takes.
        :param cancel: whether the body of ``async with`` is cancelled when the lock is lost.
        :raises InvalidArgument: the name or the wait is not accepted.
        """
        return Lock(self.store, clock.monotonic, name, ttl=ttl, wait=wait, cancel=cancel)

    def election(
        self,
        name: str,
        *,
        value: Bytes = b"",
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Election:
        """Return an election of the cluster, to campaign in a statement, or to look at it.

        :param value: what others see of this candidate once it leads.
        :param ttl, wait, cancel: as for :meth:`lock`.
        :raises InvalidArgument: the name, the value or the wait is not accepted.
        """
        return Election(
            self.store, clock.monotonic, name, value=value, ttl=ttl, wait=wait, cancel=cancel
        )

    def leadership(self, *, wait: float | None = None, cancel: bool = True) -> Leadership:
        """Return this node's leadership of the cluster, for a ``with`` statement.

        :param wait: the longest time to wait until this node leads, seconds; ``None``: as long as
            it takes.
        :param cancel: whether the body of ``async with`` is cancelled when the node leads no more.
        :raises InvalidArgument: the wait is not accepted.
        """
        return Leadership(
            self.store,
            lambda: self._running().leadership,
            clock.monotonic,
            wait=wait,
            cancel=cancel,
        )

    def semaphore(
        self,
        name: str,
        seats: int,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Semaphore:
        """Return a seat of a semaphore of the cluster, for a ``with`` statement.

        :param seats: how many may be held at a time; the same number in all processes.
        :param ttl, wait, cancel: as for :meth:`lock`.
        :raises InvalidArgument: the name, the number or the wait is not accepted.
        """
        return Semaphore(
            self.store, clock.monotonic, name, seats, ttl=ttl, wait=wait, cancel=cancel
        )

    def rendezvous(
        self,
        name: str,
        n: int,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Rendezvous:
        """Return a meeting of ``n`` processes of the cluster, for a ``with`` statement.

        Its body begins when ``n`` are there. (``barrier`` is a term of Raft.)

        :param n: how many wait for each other; the same number in all processes.
        :param ttl, wait, cancel: as for :meth:`lock`.
        :raises InvalidArgument: the name, the number or the wait is not accepted.
        """
        return Rendezvous(self.store, clock.monotonic, name, n, ttl=ttl, wait=wait, cancel=cancel)

    def party(
        self, name: str, *, value: Bytes = b"", ttl: float = 10.0, cancel: bool = True
    ) -> Party:
        """Return a party of the cluster, to join in a statement, or to look who is there.

        :param value: what others see of this guest.
        :param ttl, cancel: as for :meth:`lock`.
        :raises InvalidArgument: the name or the value is not accepted.
        """
        return Party(self.store, clock.monotonic, name, value=value, ttl=ttl, cancel=cancel)

    def singleton(self, function: Callable[[Lock], _T], *, name: str, ttl: float = 10.0) -> _T:
        """Call ``function(lock)`` while this process holds a lock; return what it returns.

        It waits for the lock, as long as that takes, also while the cluster has no leader. When
        the lock is lost, an asynchronous function is cancelled; a plain one must look at
        ``lock.lost``, or call ``lock.check()``. Then it waits for the lock again, and calls the
        function again. When the function returns, or raises, the lock is free for others.

        :param ttl: as for :meth:`lock`.
        :raises InvalidArgument: the name or the ttl is not accepted.
        :raises Stopped: the node was stopped.
        """
        return singleton(lambda: self.lock(name, ttl=ttl), function)

    async def asingleton(
        self, function: Callable[[Lock], Awaitable[_T]], *, name: str, ttl: float = 10.0
    ) -> _T:
        """Call :meth:`singleton` asynchronously, with an asynchronous function."""
        return await asingleton(lambda: self.lock(name, ttl=ttl), function)

    def transaction(
        self,
        function: Callable[[Transaction], _T],
        *,
        attempts: int = 16,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> _T:
        """Call ``function(transaction)``, then write what it has written there, as one step.

        It is called again if a key that it has read was changed meanwhile. So it should do nothing
        but read and write there. Return what its last call returns. If it raises, nothing is
        written, and the error goes on.

        :param attempts: the most calls.
        :param if_held: as for :meth:`Store.put`.
        :param timeout: seconds for each request; default: the setting ``request_timeout``.
        :raises Conflict: there was a change in each attempt; nothing was written.
        :raises TooManyOps: it reads or writes more than 127 keys.
        :raises BraftError: as :meth:`braft_core.Node.execute`. After ``OutcomeUnknown`` it may be
            written.
        """
        return transact(self.store, function, attempts=attempts, if_held=if_held, timeout=timeout)

    async def atransaction(
        self,
        function: Callable[[Transaction], Awaitable[_T]],
        *,
        attempts: int = 16,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> _T:
        """Call :meth:`transaction` asynchronously, with an asynchronous function."""
        return await atransact(
            self.store, function, attempts=attempts, if_held=if_held, timeout=timeout
        )

    def _running(self) -> NodeThreads:
        raise NotImplementedError
