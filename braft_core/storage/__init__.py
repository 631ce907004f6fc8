"""Stores: the durable state of one node behind :class:`braft_core.abc.Storage`.

``sqlite`` is the default, ``memory`` is for nodes that forget. Both pass
:class:`braft_testing.storage.StorageConformance`. Nothing here knows about Raft's rules
beyond "entries are consecutive". What is exported here is public.
"""

from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_core.storage.sqlite import SQLiteStorage

__all__ = ["MemoryDisk", "MemoryStorage", "SQLiteStorage"]
