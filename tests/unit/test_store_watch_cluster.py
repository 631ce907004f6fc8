"""Watches in a cluster: on every member, over a snapshot, until the node stops."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import Compacted, Stopped
from braft_core.store import Change, Watch
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import PATIENCE


class Follower:
    """A thread that watches."""

    def __init__(self, watch: Watch, until: bytes) -> None:
        self.seen: list[Change] = []
        self.error: Exception | None = None
        self.begun = threading.Event()
        self._watch, self._until = watch, until
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.begun.wait(PATIENCE)

    def _run(self) -> None:
        try:
            with self._watch as changes:
                self.begun.set()
                for change in changes:
                    self.seen.append(change)
                    if change.entry.value == self._until:
                        return
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        finally:
            self.begun.set()

    def end(self) -> list[tuple[bytes, bytes, int]]:
        """Wait for its end; return what it saw."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return [(each.entry.key, each.entry.value, each.revision) for each in self.seen]


def write(node: Node, begin: int, end: int) -> list[tuple[bytes, bytes, int]]:
    """Write some keys; return what a watch must see."""
    written = []
    for number in range(begin, end):
        key, value = b"k/%d" % (number % 7), b"%d" % number
        written.append((key, value, node.store.put(key, value, timeout=PATIENCE)))
    return written


def test_all_members_show_the_same_over_a_snapshot_too() -> None:
    cluster = MemoryCluster(3, request_timeout=PATIENCE, snapshot_entries=40, snapshot_trailing=5)
    with cluster:
        cluster.wait_ready()
        leader = cluster.leader()
        late, other = cluster.followers_of(leader)
        written = write(cluster.node(other), 0, 10)
        since = written[0][2] - 1
        watches = [
            Follower(cluster.node(each).store.watch("k/", since=since, timeout=PATIENCE), b"149")
            for each in (leader, late, other)
        ]
        # It misses more than the log keeps, so it gets a snapshot while its watch runs.
        cluster.isolate(late)
        written += write(cluster.node(other), 10, 120)
        cluster.node(leader).take_snapshot(timeout=PATIENCE)
        cluster.heal()
        written += write(cluster.node(other), 120, 150)
        assert [each.end() for each in watches] == [written] * 3
        assert [each.error for each in watches] == [None] * 3


def test_the_end_of_the_node_ends_its_watches() -> None:
    with MemoryCluster(1, request_timeout=PATIENCE) as cluster:
        cluster.wait_ready()
        node = cluster.node(0)
        follower = Follower(node.store.watch("a", timeout=PATIENCE), b"end")
        closed = node.store.watch("a", timeout=PATIENCE)
        with closed:
            node.stop()
            follower.end()
            assert isinstance(follower.error, Stopped)
            with pytest.raises(Stopped):
                next(closed)
        with pytest.raises(Stopped), node.store.watch("a", since=1):
            pass
        assert not [each for each in threading.enumerate() if each.name.endswith("-changes")]


def test_tasks_leave_nothing_when_they_are_cancelled() -> None:
    async def run(node: Node) -> None:
        got: asyncio.Queue[Change] = asyncio.Queue()

        async def follow() -> None:
            async with node.store.watch("a", timeout=PATIENCE) as changes:
                got.put_nowait(Change("put", None, None, 0))  # type: ignore[arg-type]
                async for change in changes:
                    got.put_nowait(change)

        tasks = [asyncio.create_task(follow()) for _ in range(20)]
        for _ in tasks:
            await got.get()
        await node.store.aput("a", b"", timeout=PATIENCE)
        for _ in tasks:
            assert (await got.get()).entry.key == b"a"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        hub: Any = node.store.watchers
        assert hub.count == 0

    with MemoryCluster(1, request_timeout=PATIENCE) as cluster:
        cluster.wait_ready()
        asyncio.run(run(cluster.node(0)))


def test_a_watch_that_the_compaction_overtook_says_so() -> None:
    with MemoryCluster(1, request_timeout=PATIENCE) as cluster:
        cluster.wait_ready()
        store = cluster.node(0).store
        first = store.put("a", b"1", timeout=PATIENCE)
        with store.watch("a", since=first) as changes:
            assert store.put("a", b"2", timeout=PATIENCE) == first + 1
            # What was handed out already is shown all the same.
            assert next(changes).revision == first + 1
        store.compact(store.put("a", b"3", timeout=PATIENCE), timeout=PATIENCE)
        with store.watch("a", since=first) as changes, pytest.raises(Compacted) as lost:
            next(changes)
        assert lost.value.data == {"revision": first + 1, "compacted": first + 2}
