"""``braft snapshot``: requests, output, exit codes, and files on the disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from braft_core.raft.types import Configuration, Server, SnapshotMeta
from braft_core.storage.snapshot_file import encode_file, verify_file

OLD = Configuration((Server("old-1", "10.0.0.1:15000"), Server("old-2", "10.0.0.2:15000")))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.snap"
    path.write_bytes(b"".join(encode_file(SnapshotMeta("x", 12, 3, OLD, 4), [b"state"])))
    return path


def test_take_and_list(braft: Any, braft_json: Any, url: str) -> None:
    at = ("--url", url)
    assert braft_json("snapshot", "list", *at) == {"snapshots": []}
    taken = braft("snapshot", "take", *at)
    assert taken.stdout == "snap-1  index 10, term 3, 600000 bytes\n"
    assert braft_json("snapshot", "take", *at)["id"] == "snap-2"
    lines = braft("snapshot", "list", *at).stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["ID", "INDEX", "TERM", "BYTES"],
        ["snap-2", "20", "3", "600000"],
        ["snap-1", "10", "3", "600000"],
    ]


def test_save_takes_a_snapshot_unless_an_id_is_given(
    braft: Any, braft_json: Any, node: Any, url: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.snap", tmp_path / "b.snap"
    saved = braft("snapshot", "save", str(first), "--url", url)
    assert saved.stdout == f"saved {first}: index 10, term 3, 600000 bytes\n"
    assert verify_file(first).index == 10
    node.calls.clear()
    answer = braft_json("snapshot", "save", str(second), "--id", "snap-1", "--url", url)
    assert (answer["file"], answer["clusterName"]) == (str(second), "braft")
    assert answer["bytes"] == second.stat().st_size
    assert node.calls == [("open_snapshot", "snap-1")]
    assert first.read_bytes() == second.read_bytes()


def test_save_replaces_a_file_only_by_force(
    braft: Any, node: Any, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.snap"
    path.write_text("yesterday's")
    refused = braft("snapshot", "save", str(path), "--url", url)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert node.calls == [], "no snapshot was taken for nothing"
    assert path.read_text() == "yesterday's"
    assert braft("snapshot", "save", str(path), "--force", "--url", url).exit_code == 0
    assert verify_file(path).index == 10
    assert path.stat().st_mode & 0o777 == 0o600


def test_save_fails_without_leaving_a_file(
    braft: Any, url: str, dead_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.snap"
    assert braft("snapshot", "save", str(path), "--url", dead_url).exit_code == 3
    unknown = braft("snapshot", "save", str(path), "--id", "snap-9", "--url", url)
    assert unknown.exit_code == 1
    assert "snap-9" in unknown.stderr
    assert list(tmp_path.glob("*.snap*")) == []


def test_restore_says_what_it_made_and_what_to_do(braft: Any, backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    words = ("snapshot", "restore", str(backup), "--data-dir", str(target), "--yes")
    done = braft(*words, "--ip", "127.0.0.1", "--rport", "16000")
    assert done.exit_code == 0, done.output
    assert f"verified {backup}: index 12, term 3, 5 bytes" in done.stdout
    assert "at 127.0.0.1:16000" in done.stdout
    assert f"braft run --data-dir {target} --rport 16000\n" in done.stdout
    assert "EMPTY data directories" in done.stdout
    assert (target / "raft.db").exists()


def test_restore_as_json(braft_json: Any, backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    words = ("snapshot", "restore", str(backup), "--data-dir", str(target), "--yes")
    made = braft_json(*words, "--ip", "127.0.0.1")
    assert (made["dataDir"], made["address"]) == (str(target), "127.0.0.1:15000")
    assert made["clusterID"]
    assert made["snapshot"] == {"index": 12, "term": 3, "size": 5, "members": ["old-1", "old-2"]}


def test_restore_never_touches_data(braft: Any, backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "raft.db").write_text("precious")
    done = braft("snapshot", "restore", str(backup), "--data-dir", str(target), "--yes", "--json")
    assert done.exit_code == 1
    assert "holds 'raft.db'" in json.loads(done.stdout)["error"]["message"]
    assert (target / "raft.db").read_text() == "precious"


def test_a_damaged_backup_makes_nothing(braft: Any, backup: Path, tmp_path: Path) -> None:
    data = bytearray(backup.read_bytes())
    data[data.index(b"state")] ^= 1
    backup.write_bytes(data)
    target = tmp_path / "data"
    done = braft("snapshot", "restore", str(backup), "--data-dir", str(target), "--yes")
    assert done.exit_code == 1
    assert "nightly.snap is damaged in the 5 bytes from byte" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_restore_asks_unless_yes_is_given(
    braft: Any, backup: Path, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    target = tmp_path / "data"
    done = braft("snapshot", "restore", str(backup), "--data-dir", str(target), *extra)
    assert done.exit_code == 2
    assert "--yes" in done.output
    assert not target.exists()


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_on_a_terminal_it_asks(
    braft: Any, backup: Path, tmp_path: Path, monkeypatch: Any, answer: str, code: int
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    target = tmp_path / "data"
    monkeypatch.setattr("braft_core.cli.snapshot.sys", FakeSys(Terminal()))
    words = ("snapshot", "restore", str(backup), "--data-dir", str(target), "--ip", "127.0.0.1")
    done = braft(*words, input=f"{answer}\n")
    assert done.exit_code == code, done.output
    assert "10.0.0.1:15000, 10.0.0.2:15000" in done.output
    assert target.exists() == (code == 0)


class FakeSys:
    """``sys`` with a terminal as standard input and the real standard error."""

    def __init__(self, stdin: Any) -> None:
        self.stdin = stdin

    @property
    def stderr(self) -> Any:
        return sys.stderr


def test_there_is_no_restoring_into_memory(braft: Any, backup: Path) -> None:
    done = braft("snapshot", "restore", str(backup), "--data-dir", ":memory:", "--yes")
    assert done.exit_code == 2
    assert "accepted: a directory" in done.stderr
