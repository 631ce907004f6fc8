"""Taking, listing and reading snapshots of a running node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.abc import CommandContext, Service
from braft_core.config import Settings
from braft_core.errors import NotReady, OutcomeUnknown, StorageError
from braft_core.raft.types import SnapshotMeta
from braft_core.runtime.driver import Driver
from braft_core.runtime.recover_cluster import restore
from braft_core.runtime.snapshots import Snapshotter
from braft_core.runtime.timing import Timing
from braft_core.storage import file_snapshots
from braft_core.storage.directory import sync_directory
from braft_core.storage.snapshot_file import verify_file
from braft_testing.internals import with_timing
from braft_testing.processes import HOST, free_ports, wait_for

Make = Callable[..., Node]


def settings(data_dir: object) -> dict[str, Any]:
    ports = dict(zip(("rport", "dport", "hport"), free_ports(3), strict=True))
    return {"discovery": "none", "ip": HOST, "http": False, "data_dir": str(data_dir), **ports}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    nodes: list[Node] = []

    def start(data_dir: object = tmp_path / "data", **options: Any) -> Node:
        node = Node(**settings(data_dir), **options)
        nodes.append(node.start())
        node.wait_ready(20)
        return node

    yield start
    for node in nodes:
        node.stop()


class Slow(Service):
    """Its snapshot waits for ``go``."""

    name = "slow"

    def __init__(self) -> None:
        self.go = threading.Event()

    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        return None

    def query(self, query: str, args: Sequence[Any]) -> Any:
        return None

    def snapshot(self) -> Iterator[bytes]:
        def chunks() -> Iterator[bytes]:
            self.go.wait(30)
            yield b"slow"

        return chunks()

    def restore(self, chunks: Iterator[bytes]) -> None:
        for _ in chunks:
            pass


def test_one_that_is_deleted_meanwhile_is_read_to_its_end(make: Make, tmp_path: Path) -> None:
    node = make()
    for number in range(4):
        node.kv.put("m", f"k{number}", bytes([number]) * 1_000_000)
    taken = node.take_snapshot()
    backup = node.open_snapshot(taken.id)
    pieces = backup.chunks
    assert (backup.info, backup.cluster_name) == (taken, "braft")
    begun = next(pieces)
    for number in range(2):
        node.kv.put("m", "k", number)
        node.take_snapshot()
    assert taken.id not in [row.id for row in node.snapshots()]
    with pytest.raises(StorageError, match="this node has no snapshot"):
        node.open_snapshot(taken.id)
    path = tmp_path / "backup.snap"
    path.write_bytes(begun + b"".join(pieces))
    assert verify_file(path).index == taken.index


@pytest.mark.parametrize("data_dir", ["data", ":memory:"])
def test_from_a_backup_to_a_node_that_serves_it(make: Make, tmp_path: Path, data_dir: str) -> None:
    first = make(data_dir if data_dir == ":memory:" else tmp_path / data_dir)
    first.kv.put("m", "k", "saved")
    pieces = first.open_snapshot(first.take_snapshot().id).chunks
    backup = tmp_path / "backup.snap"
    backup.write_bytes(b"".join(pieces))
    first.kv.put("m", "k", "later")

    target = tmp_path / "restored"
    made = restore(backup, Settings.load(kwargs={"ip": HOST, "data_dir": str(target)}))
    second = make(target)
    assert second.server_id == made.new_cluster.server_id != first.server_id
    assert second.kv.get("m", "k") == "saved"
    # Created with the port of the settings, it announces its actual address.
    wait_for(lambda: [m.address for m in second.members()] == [second.address])
    second.kv.put("m", "k", "and on")
    second.stop()
    third = make(target)
    assert third.kv.get("m", "k") == "and on"


def test_one_that_takes_long_goes_on_when_the_caller_no_longer_waits(make: Make) -> None:
    slow = Slow()
    node = make(services=[slow])
    node.execute("slow", "anything")
    with pytest.raises(OutcomeUnknown, match="goes on being written"):
        node.take_snapshot(timeout=0.1)
    assert node.snapshots() == []
    slow.go.set()
    wait_for(node.snapshots, what="it is listed")


def test_there_must_be_something_to_take(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "data") | {"discovery": f"static:{HOST}:1", "expect": 2}
    with Node(**chosen) as node, pytest.raises(NotReady):
        node.take_snapshot()


def test_a_snapshot_that_somebody_removes_is_taken_once_more(make: Make, tmp_path: Path) -> None:
    """The log before it is compacted, so the next start would have neither."""
    node = make(snapshot_trailing=1)
    for number in range(9):
        node.kv.put("m", f"k{number}", number)
    folder = tmp_path / "data" / "snapshots"
    ids = [node.take_snapshot().id]
    for _ in range(2):  # at the second time there are no new writes
        (folder / f"{ids[-1]}.snap").unlink()
        found = wait_for(node.snapshots, what="there is another one")
        ids.append(found[0].id)
    assert len(set(ids)) == 3
    node.stop()
    again = make()
    assert [again.kv.get("m", f"k{number}") for number in range(9)] == list(range(9))


@pytest.mark.parametrize("point", ["durable", "listed"])
def test_a_stop_before_the_store_names_the_only_snapshot_loses_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """The store names a file that is gone; the one that replaces it is complete or nearly so."""
    armed, reached, stopping = threading.Event(), threading.Event(), threading.Event()
    sync, taken, cancel = (
        sync_directory,
        Driver.snapshot_taken,
        Snapshotter.cancel,
    )

    def pause(directory: Path) -> None:
        if armed.is_set() and point == "listed":
            reached.set()
            assert stopping.wait(30)
        sync(directory)

    async def hang(driver: Driver, meta: SnapshotMeta, index: int) -> int:
        if armed.is_set():
            reached.set()
            await asyncio.Event().wait()
        return await taken(driver, meta, index)

    def note(snapshotter: Snapshotter) -> None:
        cancel(snapshotter)
        stopping.set()

    monkeypatch.setattr(file_snapshots, "sync_directory", pause)
    monkeypatch.setattr(Driver, "snapshot_taken", hang)
    monkeypatch.setattr(Snapshotter, "cancel", note)
    chosen = settings(tmp_path / "data") | {"snapshot_trailing": 1}
    with with_timing(Node(**chosen), Timing(thread_join=30.0)) as node:
        node.wait_ready(20)
        for number in range(9):
            node.kv.put("m", f"k{number}", number)
        gone = tmp_path / "data" / "snapshots" / f"{node.take_snapshot().id}.snap"
        armed.set()
        gone.unlink()
        assert reached.wait(30)
    armed.clear()
    again = make()
    assert [again.kv.get("m", f"k{number}") for number in range(9)] == list(range(9))
