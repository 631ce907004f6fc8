"""The recipes of a node: what its processes may do one at a time, or in turn."""

from __future__ import annotations

from braft_core.recipes import Election, Leadership, Lock
from braft_core.runtime import clock
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.store import NodeStore
from braft_core.store.keys import Bytes

__all__ = ["RecipeCalls"]


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

    def _running(self) -> NodeThreads:
        raise NotImplementedError
