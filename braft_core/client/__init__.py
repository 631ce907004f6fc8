"""The remote client: a cluster's HTTP interface as Python calls.

Knows the documented paths and problem JSON, nothing of nodes or consensus. The command line is
built on it.
"""

from __future__ import annotations

from braft_core.client.client import Client, KVEntry
from braft_core.client.trust import Trust
from braft_core.pagination import Page

__all__ = ["Client", "KVEntry", "Page", "Trust"]
