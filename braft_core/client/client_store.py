"""``client.store``: the store of a cluster, with leases that the client renews and with watches."""

from __future__ import annotations

from collections.abc import Callable

from braft_core.client.nodes import Nodes
from braft_core.client.watch import RemoteWatch
from braft_core.cluster_types import Consistency
from braft_core.errors import InvalidArgument
from braft_core.store import Lease, LeasingStore
from braft_core.store.caller import StoreCaller
from braft_core.store.keys import ALL, Bytes, as_watched
from braft_core.store.watch import check_since

__all__ = ["ClientStore"]

#: How old the state of a node may be that serves a watch, seconds. One that the cluster does not
#: reach shows nothing new.
_MAX_STALENESS = 30


class ClientStore(LeasingStore):
    """The calls of ``node.store``, over HTTP."""

    def __init__(
        self, caller: StoreCaller, make_lease: Callable[[float], Lease], nodes: Nodes
    ) -> None:
        super().__init__(caller, make_lease)
        self._nodes = nodes

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
        reconnect_timeout: float = 60.0,
    ) -> RemoteWatch:
        """Return the changes of a prefix, a key or a range, all by default, as they come.

        Use it as :meth:`braft_core.store.NodeStore.watch`. It goes on at another node when one
        fails: each change comes once, and in order.

        :param since: show what came after this revision: that of a read, or of a watch that ended.
            0: what comes after all writes that were acknowledged before the statement begins.
        :param previous: whether changes have the entries that they replaced.
        :param consistency: of the read of the newest revision at the begin of the statement; it is
            made if ``since`` is 0, or ahead of the node. ``stale``: the node's own revision, and
            the watch stays at a node that the cluster does not reach.
        :param timeout: seconds for each node to answer; default: the client's.
        :param reconnect_timeout: seconds for which nodes are asked again when none can serve the
            watch any more. At the begin of the statement each is asked once.
        :raises InvalidArgument: an argument is not accepted.
        :raises FutureRevision: at the begin of the statement: there is no such revision yet.
        """
        check_since(since)
        if not reconnect_timeout >= 0:
            raise InvalidArgument(
                f"reconnect_timeout is {reconnect_timeout!r:.80}; accepted: seconds, 0 or more"
            )
        first, last = as_watched(key, prefix, start, end)
        params: dict[str, str | bytes] = {"consistency": consistency}
        params |= {"key": first} if not last else {"start": first}
        if last not in (b"", ALL):
            params["end"] = last
        if previous:
            params["previous"] = "true"
        if consistency != "stale":
            params["max_staleness"] = f"{_MAX_STALENESS}"
        return RemoteWatch(self._nodes, params, since, timeout, reconnect_timeout)
