"""Mutual TLS: the same files and the same rights as with gRPC.

Owns the two contexts. Every holder of a certificate of the CA is let in; a client also checks that
the certificate is for the host that it calls.
"""

from __future__ import annotations

import ssl

from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError
from braft_core.transport import read_tls_file

__all__ = ["Tls"]


class Tls:
    """The contexts of both directions.

    :raises ConfigError: naming the file that cannot be read or used.
    """

    def __init__(self, files: TLSFiles) -> None:
        for what, path in (("ca", files.ca), ("cert", files.cert), ("key", files.key)):
            read_tls_file(what, path)
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT, files)
        self.server = _context(ssl.PROTOCOL_TLS_SERVER, files)
        self.client.check_hostname = True


def _context(protocol: int, files: TLSFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files.ca)
        # An empty password instead of a question on the terminal of a server.
        context.load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"the TLS files {files.ca}, {files.cert} and {files.key} cannot be used: {error}; "
            "PEM files are needed, and a key without a password that belongs to the certificate",
            setting="tls_key",
            value=str(files.key),
        ) from error
    return context
