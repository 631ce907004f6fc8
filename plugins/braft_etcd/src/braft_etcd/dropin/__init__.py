"""``braft-etcd``: a node that is started with etcd's flags and environment."""

from braft_etcd.dropin.program import main

__all__ = ["main"]
