"""Run the public conformance suite on the two stores of braft-core."""

from __future__ import annotations

from pathlib import Path

from braft_core.abc import Storage, StorageOptions
from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_core.storage.sqlite import SQLiteStorage
from braft_testing.storage import StorageConformance


class TestSQLiteStorage(StorageConformance):
    def make(self, tmp_path: Path) -> Storage:
        return SQLiteStorage(StorageOptions(data_dir=tmp_path / "deep" / "node"))


class TestMemoryStorage(StorageConformance):
    def setup_method(self) -> None:
        self.disk = MemoryDisk()

    def make(self, tmp_path: Path) -> Storage:
        return MemoryStorage(StorageOptions(data_dir=None, options={"disk": self.disk}))
