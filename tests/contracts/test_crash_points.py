"""The power is cut after each change of the disk; the next start finds the state before or after.

Bootstrap, own and received snapshots, compaction, restore and recovery. The order within one
snapshot file is in :mod:`tests.contracts.test_snapshot_file_crashes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from braft_core import Node
from braft_core.abc import StorageOptions, WriteBatch
from braft_core.errors import BraftError, StorageError
from braft_core.raft import Entry, InstallSnapshot, SnapshotMeta
from braft_core.runtime.meta_keys import CLUSTER_ID
from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_core.storage.recovery import recover_store
from braft_core.transport.memory import MemoryNetwork
from braft_testing.processes import PATIENCE, wait_for
from tests.contracts.held_store import HeldStore, Journal, PowerCut
from tests.contracts.replica_bench import (
    ME,
    Bench,
    bootstrapped_disk,
    entries,
    fresh_snapshot,
    running_replica,
)

#: More changes of the disk than any of these actions makes.
_MANY = 40

Action = Callable[[Bench], Awaitable[object]]


async def _until_cut(disk: MemoryDisk, power: int, action: Action, **settings: Any) -> bool:
    """Act on this disk with so much power; return whether it was cut."""
    cut = False
    async with running_replica(disk=disk, **settings) as bench:
        await bench.settled()
        bench.store.power = power
        try:
            await action(bench)
            await bench.settled()
        except BraftError:
            cut = True
        cut = cut or bench.store.power <= 0 or bool(bench.journal.of("fatal"))
        bench.store.power = 0  # nothing is written on the way down either
    return cut


async def _state_after_restart(disk: MemoryDisk, log: Sequence[Entry]) -> list[Entry]:
    """Start on this disk, commit its log, and return what it holds; check that nothing is lost."""
    async with running_replica(disk=disk) as bench:
        await bench.settled()
        snapshot = bench.start_snapshot
        begin = snapshot.index if snapshot is not None else 0
        assert bench.applier.applied_index == begin, "it begins from its snapshot"
        assert bench.core.log.first_index <= begin + 1, "nothing is missing behind the snapshot"
        last = bench.core.log.last_index
        expected = [entry for entry in log if begin < entry.index <= last]
        held = bench.core.log.slice(begin + 1, last + 1)
        assert [entry[:4] for entry in held] == [entry[:4] for entry in expected]
        bench.append(prev=(last, bench.core.log.last_term), term=9, commit=last, number=1)
        if last > begin:
            await bench.until_applied(last)
        return list(held)


@pytest.mark.parametrize("trailing", [1, 3])
def test_an_own_snapshot_is_whole_or_was_never_taken(trailing: int) -> None:
    log = entries(2, 12, 1)
    bootstrap = list(bootstrapped_disk().entries)

    async def take(bench: Bench) -> None:
        await bench.replica.snapshotter.take()
        await bench.journal.until(lambda: not bench.replica.snapshotter.is_taking, "the end")

    async def main() -> None:
        for power in range(_MANY):
            disk = bootstrapped_disk()
            async with running_replica(disk=disk) as bench:
                bench.append(log, commit=13)
                await bench.until_applied(13)

            async def act(bench: Bench) -> None:
                bench.append(prev=(13, 1), commit=13)
                await bench.until_applied(13)
                await take(bench)

            cut = await _until_cut(disk, power, act, snapshot_trailing=trailing)
            names = {name.id for name in disk.names or ()}
            assert names <= {meta.id for meta in disk.snapshots.list()}, "a named one is there"
            await _state_after_restart(disk, [*bootstrap, *log])
            if not cut:
                assert power >= 3, "naming, compacting and storing are changes of the disk"
                return
        raise AssertionError("it never ended")

    asyncio.run(main())


def test_a_received_snapshot_replaces_the_log_or_does_not() -> None:
    log = entries(2, 3, 1)
    bootstrap = list(bootstrapped_disk().entries)

    async def main() -> None:
        for power in range(_MANY):
            disk = bootstrapped_disk()
            metas: list[SnapshotMeta] = []

            async def receive(bench: Bench, metas: list[SnapshotMeta] = metas) -> None:
                bench.append(log, commit=3, number=1)
                metas.append(fresh_snapshot(bench, 50, 3, 7))
                bench.receive(InstallSnapshot("b", ME, 3, metas[0], request_id=2))
                bench.append(entries(51, 2, 3), prev=(50, 3), commit=51, term=3, number=3)

            cut = await _until_cut(disk, power, receive)
            acknowledged = disk.bounds.last_index
            held = await _state_after_restart(disk, [*bootstrap, *log, *entries(51, 2, 3)])
            assert not held or held[-1].index == acknowledged
            if not cut:
                assert [meta.id for meta in disk.snapshots.list()] == [metas[0].id]
                return
        raise AssertionError("it never ended")

    asyncio.run(main())


def test_a_recovery_that_is_cut_is_done_by_the_next() -> None:
    """A received snapshot is durable and named, and the crash came before the log was reset."""

    async def main() -> None:
        for power in range(_MANY):
            disk = bootstrapped_disk()
            async with running_replica(disk=disk) as bench:
                bench.append(entries(2, 3, 1), commit=4)
                await bench.until_applied(4)
                fresh_snapshot(bench, 3, 1, 5)  # never named: a start deletes it
                meta = fresh_snapshot(bench, 50, 3, 7)
                await asyncio.to_thread(bench.replica.close, PATIENCE)
                bench.store.write([WriteBatch(snapshot=meta)])
            store = HeldStore(disk, Journal())
            store.power = power
            stored = store.open()
            try:
                recover_store(store, stored)
            except PowerCut:
                cut = True
            else:
                cut = power < _MANY and store.power <= 0
            store.close()
            await _state_after_restart(disk, [])
            assert disk.bounds.begin == (50, 3)
            assert [found.id for found in disk.snapshots.list()] == [meta.id]
            if not cut:
                return
        raise AssertionError("it never ended")

    asyncio.run(main())


# -- bootstrap -------------------------------------------------------------------------------------


class _Power:
    """Cuts the power of every memory store after some changes of the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        self.used = 0
        for name in ("write", "set_meta", "compact"):
            monkeypatch.setattr(MemoryStorage, name, self._powered(getattr(MemoryStorage, name)))

    def _powered(self, change: Callable[..., None]) -> Callable[..., None]:
        def powered(*args: Any) -> None:
            if self.left <= 0:
                raise StorageError("the power is cut")
            change(*args)
            self.left -= 1
            self.used += 1

        return powered

    @property
    def cut(self) -> bool:
        return self.left <= 0


def _node(disk: MemoryDisk) -> Node:
    return Node(
        discovery="none",
        ip="127.0.0.1",
        rport=0,
        http=False,
        transport="memory",
        storage="memory",
        data_dir="in-memory",
        plugins={"memory": {"network": MemoryNetwork(), "disk": disk}},
    )


def _check_between(meta: Mapping[str, bytes], disk: MemoryDisk) -> None:
    if CLUSTER_ID in meta:
        assert disk.entries, "a bootstrapped member has a log before it has a cluster"


def test_a_bootstrap_that_is_cut_is_done_by_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    power = _Power(monkeypatch)
    for changes in range(_MANY):
        disk = MemoryDisk()
        power.left = changes
        cluster, server = b"", b""
        try:
            with _node(disk) as node:
                wait_for(lambda: power.cut or node.ready()[0], PATIENCE, "the cluster or the cut")
                cluster = disk.meta.get(CLUSTER_ID, b"")
                server = disk.meta.get("server_id", b"")
                power.left = 0
        except BraftError:
            assert power.cut
        whole = changes > power.used or not power.cut
        disk.owner = None
        _check_between(disk.meta, disk)
        power.left = 10**9
        with _node(disk) as node:
            node.wait_ready(PATIENCE)
            node.kv.put("m", "k", changes)
            assert disk.meta[CLUSTER_ID] == (cluster or disk.meta[CLUSTER_ID])
            assert disk.meta["server_id"] == (server or disk.meta["server_id"])
        if cluster and len(disk.entries) > 2 and changes >= 6:
            assert not whole or changes >= 4
            return
    raise AssertionError("it never ended")


def test_the_options_of_a_bench_are_those_of_a_store() -> None:
    """The power of a bench's store lasts unless it is cut."""

    async def main() -> None:
        store = HeldStore(MemoryDisk(), Journal())
        assert isinstance(store.options, StorageOptions)
        store.open()
        store.set_meta({"k": b"v"})
        store.power = 0
        with pytest.raises(PowerCut):
            store.set_meta({"k": b"w"})
        assert store.get_meta("k") == b"v"

    asyncio.run(main())
