"""The server on sockets: TLS, ALPN, client certificates, the number of connections, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from braft_core.errors import ConfigError
from braft_core.http2 import frames
from braft_core.http2.calls import Application, HttpResponse, unary
from braft_core.http2.limits import Limits
from braft_core.http2.server import Server
from braft_core.http2.tls import TlsTransport, server_context
from braft_core.tls.issuing import Names, make_authority, make_certificate
from tests.unit.http2.conftest import FakeTransport, message, request

PATIENCE = 60.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    ca = make_authority(folder, "test", 20)
    make_certificate(folder, "server", ca.cert, ca.key, Names(ips=("127.0.0.1",)), 10)
    make_certificate(folder, "client", ca.cert, ca.key, Names(), 10, client=True)
    return folder


def client_context(folder: Path, *, certificate: bool, alpn: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if certificate:
        context.load_cert_chain(folder / "client.pem", folder / "client.key")
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def secure(folder: Path, *, require_client: bool = True) -> ssl.SSLContext:
    return server_context(
        folder / "server.pem",
        folder / "server.key",
        folder / "ca.pem",
        require_client=require_client,
    )


def test_grpc_and_http_over_tls(serve: Callable[..., Any], certificates: Path) -> None:
    running = serve(tls=secure(certificates))
    files = [(certificates / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem")]
    credentials = grpc.ssl_channel_credentials(*files)
    with grpc.secure_channel(f"127.0.0.1:{running.port}", credentials) as channel:
        call = channel.unary_unary("/test.Test/Echo")
        for size in (1, 100_000, 2_000_000):
            assert call(b"x" * size, timeout=PATIENCE) == b"x" * size
    context = client_context(certificates, certificate=True)
    client = http.client.HTTPSConnection(
        "127.0.0.1", running.port, timeout=PATIENCE, context=context
    )
    client.request("GET", "/version")
    assert json.loads(client.getresponse().read())["certificate"] is True
    client.close()


def test_alpn_chooses(serve: Callable[..., Any], certificates: Path) -> None:
    running = serve(tls=secure(certificates, require_client=False))
    for alpn in ("h2", "http/1.1"):
        context = client_context(certificates, certificate=False, alpn=alpn)
        with (
            socket.create_connection(("127.0.0.1", running.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            assert secured.selected_alpn_protocol() == alpn
            secured.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            first = secured.recv(9)
            # HTTP/2 was agreed on, so this is no preface: GOAWAY.
            assert first == b"HTTP/1.1 " if alpn == "http/1.1" else first[3] == frames.GOAWAY


def test_a_client_without_a_certificate(serve: Callable[..., Any], certificates: Path) -> None:
    running = serve(tls=secure(certificates))
    context = client_context(certificates, certificate=False)
    client = http.client.HTTPSConnection(
        "127.0.0.1", running.port, timeout=PATIENCE, context=context
    )
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        ask(client)
    client.close()


def ask(client: http.client.HTTPSConnection) -> None:
    client.request("GET", "/")
    client.getresponse()


def test_handshakes_expire_and_count(serve: Callable[..., Any], certificates: Path) -> None:
    running = serve(Limits(preface_timeout=0.2), secure(certificates))
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
        client.settimeout(PATIENCE)
        assert client.recv(1) == b""
    assert eventually(lambda: running.server.connections == 0)


@pytest.mark.parametrize("established", [False, True])
def test_garbage_instead_of_tls(
    serve: Callable[..., Any], certificates: Path, established: bool
) -> None:
    running = serve(tls=secure(certificates, require_client=False))
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as plain:
        if established:
            context = client_context(certificates, certificate=False)
            secured = context.wrap_socket(plain.dup(), server_hostname="127.0.0.1")
            descriptor = secured.detach()
            socket.socket(fileno=descriptor).close()
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32 + GARBAGE)
        while not reset_or_closed(plain):
            pass  # what the handshake or an alert left
    assert eventually(lambda: running.server.connections == 0)


GARBAGE = bytes(range(256)) * 20


def test_a_request_that_ends_with_the_connection(certificates: Path) -> None:
    """What came with the notice of the end is not lost."""
    client_context_ = client_context(certificates, certificate=False)
    sent, arrived = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context_.wrap_bio(arrived, sent, server_hostname="127.0.0.1")
    socket_side = FakeTransport()
    server = TlsTransport(socket_side, secure(certificates, require_client=False))
    for _ in range(3):
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.feed(sent.read())
        arrived.write(bytes(socket_side.taken))
        socket_side.taken.clear()
    assert server.established
    client.write(b"request")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.unwrap()
    assert server.feed(sent.read()) == b"request"
    assert server.ended
    server.close()
    assert socket_side.closed


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("file", ["certificate", "key", "ca"])
def test_files_that_cannot_be_used(tmp_path: Path, certificates: Path, file: str) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    files = {
        "certificate": certificates / "server.pem",
        "key": certificates / "server.key",
        "ca": certificates / "ca.pem",
    } | {file: wrong}
    with pytest.raises(ConfigError, match=r"wrong\.pem"):
        server_context(files["certificate"], files["key"], files["ca"])


def test_too_many_connections(serve: Callable[..., Any]) -> None:
    running = serve(Limits(max_connections=3, preface_timeout=600.0))
    address = ("127.0.0.1", running.port)
    busy = [socket.create_connection(address, PATIENCE) for _ in range(2)]
    for each in busy:
        start = frames.PREFACE + frames.settings([])
        each.sendall(start + request(1, "Hang") + message(1))
    assert eventually(lambda: running.handlers.events.count("hangs") == 2)
    idle = socket.create_connection(address, PATIENCE)
    assert eventually(lambda: running.server.connections == 3)
    newer = socket.create_connection(address, PATIENCE)
    newer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert newer.recv(12) == b"HTTP/1.1 200"
    assert reset_or_closed(idle)
    newer.sendall(frames.PREFACE[:1])  # a request is under way again
    for each in (*busy, idle, newer):
        each.close()


def reset_or_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_all_busy(serve: Callable[..., Any]) -> None:
    running = serve(Limits(max_connections=1))
    address = ("127.0.0.1", running.port)
    with socket.create_connection(address, PATIENCE) as busy:
        busy.sendall(frames.PREFACE + frames.settings([]) + request(1, "Hang") + message(1))
        running.handlers.wait_for("hangs")
        with socket.create_connection(address, PATIENCE) as refused:
            assert reset_or_closed(refused)
        assert running.server.connections == 1


def test_stopping_ends_idle_connections_at_once(serve: Callable[..., Any]) -> None:
    running = serve()
    address = ("127.0.0.1", running.port)
    with (
        socket.create_connection(address, PATIENCE) as silent,
        socket.create_connection(address, PATIENCE) as plain,
        socket.create_connection(address, PATIENCE) as second,
    ):
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert plain.recv(12) == b"HTTP/1.1 200"
        second.sendall(frames.PREFACE + frames.settings([]) + request(1) + message(1))
        assert second.recv(9)
        began = time.monotonic()
        running.stop(PATIENCE)  # the client of HTTP/2 does not even answer our PING
        assert time.monotonic() - began < PATIENCE
        assert reset_or_closed(silent)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE)


def test_a_server_starts_once() -> None:
    async def twice() -> None:
        server = Server(Application({}))
        with pytest.raises(ConfigError, match="does not listen"):
            server.port  # noqa: B018 - it raises
        await server.start("127.0.0.1", 0)
        with pytest.raises(ConfigError, match="started before"):
            await server.start("127.0.0.1", 0)
        await server.stop(0.0)

    asyncio.run(twice())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"max_connections": 0}, "max_connections .* is 0"),
        ({"preface_timeout": float("nan")}, "preface_timeout"),
        ({"max_message": 100}, "accepted are 16384 to"),
        ({"connection_window": 100_000, "replenish": 99_999}, "replenish"),
    ],
)
def test_limits_are_checked(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Limits(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"status": 100},
        {"headers": ((b"X", b"y"),)},
        {"headers": ((b"x", b"y\r\nz: 1"),)},
        {"content_type": "a\nb"},
    ],
)
def test_responses_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="HTTP response"):
        HttpResponse(**values)


def test_wrong_results_are_errors(wire: Callable[..., Any], handlers: Any) -> None:
    peer = wire()
    peer.host.methods[b"/test.Test/Echo"] = unary(lambda _request, _call: "text")  # type: ignore[arg-type,return-value]
    peer.greet()
    peer.send(request(1), message(1))
    assert b"internal error" in peer.output()
