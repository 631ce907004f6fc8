"""Giving an empty one-member cluster up, so that its node can join another.

Nodes that start with nothing but multicast discovery may each found a cluster of one. When two such
clusters meet and nothing was ever written to the one that gives way, nobody can miss it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from braft_core.abc import NO_SNAPSHOT, StoredState, WriteBatch
from braft_core.errors import Busy, Stopped, StorageError
from braft_core.raft import HardState
from braft_core.runtime.membership_adapter import MembershipAdapter
from braft_core.runtime.meta_keys import CLUSTER_ID

if TYPE_CHECKING:
    from braft_core.runtime.components import Components
    from braft_core.runtime.driver import Driver
    from braft_core.runtime.engine import Engine

__all__ = ["abandon_cluster", "resume_abandoning"]

_log = logging.getLogger(__name__)

_JOIN = 2.0
_RETRY = 1.0
#: Stands in the store from the first step to the last: a log that is gone while its cluster is
#: still named would look like that of a member which waits to be called for the first time.
_ABANDONING = "abandoning"


async def abandon_cluster(engine: Engine, ports: MembershipAdapter) -> None:
    """Stop Raft and forget log, term and cluster, durably; the node keeps its id.

    Requests that wait go on waiting for the next cluster.

    :raises Busy: the cluster is not empty, has other members, or has something under way.
    """
    driver = engine.running()
    _check(driver, ports, engine)
    # At once, to where their time is watched: what follows may take long, or be cut short.
    for request in engine.detach():
        engine.submit(request)
    driver.halt(Stopped("this empty cluster dissolves into another one"))
    await _written(engine)
    # There is no way back from here: who has no log and no driver waits until the disk takes it.
    while True:
        try:
            engine.components.storage.set_meta({_ABANDONING: b"1"})
            resume_abandoning(engine.components)
            break
        except StorageError as error:
            _log.warning("cannot forget the empty cluster yet: %s", error.message)
            await asyncio.sleep(_RETRY)
    engine.applier.reset()


async def _written(engine: Engine) -> None:
    """Wait for the writer, however long the disk takes.

    What it writes after the log was forgotten would be found there by the next cluster.
    """
    while True:
        await asyncio.to_thread(engine.close, _JOIN)
        if engine.writer is None or engine.writer.ended:
            return
        _log.warning("cannot forget the empty cluster yet: a write to the disk is still under way")


def resume_abandoning(components: Components) -> None:
    """Forget log, term and cluster if that was begun, perhaps in a former life.

    :raises StorageError: it could not be done, and may be tried again.
    """
    storage = components.storage
    if storage.get_meta(_ABANDONING) is None:
        return
    storage.write([WriteBatch(HardState(), truncate_from=1, snapshot=NO_SNAPSHOT)])
    storage.set_meta({CLUSTER_ID: None, _ABANDONING: None})
    components.stored, components.snapshot = StoredState(HardState(), []), None


def _check(driver: Driver, ports: MembershipAdapter, engine: Engine) -> None:
    view, me = ports.raft_view(), engine.components.server_id
    empty = view.empty and view.configuration.ids == (me,) and not view.change_pending
    if not empty or driver.has_undecided or engine.snapshotter.is_taking:
        raise Busy("the cluster is in use: it does not dissolve")
