"""``braft store import``: what an etcd had is what the cluster has."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from braft_core import Node
from braft_core.cli.app import app
from braft_core.errors import ConfigError, DecodeError, InvalidRequest, LeaseExists, StorageError
from braft_core.store_import import StoreContents, make_cluster
from braft_etcd.bolt import write_database
from braft_etcd.database import read_database
from braft_etcd.wire import encode
from braft_etcd.wire.messages import message
from braft_etcd.writing import write_into

Row = tuple[bytes, bytes]


def at(main: int, sub: int = 0, mark: bytes = b"") -> bytes:
    return struct.pack(">QcQ", main, b"_", sub) + mark


def put(
    mod: int, key: bytes, value: bytes = b"v", *, create: int = 0, version: int = 1, **more: Any
) -> Row:
    """Return the record of a put; ``create`` is ``mod`` by default."""
    fields = {
        "key": key,
        "value": value,
        "create_revision": create or mod,
        "mod_revision": mod,
        "version": version,
        "lease": more.get("lease", 0),
    }
    return at(mod, more.get("sub", 0)), encode(message("KeyValue"), fields)


def gone(mod: int, key: bytes) -> Row:
    return at(mod, 0, b"t"), encode(message("KeyValue"), {"key": key})


def lease(number: int, ttl: int) -> Row:
    return struct.pack(">Q", number), encode(message("StoredLease"), {"ID": number, "TTL": ttl})


def database(folder: Path, *rows: Row, **buckets: list[Row]) -> Path:
    """Write a database of etcd."""
    all_buckets = {"auth": [], "key": list(rows), "lease": [], "meta": []} | buckets
    path = folder / "etcd.db"
    file = io.BytesIO()
    write_database(file, [(name.encode(), all_buckets[name]) for name in sorted(all_buckets)])
    path.write_bytes(file.getvalue())
    return path


def test_a_history_is_taken_with_its_revisions(tmp_path: Path) -> None:
    rows = [
        put(3, b"b", create=2, version=2),
        gone(4, b"dead"),
        put(5, b"a", b"old"),
        put(7, b"a", b"new", create=5, version=2, lease=9),
        put(7, b"c", sub=1),
        gone(8, b"c"),
    ]
    meta = [(b"consistent_index", bytes(8)), (b"finishedCompactRev", at(4))]
    found = read_database(database(tmp_path, *rows, lease=[lease(9, 60)], meta=meta))
    assert found.contents == StoreContents(
        8,
        4,
        [(9, 60)],
        [
            (b"a", b"old", 5, 5, 0, 1, 0),
            (b"a", b"new", 5, 7, 0, 2, 9),
            (b"b", b"v", 2, 3, 0, 2, 0),
            (b"c", b"v", 7, 7, 1, 1, 0),
            (b"c", None, 0, 8, 0, 0, 0),
            (b"dead", None, 0, 4, 0, 0, 0),
        ],
    )
    assert (found.keys, found.notes) == (2, [])


def test_a_compaction_that_etcd_had_not_finished_is(tmp_path: Path) -> None:
    rows = [put(2, b"a"), gone(3, b"b"), put(4, b"a", create=2, version=2), put(5, b"z")]
    meta = [(b"finishedCompactRev", at(1)), (b"scheduledCompactRev", at(4))]
    found = read_database(database(tmp_path, *rows, meta=meta)).contents
    assert (found.compacted, [(record[0], record[3]) for record in found.records]) == (
        4,
        [(b"a", 4), (b"z", 5)],
    )


def test_an_empty_etcd_is_an_empty_store(tmp_path: Path) -> None:
    assert read_database(database(tmp_path)).contents == StoreContents(1, 0, [], [])


def test_what_is_not_taken_is_said(tmp_path: Path) -> None:
    path = database(tmp_path, put(2, b"a", lease=5), auth=[(b"authEnabled", b"\1")])
    found = read_database(path)
    assert found.contents.records == [(b"a", b"v", 2, 2, 0, 1, 0)]
    assert found.notes == [
        "1 keys have a lease that does not exist; they have none now",
        "users and roles of etcd are not taken: braft's tokens decide who may call",
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(b"short", b"")], "b'short' is not a revision"),
        ([(at(2, 0, b"x"), b"")], "is not a revision"),
        ([(at(2), b"\xff")], "a record cannot be read"),
        ([(at(2), b"")], "the record of revision 2 has no key"),
        ([(at(3), put(2, b"a")[1])], "in revision 3 says: created in 2, changed in 2, version 1"),
        ([put(2, b"a", create=3)], "says: created in 3, changed in 2"),
        ([put(2, b"a", version=2)], "version 2"),
        ([put(2, b"a", lease=-1)], "lease -1"),
        ([put(2, b"a", sub=0), put(2, b"a", sub=1)], "two records of revision 2"),
        ([put(3, b"a", create=2, version=2)], "begins with version 2, and none is compacted"),
        ([gone(2, b"a")], "begins with version 0"),
        ([put(2, b"a"), put(3, b"a", create=2, version=5)], "has version 5 in revision 3, after"),
        ([put(2, b"a"), put(3, b"a")], "has version 1 in revision 3, after version 1"),
        ([put(2, b"a"), gone(3, b"a"), gone(4, b"a")], "has version 0 in revision 4"),
    ],
)
def test_records_that_no_etcd_has_are_named(tmp_path: Path, rows: list[Row], said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        read_database(database(tmp_path, *rows))


def test_a_file_that_is_not_what_was_saved(tmp_path: Path) -> None:
    path = database(tmp_path, put(2, b"a"))
    data = path.read_bytes()
    saved = data + hashlib.sha256(data).digest()
    path.write_bytes(saved)
    assert read_database(path).keys == 1
    for wrong, said in (
        (saved[:-1], "it is cut off"),
        (saved[:-1] + b"\0", r"checksum \(SHA-256\) is wrong"),
        (bytes(512), "it is too short|does not describe one"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(DecodeError, match=said) as caught:
            read_database(path)
        assert str(path) in caught.value.message
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_database(tmp_path / "missing")
    for name, rows, said in (
        ("meta", [(b"finishedCompactRev", b"x")], "b'x' is not a revision"),
        ("lease", [(bytes(8), b"")], "lease 0 of 0 s"),
        ("lease", [(struct.pack(">Q", 4), lease(5, 5)[1])], "lease 5 of 5 s"),
    ):
        with pytest.raises(DecodeError, match=said):
            read_database(database(tmp_path, **{name: rows}))
    file = io.BytesIO()
    write_database(file, [(b"boltdb", [])])
    path.write_bytes(file.getvalue())
    with pytest.raises(DecodeError, match="not the buckets 'key' and 'meta' of etcd, but boltdb"):
        read_database(path)


def test_a_directory_is_made_only_of_what_the_store_can_have(tmp_path: Path) -> None:
    target = tmp_path / "data"
    options = {"data_dir": str(target), "ip": "127.0.0.1"}
    wrong = StoreContents(2, 0, [], [(b"a", b"v", 2, 2, 0, 1, 77)])
    with pytest.raises(DecodeError, match="has a lease that does not exist"):
        make_cluster(wrong, options, "here")
    target.mkdir()
    (target / "other").touch()
    with pytest.raises(StorageError, match="is not empty: it holds 'other'"):
        make_cluster(StoreContents(1, 0, [], []), options, "here")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def _all(node: Node) -> Any:
    """Return all that the store of a node shows, but for the time that leases have left."""
    ids = node.query("store", "leases")
    status = node.query("store", "status")
    return (
        node.query("store", "hash"),
        node.query("store", "events", status["compacted"], 1 << 30, True),
        {each: node.query("store", "lease", each)[::2] for each in ids},
        (status["revision"], status["compacted"], status["size"]),
    )


def test_a_snapshot_becomes_a_cluster_with_the_same_store(
    serve: Callable[..., tuple[Node, str]], client: Any, tmp_path: Path
) -> None:
    node, address = serve()
    own = type(client)(address)
    number = own.call("Lease/LeaseGrant", TTL=600)["ID"]
    for value in (b"1", b"2", b"3"):
        own.call("KV/Put", key=b"a", value=value)
    own.call("KV/Put", key=b"leased", lease=number)
    own.call("KV/Put", key=b"gone")
    own.call("KV/DeleteRange", key=b"gone")
    node.store.put("large", b"5" * 100_000)
    own.call("KV/Compact", request="CompactionRequest", response="CompactionResponse", revision=3)
    file = tmp_path / "saved.db"
    parts = own.stream("Maintenance/Snapshot", iter([{}]))
    file.write_bytes(b"".join(part["blob"] for part in parts))
    own.close()

    target = tmp_path / "data"
    words = ["store", "import", str(file), "--data-dir", str(target), "--ip", "127.0.0.1"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    wanted = {"keys": 3, "records": 6, "revision": 8, "compacted": 3, "leases": 1, "notes": []}
    assert {name: made[name] for name in wanted} == wanted
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, "is not empty" in again.output) == (1, True)

    options: dict[str, Any] = {"ip": "127.0.0.1", "rport": 0, "http": False, "discovery": "none"}
    with Node(data_dir=target, **options) as imported:
        imported.wait_ready()
        assert _all(imported) == _all(node)
        # It goes on from there, as the other does.
        assert imported.store.put("a", b"4") == node.store.put("a", b"4") == 9
        assert imported.store.get("a") == node.store.get("a")

    # Into a cluster that runs: values and leases, with new revisions.
    contents = read_database(file).contents
    other, _ = serve()
    revision = write_into(other.store, contents)
    assert revision == other.store.status().revision
    found = {entry.key: (entry.value, entry.lease) for entry in other.store.scan(prefix="")}
    assert found == {b"a": (b"3", 0), b"large": (b"5" * 100_000, 0), b"leased": (b"", number)}
    with pytest.raises(InvalidRequest, match="has 3 keys and 1 leases; accepted: an empty store"):
        write_into(other.store, contents)
    write_into(other.store, contents, merge=True)
    assert other.store.count(prefix="") == 3
    other.store.delete(prefix="")
    other.store.leases.revoke(number)
    other.store.leases.grant(600, id=number)
    with pytest.raises((InvalidRequest, LeaseExists)):
        write_into(other.store, contents)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data-dir", "x", "--merge"], "without --merge and --url"),
        (["--rport", "1"], "--rport is for a new cluster"),
        (["--data-dir", ":memory:"], "a directory that does not exist"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["store", "import", str(tmp_path / "x.db"), *words])
    assert (done.exit_code, said in done.output) == (2, True)
