"""What a watch has received is complete, in order and without repetition, wherever answers end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.client import event_stream
from braft_core.client.event_stream import EventStreamParser, ServerEvent
from braft_core.client.watch_feed import WatchFeed
from braft_core.errors import Compacted, Stopped
from braft_core.store.json_form import change_json
from braft_core.store.positions import Position

#: Of each revision which of its records a watch wants; the value says which are deletes.
HISTORIES = st.lists(
    st.lists(st.sampled_from([None, b"v", b""]), min_size=1, max_size=4), max_size=6
)


def record(revision: int, sub: int, value: bytes | None) -> Any:
    return (b"k%d" % sub, value or None, revision, revision, sub, 1, 0)


def events_after(history: list[list[bytes | None]], since: Position) -> list[tuple[Position, Any]]:
    return [
        (Position(revision, sub), record(revision, sub, value))
        for revision, values in enumerate(history, 2)
        for sub, value in enumerate(values)
        if value is not None and Position(revision, sub) > since
    ]


def answer(history: list[list[bytes | None]], since: Position, knows: bool) -> bytes:
    """Return what a node sends.

    :param knows: whether it knows of the last event of a revision that it is the last.
    """
    events = events_after(history, since)
    parts = [f"retry: 1\nid: {since.text}\nevent: progress\ndata: {{}}\n\n"]
    for number, (position, found) in enumerate(events):
        is_last = number + 1 == len(events) or events[number + 1][0].revision > position.revision
        whole = Position(position.revision)
        data = json.dumps(change_json(found, None, False))
        parts.append(f"id: {(whole if is_last and knows else position).text}\ndata: {data}\n\n")
        if is_last and not knows:
            parts.append(f"id: {whole.text}\nevent: progress\ndata: {{}}\n\n")
    parts.append(f"id: {len(history) + 1}\nevent: progress\ndata: {{}}\n\n: the end\n\n")
    return "".join(parts).encode()


@given(data=st.data(), history=HISTORIES, by_revision=st.booleans())
@settings(max_examples=60, deadline=None)
def test_answers_may_be_cut_anywhere(
    data: st.DataObject, history: list[list[bytes | None]], by_revision: bool
) -> None:
    feed = WatchFeed(1)
    seen: list[tuple[int, bytes]] = []
    for is_cut in [*data.draw(st.lists(st.just(True), max_size=4)), False]:
        # What was seen may come again, where its ids can be compared with the position.
        early = (
            Position(1) if feed.position.is_whole and data.draw(st.booleans()) else feed.position
        )
        sent = answer(history, early, data.draw(st.booleans()))
        if is_cut:
            sent = sent[: data.draw(st.integers(0, len(sent)))]
        feed.begin()
        size = data.draw(st.sampled_from([1, 7, len(sent) + 1]))
        for begin in range(0, len(sent), size):
            feed.feed(sent[begin : begin + size])
            while True:
                before = feed.revision
                changes = feed.pop_revision() if by_revision else as_list(feed.pop())
                if not changes:
                    break
                assert all(change.revision > before for change in changes)
                seen += [(change.revision, change.entry.key) for change in changes]
    wanted = [(found[3], found[0]) for _, found in events_after(history, Position(1))]
    assert seen == wanted
    assert feed.revision == len(history) + 1


def as_list(found: Any) -> list[Any]:
    return [] if found is None else [found]


def change_event(position: str, revision: int) -> bytes:
    change = change_json(record(revision, 0, b"v"), None, False)
    return f"id: {position}\ndata: {json.dumps(change)}\n\n".encode()


def test_a_revision_is_returned_once_it_is_complete() -> None:
    feed = WatchFeed(1)
    feed.feed(change_event("2.0", 2))
    assert feed.pop_revision() is None
    assert feed.revision == 1
    feed.feed(change_event("2.1", 2) + change_event("4.0", 4))
    batch = feed.pop_revision()
    assert batch is not None
    assert [change.revision for change in batch] == [2, 2]
    assert (feed.pop_revision(), feed.revision) == (None, 3)
    assert feed.pop() is not None
    assert (feed.position.text, feed.revision) == ("4.0", 3)
    feed.feed(b"id: 4\nevent: progress\ndata: {}\n\n")
    assert (feed.pop(), feed.revision) == (None, 4)


def test_the_reason_for_an_end_is_an_error() -> None:
    feed = WatchFeed(1)
    data = {"code": "compacted", "detail": "too old", "data": {"compacted": 7}}
    feed.feed(f"event: problem\ndata: {json.dumps(data)}\n\n".encode())
    assert isinstance(feed.problem, Compacted)
    assert (feed.problem.message, feed.problem.data) == ("too old", {"compacted": 7})
    feed.begin()
    assert feed.problem is None
    feed.feed(b'event: of a later version\ndata: 1\n\nevent: problem\ndata: {"code":"stopped"}\n\n')
    assert isinstance(feed.problem, Stopped)


@pytest.mark.parametrize(
    "sent",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'id: 2\ndata: {"type": "put", "entry": {}}\n\n',
        change_event("3", 2),
        change_event("", 2),
        change_event("x", 2),
        b"id: -1\nevent: progress\ndata: {}\n\n",
        b"event: problem\ndata: 7\n\n",
        b"data: \xff\n\n",
    ],
)
def test_what_no_node_sends_is_refused(sent: bytes) -> None:
    feed = WatchFeed(1)
    feed.feed(change_event("2", 2))
    with pytest.raises((ValueError, TypeError)):
        feed.feed(sent)
    assert feed.pop() is not None
    assert feed.position == Position(2)


def test_the_format_of_events() -> None:
    parser = EventStreamParser()
    assert parser.feed(b": note\r\nid:1\r\n") == []
    assert parser.feed(b"data: a\r\ndata\nunknown: x\n\n\n\nevent: e\nid: 2\n\nid: 3") == [
        ServerEvent("1", "", "a\n"),
        ServerEvent("2", "e", ""),
    ]


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 1_000)
    for part in (b"x" * 100, b"data: " + b"x" * 94 + b"\n"):
        parser = EventStreamParser()
        for _ in range(9):
            assert parser.feed(part) == []
        with pytest.raises(ValueError, match="more than 1000 bytes"):
            parser.feed(part * 3)


@pytest.mark.parametrize("text", ["0", "7", "7.0", "7.2", str(2**63 - 1), "7." + str(2**63 - 1)])
def test_positions_are_read_as_written(text: str) -> None:
    position = Position.of("it", text)
    assert Position.of("it", position.text) == position
    assert position.complete == (position.revision if position.is_whole else position.revision - 1)


def test_positions_are_ordered() -> None:
    texts = ["0", "1", "2.0", "2.1", "2", "3.0", "3"]
    positions = [Position.of("it", text) for text in texts]
    assert positions == sorted(positions)
    assert Position(2) > (2, 5) > Position(2, 4)
