"""Names under which the store keeps what membership must not forget."""

from __future__ import annotations

__all__ = ["CLUSTER_ID", "FOUNDING"]

CLUSTER_ID = "cluster_id"
FOUNDING = "founding"
