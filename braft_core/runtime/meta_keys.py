"""Names under which the store keeps what membership must not forget."""

from __future__ import annotations

__all__ = ["BOOTSTRAP_RECORD", "CLUSTER_ID"]

CLUSTER_ID = "cluster_id"
BOOTSTRAP_RECORD = "bootstrap"
