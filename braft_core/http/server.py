"""The HTTP port of a node: listens, has an application served, and leaves nothing behind.

Owns the choice of the server. Knows an application and nothing behind it.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final, Protocol

from braft_core.abc import NodeAPI
from braft_core.http.app import FalconApp, Routes, make_app
from braft_core.http.listener import listen
from braft_core.http.request_guard import RequestGuard
from braft_core.http.uvicorn_server import UvicornServer
from braft_core.http.waitress_server import WaitressServer
from braft_core.tls.served_certificate import ServedCertificate
from braft_core.tokens import Keyring

__all__ = ["HTTPServer"]


class _Server(Protocol):
    """One period of service of a listening socket."""

    def __init__(
        self, app: RequestGuard, listener: socket.socket, port: int, tls: ssl.SSLContext | None
    ) -> None:
        """Begin to serve."""

    def drain(self) -> None:
        """See :meth:`HTTPServer.drain`."""

    def stop(self) -> None:
        """See :meth:`HTTPServer.stop`."""


_SERVERS: Final[dict[str, type[_Server]]] = {"uvicorn": UvicornServer, "waitress": WaitressServer}


class HTTPServer:
    """The HTTP port of one node. ``start`` and ``stop`` may be called from any thread."""

    def __init__(
        self,
        node: NodeAPI,
        host: str,
        port: int,
        extend: Callable[[FalconApp], None] | None = None,
        keyring: Keyring | None = None,
        certificate: ServedCertificate | None = None,
        more_routes: Callable[[NodeAPI], Routes] = lambda node: {},
    ) -> None:
        """:param host: address to listen on; "" is all of them.
        :param port: 0 for a free one; :attr:`port` then tells which after ``start``.
        :param extend: see :func:`~braft_core.http.app.make_app`.
        :param keyring: likewise.
        :param certificate: certificate for TLS; ``None``: plain HTTP.
        :param more_routes: returns routes beside those of this package.
        """
        self._node = node
        self._host = host
        self._extend = extend
        self._keyring = keyring
        self._certificate = certificate
        self._more_routes = more_routes
        self._running: _Server | None = None
        self._lock = threading.Lock()
        self.port = port

    def start(self) -> None:
        """Listen and serve. Calling it again while it runs does nothing.

        :raises ConfigError: naming address and port, if they cannot be had.
        """
        with self._lock:
            if self._running is None:
                app = make_app(
                    self._node, self._extend, self._keyring, self._more_routes(self._node)
                )
                listener = listen(self._host, self.port)
                self.port = int(listener.getsockname()[1])
                server = _SERVERS[self._node.settings.http_server]
                tls = self._certificate.context if self._certificate is not None else None
                self._running = server(app, listener, self.port, tls)

    def refresh(self) -> None:
        """Look whether the files of the certificate were replaced."""
        if self._certificate is not None:
            self._certificate.refresh()

    @property
    def trouble(self) -> str:
        """What is wrong with new files of the certificate, which are not in use therefore."""
        return self._certificate.trouble if self._certificate is not None else ""

    def drain(self) -> None:
        """Send callers elsewhere while the node still serves, so that its stop cuts none of them.

        New connections are refused, which tells a client that nothing was sent; on those that
        there are each answer says that it is the last. Returns when no connection was used lately,
        or after half a second; whoever waits longer is answered when the node stops.
        """
        with self._lock:
            running = self._running
        if running is not None:
            running.drain()

    def stop(self) -> None:
        """Stop accepting, let requests under way finish for half a second, end all threads.

        A request that waits for the node longer than that loses its connection. Idempotent.
        """
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.stop()
