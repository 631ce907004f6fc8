"""What all connections of the gRPC transport share.

Owns the call metadata by which braft nodes identify each other, and its check. Other
implementations of the protocol ignore the metadata and send none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from braft_core.abc import TransportHandler, TransportOptions
from braft_core.transport.admission import Refusal, refuse
from braft_core.transport.endpoint import LocalEndpoint
from braft_core.transport.grpc.connector import Connector

__all__ = ["CLUSTER", "SENDER", "TO", "GrpcEndpoint", "Metadata", "pairs", "text"]

#: Metadata of each call or stream: the caller's cluster, the intended server, the caller's id.
CLUSTER = "braft-cluster-id"
TO = "braft-to"
#: Also in the initial metadata of an accepted pipeline: the server's id.
SENDER = "braft-from"

Metadata = tuple[tuple[str, str], ...]

_log = logging.getLogger(__name__)


class GrpcEndpoint(LocalEndpoint):
    """This node's end of every connection. Used on the loop only."""

    def __init__(self, options: TransportOptions, handler: TransportHandler) -> None:
        super().__init__(options, handler)
        self.connector = Connector(options, self.certificates, self.tls_probes)

    def metadata(self, to: str) -> Metadata:
        """Return the metadata of a call to that server, which names both ends."""
        identity = self.identity
        return (
            (CLUSTER, identity.cluster_id),
            (SENDER, identity.server_id),
            (TO, to),
        )

    def call_refusal(self, context: Any) -> Refusal | None:
        """Return why the certificate of a call's connection is not a peer's; ``None``: it is."""
        if self.certificates is None:
            return None
        found = context.auth_context()
        plain = b"ssl" not in found.get("transport_security_type", ())
        shown = found.get("x509_pem_cert") or (b"",)
        return self.certificate_refusal(None if plain else shown[0])

    def refuse(self, metadata: Iterable[tuple[str, str | bytes]]) -> Refusal | None:
        """Return why a Raft RPC with this metadata is not for this node; ``None``: it is."""
        fields = {key: text(value) for key, value in metadata}
        refusal = refuse(self.identity, fields.get(CLUSTER), fields.get(TO))
        if refusal is not None:
            self.counters[refusal.kind] += 1
            _log.debug("refused a Raft RPC of %s: %s", fields.get(SENDER, "?"), refusal.reason)
        return refusal


def pairs(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str | bytes]:
    """Return metadata by key. ``dict()`` fails on the ``Metadata`` class of older grpc.aio."""
    return {key: value for key, value in metadata or ()}  # noqa: C416


def text(value: str | bytes) -> str:
    """Return a metadata value as text, whatever the caller sent."""
    return value if isinstance(value, str) else value.decode("ascii", "replace")
