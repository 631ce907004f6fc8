"""Encodes and decodes the core's messages as those of ``RaftTransport``.

Owns the mapping of fields; knows nothing of connections. Every request is encoded as a header part
and a body part: protobuf defines the concatenation of two serialized messages as their merge, so
the entries of an AppendEntries, the bulk of all traffic, are serialized once and shared by peers.

A peer's message is bounded before it is parsed: in bytes by its kind, in entries, and in bytes
beside the entries' data. The core checks the rules of Raft.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from braft_core.addresses import check_member_id
from braft_core.errors import DecodeError
from braft_core.proto import ProtobufError, message_class
from braft_core.raft.limits import MAX_CONFIGURATION_BYTES, MAX_ENTRIES
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
from braft_core.raft.types import Entry, SnapshotMeta, decode_configuration, encode_configuration
from braft_core.transport.protobuf_limits import check_count, check_size

__all__ = [
    "PROTOCOL_VERSION",
    "EntriesCache",
    "decode_chunk",
    "decode_request",
    "decode_response",
    "encode_chunk",
    "encode_entries",
    "encode_header",
    "encode_request",
    "encode_response",
]

#: HashiCorp's protocol version 3: servers are identified by id.
PROTOCOL_VERSION = 3

_Header = message_class("RPCHeader")
_AppendEntries = message_class("AppendEntriesRequest")
_AppendEntriesResponse = message_class("AppendEntriesResponse")
_RequestVote = message_class("RequestVoteRequest")
_RequestVoteResponse = message_class("RequestVoteResponse")
_PreVote = message_class("RequestPreVoteRequest")
_PreVoteResponse = message_class("RequestPreVoteResponse")
_TimeoutNow = message_class("TimeoutNowRequest")
_TimeoutNowResponse = message_class("TimeoutNowResponse")
_InstallSnapshot = message_class("InstallSnapshotRequest")
_InstallSnapshotResponse = message_class("InstallSnapshotResponse")

_SECOND = 1_000_000_000
#: Seconds since the epoch that fit 64-bit nanoseconds; Go's zero time, year 1, does not.
_MAX_SECONDS = 9_000_000_000
_MAX_INT = (1 << 63) - 1

#: Bytes of a request or response that carries neither entries nor a snapshot.
_MAX_SMALL = 64 << 10
#: Bytes beside the data of entries: of a whole message, and of each entry. Three times as much as
#: is sent today, to leave room for later versions.
_MAX_AROUND = 64 << 10
_MAX_AROUND_ENTRY = 256
_ENTRIES = _AppendEntries.DESCRIPTOR.fields_by_name["entries"].number

#: ``tuple.__new__`` skips the Python-level ``Entry.__new__``: a third of the decoding time.
_new_tuple: Any = tuple.__new__


def encode_header(server_id: str, address: str) -> bytes:
    """Encode the ``rpc_header`` field, which precedes the body of each request or response."""
    header = _Header(
        protocol_version=PROTOCOL_VERSION, id=server_id.encode(), addr=address.encode()
    )
    # Field 1 is the header in every message of the protocol.
    encoded: bytes = _TimeoutNow(rpc_header=header).SerializeToString()
    return encoded


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Encode the ``entries`` field of an AppendEntries, which follows its other fields."""
    message = _AppendEntries()
    add = message.entries.add
    for index, term, kind, data, extensions, appended_at in entries:
        log = add()
        log.index = index
        log.term = term
        log.type = kind
        log.data = data
        if extensions:
            log.extensions = extensions
        if appended_at:
            stamp = log.appended_at
            stamp.seconds, stamp.nanos = divmod(appended_at, _SECOND)
    encoded: bytes = message.SerializeToString()
    return encoded


class EntriesCache:
    """The last few encodings of entries, shared by all peers of a leader.

    By the Log Matching property (Raft §5.3) first index, count and term of the last entry identify
    the entries. The cache also compares object identity, which costs nothing: a leader sends slices
    of one log.
    """

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._encodings: dict[tuple[int, int, int], tuple[Entry, Entry, bytes]] = {}

    def encode(self, entries: Sequence[Entry]) -> bytes:
        """Like :func:`encode_entries`."""
        if not entries:
            return b""
        first, last = entries[0], entries[-1]
        key = (first.index, len(entries), last.term)
        known = self._encodings.get(key)
        if known is not None and known[0] is first and known[1] is last:
            return known[2]
        encoded = encode_entries(entries)
        self._encodings.pop(key, None)
        if len(self._encodings) >= self._size:
            del self._encodings[next(iter(self._encodings))]
        self._encodings[key] = (first, last, encoded)
        return encoded


# Encoders of message bodies: all fields but rpc_header.


def _append_entries(message: AppendEntries, address: bytes) -> Any:
    return _AppendEntries(
        term=message.term,
        leader=address,
        prev_log_entry=message.prev_log_index,
        prev_log_term=message.prev_log_term,
        leader_commit_index=message.leader_commit,
        echo=message.echo,
    )


def _append_entries_response(message: AppendEntriesResponse) -> Any:
    return _AppendEntriesResponse(
        term=message.term,
        last_log=message.last_log,
        success=message.success,
        no_retry_backoff=message.no_retry_backoff,
        lease=message.lease,
        stamp=message.stamp,
    )


def _request_vote(message: RequestVote, address: bytes) -> Any:
    return _RequestVote(
        term=message.term,
        candidate=address,
        last_log_index=message.last_log_index,
        last_log_term=message.last_log_term,
        leadership_transfer=message.leadership_transfer,
    )


def _pre_vote(message: RequestPreVote, _address: bytes) -> Any:
    return _PreVote(
        term=message.term,
        last_log_index=message.last_log_index,
        last_log_term=message.last_log_term,
    )


def _install_snapshot(message: InstallSnapshot, address: bytes) -> Any:
    meta = message.meta
    return _InstallSnapshot(
        term=message.term,
        leader=address,
        last_log_index=meta.index,
        last_log_term=meta.term,
        configuration=encode_configuration(meta.configuration),
        configuration_index=meta.configuration_index,
        size=meta.size,
        snapshot_version=1,
    )


_REQUESTS: dict[type[Any], Callable[[Any, bytes], Any]] = {
    AppendEntries: _append_entries,
    RequestVote: _request_vote,
    RequestPreVote: _pre_vote,
    TimeoutNow: lambda _message, _address: _TimeoutNow(),
    InstallSnapshot: _install_snapshot,
}
_RESPONSES: dict[type[Any], Callable[[Any], Any]] = {
    AppendEntriesResponse: _append_entries_response,
    RequestVoteResponse: lambda m: _RequestVoteResponse(term=m.term, granted=m.granted),
    RequestPreVoteResponse: lambda m: _PreVoteResponse(term=m.term, granted=m.granted),
    TimeoutNowResponse: lambda _m: _TimeoutNowResponse(),
    InstallSnapshotResponse: lambda m: _InstallSnapshotResponse(term=m.term, success=m.success),
}


def encode_request(message: Request, header: bytes, address: bytes, entries: bytes = b"") -> bytes:
    """Encode a request of the server whose ``encode_header`` and address are given.

    :param entries: ``encode_entries`` of an AppendEntries' entries.
    """
    body: bytes = _REQUESTS[type(message)](message, address).SerializeToString()
    return header + body + entries


def encode_response(message: Response, header: bytes) -> bytes:
    """Encode a response of the server whose ``encode_header`` is given."""
    body: bytes = _RESPONSES[type(message)](message).SerializeToString()
    return header + body


def encode_chunk(chunk: bytes) -> bytes:
    """Encode a message with contents of a snapshot, for all but the first of the stream."""
    encoded: bytes = _InstallSnapshot(data=chunk).SerializeToString()
    return encoded


# Decoders.


def _parse(cls: Any, data: bytes) -> Any:
    try:
        return cls.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"not a {cls.DESCRIPTOR.name}: {error}") from error


def _bounded(cls: Any, *numbers: int) -> None:
    if max(numbers) > _MAX_INT:
        raise DecodeError(f"not a {cls.DESCRIPTOR.name}: a term or index exceeds 63 bits")


def _sender(message: Any) -> str:
    """Return the sender's id from a request's header.

    Only for requests: the sender of a response is known, and HashiCorp leaves some headers empty.
    """
    header = message.rpc_header
    if header.protocol_version != PROTOCOL_VERSION:
        version = header.protocol_version
        raise DecodeError(f"protocol version {version} in the header; only 3 is accepted")
    if not header.id:
        raise DecodeError("the header names no sender")
    try:
        sender: str = header.id.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"sender id {header.id!r:.200} is not UTF-8") from error
    return check_member_id(sender)  # HashiCorp's may be of any form


def _entries(message: Any) -> list[Entry]:
    return [
        _new_tuple(
            Entry,
            (
                log.index,
                log.term,
                log.type,
                log.data,
                log.extensions,
                (
                    seconds * _SECOND + stamp.nanos
                    if 0 <= (seconds := (stamp := log.appended_at).seconds) < _MAX_SECONDS
                    else 0
                ),
            ),
        )
        for log in message.entries
    ]


def _check_around(data: bytes, entries: Sequence[Entry]) -> None:
    """Refuse messages with too many bytes beside the entries' data."""
    size = sum([len(entry.data) + len(entry.extensions) for entry in entries])
    around = len(data) - size
    most = _MAX_AROUND + _MAX_AROUND_ENTRY * len(entries)
    if around > most:
        raise DecodeError(
            f"not an AppendEntriesRequest: {around} bytes beside the data of {len(entries)} "
            f"entries; at most {most} are accepted"
        )


def _read_append_entries(data: bytes, to: str) -> AppendEntries:
    check_count("entries of an AppendEntriesRequest", data, _ENTRIES, MAX_ENTRIES)
    m = _parse(_AppendEntries, data)
    _bounded(
        _AppendEntries,
        m.term,
        m.prev_log_entry,
        m.prev_log_term,
        m.leader_commit_index,
        m.echo,
    )
    entries = _entries(m)
    _check_around(data, entries)
    return AppendEntries(
        _sender(m),
        to,
        m.term,
        m.prev_log_entry,
        m.prev_log_term,
        entries,
        m.leader_commit_index,
        echo=m.echo,
    )


def _read_request_vote(data: bytes, to: str) -> RequestVote:
    m = _parse(_RequestVote, data)
    _bounded(_RequestVote, m.term, m.last_log_index, m.last_log_term)
    return RequestVote(
        _sender(m), to, m.term, m.last_log_index, m.last_log_term, m.leadership_transfer
    )


def _read_pre_vote(data: bytes, to: str) -> RequestPreVote:
    m = _parse(_PreVote, data)
    _bounded(_PreVote, m.term, m.last_log_index, m.last_log_term)
    return RequestPreVote(_sender(m), to, m.term, m.last_log_index, m.last_log_term)


def _read_timeout_now(data: bytes, to: str) -> TimeoutNow:
    return TimeoutNow(_sender(_parse(_TimeoutNow, data)), to)


def _read_install_snapshot(data: bytes, to: str) -> InstallSnapshot:
    """Decode the first message of a snapshot's stream; the receiver assigns the id."""
    m = _parse(_InstallSnapshot, data)
    _bounded(_InstallSnapshot, m.term, m.last_log_index, m.last_log_term, m.configuration_index)
    check_size("configuration of a snapshot", m.configuration, MAX_CONFIGURATION_BYTES)
    if m.size < 0:
        raise DecodeError(f"snapshot size {m.size} is negative")
    meta = SnapshotMeta(
        id="",
        index=m.last_log_index,
        term=m.last_log_term,
        configuration=decode_configuration(m.configuration),
        configuration_index=m.configuration_index,
        size=m.size,
    )
    return InstallSnapshot(_sender(m), to, m.term, meta)


def _read_append_entries_response(data: bytes, sender: str, to: str) -> AppendEntriesResponse:
    m = _parse(_AppendEntriesResponse, data)
    _bounded(_AppendEntriesResponse, m.term, m.last_log, m.stamp)
    return AppendEntriesResponse(
        sender,
        to,
        m.term,
        m.success,
        m.last_log,
        no_retry_backoff=m.no_retry_backoff,
        lease=m.lease,
        stamp=m.stamp,
    )


def _read_request_vote_response(data: bytes, sender: str, to: str) -> RequestVoteResponse:
    m = _parse(_RequestVoteResponse, data)
    _bounded(_RequestVoteResponse, m.term)
    return RequestVoteResponse(sender, to, m.term, m.granted)


def _read_pre_vote_response(data: bytes, sender: str, to: str) -> RequestPreVoteResponse:
    m = _parse(_PreVoteResponse, data)
    _bounded(_PreVoteResponse, m.term)
    return RequestPreVoteResponse(sender, to, m.term, m.granted)


def _read_timeout_now_response(data: bytes, sender: str, to: str) -> TimeoutNowResponse:
    _parse(_TimeoutNowResponse, data)
    return TimeoutNowResponse(sender, to)


def _read_install_snapshot_response(data: bytes, sender: str, to: str) -> InstallSnapshotResponse:
    m = _parse(_InstallSnapshotResponse, data)
    _bounded(_InstallSnapshotResponse, m.term)
    return InstallSnapshotResponse(sender, to, m.term, m.success)


_READ_REQUEST: dict[type[Any], Callable[[bytes, str], Request]] = {
    AppendEntries: _read_append_entries,
    RequestVote: _read_request_vote,
    RequestPreVote: _read_pre_vote,
    TimeoutNow: _read_timeout_now,
    InstallSnapshot: _read_install_snapshot,
}
_READ_RESPONSE: dict[type[Any], Callable[[bytes, str, str], Response]] = {
    AppendEntries: _read_append_entries_response,
    RequestVote: _read_request_vote_response,
    RequestPreVote: _read_pre_vote_response,
    TimeoutNow: _read_timeout_now_response,
    InstallSnapshot: _read_install_snapshot_response,
}


def decode_request(kind: type[Request], data: bytes, to: str) -> Request:
    """Decode a request of that type, received by server ``to``.

    :raises DecodeError: for any bytes that are not such a request of protocol version 3.
    """
    if kind is not AppendEntries and kind is not InstallSnapshot:
        check_size(kind.__name__, data, _MAX_SMALL)
    return _READ_REQUEST[kind](data, to)


def decode_chunk(data: bytes) -> bytes:
    """Return the contents in any message of a snapshot's stream, also the first.

    :raises DecodeError: for any bytes that are not such a message.
    """
    chunk: bytes = _parse(_InstallSnapshot, data).data
    return chunk


def decode_response(kind: type[Request], data: bytes, sender: str, to: str) -> Response:
    """Decode the response to a request of type ``kind`` that ``to`` had sent to ``sender``.

    :raises DecodeError: for any bytes that are not such a response.
    """
    check_size(f"{kind.__name__}Response", data, _MAX_SMALL)
    return _READ_RESPONSE[kind](data, sender, to)
