"""A connection of the server: which protocol it speaks is seen in its first bytes."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, Protocol, cast

from braft_core.http2.calls import Peer
from braft_core.http2.connection import Http2Connection
from braft_core.http2.frames import PREFACE
from braft_core.http2.host import Host
from braft_core.http2.http1 import Http1Connection
from braft_core.http2.tls import TlsTransport

__all__ = ["Connection", "ServerProtocol"]

_logger = logging.getLogger(__name__)


class Connection(Protocol):
    """What connections of both protocols have in common."""

    def receive(self, data: bytes) -> None:
        """Handle what arrived."""

    def pause_writing(self) -> None:
        """Note that the socket does not take what is sent."""

    def resume_writing(self) -> None:
        """Note that the socket takes more."""

    def is_idle(self) -> bool:
        """Return True if no request is under way."""

    def sweep(self) -> None:
        """Enforce the limits of time."""

    def drain(self) -> None:
        """Begin the graceful end."""

    def shutdown(self) -> None:
        """End at once."""

    def lost(self) -> None:
        """Note that the transport is gone."""


def _address(transport: asyncio.Transport) -> str:
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple) and len(name) >= 2:
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return ""


class ServerProtocol(asyncio.Protocol):
    """Feeds one connection; takes part in the limits of its server.

    Args:
        host: What connections share.
        ended: Called once, when the transport is gone.
        tls: The server's context; None: no TLS.
        refused: Whether to cut the connection at once: there are too many.
    """

    def __init__(
        self,
        host: Host,
        ended: Callable[[ServerProtocol], None],
        tls: ssl.SSLContext | None = None,
        *,
        refused: bool = False,
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self._context = tls
        self._tls: TlsTransport | None = None
        self._refused = refused
        self._host = host
        self._ended = ended
        self._connection: Connection | None = None
        self._first = b""
        self._since = host.now
        self._draining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport of an accepted connection."""
        # That of uvloop is no subclass.
        self.transport = plain = cast("asyncio.Transport", transport)
        self._since = self._host.now
        plain.set_write_buffer_limits(self._host.limits.max_unsent)
        if self._refused:
            plain.abort()
        elif self._context is not None:
            self.transport = self._tls = TlsTransport(plain, self._context)

    def data_received(self, data: bytes) -> None:
        """Hand on what arrived."""
        if self._tls is None:
            self._receive(data)
            return
        try:
            data = self._tls.feed(data)
        except ssl.SSLError as error:
            _logger.debug("a TLS connection ended: %s", error)
            self._tls.close()
            return
        if data:
            self._receive(data)
        if self._tls.ended:
            self._tls.close()

    def _receive(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.receive(data)
            return
        first = self._first = self._first + data
        if first[: len(PREFACE)] == PREFACE[: len(first)] and len(first) < len(PREFACE):
            return
        self._first = b""
        self._connection = self._choose(first)
        self._connection.receive(first)
        if self._draining:
            self._connection.drain()

    def _choose(self, first: bytes) -> Connection:
        transport = self.transport
        if transport is None:
            raise RuntimeError("data arrived before the connection was made")
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate: dict[str, Any] | None = secured.getpeercert() if secured else None
        peer = Peer(_address(transport), certificate or None)
        agreed = secured.selected_alpn_protocol() if secured else None
        if first.startswith(PREFACE) or agreed == "h2":
            return Http2Connection(transport, self._host, peer)
        return Http1Connection(transport, self._host, peer)

    def eof_received(self) -> bool:
        """Close: a client that sends no more reads no more, either."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is under way."""
        if self._connection is not None:
            self._connection.lost()
        self._ended(self)

    def pause_writing(self) -> None:
        """Note that the socket does not take what is sent."""
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Note that the socket takes more."""
        if self._connection is not None:
            self._connection.resume_writing()

    def is_idle(self) -> bool:
        """Return True if no request is under way."""
        return self._connection is None or self._connection.is_idle()

    def sweep(self) -> None:
        """Enforce the limits of time."""
        if self._connection is not None:
            self._connection.sweep()
        elif self._host.now - self._since >= self._host.limits.preface_timeout:
            self.abort()

    def drain(self) -> None:
        """Begin the graceful end."""
        self._draining = True
        if self._connection is not None:
            self._connection.drain()
        elif not self._first:
            self.abort()

    def shutdown(self) -> None:
        """End at once, with a word to the peer if that is possible."""
        if self._connection is not None:
            self._connection.shutdown()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self.transport is not None:
            self.transport.abort()
