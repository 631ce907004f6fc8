"""Decode valid encodings with small mutations: the result is a value or one of braft's errors.

Most invented inputs are rejected at their first byte. Mutated ones get far into a decoder before
the error, or happen to be valid.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from braft_core import peer
from braft_core.abc import CommandContext
from braft_core.cluster.bootstrap_record import BootstrapRecord, encode_record
from braft_core.compat.go_braft.server_id import encode_server_id, new_raft_id
from braft_core.errors import BraftError, Conflict
from braft_core.http.problems import BadInput
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
from braft_core.raft.types import (
    Configuration,
    Entry,
    EntryType,
    Server,
    SnapshotMeta,
    Suffrage,
    encode_configuration,
)
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.distribute import DistributeService
from braft_core.services.envelope import encode_command, encode_outcome, with_session
from braft_core.services.kv import KVService
from braft_core.services.members import MembersService
from braft_core.services.sessions import SessionTable
from braft_core.services.snapshot_stream import write_sections
from braft_core.services.store import StoreService
from braft_core.storage import sqlite_log
from braft_core.storage.snapshot_file import encode_file
from braft_core.storage.sqlite_format import create_or_open
from braft_core.transport.call_codec import encode_peer
from braft_core.transport.raft_codec import (
    encode_chunk,
    encode_entries,
    encode_header,
    encode_request,
    encode_response,
)

#: Most bytes that a decoder may allocate, and most seconds of processor time, for one small
#: input. Wall time would depend on how busy the machine and its disks are.
MOST_MEMORY = 32 << 20
MOST_SECONDS = 2.0
#: Number of positions that are mutated; in a longer input they are spread evenly.
POSITIONS = 300

_MEMBERS = Configuration((Server("a", "h:1"), Server("b", "h:2", Suffrage.NONVOTER)))
_META = SnapshotMeta("5-1", 5, 1, _MEMBERS, 3, 6)
_VALUE = {"a": [1, -2, 3.5, None, True], "b": b"\0\xff", "ü": {"deep": [[1 << 40]]}}
_HEADER = encode_header("a", "h:1")
_ENTRIES = (
    Entry(1, 2, EntryType.COMMAND, b"\x01\x01\x90", b"x", 1_700_000_000_000_000_001),
    Entry(2, 2, EntryType.CONFIGURATION, encode_configuration(_MEMBERS)),
)
_REQUESTS: tuple[Request, ...] = (
    AppendEntries("a", "b", 2, 0, 0, _ENTRIES, 2),
    RequestVote("a", "b", 2, 4, 1, leadership_transfer=True),
    RequestPreVote("a", "b", 2, 4, 1),
    TimeoutNow("a", "b"),
    InstallSnapshot("a", "b", 2, _META),
)
_RESPONSES: dict[str, Response] = {
    "AppendEntries": AppendEntriesResponse("b", "a", 2, True, 6, lease=True),
    "RequestVote": RequestVoteResponse("b", "a", 2, True),
    "RequestPreVote": RequestPreVoteResponse("b", "a", 2, True),
    "TimeoutNow": TimeoutNowResponse("b", "a"),
    "InstallSnapshot": InstallSnapshotResponse("b", "a", 2, True),
}


def encodings(folder: Path) -> dict[str, bytes]:
    """Return a valid encoding for each decoder, by the decoder's name."""
    serializer = MsgpackSerializer()
    command = encode_command(serializer, "kv", "put", ["m", "k", _VALUE])
    refusal = {"title": "it changed", "code": "conflict", "data": {"revision": 3}}
    found = {
        "configuration": encode_configuration(_MEMBERS),
        "bootstrap record": encode_record(
            BootstrapRecord(
                peer.BootstrapProposal("n", "c", encode_configuration(_MEMBERS), "a"), ("x",)
            )
        ),
        "server id": encode_server_id(new_raft_id("10.0.0.1", (1, 2, 3), "host")).encode(),
        "place of a command": with_session(command, (bytes(range(16)), 3, 1)),
        "command": command,
        "outcome": encode_outcome(Conflict("it changed", revision=3)),
        "session table": b"".join(_sessions().snapshot()),
        "sections of a snapshot": b"".join(write_sections([("kv", [b"one", b"two"])])),
        "kv": b"".join(_restored(KVService(), [["m", "k", _VALUE, 3], ["m", "l", 1, 4]])),
        "distribute": b"".join(_distribute().snapshot()),
        "store": _store(),
        "check of a store": _store(),
        "removed members": b"".join(_members().snapshot()),
        "msgpack": serializer.dumps(_VALUE),
        "body of a request": json.dumps({"a": [1, -2.5, None, "ü"], "b": {"c": True}}).encode(),
        "answer of a node": json.dumps(refusal).encode(),
        "chunk of a snapshot": encode_chunk(b"a chunk"),
        "file of a snapshot": b"".join(encode_file(_META, [b"abc", b"def"])),
        "database": _database(folder),
    }
    for request in _REQUESTS:
        entries = encode_entries(_ENTRIES) if isinstance(request, AppendEntries) else b""
        name = type(request).__name__
        found[f"request {name}"] = encode_request(request, _HEADER, b"h:1", entries)
        found[f"response to {name}"] = encode_response(_RESPONSES[name], _HEADER)
    for kind in {*peer.REPLIES.keys(), *peer.REPLIES.values()}:
        found[f"peer {kind.__name__}"] = encode_peer(_filled(kind))
    found.update(_plugins())
    return found


def _sessions() -> SessionTable:
    table = SessionTable()
    table.open(bytes(16), 1_000)
    table.begin(bytes(16), 1, 1, 2_000)
    table.finish(bytes(16), 1, {"a": 1})
    return table


def _restored(service: KVService, rows: list[Any]) -> Iterator[bytes]:
    for row in rows:
        service.restore(iter([b"".join(MsgpackSerializer().dumps(r) for r in rows)]))
        assert service.get(row[0], row[1]) is not None
    return service.snapshot()


def _distribute() -> DistributeService:
    service = DistributeService()
    service.set_nodes(["a", "b"])
    service.distribute({"x": 1, "y": [2]})
    return service


def _store() -> bytes:
    service, context = StoreService(), CommandContext(1, 1, 1)
    service.apply("grant", [7, 60], context)
    service.apply("put", [b"k", b"v", 7], context)
    service.apply("put", [b"k", b"w", 7], context)
    service.apply("put", [b"l", b""], context)
    service.apply("delete", [b"l"], context)
    service.apply("compact", [3], context)
    service.apply("alarm", [1, 5, 2], context)
    service.apply("announce", ["id", "name", ["http://host:1"]], context)
    return b"".join(service.snapshot())


def _members() -> MembersService:
    service = MembersService()
    service.load([[5, "a", "h:1", 3, "silent"], [9, "b", "h:2", 3, "silent"]])
    return service


def _database(folder: Path) -> bytes:
    path = folder / "valid.db"
    database = create_or_open(path)[0]
    with database:
        sqlite_log.append(database, sqlite_log.runs(_ENTRIES))
    database.close()
    return path.read_bytes()


def _filled(kind: type[Any]) -> Any:
    samples = {"str": "text", "bytes": b"\x01\xff", "int": 300, "bool": True}
    return kind(
        *(
            "h:1"
            if field.name.endswith("address")
            else samples.get(str(field.type), (b"one", b"two"))
            for field in fields(kind)
        )
    )


def _plugins() -> Iterator[tuple[str, bytes]]:
    try:
        from braft_serializers.cbor import CborSerializer
        from braft_serializers.json import JsonSerializer
    except ImportError:
        return
    yield "cbor", CborSerializer().dumps(_VALUE)
    yield "json", JsonSerializer().dumps(_VALUE)


#: Encoded lengths, each far beyond the actual input.
_LENGTHS = {
    "32 bits": b"\xff\xff\xff\xff",
    "31 bits": b"\x7f\xff\xff\xff",
    "63 bits": b"\x7f" + b"\xff" * 7,
    "63 bits, small end first": b"\xff" * 7 + b"\x7f",
    "a varint of 32 bits": b"\xff\xff\xff\xff\x0f",
    "a varint of 63 bits": b"\xff" * 8 + b"\x7f",
    "msgpack bin32": b"\xc6\xff\xff\xff\xff",
    "msgpack array32": b"\xdd\xff\xff\xff\xff",
    "msgpack map32": b"\xdf\xff\xff\xff\xff",
}


def spoilt(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each mutation of an input, with its description."""
    step = max(1, len(whole) // POSITIONS)
    for at in range(0, len(whole), step):
        yield f"cut at {at}", whole[:at]
        yield f"byte {at} inverted", _replaced(whole, at, bytes([whole[at] ^ 0xFF]))
        bit = 1 << at // step % 8
        yield f"bit {bit} at {at} changed", _replaced(whole, at, bytes([whole[at] ^ bit]))
        yield f"byte {at} twice", whole[: at + 1] + whole[at:]
        yield f"byte {at} missing", whole[:at] + whole[at + 1 :]
    for at in range(0, len(whole), 3 * step):
        for name, length in _LENGTHS.items():
            yield f"{name} over {at}", _replaced(whole, at, length)
            yield f"{name} for byte {at}", whole[:at] + length + whole[at + 1 :]
    for name, tail in (("a zero", b"\0"), ("an ff", b"\xff"), ("zeros", bytes(64)), ("it", whole)):
        yield f"{name} behind it", whole + tail
        yield f"{name} before it", tail + whole
    half = len(whole) // 2
    yield "its first half twice", whole[:half] + whole
    yield "its second half twice", whole + whole[half:]


def _replaced(whole: bytes, at: int, new: bytes) -> bytes:
    return whole[:at] + new + whole[at + len(new) :]


def test_every_decoder_has_a_valid_encoding(
    decoder: Callable[[bytes], Any], decoder_name: str, tmp_path: Path
) -> None:
    """The decoder accepts it, so the inputs mutated below were valid."""
    (tmp_path / "made").mkdir()
    decoder(encodings(tmp_path / "made")[decoder_name])


@pytest.mark.timeout(400)  # the database decoder writes its input to the disk thousands of times
def test_a_spoilt_encoding_ends_in_a_value_or_in_braft_s_errors(
    decoder: Callable[[bytes], Any], decoder_name: str, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    whole = encodings(tmp_path / "made")[decoder_name]
    refused = tried = 0
    tracemalloc.start()
    try:
        for what, data in spoilt(whole):
            tried += 1
            began = time.thread_time()
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            try:
                # Some return their error.
                refused += isinstance(decoder(data), BraftError)
            except (BraftError, BadInput):
                refused += 1
            except BaseException as error:
                error.add_note(f"spoilt: {what}")
                raise
            peak = tracemalloc.get_traced_memory()[1] - held
            assert peak < MOST_MEMORY, f"{what}: {peak:,} bytes"
            assert time.thread_time() - began < MOST_SECONDS, what
    finally:
        tracemalloc.stop()
    if len(whole) > 1 and decoder_name != "server id":  # this one returns None for invalid input
        assert refused, f"none of {tried} was refused"


@pytest.mark.parametrize("whole", [b"abc", bytes(1000)])
def test_spoiling_changes_what_it_spoils(whole: bytes) -> None:
    inputs = dict(spoilt(whole))
    assert len(inputs) > 5 * min(len(whole), POSITIONS)
    assert whole not in (data for what, data in inputs.items() if "bit" in what or "cut" in what)
