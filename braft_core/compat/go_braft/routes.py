"""The HTTP routes of the Go original that braft keeps beside its own ``/v1``."""

from __future__ import annotations

from braft_core.abc import NodeAPI
from braft_core.compat.go_braft.legacy_distribute import DistributeKeyResource, DistributeResource
from braft_core.compat.go_braft.legacy_kv import LegacyKVResource

__all__ = ["legacy_routes"]


def legacy_routes(node: NodeAPI) -> dict[str, object]:
    """Return the resources by their paths."""
    return {
        "/kv": LegacyKVResource(node),
        "/distribute": DistributeResource(node),
        "/distribute/{key}": DistributeKeyResource(node),
    }
