"""Abandon an empty cluster of one member, so that its node can join another cluster.

Nodes that start with nothing but multicast discovery may each bootstrap a cluster of one. When two
such clusters meet, a node abandons its own if nothing was ever written to it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from braft_core.errors import Busy, Stopped, StorageError
from braft_core.runtime.applier import Applier
from braft_core.runtime.components import Components
from braft_core.runtime.membership_adapter import MembershipAdapter
from braft_core.runtime.meta_keys import CLUSTER_ID
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query
from braft_core.runtime.timing import Timing

__all__ = ["abandon_cluster", "resume_abandoning"]

_log = logging.getLogger(__name__)

#: Key in the store from the first step to the last. A store with a cluster id and an empty log
#: would otherwise look like that of a new member which has not heard from its leader yet.
_ABANDONING = "abandoning"


class _Server(Protocol):
    """What leaving a cluster needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def applier(self) -> Applier:
        """Runs the services."""

    def running(self) -> Replica:
        """Return the replica. :raises NotReady: this node is in no cluster."""

    def detach(self) -> list[Command | Query]:
        """Leave the cluster; return requests not proposed yet."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""


async def abandon_cluster(server: _Server, adapter: MembershipAdapter) -> None:
    """Stop Raft and delete log, term and cluster id, durably; the node keeps its server id.

    Requests that wait go on waiting, for the next cluster.

    :raises Busy: the cluster is not empty, has other members, or has something under way.
    """
    replica, timing = server.running(), server.components.timing
    _check(replica, adapter, server.components.server_id)
    # Park them at once, where their deadlines are watched: what follows may take long, or be
    # cancelled.
    for request in server.detach():
        server.submit(request)
    replica.halt(Stopped("this node leaves its empty cluster for another one"))
    replica.snapshotter.cancel()
    await _close_writer(replica, timing)
    # Point of no return: retry until the disk accepts the change.
    while True:
        try:
            server.components.storage.set_meta({_ABANDONING: b"1"})
            resume_abandoning(server.components)
            break
        except StorageError as error:
            _log.warning("cannot forget the empty cluster yet: %s", error.message)
            await asyncio.sleep(timing.abandon_retry)
    server.applier.reset()


async def _close_writer(replica: Replica, timing: Timing) -> None:
    """Wait for the writer, however long the disk takes.

    A write after the log was deleted would be found there by the next cluster.
    """
    while True:
        await asyncio.to_thread(replica.close, timing.abandon_join)
        if replica.writer.ended:
            return
        _log.warning("cannot forget the empty cluster yet: a write to the disk is still under way")


def resume_abandoning(components: Components) -> None:
    """Complete an abandonment that was begun, perhaps before a restart.

    :raises StorageError: the store cannot be changed; the call may be repeated.
    """
    storage = components.storage
    if storage.get_meta(_ABANDONING) is None:
        return
    components.initial.clear()
    storage.set_meta({CLUSTER_ID: None, _ABANDONING: None})


def _check(replica: Replica, adapter: MembershipAdapter, me: str) -> None:
    view = adapter.raft_view()
    empty = view.empty and view.configuration.ids == (me,) and not view.change_pending
    if not empty or replica.driver.has_undecided or replica.snapshotter.is_taking:
        raise Busy("the cluster is in use: it is not abandoned")
