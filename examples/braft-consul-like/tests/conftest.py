"""A registry that serves on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from braft_consul_like.registry import Registry, make_app

TOKEN = "the-registry's"


@dataclass
class Running:
    """A registry that serves on loopback."""

    registry: Registry
    url: str
    token: str


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False  # a question that waits for a change must not hold up the end


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


@pytest.fixture
def registry() -> Iterator[Running]:
    """Run a registry that requires a token, on its own port."""
    registry = Registry()
    app = make_app(registry, TOKEN)
    with make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="registry")
        thread.start()
        try:
            yield Running(registry, f"http://127.0.0.1:{server.server_port}", TOKEN)
        finally:
            server.shutdown()
            thread.join(10)
