"""Giving an empty one-member cluster up, so that its node can join another.

Nodes that start with nothing but multicast discovery may each found a cluster of one. When two such
clusters meet and nothing was ever written to the one that gives way, nobody can miss it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from braft_core.abc import StoredState, WriteBatch
from braft_core.errors import Busy, Stopped
from braft_core.raft import HardState
from braft_core.runtime.ports import CLUSTER_ID, Ports

if TYPE_CHECKING:
    from braft_core.runtime.driver import Driver
    from braft_core.runtime.engine import Engine

__all__ = ["dissolve"]

_JOIN = 2.0


async def dissolve(engine: Engine, ports: Ports) -> None:
    """Stop Raft and forget log, term and cluster, durably; the node keeps its id.

    Requests that wait go on waiting for the next cluster.

    :raises Busy: the cluster is not empty, has other members, or has something under way.
    """
    driver = engine.running()
    _check(driver, ports, engine.parts.server_id)
    waiting = engine.detach()
    driver.halt(Stopped("this empty cluster dissolves into another one"))
    await asyncio.to_thread(engine.close, _JOIN)
    storage = engine.parts.storage
    storage.write([WriteBatch(HardState(), truncate_from=1)])
    storage.set_meta({CLUSTER_ID: None})
    engine.parts.stored = StoredState(HardState(), [])
    engine.applier.reset()
    for request in waiting:
        engine.submit(request)


def _check(driver: Driver, ports: Ports, me: str) -> None:
    view = ports.raft_view()
    empty = view.empty and view.configuration.ids == (me,) and not view.change_pending
    if not empty or driver.has_undecided:
        raise Busy("the cluster is in use: it does not dissolve")
