"""A server of gRPC over HTTP/2, and of HTTP/1.1 and HTTP/2 requests, on one port.

Written for calls of a few microseconds: :mod:`braft_core.http2.connection` has the reasons. Its
handlers are plain callables of bytes (:mod:`braft_core.http2.calls`) and know no server. Knows
nothing of nodes, and imports nothing of braft but its errors.
"""
