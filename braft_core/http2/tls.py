"""TLS of the server: ALPN for HTTP/2 and HTTP/1.1, and certificates of clients."""

from __future__ import annotations

import os
import ssl
from typing import Final

from braft_core.errors import ConfigError

__all__ = ["server_context"]

_PROTOCOLS: Final = ("h2", "http/1.1")
#: For TLS 1.2, none of those that HTTP/2 forbids (RFC 9113, appendix A).
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(
    certificate: str | os.PathLike[str],
    key: str | os.PathLike[str],
    client_ca: str | os.PathLike[str] | None = None,
    *,
    require_client: bool = True,
) -> ssl.SSLContext:
    """Return a context for :meth:`braft_core.http2.server.Server.start`.

    Args:
        certificate: PEM file of the server's certificate and those between it and its CA.
        key: PEM file of its private key, not encrypted.
        client_ca: PEM file of the CAs whose certificates clients may show; None: none is asked for.
        require_client: Whether a client without a certificate is refused.

    Raises:
        ConfigError: a file cannot be read, or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        # An encrypted key asks for a passphrase on the terminal unless one is given.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"the certificate {os.fspath(certificate)} with the key {os.fspath(key)} "
            f"cannot be used: {error}"
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(cafile=client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the certificates of {os.fspath(client_ca)} cannot be used: {error}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context
