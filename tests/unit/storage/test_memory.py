"""Properties of the memory store alone: who shares its memory."""

from __future__ import annotations

from braft_core.abc import StorageOptions, WriteBatch
from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_testing.storage import entries


def test_stores_without_a_disk_share_nothing() -> None:
    first, second = (MemoryStorage(StorageOptions(data_dir=None)) for _ in range(2))
    first.open()
    first.write([WriteBatch(entries=entries(1, 1))])
    assert second.open().entries == []


def test_a_disk_outlives_its_stores() -> None:
    options = StorageOptions(data_dir=None, options={"disk": MemoryDisk()})
    for index in (1, 2):
        store = MemoryStorage(options)
        assert store.open().entries == entries(1, index - 1)
        store.write([WriteBatch(entries=entries(index, index))])
        store.close()
