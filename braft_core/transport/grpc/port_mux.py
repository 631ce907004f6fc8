"""Serves callers with and without TLS on one port, during a rolling change.

A gRPC server speaks either TLS or plain text on a port. In the mode ``prefer`` it listens on two
Unix sockets in a private directory. The mux listens on the port, reads the first byte of each
connection and forwards it to one of the two.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import tempfile
from typing import Any, Final

from braft_core.abc import TransportTiming
from braft_core.addresses import Address, AddressKind
from braft_core.file_descriptors import inbound_connection_limit
from braft_core.listening import close_server

__all__ = ["PortMux"]

_log = logging.getLogger(__name__)

_BACKLOG: Final = 256
#: Connections at a time, if there are enough descriptors.
MAX_CALLERS: Final = 1_000
#: The first byte of a TLS handshake (RFC 8446, section 5.1). HTTP/2 begins with ``P``.
_HANDSHAKE: Final = 22
_HIGH_WATER: Final = 1 << 20


class PortMux:
    """The ports of one node. Used on the loop only; needs :meth:`close`."""

    def __init__(self, timing: TransportTiming) -> None:
        self.timing = timing
        self._folder = tempfile.mkdtemp(prefix="braft-")  # for this user alone
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._callers: set[_Caller] = set()
        self._ends: set[_ProxyEnd] = set()
        self._closed = False
        # Each connection takes two descriptors here and one in the server.
        self._most = max(1, min(MAX_CALLERS, inbound_connection_limit() // 3))

    @property
    def plain(self) -> str:
        """Where the server is to listen without TLS."""
        return f"unix:{self.path(tls=False)}"

    @property
    def tls(self) -> str:
        """Where the server is to listen with TLS."""
        return f"unix:{self.path(tls=True)}"

    def path(self, *, tls: bool) -> str:
        """Return the socket of the server."""
        return os.path.join(self._folder, "tls" if tls else "plain")

    def listen(self, place: Address) -> int:
        """Bind a port and return it; connections are served after :meth:`open`.

        :raises OSError: it is taken, or the address is not ours.
        """
        family = socket.AF_INET6 if place.kind is AddressKind.IPV6 else socket.AF_INET
        # All addresses of a node are those of both families, as with gRPC's own ports.
        both = place.host == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(
            (place.host, place.port), family=family, backlog=_BACKLOG, dualstack_ipv6=both
        )
        self._sockets.append(listening)
        port: int = listening.getsockname()[1]
        return port

    async def open(self) -> None:
        """Begin to serve, after the server listens."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            self._servers.append(
                await loop.create_server(lambda: _Caller(self), sock=listening, backlog=_BACKLOG)
            )

    async def close(self) -> None:
        """End everything, and wait until every connection is closed. Idempotent."""
        self._closed = True
        for server in self._servers:
            await close_server(server)
        for listening in self._sockets:
            listening.close()
        while self._ends:
            for end in list(self._ends):
                end.abort()
            await asyncio.sleep(0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, end: _ProxyEnd) -> bool:
        """Remember a connection until it is lost; return whether it may go on."""
        self._ends.add(end)
        return not self._closed

    def admit(self, caller: _Caller) -> bool:
        """Return whether there is room for a caller; if so, count it."""
        if len(self._callers) >= self._most:
            _log.debug("refused a connection: there are %d already", self._most)
            return False
        self._callers.add(caller)
        return True

    def remove(self, end: _ProxyEnd) -> None:
        """Forget a connection that is closed."""
        self._ends.discard(end)
        if isinstance(end, _Caller):
            self._callers.discard(end)


class _ProxyEnd(asyncio.Protocol):
    """One end of a forwarded connection: that towards the server, unless it is a subclass."""

    def __init__(self, mux: PortMux) -> None:
        self._mux = mux
        self.transport: Any = None
        self.other: _ProxyEnd | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        if not self._mux.add(self):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._mux.remove(self)
        if self.other is None:
            return
        if error is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()


class _Caller(_ProxyEnd):
    """The end towards the caller; chooses the server socket."""

    def __init__(self, mux: PortMux) -> None:
        super().__init__(mux)
        self._loop = asyncio.get_running_loop()
        self._first = b""
        self._passing: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if transport.is_closing():
            return
        if not self._mux.admit(self):
            self.transport.abort()
            return
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, int(self._mux.timing.unacknowledged * 1000))
        self._deadline = self._loop.call_later(self._mux.timing.first_bytes, self.abort)

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)
            return
        self._first += data  # reading is paused meanwhile, so at most one more read arrives
        if self._passing is None:
            self.transport.pause_reading()
            self._cancel_deadline()
            self._passing = self._loop.create_task(self._pass_on())

    async def _pass_on(self) -> None:
        path = self._mux.path(tls=self._first[0] == _HANDSHAKE)
        try:
            _, server = await self._loop.create_unix_connection(lambda: _ProxyEnd(self._mux), path)
        except OSError as error:
            _log.debug("cannot forward a connection: %s", error)
            self.abort()
            return
        if self.transport.is_closing():
            server.transport.abort()
            return
        server.other, self.other = self, server
        server.transport.write(self._first)
        self._first = b""
        self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._cancel_deadline()
        if self._passing is not None:
            self._passing.cancel()
        super().connection_lost(error)

    def abort(self) -> None:
        """Cut the connection and the one that it is forwarded to at once."""
        self._cancel_deadline()
        super().abort()
        if self.other is not None:
            self.other.transport.abort()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
