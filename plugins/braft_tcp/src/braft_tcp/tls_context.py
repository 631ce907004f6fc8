"""Mutual TLS: the same files and the same rights as with gRPC.

Owns the listener's context. Whether a certificate of the CA is a peer's is decided after the
handshake. A client also checks that the certificate is for the host it calls, or has the server
name.
"""

from __future__ import annotations

import ssl

from braft_core.transport import Certificates

__all__ = ["server_context"]


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """Return a context for a listener, whose every handshake uses the current certificates.

    A listener keeps its context, and a context cannot stop trusting a CA. So each handshake
    switches to a current context when the ClientHello arrives.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED

    def choose(handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = certificates.current.server

    context.sni_callback = choose
    return context
