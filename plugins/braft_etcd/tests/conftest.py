"""A node that serves the etcd API, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from braft_core import Node
from braft_etcd.options import EtcdOptions
from braft_etcd.wire import Values, decode, encode
from braft_etcd.wire.messages import message
from braft_testing.processes import wait_for

_TIMEOUT = 60.0


def _full(path: str) -> str:
    return f"/{path}" if "." in path else f"/etcdserverpb.{path}"


class Client:
    """Calls the API by grpcio, with messages as plain values."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        """Connect, over TLS if there are credentials."""
        self._channel = (
            grpc.secure_channel(address, credentials)
            if credentials
            else grpc.insecure_channel(address)
        )

    def call(
        self,
        path: str,
        request: str = "",
        response: str = "",
        metadata: tuple[tuple[str, str], ...] = (),
        **fields: Any,
    ) -> Values:
        """Make a unary call, such as ``call("KV/Put", key=b"a")``."""
        name = path.rpartition("/")[2]
        made = message(request or f"{name}Request")
        answered = message(response or f"{name}Response")
        method = self._channel.unary_unary(_full(path))
        data = method(encode(made, fields), timeout=_TIMEOUT, metadata=metadata)
        return decode(answered, data)

    def begin(self, path: str, **fields: Any) -> grpc.Future:
        """Begin a unary call that may be cancelled."""
        data = encode(message(f"{path.rpartition('/')[2]}Request"), fields)
        return self._channel.unary_unary(_full(path)).future(data, timeout=_TIMEOUT)

    def stream(
        self,
        path: str,
        requests: Iterator[Values],
        *,
        kind: str = "",
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Iterator[Values]:
        """Make a call that streams, such as ``stream("Lease/LeaseKeepAlive", ...)``."""
        name = kind or path.rpartition("/")[2]
        made, answered = message(f"{name}Request"), message(f"{name}Response")
        method = self._channel.stream_stream(_full(path))
        data = (encode(made, each) for each in requests)
        for answer in method(data, timeout=_TIMEOUT, metadata=metadata):
            yield decode(answered, answer)

    def close(self) -> None:
        self._channel.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., tuple[Node, str]]]:
    """Return ``serve(options, **settings)``: a node alone, and the address of its API."""
    with ExitStack() as stack:

        def start(options: EtcdOptions | None = None, **settings: Any) -> tuple[Node, str]:
            node = Node(
                discovery="none",
                data_dir=":memory:",
                ip="127.0.0.1",
                rport=0,
                http=False,
                plugins=[options or EtcdOptions(listen="127.0.0.1:0")],
                **settings,
            )
            stack.enter_context(node)
            node.wait_ready()
            return node, _address(node)

        yield start


def _address(node: Node) -> str:
    """Return where the node announced its API, once it has."""
    members: list[Any] = wait_for(lambda: node.query("store", "members"), what="a URL")
    return str(members[0][2][0]).rpartition("/")[2]


@pytest.fixture(scope="module")
def served(serve: Callable[..., tuple[Node, str]]) -> tuple[Node, str]:
    """Return a node that all tests of this plugin share, and the address of its API."""
    return serve()


@pytest.fixture(scope="module")
def client(served: tuple[Node, str]) -> Iterator[Client]:
    """Return a client of that node."""
    made = Client(served[1])
    yield made
    made.close()
