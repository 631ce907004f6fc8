"""What all connections of one transport share: who we are, whom we serve, what was counted.

Owns the check of a hello. Knows no sockets.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from braft_core.abc import TransportHandler, TransportOptions
from braft_core.errors import AccessDenied, BraftError, DecodeError, TransportError, WrongCluster
from braft_core.transport import (
    LocalEndpoint,
    nonce,
    refuse,
    token_required_error,
    token_unset_error,
)
from braft_tcp.frames import VERSION_MAX, VERSION_MIN, Channel, Hello

__all__ = ["CROWDED", "NAME", "STOPPING", "TOKEN", "Rejection", "TcpEndpoint"]

_log = logging.getLogger(__name__)


#: The transport's name, which is bound into proofs.
NAME = "tcp"
#: The counter of callers that came too late.
STOPPING = "refused_stopping"
#: The counter of callers without the token.
TOKEN = "refused_token"  # noqa: S105 - the name of a counter
#: The counter of callers for which there was no room.
CROWDED = "refused_crowded"


class Rejection(NamedTuple):
    """``kind`` is the counter's name."""

    kind: str
    error: BraftError


class TcpEndpoint(LocalEndpoint):
    """This node's end of every connection. Used on the loop only. See the base class."""

    def __init__(self, options: TransportOptions, handler: TransportHandler) -> None:
        super().__init__(options, handler)
        self.stopping = False

    def hello(self, channel: Channel, to: str) -> Hello:
        """Return the hello of a connection to that server."""
        identity = self.identity
        number = nonce() if self.keyring.current else b""
        name = self.options.cluster_name
        return Hello(channel, identity.cluster_id, identity.server_id, to, number, name)

    def garbage(self, error: DecodeError) -> None:
        """Bytes came that nobody can read."""
        self.counters["refused_garbage"] += 1
        _log.debug("a connection is cut: %s", error)

    def certificate_rejection(self, certificate: bytes | None) -> Rejection | None:
        """Whether a caller is not let in because its certificate is not a peer's."""
        refusal = self.certificate_refusal(certificate)
        if refusal is None:
            return None
        error = AccessDenied(refusal.reason, address=self.identity.address)
        return Rejection(refusal.kind, error)

    def deny_unproved(self, hello: Hello) -> Rejection | None:
        """Whether a caller cannot prove anything, though it should, or wants a proof of us."""
        address, ours = self.identity.address, bool(self.keyring.current)
        if ours == bool(hello.nonce):
            return None
        error = token_required_error(address) if ours else token_unset_error(address)
        return Rejection(TOKEN, error)

    def wrong_proof(self) -> Rejection:
        """Return the refusal of a caller whose proof is wrong."""
        address = self.identity.address
        message = f"{address} refuses the proof: BRAFT_TOKEN must be the same on every node"
        return Rejection(TOKEN, AccessDenied(message, address=address))

    def deny(self, hello: Hello) -> Rejection | None:
        """Whether a caller that proved itself, or need not, is not let in, and why."""
        denial = self._deny(hello)
        if denial is not None:
            self.refused(denial, hello)
        return denial

    def refused(self, denial: Rejection, hello: Hello) -> None:
        """Count a refusal."""
        self.counters[denial.kind] += 1
        _log.debug("refused a connection of %s: %s", hello.sender or "?", denial.error)

    def _deny(self, hello: Hello) -> Rejection | None:
        address = self.identity.address
        if hello.version_min > VERSION_MAX or hello.version_max < VERSION_MIN:
            message = (
                f"{address} speaks versions {VERSION_MIN} to {VERSION_MAX} of the transport tcp, "
                f"the caller {hello.version_min} to {hello.version_max}"
            )
            return Rejection("refused_version", TransportError(message, address=address))
        if self.stopping:
            return Rejection(STOPPING, TransportError("this node is stopping"))
        if hello.channel is Channel.CALLS:
            return None
        refusal = refuse(self.identity, hello.cluster_id, hello.to)
        return refusal and Rejection(refusal.kind, WrongCluster(refusal.reason))
