"""The encoding of RaftTransport: golden vectors made by hand, and properties."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import DecodeError
from braft_core.proto import message_class
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.raft.types import Configuration, Entry, Server, SnapshotMeta, Suffrage
from braft_core.transport.raft_codec import (
    EntriesCache,
    decode_request,
    decode_response,
    encode_entries,
    encode_header,
    encode_request,
    encode_response,
)

ADDRESS = b"10.0.0.1:15000"


# An independent encoder: the wire format of protobuf in a few lines.


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def fields(*pairs: tuple[int, int | bytes]) -> bytes:
    return b"".join(field(number, value) for number, value in pairs)


def header(server_id: str, version: int = 3) -> bytes:
    return field(1, fields((1, version), (2, server_id.encode()), (3, ADDRESS)))


ENTRIES = [
    Entry(300, 7, 0, b"data", b"ext", 1_700_000_000_123_456_789),
    Entry(301, 7, 5, b""),
    Entry(302, 2**40, 4, b"\x00\xff", b"", 5),
]
LOGS = b"".join(
    field(6, log)
    for log in (
        fields(
            (1, 300),
            (2, 7),
            (4, b"data"),
            (5, b"ext"),
            (6, fields((1, 1_700_000_000), (2, 123_456_789))),
        ),
        fields((1, 301), (2, 7), (3, 5)),
        fields((1, 302), (2, 2**40), (3, 4), (4, b"\x00\xff"), (6, field(2, 5))),
    )
)
MEMBERS = Configuration((Server("a", "h:1"), Server("b", "h:2", Suffrage.NONVOTER)))
MEMBERS_BYTES = msgpack.packb(
    {
        "Servers": [
            {"Suffrage": 0, "ID": "a", "Address": "h:1"},
            {"Suffrage": 1, "ID": "b", "Address": "h:2"},
        ]
    },
    use_bin_type=False,
)

REQUESTS: list[tuple[Request, bytes]] = [
    (
        AppendEntries("a", "b", 8, 299, 6, ENTRIES, 298),
        fields((2, 8), (3, ADDRESS), (4, 299), (5, 6)) + LOGS + field(7, 298),
    ),
    (AppendEntries("a", "b", 8, 0, 0, [], 0), fields((2, 8), (3, ADDRESS))),
    (
        AppendEntries("a", "b", 8, 299, 6, [], 298, echo=2**52 + 1),
        fields((2, 8), (3, ADDRESS), (4, 299), (5, 6), (7, 298), (1000, 2**52 + 1)),
    ),
    (
        RequestVote("a", "b", 9, 299, 7, leadership_transfer=True),
        fields((2, 9), (3, ADDRESS), (4, 299), (5, 7), (6, 1)),
    ),
    (RequestVote("a", "b", 9, 0, 0), fields((2, 9), (3, ADDRESS))),
    (RequestPreVote("a", "b", 2**63 - 1, 299, 7), fields((2, 2**63 - 1), (3, 299), (4, 7))),
    (TimeoutNow("a", "b"), b""),
    (
        InstallSnapshot("a", "b", 9, SnapshotMeta("", 1000, 8, MEMBERS, 900, 2**33)),
        fields(
            (2, 9),
            (3, ADDRESS),
            (4, 1000),
            (5, 8),
            (7, MEMBERS_BYTES),
            (8, 900),
            (9, 2**33),
            (11, 1),
        ),
    ),
]
RESPONSES: list[tuple[type[Request], Response, bytes]] = [
    (
        AppendEntries,
        AppendEntriesResponse("b", "a", 8, True, 302, no_retry_backoff=True, lease=True),
        fields((2, 8), (3, 302), (4, 1), (5, 1), (1000, 1)),
    ),
    (AppendEntries, AppendEntriesResponse("b", "a", 8, False, 0), field(2, 8)),
    (
        AppendEntries,
        AppendEntriesResponse("b", "a", 8, True, 302, stamp=2**52 + 1),
        fields((2, 8), (3, 302), (4, 1), (1001, 2**52 + 1)),
    ),
    (RequestVote, RequestVoteResponse("b", "a", 9, granted=True), fields((2, 9), (4, 1))),
    (RequestPreVote, RequestPreVoteResponse("b", "a", 9, granted=True), fields((2, 9), (3, 1))),
    (TimeoutNow, TimeoutNowResponse("b", "a"), b""),
    (InstallSnapshot, InstallSnapshotResponse("b", "a", 9, True), fields((2, 9), (3, 1))),
]

_MESSAGE_NAME = {
    AppendEntries: "AppendEntriesRequest",
    RequestVote: "RequestVoteRequest",
    RequestPreVote: "RequestPreVoteRequest",
    TimeoutNow: "TimeoutNowRequest",
    InstallSnapshot: "InstallSnapshotRequest",
}
KINDS = list(_MESSAGE_NAME)


def encoded(request: Request) -> bytes:
    entries = encode_entries(request.entries) if isinstance(request, AppendEntries) else b""
    return encode_request(request, encode_header("a", ADDRESS.decode()), ADDRESS, entries)


def name_of(value: Any) -> str | None:
    return type(value).__name__ if not isinstance(value, (bytes, type)) else None


@pytest.mark.parametrize(("request_", "body"), REQUESTS, ids=name_of)
def test_golden_requests(request_: Request, body: bytes) -> None:
    golden = header("a") + body
    cls = message_class(_MESSAGE_NAME[type(request_)])
    # Protobuf leaves the order of fields open, and the entries come last in ours.
    assert cls.FromString(encoded(request_)).SerializeToString(deterministic=True) == golden
    assert len(encoded(request_)) == len(golden)
    assert decode_request(type(request_), golden, "b") == request_


@pytest.mark.parametrize(("kind", "response", "body"), RESPONSES, ids=name_of)
def test_golden_responses(kind: type[Request], response: Response, body: bytes) -> None:
    golden = header("b") + body
    assert encode_response(response, encode_header("b", ADDRESS.decode())) == golden
    assert decode_response(kind, golden, "b", "a") == response


def test_unknown_fields_are_ignored() -> None:
    golden = header("a") + fields((2, 9), (3, 4), (4, 5), (2000, b"of a newer version"), (2001, 7))
    assert decode_request(RequestPreVote, golden, "b") == RequestPreVote("a", "b", 9, 4, 5)


def test_a_response_without_header_is_accepted() -> None:
    """HashiCorp raft leaves the header of a TimeoutNowResponse empty."""
    assert decode_response(TimeoutNow, b"", "b", "a") == TimeoutNowResponse("b", "a")


def test_a_time_that_nanoseconds_cannot_hold_reads_as_unknown() -> None:
    """Go's zero time is the year 1."""
    stamp = field(1, -62_135_596_800)
    data = header("a") + field(6, fields((1, 1), (6, stamp)))
    request = decode_request(AppendEntries, data, "b")
    assert isinstance(request, AppendEntries)
    assert request.entries == [Entry(1, 0, 0, b"", b"", 0)]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "protocol version 0"),
        (header("a", version=2), "protocol version 2"),
        (header(""), "names no sender"),
        (field(1, fields((1, 3), (2, b"\xff"))), "not UTF-8"),
        (header("a") + field(2, 2**63), "63 bits"),
        (header("a") + b"\x12", "not a"),
    ],
)
def test_a_request_that_cannot_be_used_says_why(data: bytes, complaint: str) -> None:
    with pytest.raises(DecodeError, match=complaint):
        decode_request(RequestVote, data, "b")


def test_a_negative_snapshot_size_is_refused() -> None:
    data = header("a") + fields((7, MEMBERS_BYTES), (9, -1))
    with pytest.raises(DecodeError, match="negative"):
        decode_request(InstallSnapshot, data, "b")


ids = st.text(min_size=1, max_size=20).filter(str.isprintable)
numbers = st.integers(0, 2**63 - 1)
entries = st.lists(
    st.builds(
        Entry,
        numbers,
        numbers,
        st.sampled_from([0, 1, 4, 5]),
        st.binary(max_size=50),
        st.binary(max_size=9),
        st.integers(0, 2**62),
    ),
    max_size=5,
)
requests = st.one_of(
    st.builds(AppendEntries, ids, st.just("b"), numbers, numbers, numbers, entries, numbers),
    st.builds(RequestVote, ids, st.just("b"), numbers, numbers, numbers, st.booleans()),
    st.builds(RequestPreVote, ids, st.just("b"), numbers, numbers, numbers),
    st.builds(TimeoutNow, ids, st.just("b")),
)


@given(requests)
def test_requests_survive_the_round_trip(request: Request) -> None:
    body = encode_entries(request.entries) if isinstance(request, AppendEntries) else b""
    data = encode_request(request, encode_header(request.sender, "h:1"), b"h:1", body)
    assert decode_request(type(request), data, "b") == request


@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_decode_error(kind: type[Request], data: bytes) -> None:
    for candidate in (data, header("a") + data):
        try:
            request = decode_request(kind, candidate, "b")
        except DecodeError:
            continue
        assert isinstance(request, kind)


@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_any_bytes_are_a_response_or_a_decode_error(kind: type[Request], data: bytes) -> None:
    try:
        response = decode_response(kind, data, "b", "a")
    except DecodeError:
        return
    assert (response.sender, response.to) == ("b", "a")


@given(requests, st.data())
def test_a_damaged_request_is_a_request_or_a_decode_error(
    request: Request, data: st.DataObject
) -> None:
    raw = bytearray(encoded(request))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        decode_request(type(request), bytes(raw[: data.draw(st.integers(0, len(raw)))]), "b")
    except DecodeError:
        return


def test_the_cache_encodes_once_for_all_peers() -> None:
    cache = EntriesCache(size=2)
    first = cache.encode(ENTRIES)
    assert first == encode_entries(ENTRIES)
    assert cache.encode(list(ENTRIES)) is first
    assert cache.encode(ENTRIES[:2]) == encode_entries(ENTRIES[:2])
    cache.encode(ENTRIES[1:])
    assert cache.encode(ENTRIES) is not first, "only two are remembered"
    assert cache.encode([]) == b""


def test_the_cache_is_not_fooled_by_other_entries_of_the_same_place() -> None:
    cache = EntriesCache()
    cache.encode([Entry(1, 1, 0, b"one")])
    other = [Entry(1, 1, 0, b"other")]
    assert cache.encode(other) == encode_entries(other)


@pytest.mark.parametrize("sender", ["a\nb", "\x1b[31m", "a\u202eb", "x" * 513])
def test_a_sender_whose_id_drives_a_terminal_is_refused(sender: str) -> None:
    data = encode_request(RequestVote(sender, "b", 1, 0, 0), encode_header(sender, "h:1"), b"h:1")
    with pytest.raises(DecodeError, match=r"server id is .*; accepted: ") as caught:
        decode_request(RequestVote, data, "b")
    assert caught.value.message.isprintable()
