"""``store.watch``: what callers get, where they go on, and how a watch ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.errors import (
    Compacted,
    FutureRevision,
    InvalidArgument,
    InvalidRequest,
    NoLeader,
    Stopped,
)
from braft_core.runtime.event_cache import WatchLimits
from braft_core.runtime.requests import Query, settle
from braft_core.runtime.watch_hub import WatchHub
from braft_core.services.store import StoreService
from braft_core.store import Batch, Change, Entry, NodeStore, Put
from braft_testing.processes import PATIENCE


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test in its own event loop."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


class World:
    """A cluster and a node in one. The node may lag behind the cluster."""

    staleness = 0.0
    fault = ""

    def __init__(self, **limits: int) -> None:
        self.service = StoreService()
        # The hub reads in its thread.
        self.lock = threading.Lock()
        self.report: Callable[[], None] = lambda: None
        self.queries: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        self.lags = False
        self.hub = WatchHub(self, [self.service], "hub-of-the-world", limits=WatchLimits(**limits))

    def stop(self) -> None:
        self.hub.stop(Stopped("the node was stopped"))
        self.hub.close_thread(PATIENCE)

    # -- as the applier

    def call_when_applied(self, callback: Callable[[], None]) -> None:
        self.report = callback

    def read(self, index: int, queries: list[Query]) -> None:
        for query in queries:
            try:
                with self.lock:
                    answer: Any = self.service.query(query.name, query.args)
            except Compacted as error:
                answer = error
            settle([(query, answer)])

    # -- as the node

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        with self.lock:
            answer = self.service.apply(command, args, CommandContext(1, 1, 1))
            if not self.lags:
                self.report()
        return answer

    async def aexecute(self, *args: Any, **options: Any) -> Any:
        return self.execute(*args, **options)

    def query(self, service: str, query: str, *args: Any, **options: Any) -> Any:
        self.queries.append((query, args, options))
        if self.failure is not None:
            raise self.failure
        # A read waits until the node has caught up.
        with self.lock:
            self.report()
            return self.service.query(query, args)

    async def aquery(self, *args: Any, **options: Any) -> Any:
        return self.query(*args, **options)

    def store(self) -> NodeStore:
        def no_lease(ttl: float) -> Any:
            raise AssertionError(ttl)

        return NodeStore(self, no_lease, lambda: self.hub)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.stop()


@pytest.fixture
def store(world: World) -> NodeStore:
    return world.store()


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread has made it true."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.001)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not come true")


def test_changes_have_the_entries(world: World, store: NodeStore) -> None:
    first = store.put("a/1", b"x")
    with store.watch("a/", previous=True) as changes:
        assert changes.revision == first
        store.put("a/1", b"y")
        store.put("b", b"")
        store.delete("a/1")
        assert next(changes) == Change(
            "put", Entry(b"a/1", b"y", 3, 2, 2, 0), Entry(b"a/1", b"x", 2, 2, 1, 0), 3
        )
        assert changes.revision == 4  # the put of b is seen, and not shown
        assert next(changes) == Change(
            "delete", Entry(b"a/1", b"", 5, 0, 0, 0), Entry(b"a/1", b"y", 3, 2, 2, 0), 5
        )
        assert changes.revision == 5
        store.put("b", b"")
        until(lambda: changes.revision == 6)
    assert world.hub.count == 0


def test_a_watch_begins_after_what_was_acknowledged(world: World, store: NodeStore) -> None:
    world.lags = True
    store.put("a", b"1")
    with store.watch("a", consistency="lease", timeout=3) as changes:
        assert world.queries == [
            ("count", (b"\0",), {"consistency": "lease", "timeout": 3}),
        ]
        world.lags = False
        assert store.put("a", b"2") == 3
        assert [next(changes).revision] == [3]


def test_a_watch_goes_on_where_another_one_ended(world: World, store: NodeStore) -> None:
    with store.watch(key="a", since=1) as changes:
        store.txn(then=[])
        for number in range(5):
            store.put("a", b"%d" % number)
        assert next(changes).entry.value == b"0"
        # It was not asked for.
        assert next(changes).previous is None
        seen = changes.revision
    assert seen == 3
    assert world.queries == []
    with store.watch(key="a", since=seen) as changes:
        # A loop that was left is continued.
        for change in changes:
            assert change.entry.value == b"2"
            break
        assert [next(changes).entry.value for _ in range(2)] == [b"3", b"4"]
    assert world.queries == []


def test_a_revision_is_seen_when_all_of_it_was_returned(store: NodeStore) -> None:
    with store.watch("a") as changes:
        store.txn(then=[Put(f"a{number}", b"") for number in range(3)])
        store.put("a", b"")
        for _ in range(2):
            next(changes)
            assert changes.revision == 1
        next(changes)
        assert changes.revision == 2


def test_what_is_ahead_is_waited_for_and_the_future_refused(world: World, store: NodeStore) -> None:
    world.lags = True
    ahead = store.put("a", b"")
    assert world.hub.applied_revision == 1
    with store.watch(since=ahead) as changes:
        assert changes.revision == ahead
    assert len(world.queries) == 1
    with pytest.raises(FutureRevision) as future, store.watch(since=ahead + 1):
        pass
    assert future.value.data == {"revision": 3, "current": 2}
    assert world.hub.count == 0
    world.failure = NoLeader("none")
    with store.watch(since=ahead):
        pass
    with pytest.raises(NoLeader), store.watch():
        pass


def test_batches_are_whole_revisions() -> None:
    # A revision of 40 keys is read in several pieces.
    world = World(piece=1_000)
    store = world.store()
    with store.watch("a", since=1) as changes:
        store.txn(then=[Put(f"a{number:02d}", b"") for number in range(40)])
        store.txn(then=[Put("b", b""), Put("a", b"")])
        sizes = []
        for batch in changes.batches(progress=PATIENCE):
            sizes.append((batch.revision, len(batch.changes)))
            if batch.revision == 3:
                break
        assert sizes == [(2, 40), (3, 1)]
        assert changes.revision == 3
    world.stop()


def test_a_batch_waits_for_the_rest_of_its_revision() -> None:
    world = World(piece=1_000)
    store = world.store()
    store.txn(then=[Put(f"a{number:02d}", b"") for number in range(40)])
    with store.watch(start="a00", end="a01", since=1) as changes:
        # The only key that is wanted is in the first piece, and more could follow.
        batch = next(changes.batches(progress=PATIENCE))
        assert (batch.revision, len(batch.changes)) == (2, 1)
        assert changes.revision == 2
    world.stop()


def test_progress_is_a_batch_without_changes(store: NodeStore) -> None:
    with store.watch("a") as changes:
        batches = changes.batches(progress=0.001)
        assert next(batches) == Batch(1, [])
        store.put("b", b"")
        until(lambda: changes.revision == 2)
        assert next(batches) == Batch(2, [])
        store.put("a", b"")
        batches = changes.batches(progress=PATIENCE)
        assert next(batches).changes[0].entry.key == b"a"


def test_a_watch_that_is_too_far_behind_says_so(store: NodeStore) -> None:
    for _ in range(5):
        store.put("a", b"")
    store.compact(4)
    with store.watch(since=2) as changes:
        with pytest.raises(Compacted) as lost:
            next(changes)
        assert lost.value.data == {"revision": 3, "compacted": 4}
        assert changes.revision == 2
    with store.watch(since=3) as changes:
        assert next(changes).revision == 4


def test_closing_ends_the_loop_of_another_thread(world: World, store: NodeStore) -> None:
    with store.watch("a") as changes:
        closer = threading.Timer(0.01, changes.close)
        closer.start()
        assert list(changes) == []
        assert list(changes.batches()) == []
        closer.join()
    assert world.hub.count == 0


def test_the_end_of_the_node_ends_a_loop(world: World) -> None:
    with world.store().watch("a") as changes:
        world.hub.stop(Stopped("the node was stopped"))
        with pytest.raises(Stopped, match="the node was stopped"):
            next(changes)


@on_loop
async def test_tasks_watch_too(world: World, store: NodeStore) -> None:
    got: list[int] = []

    async def follow() -> None:
        async with store.watch("a") as changes:
            started.set()
            async for change in changes:
                got.append(change.revision)
                if len(got) == 3:
                    seen.set()

    seen = asyncio.Event()
    started = asyncio.Event()
    task = asyncio.create_task(follow())
    await started.wait()
    for _ in range(3):
        store.put("a", b"")
    await seen.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert got == [2, 3, 4]
    assert world.hub.count == 0


@on_loop
async def test_what_ends_async_loops(world: World, store: NodeStore) -> None:
    async with store.watch("a") as changes, store.watch("a") as others:
        batches = changes.batches(progress=0.001)
        assert await anext(batches) == Batch(1, [])
        waiting = asyncio.create_task(_count(changes.batches()))
        other = asyncio.create_task(_count(others))
        await asyncio.sleep(0)
        changes.close()
        assert await waiting == 0
        world.hub.stop(Stopped("the node was stopped"))
        with pytest.raises(Stopped, match="the node was stopped"):
            await other


async def _count(changes: Any) -> int:
    return len([each async for each in changes])


@on_loop
async def test_other_threads_wake_a_task(store: NodeStore) -> None:
    async with store.watch("a") as changes:
        writer = threading.Timer(0.01, store.put, ["a", b""])
        writer.start()
        assert (await anext(changes)).revision == 2
        assert await anext(changes.batches(progress=0.001)) == Batch(2, [])
        writer.join()


def test_a_watch_is_used_once_and_in_a_statement(world: World) -> None:
    watch = world.store().watch("a")
    with pytest.raises(InvalidRequest, match="with statement"):
        next(watch)
    assert watch.revision == 0
    with watch:
        assert "revision=1" in repr(watch)
        with pytest.raises(InvalidRequest, match="used already"), watch:
            pass
    with pytest.raises(InvalidRequest, match="used already"), watch:
        pass
    closed = world.store().watch("a")
    closed.close()
    with pytest.raises(InvalidRequest, match="used already"), closed:
        pass


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"since": -1}, "-1"),
        ({"since": "3"}, "'3'"),
        ({"since": True}, "True"),
        ({"prefix": "a", "key": "b"}, "key is 'b'"),
        ({"prefix": "a", "end": "b"}, "prefix"),
        ({"key": 5}, "5"),
        ({"prefix": "\ud800"}, "UTF-8"),
    ],
)
def test_what_is_no_watch_is_refused(store: NodeStore, options: Any, names: str) -> None:
    with pytest.raises(InvalidArgument, match=names):
        store.watch(**options)


@pytest.mark.parametrize("options", [{"key": ""}, {"start": "b", "end": "a"}])
def test_a_range_that_is_none_is_refused_by_the_statement(store: NodeStore, options: Any) -> None:
    with pytest.raises(InvalidArgument), store.watch(**options):
        pass


@pytest.mark.parametrize("progress", [0, -1.0])
def test_progress_without_time_is_refused(store: NodeStore, progress: float) -> None:
    with store.watch() as changes, pytest.raises(InvalidArgument, match="progress"):
        changes.batches(progress=progress)
