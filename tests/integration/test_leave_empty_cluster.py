"""Abandoning an empty cluster while the disk fails or the process crashes in the middle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.abc import WriteBatch
from braft_core.errors import Busy, NotReady, StorageFull
from braft_core.raft import HardState
from braft_core.runtime import leave_empty_cluster
from braft_core.runtime.leave_empty_cluster import abandon_cluster
from braft_core.runtime.meta_keys import BOOTSTRAP_RECORD, CLUSTER_ID
from braft_core.runtime.platform import RunningLoop
from braft_core.runtime.requests import Query
from braft_core.runtime.timing import Timing
from braft_testing.internals import internals
from braft_testing.processes import PATIENCE, wait_for
from tests.integration.conftest import MakeNodes

pytestmark = pytest.mark.integration


class Disk:
    """Rejects changes of ``key`` while ``full``, and makes a node abandon its cluster."""

    def __init__(self, node: Node, key: str) -> None:
        inside = internals(node)
        self.server: Any = inside.server
        self.loop = inside.loop
        self.storage = self.server.components.storage
        self.key, self.full, self.refused = key, True, 0
        self._set_meta = self.storage.set_meta
        self.storage.set_meta = self.set_meta  # type: ignore[method-assign]

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        if self.full and self.key in values:
            self.refused += 1
            raise StorageFull("no space left")
        self._set_meta(values)

    def abandon_cluster(self) -> str:
        """Begin to abandon the cluster and wait until the disk rejects a change."""
        cluster: str = self.server.identity.cluster_id

        begin_to_abandon(self.server, self.loop)
        wait_for(lambda: self.refused, what="the disk is full")
        return cluster


def begin_to_abandon(
    server: Any, loop: RunningLoop, before: Callable[[], None] = lambda: None
) -> None:
    """Begin to abandon the cluster as soon as the node may."""

    async def begin() -> bool:
        adapter = server.adapter
        me = server.components.server_id
        leave_empty_cluster._check(server.running(), adapter, me)
        if not adapter.raft_view().has_quorum:
            return False
        before()
        server.membership._begin_to_abandon("another")
        return True

    wait_for(lambda: loop.run(begin()), what="it may abandon its cluster")


@pytest.mark.parametrize("key", [CLUSTER_ID, BOOTSTRAP_RECORD])
def test_a_full_disk_delays_the_end_of_an_empty_cluster(make_nodes: MakeNodes, key: str) -> None:
    (node,) = make_nodes(1)
    disk = Disk(node, key)
    given_up = disk.abandon_cluster()
    disk.full = False
    node.wait_ready(PATIENCE)
    node.kv.put("m", "k", 1)
    assert disk.server.identity.cluster_id != given_up


def test_a_write_that_hangs_is_waited_for(make_nodes: MakeNodes) -> None:
    """Otherwise the late write would put an entry of the old cluster into the next one's log."""
    (node,) = make_nodes(1, timing=Timing(abandon_join=0.05))
    inside = internals(node)
    server: Any = inside.server
    given_up, hangs, patience = server.identity.cluster_id, threading.Event(), []
    replica, storage = server.running(), server.components.storage
    close = replica.close

    def late_write() -> None:
        assert hangs.wait(PATIENCE)
        storage.write([WriteBatch(HardState(1000, ""))])

    def counted_close(timeout: float) -> None:
        close(timeout)
        patience.append(storage.get_meta(CLUSTER_ID))

    replica.close = counted_close
    begin_to_abandon(server, inside.loop, lambda: replica.writer.run(late_write))
    wait_for(lambda: len(patience) >= 3, what="it waits for the writer")
    assert set(patience) == {given_up.encode()}, "forgotten while a write is under way"
    replica.close = close
    hangs.set()
    node.wait_ready(PATIENCE)
    node.kv.put("m", "k", 1)
    assert server.identity.cluster_id != given_up
    assert server.running().driver.core.current_term < 1000


def test_a_machine_that_fails_meanwhile_begins_anew(make_nodes: MakeNodes, tmp_path: Path) -> None:
    (node,) = make_nodes(1, data_dir=str(tmp_path / "one"))
    Disk(node, CLUSTER_ID).abandon_cluster()
    node.stop()
    (again,) = make_nodes(1, data_dir=str(tmp_path / "one"))
    again.kv.put("m", "k", 1)


def test_who_asks_meanwhile_is_answered_in_time(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    disk = Disk(node, CLUSTER_ID)
    detach, query = disk.server.detach, Query("kv", "get", ("m", "k"), 0.5)

    def asked_just_before() -> Any:
        disk.server.running().driver.submit(query)
        return detach()

    disk.server.detach = asked_just_before
    disk.abandon_cluster()
    with pytest.raises(NotReady):
        query.blocking.result(PATIENCE)


def test_no_snapshot_of_one_cluster_gets_into_the_next(
    make_nodes: MakeNodes, tmp_path: Path
) -> None:
    (node,) = make_nodes(1, data_dir=str(tmp_path / "one"))
    disk = Disk(node, CLUSTER_ID)
    disk.full = False
    for _ in range(20):
        disk.loop.run(disk.server.barrier(PATIENCE))
    node.take_snapshot()

    with suppress(Busy):
        disk.loop.run(abandon_cluster(disk.server, disk.server.adapter))
    node.kv.put("m", "k", 1)
    node.stop()
    (again,) = make_nodes(1, data_dir=str(tmp_path / "one"))
    assert again.kv.get("m", "k") == 1


def test_a_cluster_with_a_snapshot_under_way_is_not_abandoned(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    server = Disk(node, CLUSTER_ID).server
    wait_for(lambda: server.adapter.raft_view().has_quorum, what="it may abandon its cluster")

    async def meanwhile() -> None:
        async with server.running().snapshotter._lock:
            await abandon_cluster(server, server.adapter)

    with pytest.raises(Busy):
        Disk(node, CLUSTER_ID).loop.run(meanwhile(), PATIENCE)
