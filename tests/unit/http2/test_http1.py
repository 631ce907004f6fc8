"""HTTP/1.1: a client of the standard library, the rules of RFC 9112, and hostile clients."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.http2.http1_parts import ChunkedBody, Refused
from braft_core.http2.limits import Limits
from tests.unit.http2.conftest import Handlers, Http1Wire

PATIENCE = 60.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def running(serve: Callable[..., Any]) -> Any:
    return serve()


@pytest.fixture
def client(running: Any) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
    yield made
    made.close()


def ask(client: http.client.HTTPConnection, *request: Any, **more: Any) -> tuple[int, Any]:
    client.request(*request, **more)
    response = client.getresponse()
    return response.status, json.loads(response.read())


def test_requests_share_a_connection(client: http.client.HTTPConnection) -> None:
    status, seen = ask(client, "POST", "/v3/kv/put?x=1", b"{}" * 100)
    used = client.sock
    assert (status, seen["method"], seen["path"], seen["query"]) == (
        200,
        "POST",
        "/v3/kv/put",
        "x=1",
    )
    assert seen["body"] == 200
    assert ask(client, "GET", "/version")[1]["host"] == f"127.0.0.1:{client.port}"
    assert client.sock is used


def test_chunks_both_ways(client: http.client.HTTPConnection) -> None:
    parts = [b"x" * 1000] * 50
    assert ask(client, "POST", "/", iter(parts), encode_chunked=True)[1]["body"] == 50_000
    client.request("GET", "/parts?100")
    response = client.getresponse()
    assert response.getheader("transfer-encoding") == "chunked"
    assert response.read() == b"".join(b"part %d\n" % number for number in range(100))
    assert ask(client, "GET", "/")[0] == 200


def test_head_and_errors(client: http.client.HTTPConnection) -> None:
    client.request("HEAD", "/")
    response = client.getresponse()
    assert int(response.getheader("content-length") or 0) > 0
    assert response.read() == b""
    client.request("GET", "/crash")
    response = client.getresponse()
    assert (response.status, response.read()) == (500, b"internal error\n")
    assert ask(client, "GET", "/")[0] == 200


def test_a_body_that_is_too_large(client: http.client.HTTPConnection) -> None:
    client.putrequest("POST", "/")
    client.putheader("Content-Length", str(2**21 + 1))
    client.endheaders()
    assert client.getresponse().status == 413


def test_a_client_that_goes_ends_the_stream(running: Any, handlers: Any) -> None:
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
        client.sendall(b"GET /parts?1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    handlers.wait_for("parts ended")


def test_http_2_on_the_same_port(running: Any) -> None:
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n")
        client.sendall(b"\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert client.recv(9)[3] == 4  # SETTINGS


@pytest.mark.parametrize("data", [b"INVALID\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n"])
def test_what_is_not_http_is_closed(http1: Callable[..., Any], data: bytes) -> None:
    peer = http1()
    assert peer.send(data) == b""
    assert peer.transport.closed


def test_pipelined_requests_are_answered_in_order(http1: Callable[..., Any]) -> None:
    peer = http1()
    two = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in (1, 2))
    answers = peer.send(b"GET /parts HTTP/1.1\r\nHost: a\r\n\r\n" + two)
    answers += peer.pass_turns(20)
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.index(b"part 2") < answers.index(b'"/1"') < answers.index(b'"/2"')
    assert not peer.transport.closed


def test_a_flood_of_requests_takes_turns(http1: Callable[..., Any]) -> None:
    peer = http1()
    peer.connection.receive(GET * 500)
    assert 0 < peer.transport.taken.count(b"HTTP/1.1 200") < 50
    assert not peer.transport.reading
    answers = peer.pass_turns(30)
    assert answers.count(b"HTTP/1.1 200") == 500
    assert peer.transport.reading


def test_any_split_of_a_request(http1: Callable[..., Any]) -> None:
    text = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n"
    text += b"A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    peer = http1()
    for position in range(len(text)):
        answer = peer.send(text[position : position + 1])
        assert bool(answer) == (position == len(text) - 1)
    assert b'"body": 13' in answer


def test_continue(http1: Callable[..., Any]) -> None:
    peer = http1()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    assert peer.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"200 OK" in peer.send(b"ab")


def test_http_1_0(http1: Callable[..., Any]) -> None:
    peer = http1()
    answer = peer.send(b"GET /parts HTTP/1.0\r\n\r\n") + peer.pass_turns(20)
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"part 0\npart 1\npart 2\n")
    assert peer.transport.closed
    peer = http1()
    assert b"connection: keep-alive" in peer.send(
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    )
    assert not peer.transport.closed


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET relative HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\n"
            b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 300, 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"x" * 17_000, 431),
    ],
)
def test_refused_requests(http1: Callable[..., Any], text: bytes, status: int) -> None:
    peer = http1()
    answer = peer.send(text)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer
    assert peer.transport.closed
    assert peer.send(GET) == b""


def test_slow_heads_and_bodies_expire(http1: Callable[..., Any]) -> None:
    peer = http1()
    peer.send(b"GET / HT")
    for _ in range(9):
        peer.at(1)
        peer.send(b"x")
    assert peer.at(1).startswith(b"HTTP/1.1 408 ")
    peer = http1()
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
    for _ in range(59):
        assert peer.at(1) == b""
        peer.send(b"x")
    assert peer.at(1).startswith(b"HTTP/1.1 408 ")
    assert peer.transport.closed
    assert peer.host.buffered == 0


def test_idle_connections_expire(http1: Callable[..., Any]) -> None:
    peer = http1()
    peer.send(GET)
    peer.at(74)
    assert not peer.transport.closed
    peer.at(2)
    assert peer.transport.closed


def test_a_reader_that_stops_is_cut_off(http1: Callable[..., Any]) -> None:
    peer = http1()
    peer.transport.stuck = True
    peer.send(b"GET /parts?1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    peer.connection.pause_writing()
    peer.pass_turns(3)
    before = peer.transport.get_write_buffer_size()
    peer.pass_turns(20)
    assert peer.transport.get_write_buffer_size() == before
    for _ in range(32):
        peer.at(1)
    assert peer.transport.aborted


def test_bodies_count_against_the_budget(http1: Callable[..., Any]) -> None:
    peer = http1(Limits(max_buffered_total=50_000))
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    assert peer.send(b"x" * 49_000) == b""
    assert peer.host.buffered == 49_000
    assert peer.send(b"x" * 2_000).startswith(b"HTTP/1.1 503 ")
    assert peer.host.buffered == 0


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_chunks_in_any_pieces(parts: list[bytes], sizes: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"
    chunked, buffer, position = ChunkedBody(10_000, 100), bytearray(), 0
    while position < len(data):
        size = sizes[position % len(sizes)]
        buffer += data[position : position + size]
        position += size
        chunked.feed(buffer)
    assert chunked.complete
    assert bytes(chunked.body) == b"".join(parts)
    assert not buffer


@given(st.binary(max_size=80))
def test_any_chunks_are_read_or_refused(data: bytes) -> None:
    chunked, buffer = ChunkedBody(100, 50), bytearray(data)
    try:
        chunked.feed(buffer)
    except Refused:
        return
    assert len(chunked.body) <= 100


_fragments = st.lists(
    st.one_of(
        st.sampled_from(
            (
                GET,
                b"POST /parts HTTP/1.1\r\n",
                b"GET /crash HTTP/1.0\r\n",
                b"Host: a\r\n",
                b"Content-Length: 5\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Expect: 100-continue\r\n",
                b"Connection: close\r\n",
                b"\r\n",
                b"5\r\nhello\r\n",
                b"0\r\n\r\n",
                b"hello",
                "sweep",
                "pause",
                "resume",
                "drain",
            )
        ),
        st.binary(max_size=10),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(_fragments)
def test_fuzzed_requests(steps: list[bytes | str]) -> None:
    peer = Http1Wire(Handlers())
    try:
        for step in steps:
            if isinstance(step, bytes):
                peer.send(step)
            elif step == "sweep":
                peer.at(5)
            elif step == "pause":
                peer.connection.pause_writing()
            elif step == "resume":
                peer.connection.resume_writing()
            else:
                peer.connection.drain()
            assert peer.host.buffered == peer.connection._held
    finally:
        peer.close()
