"""Run the public conformance suite on the two snapshot stores of braft-core."""

from __future__ import annotations

from pathlib import Path

from braft_core.abc import SnapshotStore
from braft_core.storage.file_snapshots import FileSnapshots
from braft_core.storage.memory_snapshots import MemorySnapshots
from braft_testing.snapshots import SnapshotStoreConformance


class TestFileSnapshots(SnapshotStoreConformance):
    def make(self, tmp_path: Path) -> SnapshotStore:
        return FileSnapshots(tmp_path / "snapshots")


class TestMemorySnapshots(SnapshotStoreConformance):
    def setup_method(self) -> None:
        self.store = MemorySnapshots()

    def make(self, tmp_path: Path) -> SnapshotStore:
        return self.store
