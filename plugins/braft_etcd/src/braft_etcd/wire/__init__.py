"""The messages of the etcd v3 API: their fields, and their bytes and JSON.

A message is a plain ``dict`` of its fields, see :class:`braft_etcd.wire.schema.Message`. Knows
nothing of nodes and servers.
"""

from braft_etcd.wire.decoding import decode
from braft_etcd.wire.encoding import encode
from braft_etcd.wire.schema import Message, Values, WireError

__all__ = ["Message", "Values", "WireError", "decode", "encode"]
