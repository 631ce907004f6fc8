"""The HTTP port of a node: listens, serves the application, and stops without leftovers.

Owns the choice between uvicorn and Waitress.
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
from braft_core.http.open_streams import OpenStreams
from braft_core.http.request_guard import RequestGuard
from braft_core.http.uvicorn_server import UvicornServer
from braft_core.http.waitress_server import WaitressServer
from braft_core.tls.served_certificate import ServedCertificate
from braft_core.tokens import Keyring

__all__ = ["HTTPServer"]


class _Server(Protocol):
    """Serves one listening socket, from creation to :meth:`stop`."""

    def __init__(
        self, app: RequestGuard, listener: socket.socket, port: int, tls: ssl.SSLContext | None
    ) -> None:
        """Start to serve."""

    @staticmethod
    def max_streams() -> int:
        """Return how many answers may go on at a time until somebody ends them."""

    def drain(self) -> None:
        """See :meth:`HTTPServer.drain`."""

    def stop(self) -> None:
        """See :meth:`HTTPServer.stop`."""


_SERVERS: Final[dict[str, type[_Server]]] = {"uvicorn": UvicornServer, "waitress": WaitressServer}


class HTTPServer:
    """The HTTP server of one node. Thread-safe."""

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
        """Create the server; :meth:`start` opens the port.

        :param host: address to listen on; "" for all addresses.
        :param port: 0 for a free one, which :attr:`port` holds after ``start``.
        :param extend: see :func:`~braft_core.http.app.make_app`.
        :param keyring: see :func:`~braft_core.http.app.make_app`.
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
        self._streams = OpenStreams()
        self._lock = threading.Lock()
        self.port = port

    def start(self) -> None:
        """Listen and serve. Idempotent.

        :raises ConfigError: the port cannot be bound; names address and port.
        """
        with self._lock:
            if self._running is None:
                server = _SERVERS[self._node.settings.http_server]
                self._streams = OpenStreams(server.max_streams())
                more = self._more_routes(self._node)
                app = make_app(self._node, self._extend, self._keyring, more, self._streams)
                listener = listen(self._host, self.port)
                self.port = int(listener.getsockname()[1])
                tls = self._certificate.context if self._certificate is not None else None
                self._running = server(app, listener, self.port, tls)

    def refresh(self) -> None:
        """Reload the certificate if its files were replaced."""
        if self._certificate is not None:
            self._certificate.refresh()

    @property
    def trouble(self) -> str:
        """Why replaced certificate files are not in use; "" if there is no problem."""
        return self._certificate.trouble if self._certificate is not None else ""

    def drain(self) -> None:
        """Drain connections before the node stops, so that no request is cut off.

        Watches end, so that their callers go on at other nodes. New connections are refused, so
        clients know that nothing was sent. Answers on open connections carry ``Connection: close``.
        Returns when no connection was used recently, or after half a second; requests that still
        wait are answered when the node stops.
        """
        with self._lock:
            running = self._running
        if running is not None:
            self._streams.end_all()
            running.drain()

    def stop(self) -> None:
        """Stop accepting, give pending requests half a second, end all threads.

        A request that waits longer loses its connection. Idempotent.
        """
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            self._streams.end_all()
            running.stop()
