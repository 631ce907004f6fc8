"""The bearer token of calls: sent with each of ours, asked of everybody else's.

Owns the check alone. Guards the services ``Raft`` and ``braft.v1.Peer``; ``RaftTransport`` has no
room for a token in its protocol, and whoever needs that closed uses mutual TLS. The token itself
never gets into an error or a log line.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import NamedTuple

import grpc

from braft_core.errors import AccessDenied

__all__ = ["AUTHORIZATION", "Denial", "TokenGate"]

AUTHORIZATION = "authorization"


class Denial(NamedTuple):
    """Why a call is refused, for everybody and for braft."""

    status: grpc.StatusCode
    error: AccessDenied


class TokenGate:
    """Checks calls and makes ours pass. Thread-safe: nothing of it changes.

    :param token: printable ASCII without blanks; "" lets everybody in and is not sent.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode("ascii")
        #: What our own calls carry.
        self.metadata: tuple[tuple[str, str], ...] = (
            ((AUTHORIZATION, f"Bearer {token}"),) if token else ()
        )

    def denial(self, metadata: Iterable[tuple[str, str | bytes]], address: str) -> Denial | None:
        """Whether a call with this metadata is refused by the node at ``address``, and why."""
        if not self._token:
            return None
        given = next((value for key, value in metadata or () if key == AUTHORIZATION), "")
        raw = given if isinstance(given, bytes) else given.encode(errors="replace")
        scheme, _, token = raw.partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            return Denial(
                grpc.StatusCode.UNAUTHENTICATED,
                AccessDenied(
                    f"{address} asks for a token and none was sent: set BRAFT_TOKEN, the same on "
                    "every node (other clients: the metadata 'authorization: Bearer <token>')",
                    address=address,
                ),
            )
        if not hmac.compare_digest(token.strip(), self._token):
            return Denial(
                grpc.StatusCode.PERMISSION_DENIED,
                AccessDenied(
                    f"{address} refuses the token that was sent: BRAFT_TOKEN must be the same on "
                    "every node",
                    address=address,
                ),
            )
        return None
