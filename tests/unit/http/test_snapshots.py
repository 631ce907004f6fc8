"""The routes of snapshots, and downloads as files."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import SnapshotBackup, SnapshotInfo
from braft_core.errors import NotReady, StorageCorrupt
from braft_core.http import HTTPServer
from braft_core.storage.snapshot_file import open_file
from braft_testing.processes import PATIENCE


def test_taken_listed_and_read_back(web: Any, node: Any, tmp_path: Path) -> None:
    assert web.simulate_get("/v1/snapshots").json == {"snapshots": []}
    taken = web.simulate_post("/v1/snapshots?timeout=3")
    assert (taken.status_code, taken.json["index"]) == (200, 10)
    assert node.calls[-1] == ("take_snapshot", 3.0)
    web.simulate_post("/v1/snapshots")
    rows = web.simulate_get("/v1/snapshots").json["snapshots"]
    assert [row["id"] for row in rows] == ["snap-2", "snap-1"]

    answer = web.simulate_get("/v1/snapshots/snap-1")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert 'filename="snap-1.snap"' in answer.headers["content-disposition"]
    named = {k: v for k, v in answer.headers.items() if k.startswith("braft-")}
    assert named == {
        "braft-snapshot-index": "10",
        "braft-snapshot-term": "3",
        "braft-snapshot-size": "600000",
        "braft-cluster-name": "braft",
        "braft-cluster-id": "cluster-1",
    }
    path = tmp_path / "snap-1.snap"
    path.write_bytes(answer.content)
    meta, contents = open_file(path)
    # The reader computes the checksum; this fake node has none.
    assert meta.checksum != 0
    assert meta._replace(checksum=0) == node.snapshot_files["snap-1"][0]
    assert b"".join(contents) == b"\x01" * 600_000


def test_unknown_and_damaged_snapshots_answer_differently(
    web: Any, node: Any, monkeypatch: Any
) -> None:
    web.simulate_post("/v1/snapshots")
    missing = web.simulate_get("/v1/snapshots/snap-9")
    assert (missing.status_code, missing.json["code"]) == (404, "not_found")
    assert "snap-9" in missing.json["detail"]

    def fails(snapshot_id: str) -> Any:
        raise StorageCorrupt("snap-1 is damaged")

    monkeypatch.setattr(node, "open_snapshot", fails)
    damaged = web.simulate_get("/v1/snapshots/snap-1")
    assert (damaged.status_code, damaged.json["code"]) == (500, "storage_corrupt")


def test_nothing_to_take_a_snapshot_of(web: Any, node: Any) -> None:
    node.fails = NotReady("no entry was applied yet")
    assert web.simulate_post("/v1/snapshots").status_code == 503


def test_a_token_guards_them(guarded: Any, make_client: Any) -> None:
    web = make_client(guarded)
    assert web.simulate_get("/v1/snapshots").status_code == 401
    assert web.simulate_post("/v1/snapshots").status_code == 401
    assert web.simulate_get("/v1/snapshots/snap-1").status_code == 401
    assert guarded.calls == []


def test_an_answer_that_breaks_off_cannot_be_taken_for_a_whole_one(
    node: Any, server: HTTPServer, caplog: Any
) -> None:
    def breaks() -> Iterator[bytes]:
        yield bytes(300_000)
        raise StorageCorrupt("damaged in the 262144 bytes from byte 300000 on")

    node.take_snapshot()
    meta, _ = node.snapshot_files["snap-1"]
    node.snapshot_files["snap-1"] = (meta, breaks())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=40)
    try:
        connection.request("GET", "/v1/snapshots/snap-1")
        answer = connection.getresponse()
        assert answer.status == 200
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    finally:
        connection.close()
    assert "download of snapshot snap-1 failed: damaged in" in caplog.text


def test_a_download_that_is_broken_off_leaves_nothing(server: HTTPServer, node: Any) -> None:
    """With Waitress its task, its open file and its place among the downloads stayed."""
    closed = threading.Event()

    def contents() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(256 << 10)
        finally:
            closed.set()

    info = SnapshotInfo("snap-1", 10, 3, 0, ("server-1",))
    node.open_snapshot = lambda snapshot_id: SnapshotBackup(info, "braft", "c", contents())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/v1/snapshots/snap-1")
    assert connection.getresponse().read(1 << 20)
    assert not closed.is_set()
    connection.close()
    assert closed.wait(PATIENCE)
