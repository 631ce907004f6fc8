"""The remote client: Python calls to the HTTP interface of a cluster.

It uses the documented routes and problem JSON alone. The command line is built on it.
"""

from __future__ import annotations

from braft_core.client.client import Client, KVEntry
from braft_core.client.download import SavedSnapshot
from braft_core.client.trust import Trust
from braft_core.cluster_types import Leader, Member, Readiness, SnapshotInfo
from braft_core.pagination import Page

__all__ = [
    "Client",
    "KVEntry",
    "Leader",
    "Member",
    "Page",
    "Readiness",
    "SavedSnapshot",
    "SnapshotInfo",
    "Trust",
]
