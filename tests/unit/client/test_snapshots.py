"""Snapshots through the client: a saved file is complete, or does not exist."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from braft_core import errors
from braft_core.client import SavedSnapshot, SnapshotInfo
from braft_core.raft.types import Configuration, Server, SnapshotMeta
from braft_core.storage.snapshot_file import encode_file, verify_file

BINARY = "application/octet-stream"
CONFIGURATION = Configuration((Server("n1", "127.0.0.1:1"),))
FILE = b"".join(encode_file(SnapshotMeta("x", 12, 3, CONFIGURATION, 4), [bytes(range(200)) * 4000]))


def test_listing_and_taking_snapshots(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    client = connect(peer.url, timeout=40)
    older, newer = (SnapshotInfo(i, n, 2, 100, ("n1",)) for i, n in (("a", 7), ("b", 9)))
    peer.gives({"snapshots": [asdict(newer), asdict(older)]})
    assert client.snapshots() == [newer, older]
    peer.gives(asdict(newer))
    assert client.take_snapshot() == newer
    assert [seen[:2] for seen in peer.seen] == [
        ("GET", "/v1/snapshots"),
        ("POST", "/v1/snapshots?timeout=40"),
    ]


@pytest.mark.parametrize(
    "wrong", [{"id": 7}, {"index": "7"}, {"term": True}, {"size": None}, {"members": [7]}]
)
def test_a_snapshot_of_another_type_is_not_the_answer_of_a_node(
    make_peer: Any, connect: Any, wrong: dict[str, Any]
) -> None:
    peer = make_peer()
    peer.gives({"snapshots": [asdict(SnapshotInfo("a", 7, 2, 100, ("n1",))) | wrong]})
    with pytest.raises(errors.BraftError, match="not as a braft node does"):
        connect(peer.url).snapshots()


def test_taking_one_without_an_answer_is_not_repeated(make_peer: Any, connect: Any) -> None:
    first, second = make_peer(), make_peer()
    first.answer = None
    with pytest.raises(errors.OutcomeUnknown):
        connect(first.url, second.url).take_snapshot()
    assert second.seen == []


def test_a_download_is_saved_from_the_node_that_has_it(
    make_peer: Any, connect: Any, dead_url: str, tmp_path: Path
) -> None:
    without, holder = make_peer(), make_peer()
    without.answer = (404, "application/problem+json", b'{"code": "not_found", "detail": "no x"}')
    holder.answer = (200, BINARY, FILE)
    holder.headers = {"Braft-Cluster-Name": "prod", "Braft-Cluster-ID": "c1"}
    path = tmp_path / "backup.snap"
    path.write_bytes(b"yesterday's")
    seen: list[int] = []
    client = connect(dead_url, without.url, holder.url)
    assert client.download_snapshot("x", path, seen.append, overwrite=True) == SavedSnapshot(
        SnapshotInfo(id="x", index=12, term=3, size=800_000, members=("n1",)),
        file_size=len(FILE),
        cluster_name="prod",
        cluster_id="c1",
    )
    assert path.read_bytes() == FILE
    assert verify_file(path).index == 12
    assert seen == sorted(seen)
    assert seen[-1] == len(FILE)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (FILE[:-1], errors.StorageCorrupt),
        (FILE[:300_000] + b"!" + FILE[300_001:], errors.StorageCorrupt),
        (b"<html>", errors.StorageCorrupt),
    ],
)
def test_what_is_damaged_on_the_way_leaves_nothing_behind(
    make_peer: Any, connect: Any, tmp_path: Path, sent: bytes, error: Any
) -> None:
    peer = make_peer()
    peer.answer = (200, BINARY, sent)
    path = tmp_path / "backup.snap"
    path.write_bytes(b"yesterday's")
    with pytest.raises(error):
        connect(peer.url).download_snapshot("x", path, overwrite=True)
    assert path.read_bytes() == b"yesterday's"
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_off_leaves_nothing_behind(
    make_peer: Any, connect: Any, tmp_path: Path
) -> None:
    peer = make_peer()
    peer.answer = (200, BINARY, FILE)
    peer.headers = {"Transfer-Encoding": "chunked"}  # no further chunk follows
    with pytest.raises(errors.Unreachable):
        connect(peer.url).download_snapshot("x", tmp_path / "backup.snap")
    assert list(tmp_path.iterdir()) == []


def test_nobody_has_it_or_nobody_answers(
    make_peer: Any, connect: Any, dead_url: str, tmp_path: Path
) -> None:
    peer = make_peer()
    peer.answer = (404, "application/problem+json", b'{"code": "not_found", "detail": "no x"}')
    with pytest.raises(errors.BraftError, match="no x"):
        connect(peer.url, dead_url).download_snapshot("x", tmp_path / "b.snap")
    with pytest.raises(errors.Unreachable, match=dead_url):
        connect(dead_url).download_snapshot("x", tmp_path / "b.snap")


def test_a_file_that_cannot_be_written_is_named(
    make_peer: Any, connect: Any, tmp_path: Path
) -> None:
    peer = make_peer()
    peer.answer = (200, BINARY, FILE)
    with pytest.raises(errors.StorageError, match="nowhere"):
        connect(peer.url).download_snapshot("x", tmp_path / "nowhere" / "b.snap")


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_of_that_name_stays(
    make_peer: Any,
    connect: Any,
    tmp_path: Path,
    hard_links: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This includes a file that appears during the download, and a dangling link."""
    if not hard_links:

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("os.link", refuse)
    peer = make_peer()
    peer.answer = (200, BINARY, FILE)
    path, victim = tmp_path / "b.snap", tmp_path / "victim"
    path.symlink_to(victim)
    with pytest.raises(errors.StorageError, match="exists"):
        connect(peer.url).download_snapshot("x", path)
    assert peer.seen == []
    path.unlink()

    with pytest.raises(errors.StorageError, match="exists"):
        connect(peer.url).download_snapshot("x", path, lambda size: path.write_text("mine"))
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()

    saved = connect(peer.url).download_snapshot("x", path)
    assert (saved.cluster_name, saved.cluster_id) == (None, None)
    assert path.read_bytes() == FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_overwriting_follows_no_link(make_peer: Any, connect: Any, tmp_path: Path) -> None:
    peer = make_peer()
    peer.answer = (200, BINARY, FILE)
    path, victim = tmp_path / "b.snap", tmp_path / "victim"
    victim.write_text("mine")
    path.symlink_to(victim)
    connect(peer.url).download_snapshot("x", path, overwrite=True)
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_bytes() == FILE
