"""The power is cut after each step of a snapshot file, and what was not synced is lost.

A file system may keep a new name and lose the bytes behind it, or the other way round. After each
cut the store opens on each of these outcomes, and finds the whole snapshot or none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braft_core.raft.types import SnapshotMeta
from braft_core.storage import file_snapshots
from braft_core.storage.file_snapshots import FileSnapshots
from braft_testing.snapshots import CONFIGURATION, pattern

#: More steps than a commit has.
_MANY = 60
_CONTENTS = [pattern(3000, seed) for seed in range(4)]


class _PowerCut(BaseException):
    """No handler of the product may swallow it: the process is gone."""


class _Disk:
    """Counts the steps on files in one directory, and knows what survives a power cut."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.left = 10**9
        #: What is in each file after a cut, by inode, and which names lead where.
        self._synced: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        for name in ("open", "write", "fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        monkeypatch.setattr(Path, "rename", self._counted(Path.rename))
        monkeypatch.setattr(os, "fsync", self._syncing(os.fsync))
        monkeypatch.setattr(os, "fdatasync", self._syncing(os.fdatasync))
        monkeypatch.setattr(file_snapshots, "sync_directory", self._counted(self._sync_directory))

    def _counted(self, step: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0:
                raise _PowerCut
            self.left -= 1
            return step(*args, **kwargs)

        return counted

    def _syncing(self, sync: Any) -> Any:
        def syncing(fd: int) -> None:
            sync(fd)
            inode = os.fstat(fd).st_ino
            for path in self.directory.iterdir():
                if path.stat().st_ino == inode:
                    self._synced[inode] = path.read_bytes()

        return syncing

    def _sync_directory(self, directory: Path) -> None:
        if directory == self.directory:
            self._names = {path.name: path.stat().st_ino for path in directory.iterdir()}

    def outcomes(self, into: Path) -> Iterator[Path]:
        """Yield directories as they may be found after a cut now."""
        self.left = 10**9
        now = {path.name: path.stat().st_ino for path in self.directory.iterdir()}
        whole = {path.stat().st_ino: path.read_bytes() for path in self.directory.iterdir()}
        for number, (names, contents) in enumerate(
            (
                (now, whole),  # everything reached the disk in time
                (now, self._synced),  # the names did, the bytes did not
                (self._names, self._synced),  # nothing did that was not synced
            )
        ):
            found = into / str(number)
            found.mkdir(parents=True)
            for name, inode in names.items():
                (found / name).write_bytes(contents.get(inode, b""))
            yield found


def _store_one(store: FileSnapshots, index: int) -> SnapshotMeta:
    sink = store.create(index, 2, CONFIGURATION, 1)
    for chunk in _CONTENTS:
        sink.write(chunk)
    return sink.commit()


def _whole(store: FileSnapshots) -> list[int]:
    """Return the indexes of the snapshots; check that each can be read."""
    found = store.list()
    for meta in found:
        assert b"".join(store.open(meta.id)) == b"".join(_CONTENTS)
    return [meta.index for meta in found]


def test_a_snapshot_file_is_whole_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "snapshots"
    store = FileSnapshots(directory)
    old = _store_one(store, 1)
    for steps in range(_MANY):
        with monkeypatch.context() as patched:
            disk = _Disk(directory, patched)
            disk._sync_directory(directory)
            disk._synced.update(
                {path.stat().st_ino: path.read_bytes() for path in directory.iterdir()}
            )
            disk.left = steps
            new: SnapshotMeta | None = None
            try:
                new = _store_one(store, 5)
            except _PowerCut:
                disk.left = 10**9
            for found in disk.outcomes(tmp_path / f"cut-{steps}"):
                indexes = _whole(FileSnapshots(found))
                assert indexes in ([1], [5, 1]), f"after step {steps} in {found.name}"
                assert new is None or indexes == [5, 1], "what was committed is there"
                left = {path.suffix for path in found.iterdir()}
                assert left == {".snap"}, f"after step {steps} in {found.name}"
        if new is not None:
            assert steps > 6, "opening, writing, syncing, naming and syncing the name are steps"
            assert [meta.id for meta in store.list()] == [new.id, old.id]
            return
        for path in directory.iterdir():
            if path.stem != old.id:
                path.unlink()
        store = FileSnapshots(directory)
    raise AssertionError("it never ended")
