"""Small HTTP servers that answer like nodes, proxies or other servers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from braft_core.client import Client
from braft_core.errors import BraftError


class Peer(ThreadingHTTPServer):
    """Answers every request with ``answer``: (status, media type, body); ``None``: no answer."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: tuple[int, str, bytes] | None = (200, "application/json", b"{}")
        self.headers: dict[str, str] = {}
        #: Answers to the first requests, one each.
        self.before: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fails(self, status: int, error: BraftError) -> None:
        body = {"status": status, "code": error.code, "detail": error.message, "data": error.data}
        self.answer = (status, "application/problem+json", json.dumps(body).encode())

    def gives(self, value: Any) -> None:
        self.answer = (200, "application/json", json.dumps(value).encode())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Peer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        self.close_connection = True
        if self.server.answer is None:
            return
        status, media_type, content = self.server.answer
        if self.server.before:
            content = json.dumps(self.server.before.pop(0)).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = handle_any

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture
def make_peer() -> Iterator[Callable[[], Peer]]:
    peers: list[tuple[Peer, threading.Thread]] = []

    def make() -> Peer:
        peer = Peer()
        thread = threading.Thread(target=peer.serve_forever, args=(0.01,))
        thread.start()
        peers.append((peer, thread))
        return peer

    yield make
    for peer, thread in peers:
        peer.shutdown()
        thread.join()
        peer.server_close()


@pytest.fixture
def dead_url() -> Iterator[str]:
    """Return a URL whose port is reserved (bound), but never listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(*urls: str, **options: Any) -> Client:
        clients.append(Client(urls, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
