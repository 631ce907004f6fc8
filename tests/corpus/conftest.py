"""Hostile inputs, and all decoders of input from the network or from a disk."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from braft_core import peer
from braft_core.client.response_decoding import error_of
from braft_core.cluster.bootstrap_record import decode_record
from braft_core.compat.go_braft.server_id import decode_server_id_or_none
from braft_core.http.json_body import parse_json
from braft_core.raft.messages import (
    AppendEntries,
    InstallSnapshot,
    RequestPreVote,
    RequestVote,
    TimeoutNow,
)
from braft_core.raft.types import decode_configuration
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.distribute import DistributeService
from braft_core.services.envelope import decode_command, decode_outcome, decode_session_stamp
from braft_core.services.kv import KVService
from braft_core.services.members import MembersService
from braft_core.services.sessions import SessionTable
from braft_core.services.snapshot_stream import read_sections, write_sections
from braft_core.storage.snapshot_file import verify_file
from braft_core.storage.sqlite_format import create_or_open
from braft_core.transport.call_codec import decode_peer
from braft_core.transport.raft_codec import decode_chunk, decode_request, decode_response

#: Takes bytes; returns or raises one of braft's errors.
Decoder = Callable[[bytes], Any]

_RAFT = (AppendEntries, RequestVote, RequestPreVote, TimeoutNow, InstallSnapshot)
_HUGE = 2**32 - 1
_HUGER = 2**63 - 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def corpus() -> dict[str, bytes]:
    """Return the hostile inputs, each under the name of its flaw."""
    items = {
        "nothing": b"",
        "one zero": b"\0",
        "one ff": b"\xff",
        "zeros": bytes(5000),
        "ffs": b"\xff" * 5000,
        "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "tls hello": bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 200,
        "sqlite": b"SQLite format 3\0" + b"\x10\0" + bytes(82),
        "pickle": b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "json, deep": b"[" * 100_000,
        "json, deep and closed": b"[" * 50_000 + b"]" * 50_000,
        "json, a number of many digits": b"9" * 5_000,
        "json, not a number": b'{"a": NaN}',
        "json, a lone surrogate": b'"\\ud800"',
        "not utf-8": b'{"\xc3\x28": 1}',
        "yaml bomb": b"a: &a [x,x]\nb: &b [*a,*a]\n",
    }
    for name, head in (
        ("str8", b"\xd9\xff"),
        ("str32", b"\xdb" + struct.pack(">I", _HUGE)),
        ("bin32", b"\xc6" + struct.pack(">I", _HUGE)),
        ("array32", b"\xdd" + struct.pack(">I", _HUGE)),
        ("map32", b"\xdf" + struct.pack(">I", _HUGE)),
        ("ext32", b"\xc9" + struct.pack(">I", _HUGE) + b"\x05"),
        ("timestamp", b"\xd7\xff" + b"\xff" * 8),
        ("nested arrays", b"\x91" * 50_000 + b"\xc0"),
        ("nested maps", b"\x81\xa1a" * 50_000 + b"\xc0"),
        ("a key twice", b"\x82\xa1a\x01\xa1a\x02"),
        ("an unhashable key", b"\x81\x90\x01"),
    ):
        items[f"msgpack, {name}"] = head
    for name, head in (
        ("string of 2**63", b"\x7b" + struct.pack(">Q", _HUGER)),
        ("bytes of 2**63", b"\x5b" + struct.pack(">Q", _HUGER)),
        ("array of 2**63", b"\x9b" + struct.pack(">Q", _HUGER)),
        ("map of 2**63", b"\xbb" + struct.pack(">Q", _HUGER)),
        ("a bignum of zeros", b"\xc2\x5a" + struct.pack(">I", 4000) + bytes(4000)),
        ("nested tags", b"\xc1" * 50_000 + b"\x00"),
        ("nested arrays", b"\x81" * 50_000 + b"\x00"),
        ("endless string", b"\x7f" + b"\x61a" * 100),
        ("a shared reference to itself", b"\xd8\x1c\x81\xd8\x1d\x00"),
        ("a date that is none", b"\xc0\x63x"),
    ):
        items[f"cbor, {name}"] = head
    for field in range(1, 13):
        key = bytes([field << 3 | 2])
        items[f"protobuf, field {field} too long"] = key + _varint(_HUGE) + b"x"
        items[f"protobuf, field {field} of 2**63"] = key + _varint(_HUGER)
        items[f"protobuf, field {field} a huge number"] = (
            bytes([field << 3]) + b"\xff" * 9 + b"\x01"
        )
    items["protobuf, a group that never ends"] = b"\x0b" * 5_000
    items["protobuf, nested messages"] = b"\x0a\x7f" * 2_000
    for name, number in (("32 bits", _HUGE), ("64 bits", _HUGER)):
        for order in "<>":
            width = "I" if number == _HUGE else "Q"
            items[f"a length of {name}, {order}"] = struct.pack(f"{order}{width}", number) + b"abc"
            for version in range(1, 5):
                head = bytes([version, 1]) + struct.pack(f"{order}{width}", number) * 3
                items[f"format {version}, numbers of {name}, {order}"] = head + b"abc"
    whole = b"".join(write_sections([("kv", [b"one", b"two"]), ("$members", [b"three"])]))
    for length in range(len(whole)):
        items[f"sections, cut at {length}"] = whole[:length]
        changed = bytearray(whole)
        changed[length] ^= 0xFF
        items[f"sections, byte {length} changed"] = bytes(changed)
    chance = random.Random(2026)
    for number in range(40):
        items[f"random {number}"] = chance.randbytes(chance.randrange(1, 2_000))
    return items


def decoders(folder: Path) -> dict[str, Decoder]:
    """Return all decoders by name. Those that read files write their input to ``folder`` first."""
    found: dict[str, Decoder] = {
        "configuration": decode_configuration,
        "bootstrap record": decode_record,
        "server id": lambda data: decode_server_id_or_none(data.decode("latin-1")),
        "place of a command": decode_session_stamp,
        "command": lambda data: decode_command({1: MsgpackSerializer()}, data),
        "outcome": decode_outcome,
        "session table": lambda data: SessionTable().restore(iter([data])),
        "sections of a snapshot": lambda data: [
            (name, list(section)) for name, section in read_sections([data])
        ],
        "kv": lambda data: KVService().restore(iter([data])),
        "distribute": lambda data: DistributeService().restore(iter([data])),
        "removed members": lambda data: MembersService().restore(iter([data])),
        "msgpack": MsgpackSerializer().loads,
        "body of a request": parse_json,
        "answer of a node": _answer,
        "chunk of a snapshot": decode_chunk,
        "file of a snapshot": lambda data: verify_file(_file(folder, "x.snap", data)),
        "database": lambda data: create_or_open(_file(folder, "raft.db", data))[0].close(),
    }
    for kind in _RAFT:
        found[f"request {kind.__name__}"] = _request(kind)
        found[f"response to {kind.__name__}"] = _response(kind)
    for name in peer.__all__:
        if name.endswith(("Request", "Reply")) and not name.startswith("Peer"):
            found[f"peer {name}"] = _peer(getattr(peer, name))
    found.update(_plugins())
    return found


def _plugins() -> Iterator[tuple[str, Decoder]]:
    try:
        from braft_serializers.cbor import CborSerializer
        from braft_serializers.json import JsonSerializer
    except ImportError:
        return
    yield "cbor", CborSerializer().loads
    yield "json", JsonSerializer().loads


def _request(kind: Any) -> Decoder:
    return lambda data: decode_request(kind, data, "me")


def _response(kind: Any) -> Decoder:
    return lambda data: decode_response(kind, data, "they", "me")


def _peer(kind: Any) -> Decoder:
    return lambda data: decode_peer(kind, data)


def _answer(data: bytes) -> Any:
    headers = {"Content-Type": "application/problem+json"}
    request = httpx.Request("GET", "http://127.0.0.1/")
    return error_of(httpx.Response(503, headers=headers, content=data, request=request), write=True)


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    for old in (path, folder / f"{name}-wal", folder / f"{name}-shm"):
        old.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def hostile() -> dict[str, bytes]:
    return corpus()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "decoder_name" in metafunc.fixturenames:
        # The database is written to the disk for each of thousands of inputs.
        slow = {"database"} if metafunc.function.__name__.startswith("test_a_spoilt") else set()
        names = [
            pytest.param(name, marks=pytest.mark.slow if name in slow else ())
            for name in sorted(decoders(Path()))
        ]
        metafunc.parametrize("decoder_name", names)


@pytest.fixture
def decoder(decoder_name: str, tmp_path: Path) -> Decoder:
    return decoders(tmp_path)[decoder_name]
