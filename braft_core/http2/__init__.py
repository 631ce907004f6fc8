"""A server of gRPC over HTTP/2, and of HTTP/1.1 and HTTP/2 requests, on one port.

Public, for plugins that speak to other programs. Handlers are plain callables of bytes and know no
server (:mod:`braft_core.http2.calls` has their shapes); a :class:`Server` serves an
:class:`Application` of them. :mod:`braft_core.http2.grpc_aio` puts the same handlers behind grpcio.

Knows nothing of nodes, and imports nothing of braft but its errors. It is written for calls of a
few microseconds: :mod:`braft_core.http2.connection` says how.
"""

from braft_core.http2.calls import (
    Application,
    Call,
    HttpHandler,
    HttpRequest,
    HttpResponse,
    Metadata,
    Method,
    Peer,
    bidirectional,
    client_streaming,
    server_streaming,
    unary,
)
from braft_core.http2.limits import Limits
from braft_core.http2.server import Server
from braft_core.http2.status import CallFailed, Status
from braft_core.http2.tls import server_context

__all__ = [
    "Application",
    "Call",
    "CallFailed",
    "HttpHandler",
    "HttpRequest",
    "HttpResponse",
    "Limits",
    "Metadata",
    "Method",
    "Peer",
    "Server",
    "Status",
    "bidirectional",
    "client_streaming",
    "server_context",
    "server_streaming",
    "unary",
]
