"""What watchers take that do not read: their places, and nothing of what is written."""

from __future__ import annotations

import gc
import tracemalloc
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.runtime.requests import Query, settle
from braft_core.runtime.watch_hub import WatchHub
from braft_core.runtime.watcher import StoreWatcher
from braft_core.services.store import StoreService

_MIB = 1 << 20


class Node:
    """A store with a hub, in one thread. It keeps a history of 100 revisions."""

    fault = ""

    def __init__(self) -> None:
        self.store = StoreService()
        self.jobs: deque[Any] = deque()
        self.report: Callable[[], None] = lambda: None
        platform: Any = self
        self.hub = WatchHub(self, [self.store], "hub", platform)

    def worker(self, name: str, work: Callable[[Any], Any]) -> Any:
        self.work = work
        return self

    def start(self) -> None:
        """Nothing to do."""

    def put(self, job: Any) -> None:
        self.jobs.append(job)

    def call_when_applied(self, callback: Callable[[], None]) -> None:
        self.report = callback

    def read(self, index: int, queries: list[Query]) -> None:
        settle([(query, self.store.query(query.name, query.args)) for query in queries])

    def write(self, number: int) -> None:
        """Put a value of 1,000 bytes."""
        key, value = b"key/%05d" % (number % 1_000), (b"%d" % number).ljust(1_000)
        revision = self.store.apply("put", [key, value], CommandContext(1, 1, 1))[0]
        self.report()
        while self.jobs:
            self.work([self.jobs.popleft()])
        if revision % 100 == 0:
            self.store.apply("compact", [revision], CommandContext(1, 1, 1))


def stopped_readers(node: Node, count: int, wake: Callable[[], None]) -> list[StoreWatcher]:
    """Return watchers that have begun to wait: of keys, of prefixes, of other ranges."""
    watchers = []
    for number in range(count):
        key = b"key/%05d" % (number % 1_000)
        span = [(key, b""), (key, key[:-1] + bytes((key[-1] + 1,))), (b"key/", b"key0")][number % 3]
        watcher = node.hub.watch(*span, wake=wake)
        assert watcher.take() is None
        watchers.append(watcher)
    return watchers


@pytest.mark.parametrize(
    ("count", "writes", "most"),
    [(1_000, 6_000, 10 * _MIB), pytest.param(10_000, 20_000, 20 * _MIB, marks=pytest.mark.slow)],
)
def test_watchers_that_do_not_read_take_little(count: int, writes: int, most: int) -> None:
    node = Node()
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    for number in range(1_000):
        node.write(number)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        watchers = stopped_readers(node, count, wake)
        places = tracemalloc.get_traced_memory()[0] - before
        # What is written is many times as large as what may be kept.
        for number in range(writes):
            node.write(number)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    print(f"{count} watchers: {places / _MIB:.1f} MiB; after the writes {grown / _MIB:.1f} MiB")
    assert woken == count
    assert places < count * 1_000
    assert grown < most
    # They are there all the same.
    assert all(watcher.revision < node.store.revision for watcher in watchers)
    for watcher in watchers:
        watcher.close()
    assert node.hub.count == 0
