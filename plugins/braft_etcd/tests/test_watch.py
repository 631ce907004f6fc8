"""Watches by grpcio as the client: what comes, in which answers, and when they end."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from braft_core import Node
from braft_etcd.options import EtcdOptions
from braft_etcd.wire import Values

_numbers = itertools.count()


@pytest.fixture
def prefix() -> bytes:
    """Return keys for a test alone; the node is shared."""
    return b"watch-%d/" % next(_numbers)


def _end(prefix: bytes) -> bytes:
    return prefix[:-1] + bytes((prefix[-1] + 1,))


class _Stream:
    """One stream of watches."""

    def __init__(self, client: Any, **metadata: str) -> None:
        self._requests: queue.Queue[Values | None] = queue.Queue()
        sent: Iterator[Values] = iter(self._requests.get, None)
        pairs = tuple(metadata.items())
        self._answers = client.stream("Watch/Watch", sent, metadata=pairs)

    def create(self, **fields: Any) -> Values:
        """Create a watch; return the answer."""
        self.send(create_request=fields)
        return self.next()

    def send(self, **fields: Any) -> None:
        self._requests.put(fields)

    def next(self) -> Values:
        answer: Values = next(self._answers)
        return answer

    def events(self, number: int) -> list[tuple[int, int, bytes, bytes]]:
        """Return the next events: type, revision, key, value."""
        found: list[tuple[int, int, bytes, bytes]] = []
        while len(found) < number:
            found += shown(self.next())
        return found

    def end(self) -> None:
        self._requests.put(None)


def shown(answer: Values) -> list[tuple[int, int, bytes, bytes]]:
    return [
        (event["type"], event["kv"]["mod_revision"], event["kv"]["key"], event["kv"]["value"])
        for event in answer["events"]
    ]


@pytest.fixture
def stream(client: Any) -> Iterator[Callable[[], _Stream]]:
    """Return a function that opens a stream."""
    opened: list[_Stream] = []

    def make(**metadata: str) -> _Stream:
        opened.append(_Stream(client, **metadata))
        return opened[-1]

    yield make
    for each in opened:
        each.end()
        each._answers.close()


Open = Callable[..., _Stream]


def _put(client: Any, key: bytes, value: bytes = b"") -> int:
    revision: int = client.call("KV/Put", key=key, value=value)["header"]["revision"]
    return revision


def test_what_happens_after_the_answer_comes(client: Any, stream: Open, prefix: bytes) -> None:
    _put(client, prefix, b"0")
    watch = stream()
    created = watch.create(key=prefix, range_end=_end(prefix))
    assert (created["created"], created["canceled"], created["watch_id"]) == (True, False, 0)
    first = _put(client, prefix + b"a", b"1")
    client.call("KV/DeleteRange", key=prefix, range_end=_end(prefix))
    _put(client, b"other")
    assert watch.events(3) == [
        (0, first, prefix + b"a", b"1"),
        (1, first + 1, prefix, b""),
        (1, first + 1, prefix + b"a", b""),
    ]


def test_history_comes_first(client: Any, stream: Open, prefix: bytes) -> None:
    first = _put(client, prefix, b"1")
    second = _put(client, prefix, b"2")
    watch = stream()
    watch.create(key=prefix, start_revision=first)
    _put(client, prefix, b"3")
    assert watch.events(3) == [
        (0, first, prefix, b"1"),
        (0, second, prefix, b"2"),
        (0, second + 1, prefix, b"3"),
    ]


def test_filters_and_what_was_replaced(client: Any, stream: Open, prefix: bytes) -> None:
    watch = stream()
    for filters in ([0], [1]):
        watch.create(key=prefix, filters=filters, prev_kv=True)
    revision = _put(client, prefix, b"1")
    _put(client, prefix, b"2")
    client.call("KV/DeleteRange", key=prefix)
    events: dict[int, list[Values]] = {0: [], 1: []}
    while len(events[0]) + len(events[1]) < 3:
        answer = watch.next()
        events[answer["watch_id"]] += answer["events"]
    replaced = {
        number: [(each["type"], (each["prev_kv"] or {}).get("value")) for each in found]
        for number, found in events.items()
    }
    assert replaced == {0: [(1, b"2")], 1: [(0, None), (0, b"1")]}
    deleted = events[0][0]["kv"]
    assert (deleted["key"], deleted["mod_revision"], deleted["version"]) == (
        prefix,
        revision + 2,
        0,
    )


def test_ids_are_drawn_or_given_and_not_given_twice(stream: Open, prefix: bytes) -> None:
    watch = stream()
    assert [watch.create(key=prefix)["watch_id"] for _ in range(2)] == [0, 1]
    assert watch.create(key=prefix, watch_id=2)["watch_id"] == 2
    assert watch.create(key=prefix)["watch_id"] == 3
    twice = watch.create(key=prefix, watch_id=2)
    assert (twice["watch_id"], twice["created"], twice["canceled"]) == (-1, True, True)
    assert twice["cancel_reason"] == "mvcc: duplicate watch ID provided on the WatchStream"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": b"b", "range_end": b"a"}, "mvcc: watcher range is empty"),
        ({"key": b"b", "range_end": b"b"}, "mvcc: watcher range is empty"),
        (
            {"key": b"b", "start_revision": -1},
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ],
)
def test_what_cannot_be_watched_is_cancelled_at_once(
    stream: Open, fields: dict[str, Any], reason: str
) -> None:
    answer = stream().create(**fields)
    assert (answer["watch_id"], answer["created"], answer["canceled"]) == (-1, True, True)
    assert answer["cancel_reason"] == reason


def test_a_cancelled_watch_says_so_and_no_more(client: Any, stream: Open, prefix: bytes) -> None:
    watch = stream()
    watch.create(key=prefix)
    watch.create(key=prefix)
    watch.send(cancel_request={"watch_id": 0})
    cancelled = watch.next()
    assert (cancelled["watch_id"], cancelled["canceled"], cancelled["created"]) == (0, True, False)
    watch.send(cancel_request={"watch_id": 77})
    _put(client, prefix)
    assert watch.next()["watch_id"] == 1


def test_compacted_history_ends_a_watch_after_its_creation(
    client: Any, stream: Open, prefix: bytes
) -> None:
    revision = _put(client, prefix)
    _put(client, prefix)
    names = {"request": "CompactionRequest", "response": "CompactionResponse"}
    client.call("KV/Compact", **names, revision=revision + 1)
    watch = stream()
    assert watch.create(key=prefix, start_revision=revision)["canceled"] is False
    ended = watch.next()
    assert (ended["canceled"], ended["compact_revision"], ended["cancel_reason"]) == (
        True,
        revision + 1,
        "",
    )
    watch.create(key=prefix, start_revision=revision + 1)
    assert watch.events(1)[0][1] == revision + 1, "events of the compaction's revision stay"


def test_one_revision_comes_in_one_answer(client: Any, stream: Open, prefix: bytes) -> None:
    watch = stream()
    watch.create(key=prefix, range_end=_end(prefix))
    puts = [
        {"request_put": {"key": prefix + b"%03d" % n, "value": b"x" * 9000}} for n in range(100)
    ]
    client.call("KV/Txn", success=puts)
    answer = watch.next()
    assert (len(answer["events"]), answer["fragment"]) == (100, False)


def test_fragments_are_parts_of_one_revision(client: Any, stream: Open, prefix: bytes) -> None:
    watch = stream()
    watch.create(key=prefix, range_end=_end(prefix), fragment=True)
    puts = [
        {"request_put": {"key": prefix + b"%03d" % n, "value": b"x" * 9000}} for n in range(100)
    ]
    client.call("KV/Txn", success=puts)
    keys: list[bytes] = []
    parts: list[bool] = []
    while len(keys) < 100:
        answer = watch.next()
        keys += [event[2] for event in shown(answer)]
        parts.append(answer["fragment"])
    assert keys == [prefix + b"%03d" % n for n in range(100)]
    assert len(parts) > 1
    assert parts == [True] * (len(parts) - 1) + [False]


def test_progress_that_is_asked_for_follows_the_events(
    client: Any, stream: Open, prefix: bytes
) -> None:
    watch = stream()
    watch.create(key=prefix)
    watch.create(key=prefix + b"other")
    revision = _put(client, prefix)
    watch.send(progress_request={})
    seen = [watch.next(), watch.next()]
    if seen[0]["watch_id"] == -1:  # asked before the event was handed out
        assert seen[0]["header"]["revision"] < revision
    else:
        assert seen[1]["watch_id"] == -1
        assert seen[1]["header"]["revision"] >= revision
    assert [event[1] for answer in seen for event in shown(answer)] == [revision]


def test_a_quiet_watch_reports_progress_if_it_wants_to(
    serve: Callable[..., tuple[Node, str]], client: Any
) -> None:
    node, address = serve(EtcdOptions(listen="127.0.0.1:0", progress=0.2))
    own = type(client)(address)
    watch = _Stream(own)
    watch.create(key=b"quiet", progress_notify=True)
    revision = node.store.put("other", b"")
    while (answer := watch.next())["header"]["revision"] < revision:
        assert answer["events"] == []
    assert (answer["watch_id"], answer["events"]) == (0, [])
    watch.end()
    watch._answers.close()
    own.close()


def test_a_watch_of_the_future_begins_there(client: Any, stream: Open, prefix: bytes) -> None:
    revision = _put(client, prefix)
    watch = stream()
    watch.create(key=prefix, start_revision=revision + 2)
    _put(client, prefix)
    _put(client, prefix, b"2")
    assert watch.events(1) == [(0, revision + 2, prefix, b"2")]


def test_all_keys_are_watched_from_an_empty_one_on(
    client: Any, stream: Open, prefix: bytes
) -> None:
    watch = stream()
    watch.create(key=b"", range_end=b"\0")
    revision = _put(client, prefix)
    assert watch.events(1) == [(0, revision, prefix, b"")]


def test_many_watches_of_one_stream_see_one_put(client: Any, stream: Open, prefix: bytes) -> None:
    watch = stream()
    for _ in range(100):
        watch.create(key=prefix)
    revision = _put(client, prefix)
    seen = {watch.next()["watch_id"] for _ in range(100)}
    assert seen == set(range(100))
    assert revision


def test_an_ended_stream_leaves_no_watcher(
    served: tuple[Node, str], client: Any, stream: Open, prefix: bytes
) -> None:
    watch = stream()
    watch.create(key=prefix)
    watch.send(cancel_request={"watch_id": 0})
    watch.next()
    watch.end()
    with pytest.raises(StopIteration):
        watch.next()


def test_a_bad_request_fails_the_stream(client: Any) -> None:
    method = client._channel.stream_stream("/etcdserverpb.Watch/Watch")
    with pytest.raises(grpc.RpcError) as caught:
        next(method(iter([b"\xff"]), timeout=60))
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
