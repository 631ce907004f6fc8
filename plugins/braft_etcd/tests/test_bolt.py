"""Databases of etcd: what was written is found by a reader of the format, and by etcd itself."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from braft_core import Node
from braft_etcd.bolt import PAGE_SIZE, write_database
from braft_etcd.wire import decode
from braft_etcd.wire.messages import message

_BRANCH, _LEAF, _META, _FREE_LIST = 1, 2, 4, 16


def _page(data: bytes, number: int) -> tuple[int, int, bytes]:
    """Return kind, count and all bytes behind the head of a page."""
    at = number * PAGE_SIZE
    own, kind, count, overflow = struct.unpack_from("<QHHI", data, at)
    assert own == number
    return kind, count, data[at + 16 : at + (1 + overflow) * PAGE_SIZE]


def _items(data: bytes, number: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield flags, key and value of a tree, as a program that looks a key up would find them."""
    kind, count, body = _page(data, number)
    if kind == _LEAF:
        for index in range(count):
            at = 16 * index
            flags, offset, key_size, size = struct.unpack_from("<IIII", body, at)
            start = at + offset
            end = start + key_size
            yield flags, body[start:end], body[end : end + size]
        return
    assert (kind, count > 1) == (_BRANCH, True)
    for index in range(count):
        at = 16 * index
        offset, key_size, child = struct.unpack_from("<IIQ", body, at)
        first = body[at + offset : at + offset + key_size]
        below = list(_items(data, child))
        assert below[0][1] == first
        yield from below


def read_database(data: bytes) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Return the items of each bucket."""
    roots = set()
    for number in (0, 1):
        kind, _, body = _page(data, number)
        magic, version, size, flags, root, _, free, end, transaction = struct.unpack_from(
            "<IIIIQQQQQ", body
        )
        assert (kind, magic, version, size, flags) == (_META, 0xED0CDAED, 2, PAGE_SIZE, 0)
        assert (transaction, end * PAGE_SIZE) == (number, len(data))
        checksum = 0xCBF29CE484222325
        for byte in body[:56]:
            checksum = (checksum ^ byte) * 0x100000001B3 % (1 << 64)
        assert struct.unpack_from("<Q", body, 56) == (checksum,)
        assert _page(data, free)[:2] == (_FREE_LIST, 0)
        roots.add(root)
    (root,) = roots
    found = {}
    for flags, name, value in _items(data, root):
        assert flags == 1
        inner = list(_items(data, struct.unpack("<QQ", value)[0]))
        assert {flags for flags, _, _ in inner} <= {0}
        found[name] = [(key, value) for _, key, value in inner]
    return found


_items_of_a_bucket = st.dictionaries(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"", b"x", b"y" * 500, b"z" * 3000, b"w" * 9000]),
    max_size=20,
)


@given(st.dictionaries(st.binary(min_size=1, max_size=8), _items_of_a_bucket, max_size=3))
def test_what_was_written_is_found(buckets: dict[bytes, dict[bytes, bytes]]) -> None:
    wanted = {name: sorted(items.items()) for name, items in sorted(buckets.items())}
    file = io.BytesIO()
    size = write_database(file, wanted.items())
    assert len(file.getvalue()) == size
    assert read_database(file.getvalue()) == wanted


def test_a_tree_of_several_levels() -> None:
    items = [(b"%08d" % number, b"v" * 20) for number in range(20_000)]
    file = io.BytesIO()
    write_database(file, [(b"key", items)])
    assert read_database(file.getvalue()) == {b"key": items}


def test_a_snapshot_has_the_history_and_the_leases(
    serve: Callable[..., tuple[Node, str]], client: Any
) -> None:
    node, address = serve()
    own = type(client)(address)
    lease = own.call("Lease/LeaseGrant", TTL=60)["ID"]
    for value in (b"1", b"2", b"3"):
        own.call("KV/Put", key=b"a", value=value)
    own.call("KV/Put", key=b"b", lease=lease)
    own.call("KV/Put", key=b"gone")
    own.call("KV/DeleteRange", key=b"gone")
    newest = node.store.put("c", b"5" * 100_000)
    own.call("KV/Compact", request="CompactionRequest", response="CompactionResponse", revision=4)
    parts = list(own.stream("Maintenance/Snapshot", iter([{}])))
    data = b"".join(part["blob"] for part in parts)
    assert data[-32:] == hashlib.sha256(data[:-32]).digest()
    left = len(data) - 32
    for part in parts[:-1]:
        left -= len(part["blob"])
        assert (part["remaining_bytes"], part["version"]) == (left, "3.6.0")
    found = read_database(data[:-32])
    rows = [(key, decode(message("KeyValue"), value)) for key, value in found[b"key"]]
    shown = [
        (*struct.unpack(">QcQ", key[:17]), key[17:], kv["key"], kv["value"][:1]) for key, kv in rows
    ]
    assert shown == [
        (4, b"_", 0, b"", b"a", b"3"),
        (5, b"_", 0, b"", b"b", b""),
        (6, b"_", 0, b"", b"gone", b""),
        (7, b"_", 0, b"t", b"gone", b""),
        (newest, b"_", 0, b"", b"c", b"5"),
    ]
    assert (rows[0][1]["create_revision"], rows[0][1]["version"]) == (2, 3)
    assert rows[1][1]["lease"] == lease
    assert decode(message("StoredLease"), found[b"lease"][0][1]) == {"ID": lease, "TTL": 60}
    assert dict(found[b"meta"])[b"finishedCompactRev"] == struct.pack(">QcQ", 4, b"_", 0)
    own.close()
