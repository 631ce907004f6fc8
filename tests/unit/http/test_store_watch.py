"""``/v1/store/watch``: events and their ids, resumption, what is refused, how a stream ends."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from braft_core.client.event_stream import EventStreamParser, ServerEvent
from braft_core.errors import Compacted, NotReady
from braft_core.http import HTTPServer, store_watch
from braft_core.http.open_streams import OpenStreams
from braft_testing.processes import PATIENCE, wait_for

ROUTE = "/v1/store/watch"


class Reader:
    """A caller that reads one stream."""

    def __init__(self, port: int, last_id: str = "", **params: str | bytes) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        headers = {"Last-Event-ID": last_id} if last_id else {}
        self._connection.request("GET", f"{ROUTE}?{urlencode(params)}", headers=headers)
        self.answer = self._connection.getresponse()
        self._parser = EventStreamParser()
        self._events: list[ServerEvent] = []

    def next(self) -> ServerEvent | None:
        """Return the next event, ``None`` at the end of the stream."""
        while not self._events:
            data = self.answer.read1(64 << 10)
            if not data:
                return None
            self._events += self._parser.feed(data)
        return self._events.pop(0)

    def until(self, wanted: Callable[[ServerEvent], bool]) -> list[ServerEvent]:
        """Return the events up to one, progress left out."""
        found = []
        while (event := self.next()) is not None:
            if event.type != "progress":
                found.append(event)
            if wanted(event):
                return found
        raise AssertionError(found)

    def changes(self, last: bytes) -> list[ServerEvent]:
        """Return the events up to the change of a key."""
        return self.until(lambda event: event.type == "" and key_of(event) == last)

    def problem(self) -> dict[str, Any]:
        """Return the problem with which the stream ends."""
        last = self.until(lambda event: event.type == "problem")[-1]
        assert self.next() is None
        problem: dict[str, Any] = json.loads(last.data)
        return problem

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def key_of(event: ServerEvent) -> bytes:
    return base64.b64decode(json.loads(event.data)["entry"]["key"])


@pytest.fixture
def read(server: HTTPServer) -> Iterator[Callable[..., Reader]]:
    readers: list[Reader] = []

    def make(last_id: str = "", **params: str | bytes) -> Reader:
        readers.append(Reader(server.port, last_id, **params))
        assert readers[-1].answer.status == 200
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


def put(node: Any, key: bytes, value: bytes = b"v") -> int:
    return int(node.execute("store", "put", key, value, 0, 0)[0])


def put_many(node: Any, *keys: bytes) -> int:
    return int(node.execute("store", "txn", [], [[1, key, b"v", 0, 0] for key in keys], [])[0])


def test_events_say_what_changed_and_where_to_go_on(read: Any, node: Any) -> None:
    put(node, b"a/1", b"old")
    put(node, b"other")
    reader = read(prefix="a/", since="1", previous="true")
    assert reader.answer.headers["Content-Type"] == "text/event-stream"
    assert reader.answer.headers["Cache-Control"] == "no-store"
    assert reader.next() == ServerEvent("1", "progress", '{"revision": 1}')
    put_many(node, b"a/2", b"b", b"a/3")
    node.execute("store", "delete", b"a/1", b"", 0)
    put(node, b"a/end")
    events = reader.changes(b"a/end")
    # The last wanted event of a revision has its number alone.
    assert [(event.id, key_of(event)) for event in events] == [
        ("2", b"a/1"),
        ("4.0", b"a/2"),
        ("4", b"a/3"),
        ("5", b"a/1"),
        ("6", b"a/end"),
    ]
    assert json.loads(events[0].data) == {
        "type": "put",
        "revision": 2,
        "entry": {
            "key": base64.b64encode(b"a/1").decode(),
            "value": base64.b64encode(b"old").decode(),
            "revision": 2,
            "created": 2,
            "version": 1,
            "lease": "0",
        },
        "previous": None,
    }
    deleted = json.loads(events[3].data)
    assert (deleted["type"], deleted["entry"]["revision"]) == ("delete", 5)
    assert base64.b64decode(deleted["previous"]["value"]) == b"old"


def test_without_since_it_begins_now(read: Any, node: Any) -> None:
    put(node, b"a")
    reader = read()
    assert reader.next() == ServerEvent("2", "progress", '{"revision": 2}')
    put(node, b"b")
    event = reader.next()
    assert (event.id, key_of(event), "previous" in json.loads(event.data)) == ("3", b"b", False)


@pytest.mark.parametrize("piece", [1, 300, 32 << 10])
def test_it_goes_on_after_any_event(
    read: Any, node: Any, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Small pieces split revisions, and then an id cannot say that the revision is complete."""
    monkeypatch.setattr(store_watch, "PIECE", piece)
    put_many(node, *(b"a/%d" % number for number in range(5)), b"b")
    node.execute("store", "delete", b"a/", b"a0", 0)
    put_many(node, b"a/1", b"b", b"a/2")
    put(node, b"a/end")

    def shown(events: list[ServerEvent]) -> list[tuple[str, bytes]]:
        return [(event.data, key_of(event)) for event in events]

    def changes(*last_id: str, **params: str) -> list[ServerEvent]:
        # With Waitress a caller that has gone is noticed when something is sent.
        reader = read(*last_id, prefix="a/", progress="0.1", **params)
        found: list[ServerEvent] = reader.changes(b"a/end")
        reader.close()
        wait_for(lambda: node.hub.count == 0, what="its place is free")
        return found

    everything = changes(since="1")
    assert len(everything) == 5 + 5 + 2 + 1
    for seen, event in enumerate(everything[:-1]):
        rest = shown(everything[seen + 1 :])
        # The header counts, as a browser sends it with the same URL.
        if seen % 2:
            assert shown(changes(event.id, since="1")) == rest
        else:
            assert shown(changes(since=event.id)) == rest


def test_a_revision_that_was_sent_in_parts_is_declared_complete(
    read: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "PIECE", 1)
    put_many(node, b"a/1", b"a/2", b"b")
    reader = read(prefix="a/", since="1", progress="60")
    assert [reader.next().id for _ in range(4)] == ["1", "2.0", "2.1", "2"]


def test_progress_is_sent_in_time(read: Any, node: Any) -> None:
    reader = read(key="a", progress="0.1")
    assert reader.next().id == "1"
    put(node, b"b")
    assert reader.until(lambda event: event.id == "2") == []


@pytest.mark.parametrize(
    ("params", "headers", "status", "words"),
    [
        ({"since": "9"}, {}, 422, "revision 9 is in the future: the store is at revision 1"),
        ({"since": "9.1", "consistency": "stale"}, {}, 422, "revision 9 is in the future"),
        ({"since": "x"}, {}, 400, "query parameter since is 'x'; accepted: a revision"),
        ({"since": "-1"}, {}, 400, "query parameter since is '-1'"),
        ({"since": "9" * 20}, {}, 400, "query parameter since is '9999"),
        ({"since": str(2**63)}, {}, 400, "query parameter since is '9223372036854775808'"),
        ({}, {"Last-Event-ID": "1.x"}, 400, "header Last-Event-ID is '1.x'; accepted: a revision"),
        ({}, {"Last-Event-ID": "0.1"}, 400, "header Last-Event-ID is '0.1'"),
        ({"start": "b", "end": "a"}, {}, 400, "is reversed"),
        ({"key": ""}, {}, 400, "key"),
        ({"key": "a", "prefix": "b"}, {}, 400, "accepted: a key, or a prefix"),
        ({"prefix": "a", "end": "b"}, {}, 400, "accepted: either"),
        ({"progress": "0.01"}, {}, 400, "accepted: seconds from 0.1 to 60"),
        ({"progress": "soon"}, {}, 400, "query parameter progress is 'soon'"),
        ({"previous": "1"}, {}, 400, "accepted: false, true"),
        ({"consistency": "old"}, {}, 400, "accepted: linearizable, lease, stale"),
        ({"max_staleness": "1"}, {}, 503, "may be 1.5 s old, more than 1 s"),
        ({"revision": "1"}, {}, 400, "for this route consistency, end, key"),
    ],
)
def test_what_is_refused(
    web: Any, node: Any, params: Any, headers: Any, status: int, words: str
) -> None:
    answer = web.simulate_get(ROUTE, params=params, headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        status,
        "application/problem+json",
    )
    assert words in answer.json["detail"]
    assert node.hub.count == 0


def test_what_is_compacted_is_gone_before_the_stream_begins(server: HTTPServer, node: Any) -> None:
    for _ in range(5):
        put(node, b"a")
    node.execute("store", "compact", 5)
    reader = Reader(server.port, since="2")
    problem = json.loads(reader.answer.read())
    assert (reader.answer.status, problem["code"]) == (410, "compacted")
    assert problem["data"]["compacted"] == 5
    assert node.hub.count == 0
    reader.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [(Compacted("too old", compacted=7), "compacted"), (NotReady("this disk lies"), "not_ready")],
)
def test_a_stream_ends_with_the_reason(read: Any, node: Any, error: Any, code: str) -> None:
    reader = read()
    reader.next()
    node.hub._end_all(error)
    problem = reader.problem()
    assert (problem["code"], problem["detail"]) == (code, error.message)
    assert problem["data"] == error.data


def test_a_stream_on_a_node_that_the_cluster_does_not_reach_ends(read: Any, node: Any) -> None:
    reader = read(progress="0.1", max_staleness="2")
    reader.next()
    node.staleness = 3.0
    assert reader.problem()["code"] == "too_stale"


def test_streams_end_with_the_server(server: HTTPServer, read: Any, node: Any) -> None:
    readers = [read(), read()]
    for reader in readers:
        reader.next()
    draining = threading.Thread(target=server.drain)
    draining.start()
    assert [reader.problem()["code"] for reader in readers] == ["stopped"] * 2
    draining.join(PATIENCE)
    assert node.hub.count == 0


def test_a_caller_that_goes_leaves_nothing(read: Any, node: Any) -> None:
    reader = read(progress="0.1")
    reader.next()
    assert node.hub.count == 1
    reader.close()
    wait_for(lambda: node.hub.count == 0, what="the watcher is closed")


def test_there_is_a_limit(server: HTTPServer, read: Any) -> None:
    streams: OpenStreams = server._streams
    assert streams._limit >= 8
    streams._limit = 2
    first, _ = read(progress="0.1"), read()
    refused = Reader(server.port)
    assert refused.answer.status == 503
    assert json.loads(refused.answer.read())["code"] == "busy"
    refused.close()
    first.close()
    wait_for(lambda: len(streams) == 1, what="its place is free")
    read()


def test_a_reader_that_does_not_read_is_a_place_and_no_queue(read: Any, node: Any) -> None:
    value = bytes(256 << 10)
    reader = read(since="1", consistency="stale")
    reader.next()
    [watcher] = node.hub._watchers
    for _ in range(100):
        last = put(node, b"a", value)
    # Sockets and buffers take some; the other events are not even taken.
    assert watcher.revision < last - 20
    put(node, b"end")
    assert [event.id for event in reader.changes(b"end")] == [
        str(number) for number in range(2, last + 2)
    ]


def test_the_head_has_no_body(web: Any, node: Any) -> None:
    answer = web.simulate_head(ROUTE)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert node.hub.count == 0
