"""``node.store`` and ``client.store``, and what their calls take and return.

Each method that waits has an async variant with an ``a`` before its name. Errors are those of
:meth:`braft_core.Node.execute` and :meth:`braft_core.Node.query`, and those named by the methods.
``docs/store.md`` has examples.
"""

from braft_core.store.conditions import Condition, Key
from braft_core.store.entries import Entry
from braft_core.store.events import Event, Piece, Watcher, Watchers
from braft_core.store.fencing import Held
from braft_core.store.lease import Lease
from braft_core.store.leases import LeaseInfo, Leases
from braft_core.store.leasing_store import LeasingStore
from braft_core.store.node_store import NodeStore
from braft_core.store.once import Once
from braft_core.store.operations import Delete, Get, Operation, Put, Txn, TxnResult
from braft_core.store.scan import Scan
from braft_core.store.status import StoreStatus
from braft_core.store.store import Store
from braft_core.store.watch import Batch, Change, Watch

__all__ = [
    "Batch",
    "Change",
    "Condition",
    "Delete",
    "Entry",
    "Event",
    "Get",
    "Held",
    "Key",
    "Lease",
    "LeaseInfo",
    "Leases",
    "LeasingStore",
    "NodeStore",
    "Once",
    "Operation",
    "Piece",
    "Put",
    "Scan",
    "Store",
    "StoreStatus",
    "Txn",
    "TxnResult",
    "Watch",
    "Watcher",
    "Watchers",
]
