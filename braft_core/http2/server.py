"""The server: listens, counts connections, and stops gracefully."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from braft_core.errors import ConfigError
from braft_core.http2.calls import Application
from braft_core.http2.host import Host
from braft_core.http2.limits import Limits
from braft_core.http2.protocol import ServerProtocol
from braft_core.listening import close_server

__all__ = ["Server"]

#: Seconds between two looks at what takes too long.
_SWEEP: Final = 1.0
_BACKLOG: Final = 1024


class Server:
    """Serves an application on one port. Its methods belong to the loop of :meth:`start`."""

    def __init__(self, application: Application, limits: Limits | None = None) -> None:
        self._application = application
        self._limits = limits or Limits()
        self._host: Host | None = None
        self._server: asyncio.Server | None = None
        self._context: Callable[[], ssl.SSLContext | None] = _no_tls
        self._connections: dict[ServerProtocol, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()
        self._stopping = False

    @property
    def port(self) -> int:
        """The port that is listened on.

        Raises:
            ConfigError: the server does not listen.
        """
        if self._server is None or not self._server.sockets:
            raise ConfigError("the HTTP/2 server does not listen")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """The number of connections, those in a TLS handshake included."""
        return len(self._connections)

    async def start(
        self,
        address: str | Sequence[str],
        port: int,
        tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Listen.

        Args:
            address: The address to bind, or several; empty: all.
            port: The port; 0: a free one, see :attr:`port`.
            tls: See :func:`braft_core.http2.tls.server_context`; None: no TLS. A callable is asked
                for each new connection, so that certificates can be replaced.

        Raises:
            OSError: the address cannot be bound.
            ConfigError: the server was started before.
        """
        if self._host is not None:
            raise ConfigError("the HTTP/2 server was started before")
        loop = asyncio.get_running_loop()
        self._host = Host(self._application, self._limits, loop)
        if callable(tls):
            self._context = tls
        elif tls is not None:
            self._context = partial(_this, tls)
        hosts = address or None
        self._server = await loop.create_server(self._accept, hosts, port, backlog=_BACKLOG)
        self._sweeper = loop.call_later(_SWEEP, self._sweep)

    async def stop(self, grace: float = 5.0) -> None:
        """Stop listening, let calls under way finish for ``grace`` seconds, then cancel the rest.

        Handlers that were cancelled get a second to end.
        Streams that never end by themselves should be ended by their handlers before.
        """
        self._stopping = True
        if self._server is not None:
            await close_server(self._server)
        for connection in list(self._connections):
            connection.drain()
        await self._wait(grace)
        for connection in list(self._connections):
            connection.shutdown()
        await self._wait(min(grace, _SWEEP))
        for connection in list(self._connections):
            connection.abort()
        await self._wait(_SWEEP)
        if self._host is not None and self._host.tasks:
            await asyncio.wait(self._host.tasks, timeout=_SWEEP)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _wait(self, seconds: float) -> None:
        self._empty.clear()
        if self._connections:
            try:
                await asyncio.wait_for(self._empty.wait(), seconds)
            except TimeoutError:
                return

    # ------------------------------------------------------------------ connections

    def _running(self) -> Host:
        if self._host is None:
            raise ConfigError("the HTTP/2 server was not started")
        return self._host

    def _accept(self) -> asyncio.Protocol:
        refused = self._stopping or not self._make_room()
        protocol = ServerProtocol(self._running(), self._ended, self._context(), refused=refused)
        self._connections[protocol] = None
        return protocol

    def _make_room(self) -> bool:
        """Close an idle connection if there are as many as allowed, the oldest of them.

        Return False if all are busy.
        """
        if self.connections < self._limits.max_connections:
            return True
        idle = next((each for each in self._connections if each.is_idle()), None)
        if idle is None:
            return False
        del self._connections[idle]
        idle.abort()
        return True

    def _ended(self, protocol: ServerProtocol) -> None:
        self._connections.pop(protocol, None)
        if not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        host = self._running()
        host.now = host.loop.time()
        for connection in list(self._connections):
            connection.sweep()
        self._sweeper = host.loop.call_later(_SWEEP, self._sweep)


def _no_tls() -> None:
    return None


def _this(context: ssl.SSLContext) -> ssl.SSLContext:
    return context
