"""Mutual TLS: the same files and the same rights as with gRPC.

Owns the context of the listener. Who of the CA's holders is a peer is decided after the handshake;
a client also checks that the certificate is for the host that it calls, or has the server name.
"""

from __future__ import annotations

import ssl

from braft_core.transport import Certificates

__all__ = ["server_context"]


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """A context for a listener, whose handshakes all use the certificates of their time.

    A listener keeps the context that it was made with, and what a context trusts cannot be taken
    from it again. So a handshake goes on with another one as soon as the client has spoken.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED

    def choose(handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = certificates.current.server

    context.sni_callback = choose
    return context
