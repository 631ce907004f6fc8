"""In a program that gevent has patched, a node refuses to start and the client works.

No distribution depends on gevent; the tests install it into a separate folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.local_nodes import free_ports

pytestmark = [pytest.mark.optional, pytest.mark.peers, pytest.mark.xdist_group("gevent")]

VERSION = "26.9.0"
PATCHED = "from gevent import monkey\nmonkey.patch_all({exceptions})\n"
NODE = """
from braft_core import Node
from braft_core.errors import BraftError

try:
    ports = dict(rport=0, dport=0, hport=0)
    with Node(ip="127.0.0.1", data_dir=":memory:", discovery="none", **ports) as node:
        node.wait_ready(60)
        print(node.kv.put("m", "k", "v") > 0)
except BraftError as error:
    print(error.message)
"""
CLIENT = """
import gevent
from braft_core.client import Client

with Client(["127.0.0.1:{port}"]) as client:
    jobs = [gevent.spawn(client.kv_put, "m", str(n), n) for n in range(20)]
    gevent.joinall(jobs, raise_error=True)
    print(sorted(client.kv_list("m").values()) == list(range(20)))
"""


@pytest.fixture(scope="module")
def gevent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install gevent and return its folder; skip the test where that is impossible."""
    target = tmp_path_factory.mktemp("gevent")
    arguments = ["install", "--quiet", "--only-binary", ":all:", "--target", str(target)]
    if shutil.which("uv") is not None:
        command = ["uv", "pip", *arguments, "--python", sys.executable]
    else:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    try:
        done = subprocess.run(
            [*command, f"gevent=={VERSION}"], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        pytest.skip("gevent cannot be installed here: the installer did not end in 120 s")
    if done.returncode != 0:
        pytest.skip(f"gevent cannot be installed here: {done.stderr.strip()[-300:]}")
    return target


def _run(gevent: Path, program: str, exceptions: str = "") -> str:
    path = ":".join([str(gevent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", PATCHED.format(exceptions=exceptions) + program],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_node_is_refused_at_once(gevent: Path) -> None:
    assert _run(gevent, NODE).startswith("gevent has replaced threading")


def test_a_node_runs_where_threads_and_sockets_are_left_alone(gevent: Path) -> None:
    exceptions = "thread=False, socket=False, select=False, queue=False"
    assert _run(gevent, NODE, exceptions) == "True"


@pytest.fixture
def port() -> Iterator[int]:
    """Return the HTTP port of a node in this unpatched process."""
    rport, dport, hport = free_ports(3)
    ports: dict[str, Any] = {"rport": rport, "dport": dport, "hport": hport}
    with Node(ip="127.0.0.1", data_dir=":memory:", discovery="none", **ports) as node:
        node.wait_ready(60)
        yield hport


def test_the_client_works_in_a_patched_program(gevent: Path, port: int) -> None:
    assert _run(gevent, CLIENT.format(port=port)) == "True"
