"""Both HTTP servers with real sockets, threads and limits."""

from __future__ import annotations

import base64
import errno
import http.client
import json
import logging
import resource
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from braft_core.compat.go_braft.routes import legacy_routes
from braft_core.errors import ConfigError, Stopped
from braft_core.http import HTTPServer
from braft_core.http.grace_periods import DRAIN
from braft_core.http.json_body import MAX_BODY_BYTES, SERVER_BODY_LIMIT
from braft_core.http.waitress_server import MAX_CHUNK_LINE, THREADS
from braft_core.transport import PAUSE
from braft_testing.processes import PATIENCE, wait_for

#: Seconds for which a stuck client keeps its request open.
STUCK = 60.0
#: Seconds within which anything ends that waits for no client, on a busy machine.
SOON = 15.0


def ask(port: int, method: str, path: str, **options: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def threads_of(port: int) -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(f"braft-{port}-http")]


def test_it_serves_and_leaves_nothing_behind(node: Any, kind: str) -> None:
    server = HTTPServer(node, "127.0.0.1", 0, more_routes=legacy_routes)
    server.start()
    server.start()
    port = server.port
    assert ask(port, "POST", "/kv?k=a&v=b") == (200, None)
    assert ask(port, "GET", "/kv?k=a") == (200, "b")
    assert len(threads_of(port)) == (1 if kind == "uvicorn" else THREADS + 3)
    began = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - began < SOON
    wait_for(lambda: not threads_of(port), what="the last thread ended")
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/healthz")


def test_without_room_for_connections_it_waits_and_says_so_once(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each retry must not log a traceback: that was 16 MB of log in 30 s."""
    accept = socket.socket.accept
    tries: list[float] = []

    def full(self: socket.socket) -> tuple[socket.socket, Any]:
        if self.getsockname()[1] != server.port:
            return accept(self)
        tries.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, socket.socket() as caller:
        patch.setattr(socket.socket, "accept", full)
        caller.settimeout(PATIENCE)
        caller.connect(("127.0.0.1", server.port))
        wait_for(lambda: len(tries) >= 3, what="it tries again")
        assert all(later - time >= PAUSE * 0.9 for time, later in pairwise(tries))
        patch.setattr(socket.socket, "accept", accept)
        caller.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert caller.recv(100).partition(b" ")[2].startswith(b"200"), "who waited is served"
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert f"HTTP on port {server.port} cannot accept connections" in said[0]


def _no_folder(*_: Any, **__: Any) -> Any:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/']")


@pytest.fixture
def limited_file(tmp_path: Path) -> Iterator[Callable[..., BinaryIO]]:
    """Limit the size of files to 600 KiB."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600 << 10, hard[1]))

    def make(*_: Any, **__: Any) -> BinaryIO:
        return (tmp_path / "body").open("w+b")

    yield make
    resource.setrlimit(resource.RLIMIT_FSIZE, hard)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("trouble", ["no folder", "no space"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_value_needs_no_temporary_file(
    server: HTTPServer,
    node: Any,
    monkeypatch: pytest.MonkeyPatch,
    limited_file: Any,
    trouble: str,
    chunked: bool,
) -> None:
    make = _no_folder if trouble == "no folder" else limited_file
    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    value = bytes(range(256)) * (3 << 12)
    assert len(value) == 3 << 20
    body: Any = iter([value[:1000], value[1000:]]) if chunked else value
    assert ask(server.port, "PUT", "/v1/kv/m/k", body=body)[0] == 200
    assert node.maps["m"]["k"][0] == value
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", "/v1/kv/m/k")
        assert connection.getresponse().read() == value


@pytest.mark.parametrize("years", [56, -56])
@pytest.mark.parametrize("kind", ["waitress"], indirect=True)
def test_a_wall_clock_that_is_set_closes_no_connection(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        assert connection.sock is not None
        own = connection.sock.getsockname()
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + years * 365 * 86_400)
        serving = server._running._server  # type: ignore[union-attr]
        before = serving.next_channel_cleanup
        wait_for(lambda: serving.next_channel_cleanup != before, what="the loop saw the new time")
        assert abs(serving.next_channel_cleanup - time.time()) < 3600
        serving.pull_trigger()
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        assert connection.sock.getsockname() == own, "it is the same connection"


def test_it_can_start_again_on_the_same_port(server: HTTPServer) -> None:
    port = server.port
    ask(port, "GET", "/healthz")
    server.stop()
    server.start()
    assert server.port == port
    assert ask(port, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_port_that_is_taken_is_named(node: Any, kind: str, host: str) -> None:
    with socket.create_server((host, 0)) as taken:
        port = taken.getsockname()[1]
        server = HTTPServer(node, host, port)
        with pytest.raises(ConfigError, match=rf"BRAFT_HPORT.*port {port}"):
            server.start()
        assert threads_of(port) == []
        server.stop()


def test_a_foreign_address_is_a_config_error(node: Any) -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        HTTPServer(node, "192.0.2.1", 0).start()


def test_idle_connections_do_not_hold_up_the_stop(server: HTTPServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < SOON
    connection.close()


def test_health_is_answered_while_many_requests_wait(server: HTTPServer, node: Any) -> None:
    node.held = threading.Event()
    callers = [
        threading.Thread(target=ask, args=(server.port, "POST", f"/kv?k={n}&v=1"))
        for n in range(THREADS + 4)
    ]
    for caller in callers:
        caller.start()
    wait_for(lambda: node.waiting >= THREADS, what="all workers wait")
    assert ask(server.port, "GET", "/healthz")[0] == 200
    assert ask(server.port, "GET", "/readyz")[0] == 200
    node.held.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert len(node.maps["default"]) == THREADS + 4


def test_a_request_under_way_is_answered_before_the_stop(
    server: HTTPServer, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braft_core.http.grace_periods.STOP_GRACE", PATIENCE)
    node.held, answers = threading.Event(), []
    caller = threading.Thread(target=lambda: answers.append(ask(server.port, "POST", "/kv?v=1")))
    caller.start()
    wait_for(lambda: node.waiting, what="the request is under way")
    stopper = threading.Thread(target=server.stop)
    stopper.start()
    node.held.set()
    stopper.join(PATIENCE)
    caller.join(PATIENCE)
    assert answers == [(200, None)]


def test_a_stuck_request_neither_holds_up_the_stop_nor_keeps_its_thread(
    server: HTTPServer, node: Any
) -> None:
    node.held = threading.Event()
    failures: list[BaseException] = []

    def call() -> None:
        try:
            ask(server.port, "POST", "/kv?v=1")
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    wait_for(lambda: node.waiting, what="the request is under way")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < SOON
    caller.join(PATIENCE)
    assert len(failures) == 1
    node.fails = Stopped("the node was stopped")
    node.held.set()
    wait_for(lambda: not threads_of(server.port), what="the last thread ended")


def test_a_body_that_is_announced_as_too_large_is_refused_unread(
    server: HTTPServer, node: Any
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as raw:
        length = MAX_BODY_BYTES + 1
        head = f"PUT /v1/kv/m/k HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {length}\r\n\r\n"
        raw.sendall(head.encode() + b"x" * 1000)
        if node.settings.http_server == "waitress":  # it reads the whole body first
            raw.sendall(b"x" * (length - 1000))
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert answer.status == 413
        assert json.loads(answer.read())["data"] == {"size": length, "limit": MAX_BODY_BYTES}
    assert node.calls == []


def test_an_endless_body_is_cut_off_before_it_is_read(server: HTTPServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as raw:
        head = (
            f"PUT /v1/kv/m/k HTTP/1.1\r\nHost: [::1]\r\nContent-Length: {SERVER_BODY_LIMIT}\r\n\r\n"
        )
        raw.sendall(head.encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_read_whole(server: HTTPServer, node: Any) -> None:
    body = iter([b"abc", b"def"])
    assert ask(server.port, "PUT", "/v1/kv/m/k", body=body, encode_chunked=True)[0] == 200
    assert node._kv_get("m", "k")[0] == b"abcdef"


CHUNKED = b"PUT /v1/kv/m/k HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n"
#: A chunk of 64 KiB.
CHUNK = b"10000\r\n" + bytes(0x10000) + b"\r\n"


def test_a_chunked_body_without_end_is_cut_off(server: HTTPServer, node: Any) -> None:
    """It has no Content-Length, so its bytes are counted as they arrive."""
    limit = SERVER_BODY_LIMIT if node.settings.http_server == "waitress" else MAX_BODY_BYTES
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as raw:
        # Send only what is read before the refusal: unread bytes would reset the connection.
        raw.sendall(CHUNKED + CHUNK * (limit // len(CHUNK)))
        assert not select.select([raw], [], [], 0)[0]
        raw.sendall(CHUNK * 2)
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")
    assert node.calls == []
    assert ask(server.port, "PUT", "/v1/kv/m/k", body=b"1")[0] == 200


@pytest.mark.parametrize("kind", ["waitress"], indirect=True)
@pytest.mark.parametrize(
    "line",
    [b"1" * MAX_CHUNK_LINE * 2, b"1;" + b"x" * MAX_CHUNK_LINE * 2, b"0\r\na: b" + b"x" * 40_000],
    ids=["a size", "a remark", "a trailer"],
)
def test_what_a_chunk_says_of_itself_is_limited(server: HTTPServer, node: Any, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as raw:
        raw.sendall(CHUNKED + line)
        assert raw.recv(4096).startswith(b"HTTP/1.1 400")
    assert node.calls == []
    assert ask(server.port, "PUT", "/v1/kv/m/k", body=b"1")[0] == 200


def test_a_chunked_body_just_beyond_what_is_accepted_is_refused(
    server: HTTPServer, node: Any
) -> None:
    body = iter([bytes(MAX_BODY_BYTES), b"x"])
    status, problem = ask(server.port, "PUT", "/v1/kv/m/k", body=body, encode_chunked=True)
    assert (status, problem["code"]) == (413, "too_large")
    assert problem["data"]["limit"] == MAX_BODY_BYTES
    assert node.calls == []


def test_a_key_with_an_escaped_slash_arrives_whole(server: HTTPServer, node: Any) -> None:
    assert ask(server.port, "PUT", "/v1/kv/m/a%2Fb%20c", body=b"1")[0] == 200
    assert list(node.maps["m"]) == ["a/b c"]


def test_a_key_of_the_store_may_be_any_bytes(server: HTTPServer) -> None:
    path = "/v1/store/keys/a/%FF%2F%00/"
    assert ask(server.port, "PUT", path, body=b"\xfe") == (200, {"revision": 2})
    status, page = ask(server.port, "GET", "/v1/store/keys?start=a%2F%FE&end=a/%FF0&keys_only=true")
    assert status == 200
    assert [base64.b64decode(each["key"]) for each in page["entries"]] == [b"a/\xff/\0/"]
    assert ask(server.port, "DELETE", path) == (200, {"revision": 3, "deleted": 1})


def test_callers_are_sent_elsewhere_before_the_stop(server: HTTPServer, node: Any) -> None:
    """A pending request is answered, with ``Connection: close``."""
    with closing(
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    ) as connection:
        connection.request("GET", "/healthz")
        first = connection.getresponse()
        first.read()
        assert not first.will_close
        drained = threading.Thread(target=server.drain)
        drained.start()
        wait_for(lambda: _refused(server.port), what="no new connection is made")
        connection.request("POST", "/kv?k=a&v=b")
        last = connection.getresponse()
        last.read()
    assert (last.status, last.will_close) == (200, True)
    drained.join(PATIENCE)
    server.stop()
    assert node.maps["default"]["a"][0] == "b"


def test_a_connection_that_was_made_before_the_drain_is_served(
    server: HTTPServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is established; after a reset its client could not know the outcome."""
    running = server._running
    assert running is not None
    if kind == "waitress":
        monkeypatch.setattr(running._server, "accepting", False)  # type: ignore[attr-defined]
    else:
        loop = running._loop  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(running._listen, False)  # type: ignore[attr-defined]
    waiting = [
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) for _ in range(3)
    ]
    drained = threading.Thread(target=server.drain)
    drained.start()
    for raw in waiting:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        raw.close()
    drained.join(PATIENCE)


def test_a_drain_waits_for_callers_and_not_for_ever(
    server: HTTPServer, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that still waits is answered when the node stops."""
    monkeypatch.setattr("braft_core.http.grace_periods.STOP_GRACE", PATIENCE)
    node.held, answers = threading.Event(), []
    caller = threading.Thread(target=lambda: answers.append(ask(server.port, "POST", "/kv?v=1")))
    caller.start()
    wait_for(lambda: node.waiting, what="the request is under way")
    began = time.monotonic()
    server.drain()
    assert DRAIN <= time.monotonic() - began < SOON
    node.fails = Stopped("the node was stopped")
    node.held.set()
    server.stop()
    caller.join(PATIENCE)
    ((status, problem),) = answers
    assert (status, problem["code"]) == (503, "stopped")


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # the kernel accepted it after the server's last accept()
        return False
    return False
