"""Health checks are answered in spite of clients that are slow, silent or never finish."""

from __future__ import annotations

import http.client
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest

from braft_testing.processes import (
    HOST,
    NODE_COMMAND,
    PATIENCE,
    ProcessCluster,
    wait_for,
)

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("slow callers of http")]

TOKEN = "sesame-open-now-1"
#: The limit of open files of the attacked node (``ulimit -n``); a quarter is for HTTP.
DESCRIPTORS = 1024
LIMITED = ["bash", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "--", *NODE_COMMAND]
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tmp_path_factory.mktemp("slow")
    with ProcessCluster(1, folder, command=LIMITED, token=TOKEN, services="kv") as running:
        running.start()
        wait_for(lambda: _is_ready(running), what="the node is ready")
        yield running
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def port(cluster: ProcessCluster) -> int:
    return cluster.nodes[0].http_port


def ask(
    port: int, method: str, path: str, body: bytes | None = None, /, **headers: str
) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(HOST, port, timeout=PATIENCE)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _is_ready(cluster: ProcessCluster) -> bool:
    try:
        return ask(cluster.nodes[0].http_port, "GET", "/readyz")[0] == 200
    except OSError:
        return False


def is_well(port: int) -> bool:
    """Return whether each health check succeeds at the first try, and a write, too."""
    found = [ask(port, "GET", path)[0] for path in ("/healthz", "/readyz", "/healthz")]
    written = ask(port, "PUT", "/v1/kv/m/k", b"v", **AUTHORIZED)[0]
    return found == [200] * 3 and written == 200


def opened(port: int, *, window: int = 0) -> socket.socket:
    raw = socket.socket()
    if window:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    raw.settimeout(PATIENCE)
    raw.connect((HOST, port))
    return raw


class Dripper(threading.Thread):
    """Holds many connections and sends a byte of a request on each from time to time."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__(daemon=True)
        self._port, self._count = port, count
        self._over = threading.Event()
        self.held: list[socket.socket] = []
        self.rounds = 0

    def run(self) -> None:
        while not self._over.wait(2.0):
            alive = []
            for raw in self.held:
                try:
                    raw.send(b"x")
                    alive.append(raw)
                except OSError:
                    raw.close()
            while len(alive) < self._count and not self._over.is_set():
                try:
                    alive.append(opened(self._port))
                    alive[-1].send(b"GET / HTTP/1.1\r\nX: ")
                except OSError:
                    break
            self.held = alive
            self.rounds += 1

    def stop(self) -> None:
        self._over.set()
        self.join(PATIENCE)
        for raw in self.held:
            raw.close()


def test_a_thousand_connections_of_a_byte_now_and_then(port: int) -> None:
    dripper = Dripper(port, 1000)
    dripper.start()
    try:
        wait_for(lambda: dripper.rounds >= 1, what="they are there")
        for _ in range(2):
            assert is_well(port)
    finally:
        dripper.stop()


@pytest.mark.smoke
def test_bodies_without_a_token_are_neither_read_nor_kept(
    cluster: ProcessCluster, port: int
) -> None:
    process = psutil.Process(cluster.pid(0))
    before = process.memory_info().rss
    head = f"PUT /v1/kv/m/k HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {8 * MIB}\r\n\r\n".encode()
    with ExitStack() as held:
        for _ in range(40):
            raw = held.enter_context(opened(port))
            raw.sendall(head)
            answer = raw.recv(4096)
            assert answer.startswith(b"HTTP/1.1 401"), "before a byte of the body"
            raw.setblocking(False)
            with suppress(OSError):
                for _ in range(8):
                    raw.send(bytes(MIB - 1))
        assert is_well(port)
        assert process.memory_info().rss - before < 100 * MIB
        names = [file.path for file in process.open_files() if "tmp" in Path(file.path).name]
        assert names == []


def test_expect_is_not_answered_by_continue_without_a_token(port: int) -> None:
    head = f"PUT /v1/kv/m/k HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue"
    for extra, expected in (("", b" 401"), (f"\r\nAuthorization: Bearer {TOKEN}", b" 100")):
        with opened(port) as raw:
            raw.sendall(f"{head}{extra}\r\n\r\n".encode())
            assert raw.recv(12)[8:] == expected


def test_idle_connections_up_to_the_limit_of_open_files(cluster: ProcessCluster, port: int) -> None:
    log = cluster.nodes[0].log
    before = log.stat().st_size
    with ExitStack() as held:
        for _ in range(DESCRIPTORS * 2):
            held.enter_context(opened(port))
        for _ in range(5):
            assert is_well(port)
        assert psutil.Process(cluster.pid(0)).num_fds() < DESCRIPTORS
    assert log.stat().st_size - before < 10_000


def test_sixteen_readers_that_do_not_read(port: int) -> None:
    for number in range(12):
        assert (
            ask(port, "PUT", f"/v1/kv/big/{number}", bytes([number]) * MIB, **AUTHORIZED)[0] == 200
        )
    taken = json.loads(ask(port, "POST", "/v1/snapshots", None, **AUTHORIZED)[1])
    path = f"/v1/snapshots/{taken['id']}"
    head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with ExitStack() as held:
        for _ in range(16):
            raw = held.enter_context(opened(port, window=4096))
            raw.sendall(head)
            assert raw.recv(12) == b"HTTP/1.1 200"
        for _ in range(3):
            assert is_well(port)
        status, file = ask(port, "GET", path, None, **AUTHORIZED)
        assert status == 200
        assert len(file) > 12 * MIB, "and somebody who reads gets all of it"


def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(port: int) -> None:
    head = f"PUT /v1/kv/m/torn HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n"
    for way in ("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "Content-Length: 8\r\n\r\nhalf"):
        with opened(port) as raw:
            raw.sendall((head + way).encode())
            time.sleep(0.1)
    assert is_well(port)
    assert ask(port, "GET", "/v1/kv/m/torn", None, **AUTHORIZED)[0] == 404


def test_endless_heads_are_cut_off(port: int) -> None:
    with opened(port) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(OSError):
            for _ in range(64):
                raw.sendall(b"X-A: " + b"a" * 1000 + b"\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 431")


def test_what_is_no_http_is_a_problem(port: int) -> None:
    with opened(port) as raw:
        raw.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        assert (answer.status, answer.getheader("Content-Type")) == (
            400,
            "application/problem+json",
        )
        assert json.loads(answer.read())["code"] == "bad_request"
