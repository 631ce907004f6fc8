"""TLS of the server: ALPN for HTTP/2 and HTTP/1.1, certificates of clients, and its transport.

The transport is our own, because that of asyncio tells nobody of connections whose handshake is
under way or failed, and so they could not be counted and cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import Any, Final

from braft_core.errors import ConfigError

__all__ = ["TlsTransport", "server_context"]

_PROTOCOLS: Final = ("h2", "http/1.1")
#: For TLS 1.2, none of those that HTTP/2 forbids (RFC 9113, appendix A).
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
#: Octets of plain text to read at once: more than a record holds.
_READ_SIZE: Final = 65_536


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


class TlsTransport(asyncio.Transport):
    """Encrypts what is written to a transport, and decrypts what arrived there.

    Args:
        transport: The transport of the socket.
        context: The server's context.
    """

    def __init__(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        super().__init__()
        #: True once the handshake is done.
        self.established = False
        #: True once the peer said that nothing more comes.
        self.ended = False
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def feed(self, data: bytes) -> bytes:
        """Take what arrived; return the plain text in it, which may be none.

        Raises:
            ssl.SSLError: the peer broke a rule, or is refused.
        """
        self._incoming.write(data)
        parts = []
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while part := self._object.read(_READ_SIZE):
                parts.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self._flush()
        return b"".join(parts)

    def _flush(self) -> None:
        if self._outgoing.pending and not self._transport.is_closing():
            self._transport.write(self._outgoing.read())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send ``data``."""
        if not data or self._transport.is_closing():
            return
        try:
            self._object.write(data)
        except ssl.SSLError:
            self._transport.abort()  # the peer broke a rule before
        else:
            self._flush()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a fact of the connection; ``ssl_object`` is that of this transport."""
        if name == "ssl_object":
            return self._object
        return self._transport.get_extra_info(name, default)

    def close(self) -> None:
        """Say that nothing more comes, and close once all was sent."""
        if self.established and not self._transport.is_closing():
            with contextlib.suppress(ssl.SSLError):  # the peer need not say the same
                self._object.unwrap()
            self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return True once the connection ends."""
        return self._transport.is_closing()

    def can_write_eof(self) -> bool:
        """Return False: TLS ends both directions together."""
        return False

    def get_write_buffer_size(self) -> int:
        """Return the octets that the socket did not take yet."""
        return self._transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how many octets may wait for the socket."""
        self._transport.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        """Stop reading from the socket."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again."""
        self._transport.resume_reading()
