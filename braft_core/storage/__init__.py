"""Stores: the durable state of one node behind :class:`braft_core.abc.Storage`.

``sqlite`` is the default; ``memory`` keeps nothing after the process ends. Both pass
:class:`braft_testing.storage.StorageConformance`. Of Raft's rules, this package knows
only that entries are consecutive. What is exported here is public.
"""

from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_core.storage.sqlite import SQLiteStorage

__all__ = ["MemoryDisk", "MemoryStorage", "SQLiteStorage"]
