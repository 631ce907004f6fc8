"""Messages of peers are checked against limits before they are parsed."""

from __future__ import annotations

import time
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import peer
from braft_core.errors import DecodeError
from braft_core.proto import message_class
from braft_core.raft import (
    AppendEntries,
    Entry,
    InstallSnapshot,
    RequestVote,
    SnapshotMeta,
    decode_configuration,
    encode_configuration,
)
from braft_core.raft.limits import MAX_CONFIGURATION_BYTES, MAX_ENTRIES, MAX_SERVERS
from braft_core.transport import (
    decode_error,
    decode_peer,
    decode_request,
    decode_response,
    encode_header,
    encode_request,
)
from braft_core.transport.protobuf_limits import check_count
from braft_core.transport.raft_codec import encode_entries
from braft_testing.core_harness import configuration

HEADER = encode_header("a", "127.0.0.1:1")
_Append = message_class("AppendEntriesRequest")


def encoded(entries: list[Entry]) -> bytes:
    message = AppendEntries("a", "b", 5, 0, 0, entries, 0)
    return encode_request(message, HEADER, b"127.0.0.1:1", encode_entries(entries))


def entries(count: int, size: int = 100, of: bytes = b"2") -> list[Entry]:
    return [Entry(i, 5, 0, of * size, b"", 1_700_000_000_000_000_000) for i in range(1, count + 1)]


@pytest.mark.parametrize("of", [b"2", b"x"])
def test_as_many_entries_as_are_allowed_are_decoded_whatever_they_hold(of: bytes) -> None:
    whole = entries(MAX_ENTRIES, 300, of)  # 2 is the byte that each entry begins with
    message = decode_request(AppendEntries, encoded(whole), "b")
    assert isinstance(message, AppendEntries)
    assert message.entries == whole


def test_one_entry_more_is_refused() -> None:
    with pytest.raises(DecodeError, match=f"at most {MAX_ENTRIES}"):
        decode_request(AppendEntries, encoded(entries(MAX_ENTRIES + 1)), "b")


@pytest.mark.parametrize(
    ("filler", "reason"),
    [
        (b"\x32\x00", "too many entries"),
        (b"\x0a\x00", "beside the data"),
        (b"\xf8\x7f\x01", "beside the data"),
        (b"\xfb\x7f\xfc\x7f", "beside the data"),
        (b"\x10\x01", "beside the data"),
    ],
)
def test_megabytes_of_nothing_cost_next_to_no_time(filler: bytes, reason: str) -> None:
    data = encoded([]) + filler * ((15 << 20) // len(filler))
    began = time.process_time()
    with pytest.raises(DecodeError, match=reason):
        decode_request(AppendEntries, data, "b")
    assert time.process_time() - began < 5, "34 s before there was a bound"


def test_a_message_of_another_kind_is_small() -> None:
    data = HEADER + bytes(70_000)
    with pytest.raises(DecodeError, match="RequestVote of 70"):
        decode_request(RequestVote, data, "b")
    with pytest.raises(DecodeError, match="RequestVoteResponse of 70"):
        decode_response(RequestVote, data, "a", "b")


@given(st.lists(st.binary(max_size=40), max_size=30), st.binary(max_size=30), st.integers(0, 30))
def test_elements_are_counted_as_protobuf_counts_them(
    data: list[bytes], other: bytes, most: int
) -> None:
    message = _Append(leader=other, term=len(other))
    for part in data:
        message.entries.add(data=part, index=50)
    wire = message.SerializeToString()
    if len(data) > most:
        with pytest.raises(DecodeError, match=f"at most {most}"):
            check_count("entries", wire, 6, most)
    else:
        check_count("entries", wire, 6, most)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_counted(data: bytes) -> None:
    with suppress(DecodeError):
        check_count("entries", data, 6, 3)


def test_a_call_of_millions_of_empty_commands_is_refused() -> None:
    with pytest.raises(DecodeError, match="ProposeRequest of more than"):
        decode_peer(peer.ProposeRequest, b"\x0a\x00" * (1 << 20))
    with pytest.raises(DecodeError, match="ProposeReply of more than"):
        decode_peer(peer.ProposeReply, b"\x0a\x00" * (1 << 20))


def test_an_error_of_a_peer_is_small() -> None:
    error = decode_error(b"\x93\xa5error\xa1x\x80" + bytes(1 << 20))
    assert isinstance(error, DecodeError)
    assert "at most" in error.message


def test_a_configuration_is_bounded() -> None:
    with pytest.raises(DecodeError, match="bytes; at most"):
        decode_configuration(bytes(MAX_CONFIGURATION_BYTES + 1))
    most = encode_configuration(configuration("a" * (MAX_SERVERS + 1)))
    with pytest.raises(DecodeError, match="not a configuration"):
        decode_configuration(most)
    meta = SnapshotMeta("", 5, 5, configuration("abc"), 1)
    data = encode_request(InstallSnapshot("a", "b", 5, meta), HEADER, b"h:1")
    grown = data + b"\x3a\x80\x80\x80\x01" + bytes(2 << 20)
    with pytest.raises(DecodeError, match="configuration of a snapshot"):
        decode_request(InstallSnapshot, grown, "b")


@pytest.mark.parametrize(
    "servers",
    [
        [{"ID": "a", "Address": "h:1", "Suffrage": 9}],
        [{"ID": "", "Address": "h:1"}],
        [{"ID": "a", "Address": ""}],
        [{"ID": "a" * 300, "Address": "h:1"}],
        [{"ID": "a", "Address": "h" * 600}],
        [{"ID": "a", "Address": "h:1"}] * 2,
        [{"ID": "a"}],
        ["a"],
        [{"ID": 1, "Address": "h:1"}],
    ],
    ids=str,
)
def test_what_is_no_configuration_is_refused(servers: object) -> None:
    with pytest.raises(DecodeError, match="not a configuration"):
        decode_configuration(msgpack.packb({"Servers": servers}))
