"""etcd's JSON gateway: the calls as ``POST /v3/...``, and ``/version`` and ``/health``."""

from braft_etcd.gateway.handler import Gateway

__all__ = ["Gateway"]
