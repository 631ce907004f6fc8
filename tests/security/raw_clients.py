"""Raw connections of a hostile client to a node, and measurements of the node.

The node is a separate process, so that its memory and descriptors can be measured.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import hpack

from braft_tcp.frames import HEADER, Channel, Hello, Kind, encode_hello
from braft_testing.processes import NODE_COMMAND, ProcessCluster, wait_for

#: The connection preface of an HTTP/2 client.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
MIB = 1 << 20


@contextlib.contextmanager
def one_node(
    directory: Path, descriptors: int | None = None, **settings: object
) -> Iterator[ProcessCluster]:
    """Run a cluster of one that is ready. ``descriptors``: its limit of open files."""
    command = list(NODE_COMMAND)
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    with ProcessCluster(1, directory, command=command, **settings) as nodes:
        nodes.start()
        wait_for(lambda: status(nodes, "/readyz") == 200, what="the node is ready")
        yield nodes


def status(nodes: ProcessCluster, path: str) -> int:
    """Return the HTTP status that node 0 answers on a new connection, 0 if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", nodes.nodes[0].http_port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def peak(nodes: ProcessCluster) -> float:
    """Return the peak memory of node 0, MiB."""
    status = Path(f"/proc/{nodes.pid(0)}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def forget_peak(nodes: ProcessCluster) -> None:
    """Reset :func:`peak` to the memory in use now."""
    Path(f"/proc/{nodes.pid(0)}/clear_refs").write_text("5")


def descriptors(nodes: ProcessCluster) -> int:
    """Return the number of open descriptors of node 0."""
    return len(os.listdir(f"/proc/{nodes.pid(0)}/fd"))


def connect(nodes: ProcessCluster, port: int = 0) -> socket.socket:
    """Connect to the Raft port of node 0."""
    return socket.create_connection(("127.0.0.1", port or nodes.nodes[0].raft_port), 20)


def is_open(connection: socket.socket) -> bool:
    """Return whether the other end keeps the connection open; discard what it sent."""
    connection.setblocking(False)
    try:
        while connection.recv(MIB):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


def is_cut(connection: socket.socket, flood: bytes, seconds: float = 120.0) -> bool:
    """Send ``flood`` repeatedly and read; return whether the other end closes the connection."""
    end = time.monotonic() + seconds
    connection.settimeout(0.5)
    while time.monotonic() < end:
        try:
            connection.sendall(flood)
        except TimeoutError:
            pass
        except OSError:
            return True
        if not is_open(connection):
            return True
        connection.settimeout(0.5)
    return False


# ---------------------------------------------------------------------- HTTP/2


def http2_frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """Return one frame."""
    head = len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + body


def http2_call(path: str, stream: int, *more: tuple[str, str]) -> bytes:
    """Encode the ``HEADERS`` of a gRPC call, independent of earlier frames."""
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    )
    block = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*h) for h in headers])
    return http2_frame(1, 4, stream, block)


# ---------------------------------------------------------------------- the transport tcp


def frame(kind: int, body: bytes = b"", request_id: int = 0) -> bytes:
    """Return one frame of the transport ``tcp``."""
    return HEADER.pack(len(body), kind, request_id) + body


def greet(nodes: ProcessCluster) -> socket.socket:
    """Return a connection on the calls channel whose hello was accepted.

    :raises ConnectionError: the node refused it.
    """
    connection = connect(nodes)
    try:
        connection.sendall(
            frame(Kind.HELLO, encode_hello(Hello(Channel.CALLS, "", "stranger", "")))
        )
        head = connection.recv(HEADER.size, socket.MSG_WAITALL)
        if len(head) < HEADER.size:
            raise ConnectionError("the node closed the connection")
        length, kind, _ = HEADER.unpack(head)
        words = connection.recv(length, socket.MSG_WAITALL)
        if kind != Kind.WELCOME:
            raise ConnectionError(f"refused: {words!r}")
    except BaseException:
        connection.close()
        raise
    return connection
