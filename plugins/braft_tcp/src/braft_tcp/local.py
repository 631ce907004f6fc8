"""What all connections of one transport share: who we are, whom we serve, what was counted.

Owns the check of a hello. Knows no sockets.
"""

from __future__ import annotations

import hmac
import logging
from typing import NamedTuple

from braft_core.abc import TransportHandler, TransportOptions
from braft_core.errors import AccessDenied, BraftError, DecodeError, TransportError, WrongCluster
from braft_core.transport import LocalNode, refuse
from braft_tcp.frames import VERSION_MAX, VERSION_MIN, Hello, Lane

__all__ = ["STOPPING", "Denial", "LocalEnd"]

_log = logging.getLogger(__name__)


#: The counter of callers that came too late.
STOPPING = "refused_stopping"


class Denial(NamedTuple):
    """``kind`` is the counter's name."""

    kind: str
    error: BraftError


class LocalEnd(LocalNode):
    """This node's end of every connection. Used on the loop only. See the base class."""

    def __init__(self, options: TransportOptions, handler: TransportHandler) -> None:
        super().__init__(options, handler)
        self.stopping = False

    def hello(self, lane: Lane, to: str) -> Hello:
        """What we say first on a connection to that server."""
        identity = self.identity
        return Hello(lane, identity.cluster_id, identity.server_id, to, self.options.token)

    def garbage(self, error: DecodeError) -> None:
        """Bytes came that nobody can read."""
        self.counters["refused_garbage"] += 1
        _log.debug("a connection is cut: %s", error)

    def no_peer(self, certificate: bytes | None) -> Denial | None:
        """Whether a caller is not let in because its certificate is not a peer's."""
        refusal = self.stranger(certificate)
        if refusal is None:
            return None
        error = AccessDenied(refusal.reason, address=self.identity.address)
        return Denial(refusal.kind, error)

    def deny(self, hello: Hello) -> Denial | None:
        """Whether a caller is not let in, and why. The token comes first: it opens the rest."""
        denial = self._deny(hello)
        if denial is not None:
            self.counters[denial.kind] += 1
            _log.debug("refused a connection of %s: %s", hello.sender or "?", denial.error)
        return denial

    def _deny(self, hello: Hello) -> Denial | None:
        address = self.identity.address
        token = self.options.token
        if token and not hmac.compare_digest(hello.token.encode(), token.encode()):
            what = "refuses the token that was sent" if hello.token else "asks for a token"
            message = f"{address} {what}: BRAFT_TOKEN must be the same on every node"
            return Denial("refused_token", AccessDenied(message, address=address))
        if hello.version_min > VERSION_MAX or hello.version_max < VERSION_MIN:
            message = (
                f"{address} speaks versions {VERSION_MIN} to {VERSION_MAX} of the transport tcp, "
                f"the caller {hello.version_min} to {hello.version_max}"
            )
            return Denial("refused_version", TransportError(message, address=address))
        if self.stopping:
            return Denial(STOPPING, TransportError("this node is stopping"))
        if hello.lane is Lane.CALLS:
            return None
        refusal = refuse(self.identity, hello.cluster_id, hello.to)
        return refusal and Denial(refusal.kind, WrongCluster(refusal.reason))
