"""``node.store``: the store, with leases that the node renews and watches that it serves."""

from __future__ import annotations

from collections.abc import Callable

from braft_core.cluster_types import Consistency
from braft_core.store.caller import StoreCaller
from braft_core.store.events import Watchers
from braft_core.store.keys import Bytes, as_watched
from braft_core.store.lease import Lease
from braft_core.store.leasing_store import LeasingStore
from braft_core.store.watch import Watch

__all__ = ["NodeStore"]


class NodeStore(LeasingStore):
    """The store of a node, which renews leases and has watchers; a session has neither."""

    def __init__(
        self,
        caller: StoreCaller,
        make_lease: Callable[[float], Lease],
        find_watchers: Callable[[], Watchers],
    ) -> None:
        super().__init__(caller, make_lease)
        self._find_watchers = find_watchers

    def watch(
        self,
        prefix: Bytes | None = None,
        *,
        key: Bytes | None = None,
        start: Bytes | None = None,
        end: Bytes | None = None,
        since: int = 0,
        previous: bool = False,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Watch:
        """Return the changes of a prefix, a key or a range, all by default, as they come.

        Use it in a ``with`` or ``async with`` statement, and iterate over it with ``for`` or
        ``async for``. This node serves it from its own state, whether it leads or not.

        :param since: show what came after this revision: that of a read, or of a watch that ended.
            0: what comes after all writes that were acknowledged before the statement begins.
        :param previous: whether changes have the entries that they replaced.
        :param consistency: of the read of the newest revision at the begin of the statement; it is
            made if ``since`` is 0, or ahead of this node. ``stale``: this node's own.
        :param timeout: seconds for that read; default: the setting ``request_timeout``.
        :raises InvalidArgument: an argument is not accepted.
        :raises FutureRevision: at the begin of the statement: there is no such revision yet.
        """
        span = as_watched(key, prefix, start, end)
        return Watch(self._caller, self._find_watchers, span, since, previous, consistency, timeout)

    @property
    def watchers(self) -> Watchers:
        """The watchers of the node, for front ends that take events by themselves.

        :raises Stopped: the node is not running.
        """
        return self._find_watchers()
