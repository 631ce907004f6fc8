"""The HTTP/2 server against h2spec, which is built into the user's cache, and on TLS too.

``BRAFT_H2SPEC`` names a program to use instead.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from braft_core.http2.calls import Application, HttpRequest, HttpResponse
from braft_core.http2.server import Server
from braft_core.http2.tls import server_context
from braft_core.tls.issuing import Names, make_authority, make_certificate
from braft_testing.processes import HOST, PATIENCE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.optional,
    pytest.mark.slow,  # it waits for answers by the clock
]

_MODULE = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
#: All of h2spec's cases. etcd 3.6 passes 112.
_CASES = 145


@pytest.fixture(scope="module")
def h2spec() -> str:
    """Return the program, built on the first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "braft" / "h2spec"
    program = Path(os.environ.get("BRAFT_H2SPEC") or folder / "h2spec")
    if os.access(program, os.X_OK):
        return str(program)
    go = shutil.which("go")
    if go is None:
        pytest.skip("no h2spec: Go is not installed, and BRAFT_H2SPEC names no program")
    folder.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        [go, "install", _MODULE],
        env={**os.environ, "GOBIN": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if built.returncode:
        pytest.skip(f"no h2spec: go install failed: {built.stderr.strip()[-200:]}")
    return str(program)


def _hello(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(body=b"hello " * 20, content_type="text/plain")


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Return ``serve(tls=None)``, which starts a server and returns its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = Server(Application({}, _hello))

    def start(tls: ssl.SSLContext | None = None) -> int:
        starting = server.start(HOST, 0, tls)
        asyncio.run_coroutine_threadsafe(starting, loop).result(PATIENCE)
        return server.port

    yield start
    asyncio.run_coroutine_threadsafe(server.stop(0.0), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()


def _run(h2spec: str, port: int, *options: str) -> None:
    command = (h2spec, "-h", HOST, "-p", str(port), "-o", "10", *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    found = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert found, done.stdout[-2000:] + done.stderr
    assert found.groups() == (str(_CASES), str(_CASES), "0", "0"), done.stdout[-6000:]


@pytest.mark.timeout(900)
def test_cleartext(h2spec: str, serve: Callable[..., int]) -> None:
    _run(h2spec, serve())


@pytest.mark.timeout(900)
def test_tls(h2spec: str, serve: Callable[..., int], tmp_path: Path) -> None:
    ca = make_authority(tmp_path, "test", 20)
    made = make_certificate(tmp_path, "server", ca.cert, ca.key, Names(ips=(HOST,)), 10)
    _run(h2spec, serve(server_context(made.cert, made.key)), "-t", "-k")
