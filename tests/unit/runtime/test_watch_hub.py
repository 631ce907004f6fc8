"""The hub of watches over a real applier: what wakes whom, and how watchers end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.errors import (
    Busy,
    Compacted,
    InvalidArgument,
    NotReady,
    Stopped,
    UnknownService,
)
from braft_core.raft import Entry, EntryType
from braft_core.runtime.applier import Applier
from braft_core.runtime.event_cache import Part, WatchLimits
from braft_core.runtime.interests import Span
from braft_core.runtime.pending import Segment
from braft_core.runtime.requests import Request
from braft_core.runtime.watch_hub import WatchHub
from braft_core.runtime.watcher import StoreWatcher
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import encode_command
from braft_core.services.state_machine import StateMachine
from braft_core.services.store import StoreService
from braft_core.store.events import Event, Piece
from braft_testing.processes import PATIENCE

SERIALIZER = MsgpackSerializer()


class Node:
    """A state machine with an applier thread and a hub."""

    def __init__(self, **limits: int) -> None:
        self.store = StoreService()
        self.machine = StateMachine([self.store], {SERIALIZER.tag: SERIALIZER})
        self.fatal: list[BaseException] = []
        self.applier = Applier(self.machine, "applier-under-test", self.fatal.append)
        self.hub = WatchHub(
            self.applier, [self.store], "hub-under-test", limits=WatchLimits(**limits)
        )
        self.index = 0
        self.applier.start()

    def execute(self, command: str, *args: Any) -> Any:
        self.index += 1
        data = encode_command(SERIALIZER, "store", command, list(args))
        request = Request(PATIENCE)
        entry = Entry(self.index, 1, EntryType.COMMAND, data)
        self.applier.apply([entry], [Segment(0, [request])])
        return request.blocking.result(PATIENCE)

    def put(self, key: str, value: str = "") -> int:
        revision: int = self.execute("put", key.encode(), value.encode())[0]
        return revision

    def count_reads(self) -> list[Any]:
        """Return a list that gets the queries of the hub."""
        reads: list[Any] = []
        read = self.applier.read

        def counted(index: int, queries: list[Any]) -> None:
            reads.extend(queries)
            read(index, queries)

        self.applier.read = counted  # type: ignore[method-assign]
        return reads

    def stop(self) -> None:
        self.hub.stop(Stopped("the node was stopped"))
        self.applier.stop(PATIENCE)
        self.hub.close_thread(PATIENCE)


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()
    assert node.fatal == []
    names = {"applier-under-test", "hub-under-test"}
    assert not [thread for thread in threading.enumerate() if thread.name in names]


class Reader:
    """Waits for what a watcher gets."""

    def __init__(self, hub: WatchHub, key: str, end: str = "", begin: int = 0) -> None:
        self.woken = threading.Semaphore(0)
        self.watcher = hub.watch(key.encode(), end.encode(), begin, wake=self.woken.release)

    def next(self) -> Piece:
        """Return the next piece that has events."""
        while True:
            piece = self.watcher.take()
            if piece is None:
                assert self.woken.acquire(timeout=PATIENCE)
            elif piece.events:
                return piece

    def keys(self, count: int) -> list[tuple[bytes, int]]:
        """Return keys and revisions of the next events, in order."""
        found: list[tuple[bytes, int]] = []
        while len(found) < count:
            found += [(event.record[0], event.revision) for event in self.next().events]
        return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until another thread has made it true."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.001)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not come true")


def test_a_watcher_gets_what_comes_and_nothing_else(node: Node) -> None:
    node.put("a/1")
    reader = Reader(node.hub, "a/", "a0")
    assert reader.watcher.revision == 2
    node.put("b")
    node.put("a/2")
    node.execute("txn", [], [[1, b"a/3", b"", 0, 0], [1, b"c", b"", 0, 0]], [])
    assert reader.keys(2) == [(b"a/2", 4), (b"a/3", 5)]
    assert reader.watcher.take() is None
    assert reader.watcher.is_current
    # The revision rises without events.
    last = node.put("b")
    wait_for(lambda: reader.watcher.revision == last == node.hub.revision)


def test_a_watcher_of_the_past_gets_all_of_it(node: Node) -> None:
    for number in range(5):
        node.put("k", str(number))
    reader = Reader(node.hub, "k", begin=3)
    piece = reader.next()
    assert [event.record[1] for event in piece.events] == [b"1", b"2", b"3", b"4"]
    assert [event.previous[1] for event in piece.events if event.previous] == [
        b"0", b"1", b"2", b"3"
    ]  # fmt: skip
    assert piece.revision == 6
    assert not piece.is_split


def test_a_watcher_of_the_future_gets_nothing_before(node: Node) -> None:
    reader = Reader(node.hub, "k", begin=4)
    assert reader.watcher.take() is None
    assert not reader.watcher.is_current
    for number in range(4):
        node.put("k", str(number))
    assert [revision for _, revision in reader.keys(2)] == [4, 5]


def test_nobody_is_asked_to_read_while_nobody_watches(node: Node) -> None:
    reads = node.count_reads()
    node.put("a")
    assert node.hub.applied_revision == 2
    reader = Reader(node.hub, "a")
    assert reader.watcher.take() is None
    node.put("a")
    assert reader.keys(1) == [(b"a", 3)]
    assert reads
    reader.watcher.close()
    reads.clear()
    node.put("a")
    assert node.hub.applied_revision == 4
    again = Reader(node.hub, "a")
    assert reads == []
    node.put("a")
    assert again.keys(1) == [(b"a", 5)]


def test_a_command_of_another_service_wakes_nobody(node: Node) -> None:
    reader = Reader(node.hub, "a")
    assert reader.watcher.take() is None
    node.execute("grant", 7, 60)
    node.execute("compact", 1)
    node.put("a")
    assert reader.keys(1) == [(b"a", 2)]


def test_a_large_revision_is_split_and_marked() -> None:
    node = Node(piece=3_000)
    try:
        node.execute("txn", [], [[1, b"k%02d" % each, b"", 0, 0] for each in range(50)], [])
        reader = Reader(node.hub, "k", "l", begin=1)
        node.put("k", "end")
        pieces: list[Piece] = []
        while not pieces or pieces[-1].events[-1].record[0] != b"k":
            pieces.append(reader.next())
        assert [len(piece.events) for piece in pieces] == [24, 24, 3]
        assert [piece.is_split for piece in pieces] == [True, True, False]
        assert [piece.revision for piece in pieces] == [1, 1, 3]
    finally:
        node.stop()


def test_encodings_are_shared(node: Node) -> None:
    calls = []

    def encode(event: Any) -> bytes:
        calls.append(event)
        return bytes(event.record[0])

    readers = [Reader(node.hub, "a") for _ in range(3)]
    node.put("a")
    events = [reader.next().events[0] for reader in readers]
    assert [event.encoded_by(encode) for event in events] == [b"a"] * 3
    assert len(calls) == 1
    assert events[0].encoded_by(lambda event: b"other") == b"other"


@pytest.mark.parametrize(
    ("key", "end", "begin", "names"),
    [
        (b"", b"", 0, "key"),
        (b"b", b"a", 0, "reversed"),
        (b"a", b"", -1, "-1"),
        (b"a", b"", True, "True"),
        ("a", b"", 0, "key"),
        (b"a", None, 0, "end"),
    ],
)
def test_what_is_no_watch_is_refused(
    node: Node, key: Any, end: Any, begin: Any, names: str
) -> None:
    with pytest.raises(InvalidArgument, match=names):
        node.hub.watch(key, end, begin, wake=lambda: None)
    assert node.hub.count == 0


def test_there_is_a_most_number_of_watchers() -> None:
    node = Node(watchers=3)
    try:
        readers = [Reader(node.hub, "a") for _ in range(3)]
        with pytest.raises(Busy, match="3 watchers"):
            Reader(node.hub, "a")
        readers[0].watcher.close()
        Reader(node.hub, "a")
    finally:
        node.stop()


def test_a_node_without_a_store_has_no_watches() -> None:
    applier = Applier(StateMachine([], {}), "applier-under-test", lambda error: None)
    hub = WatchHub(applier, [], "hub-under-test")
    with pytest.raises(UnknownService, match="BRAFT_SERVICES"):
        hub.watch(b"a", wake=lambda: None)


def test_a_watcher_that_is_behind_the_compaction_ends(node: Node) -> None:
    for _ in range(5):
        node.put("a")
    reader = Reader(node.hub, "a", begin=3)
    node.execute("compact", 5)
    with pytest.raises(Compacted) as lost:
        reader.next()
    assert lost.value.data == {"revision": 3, "compacted": 5}
    with pytest.raises(Compacted):
        reader.watcher.take()
    assert node.hub.count == 0
    at = Reader(node.hub, "a", begin=5)
    assert [revision for _, revision in at.keys(2)] == [5, 6]


def test_the_end_of_the_hub_ends_all(node: Node) -> None:
    readers = [Reader(node.hub, "a", begin=begin) for begin in (0, 1, 9)]
    assert [reader.watcher.take() for reader in readers] == [None] * 3
    node.hub.stop(Stopped("the node was stopped"))
    for reader in readers:
        assert reader.woken.acquire(timeout=PATIENCE)
        with pytest.raises(Stopped, match="was stopped"):
            reader.watcher.take()
    with pytest.raises(Stopped):
        Reader(node.hub, "a")


def test_a_state_that_must_not_be_used_ends_all(node: Node) -> None:
    reader, other = Reader(node.hub, "a"), Reader(node.hub, "a")
    assert reader.watcher.take() is None
    node.applier.distrust("it differs")
    node.hub.check_fault()
    assert reader.woken.acquire(timeout=PATIENCE)
    with pytest.raises(NotReady, match="it differs"):
        reader.watcher.take()
    with pytest.raises(NotReady, match="it differs"):
        other.watcher.take()
    with pytest.raises(NotReady, match="it differs"):
        Reader(node.hub, "a")
    node.applier.distrust("")
    again = Reader(node.hub, "a")
    node.put("a")
    assert again.keys(1) == [(b"a", 2)]


def test_reads_that_are_refused_end_the_watchers_that_need_them(node: Node) -> None:
    reader = Reader(node.hub, "a")
    assert reader.watcher.take() is None
    node.applier.distrust("it differs")
    node.put("a")
    with pytest.raises(NotReady, match="it differs"):
        reader.next()


def test_a_state_of_before_ends_all(node: Node) -> None:
    reader = Reader(node.hub, "a")
    node.put("a")
    assert reader.keys(1) == [(b"a", 2)]
    assert reader.watcher.take() is None
    node.applier.restore(9, 1, StateMachine([StoreService()], {}).snapshot())
    old = StoreService()
    machine = StateMachine([old], {SERIALIZER.tag: SERIALIZER})
    data = encode_command(SERIALIZER, "store", "grant", [1, 60])
    machine.apply(Entry(1, 1, EntryType.COMMAND, data))
    node.applier.restore(10, 1, machine.snapshot())
    with pytest.raises(NotReady, match="went back from revision 2 to 1"):
        reader.next()


def test_an_owner_that_fails_disturbs_nobody(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("mine")

    failing = node.hub.watch(b"a", wake=fail)
    reader = Reader(node.hub, "a")
    assert failing.take() is None
    assert reader.watcher.take() is None
    node.put("a")
    assert reader.keys(1) == [(b"a", 2)]
    wait_for(lambda: "mine" in caplog.text)
    piece = failing.take()
    assert piece is not None
    assert piece.revision == 2


def test_a_closed_watcher_is_closed(node: Node) -> None:
    reader = Reader(node.hub, "a")
    assert reader.watcher.take() is None
    reader.watcher.close()
    reader.watcher.close()
    assert reader.woken.acquire(timeout=0)
    with pytest.raises(Stopped, match="closed"):
        reader.watcher.take()
    assert node.hub.count == 0


def test_what_was_taken_is_returned_before_the_end_is_reported() -> None:
    """The hub may end the watcher between two parts; its revision counts what was returned."""
    event = Event((b"a", b"", 2, 2, 0, 1, 0), None)

    class Hub:
        revision = 9

        def __init__(self) -> None:
            self.parts: list[Part] = [([event], (3, 0))]

        def part(self, watcher: StoreWatcher) -> Part | None:
            if self.parts:
                return self.parts.pop()
            raise Stopped("the node was stopped")

        def close(self, watcher: StoreWatcher) -> None:
            raise AssertionError(watcher)

    watcher = StoreWatcher(Hub(), Span(b"a", b""), (2, 0), 1, lambda: None)
    assert watcher.take() == Piece([event], 2)
    with pytest.raises(Stopped):
        watcher.take()
    assert watcher.revision == 2


def test_a_snapshot_in_between_loses_nothing_that_is_in_it(node: Node) -> None:
    other = StoreService()
    machine = StateMachine([other], {SERIALIZER.tag: SERIALIZER})

    def apply(command: str, *args: Any) -> None:
        other.apply(command, list(args), CommandContext(1, 1, 1))

    data = encode_command(SERIALIZER, "store", "put", [b"a", b"1"])
    machine.apply(Entry(1, 1, EntryType.COMMAND, data))
    node.put("a", "1")
    keeps, loses = Reader(node.hub, "a"), Reader(node.hub, "b")
    assert keeps.watcher.take() is loses.watcher.take() is None
    for number in range(2, 6):
        apply("put", b"a", b"%d" % number)
    node.applier.restore(9, 1, machine.snapshot())
    assert [revision for _, revision in keeps.keys(4)] == [3, 4, 5, 6]
    apply("put", b"a", b"6")
    apply("put", b"a", b"7")
    apply("compact", 8)
    # What is in revision 7 is nowhere any more, for those who have not seen it.
    wait_for(lambda: loses.watcher.revision == 6)
    node.applier.restore(10, 1, machine.snapshot())
    for reader in (keeps, loses):
        with pytest.raises(Compacted) as lost:
            reader.next()
        assert lost.value.data == {"revision": 7, "compacted": 8}


def test_the_history_is_read_once_for_many(node: Node) -> None:
    for number in range(2_000):
        node.put(f"k{number:04d}")
    reads = node.count_reads()
    readers = [Reader(node.hub, "k", "l", begin=begin) for begin in range(1, 101)]
    for begin, reader in enumerate(readers, 1):
        assert len(reader.keys(2_001 - max(begin - 1, 1))) >= 1_900
    # A piece has 1,024 events with keys of 5 bytes: two pieces, and one for those who ask first.
    assert 2 <= len(reads) <= 4
