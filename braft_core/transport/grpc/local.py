"""What all connections of one transport share: who we are, whom we serve, what was counted.

Owns the call metadata by which braft nodes recognise each other, and its check. Other
implementations of the protocol ignore the metadata and send none.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import grpc

from braft_core.abc import Identity, TransportHandler, TransportOptions
from braft_core.transport.grpc.channels import Connector
from braft_core.transport.grpc.codec import EntriesCache, encode_header

__all__ = ["CLUSTER", "SENDER", "TO", "LocalEnd", "Metadata", "Refusal", "text"]

#: Metadata of each call or stream: the caller's cluster, the server that is meant, the caller's id.
CLUSTER = "braft-cluster-id"
TO = "braft-to"
#: Also in the initial metadata of an accepted pipeline: the server's id.
SENDER = "braft-from"

Metadata = tuple[tuple[str, str], ...]

_log = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """Why a call is not served."""

    status: grpc.StatusCode
    reason: str


class LocalEnd:
    """This node's end of every connection. Used on the loop only."""

    def __init__(self, options: TransportOptions, handler: TransportHandler) -> None:
        self.options = options
        self.handler = handler
        self.connector = Connector(options)
        self.entries = EntriesCache()
        #: ``refused_*``: calls we refused; ``refused_by_peer``; ``dropped``: requests not sent.
        self.counters: Counter[str] = Counter()
        self._header_of = ("", "")
        self._header = b""

    @property
    def identity(self) -> Identity:
        """Who this node is now."""
        return self.handler.identity

    @property
    def header(self) -> bytes:
        """The encoded RPC header."""
        identity = self.handler.identity
        who = (identity.server_id, identity.address)
        if who != self._header_of:
            self._header_of, self._header = who, encode_header(*who)
        return self._header

    def metadata(self, to: str) -> Metadata:
        """What a call to that server says about both ends."""
        identity = self.identity
        return (
            (CLUSTER, identity.cluster_id),
            (SENDER, identity.server_id),
            (TO, to),
        )

    def refuse(self, metadata: Iterable[tuple[str, str | bytes]]) -> Refusal | None:
        """Whether a Raft RPC with this metadata is not for this node, and why."""
        identity = self.identity
        if not identity.cluster_id:
            self.counters["refused_not_member"] += 1
            return Refusal(
                grpc.StatusCode.UNAVAILABLE, f"{identity.server_id} is not in a cluster yet"
            )
        told = dict(metadata)
        cluster, to = told.get(CLUSTER), told.get(TO)
        if cluster is not None and cluster != identity.cluster_id:
            self.counters["refused_wrong_cluster"] += 1
            return self._refused(
                f"this is cluster {identity.cluster_id}, not {text(cluster)}", told.get(SENDER, "?")
            )
        if to is not None and to != identity.server_id:
            self.counters["refused_wrong_target"] += 1
            return self._refused(
                f"this is server {identity.server_id}, not {text(to)}", told.get(SENDER, "?")
            )
        return None

    @staticmethod
    def _refused(reason: str, sender: str | bytes) -> Refusal:
        _log.debug("refused a Raft RPC of %s: %s", text(sender), reason)
        return Refusal(grpc.StatusCode.FAILED_PRECONDITION, reason)


def text(value: str | bytes) -> str:
    """A metadata value as text, whatever the caller sent."""
    return value if isinstance(value, str) else value.decode("ascii", "replace")
