"""Raft messages and peer calls over gRPC."""

from __future__ import annotations

from braft_core.transport.grpc.transport import GrpcTransport

__all__ = ["GrpcTransport"]
