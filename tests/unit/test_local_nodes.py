"""Ports for nodes that start later: no other caller may get them meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from braft_core import local_nodes
from braft_core.local_nodes import HOST, _shared_walk, free_ports


def test_no_port_is_handed_out_twice_before_all_others() -> None:
    """Each node of a cluster gets its three ports by a separate call, and listens later."""
    handed_out = [port for _ in range(300) for port in free_ports(3)]
    assert len(set(handed_out)) == len(handed_out)


def test_the_ports_above_a_port_are_not_handed_out_soon() -> None:
    """A node whose Raft port alone is set uses the next two as well."""
    handed_out = free_ports(300)
    assert not {port + above for port in handed_out for above in (1, 2)} & set(handed_out)
    steps = [n * local_nodes._STRIDE % len(local_nodes._PORTS) for n in range(12_000)]
    assert len(set(steps)) == 12_000


def test_no_port_is_handed_out_to_two_processes() -> None:
    """Both ask at the same time; their nodes listen later."""
    code = (
        "from braft_core.local_nodes import free_ports\n"
        "print(*(port for _ in range(200) for port in free_ports(3)))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    handed_out = [port for process in processes for port in process.communicate()[0].split()]
    assert len(handed_out) == len(set(handed_out)) == 1800


@pytest.mark.parametrize("contents", [b"", b"nonsense", b"999999999", bytes(100), b"-5"])
def test_whatever_stands_in_the_shared_file_ports_are_found(
    contents: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("braft_core.local_nodes._walk", _shared_walk())
    file = tmp_path / f"braft-ports-{os.getuid()}"
    file.write_bytes(contents)
    assert len({port for _ in range(20) for port in free_ports(3)}) == 60


def test_ports_are_found_without_the_shared_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("braft_core.local_nodes._walk", _shared_walk())
    target = tmp_path / "somebody's"
    target.write_bytes(b"precious")
    (tmp_path / f"braft-ports-{os.getuid()}").symlink_to(target)
    assert len({port for _ in range(20) for port in free_ports(3)}) == 60
    assert target.read_bytes() == b"precious"


def test_a_port_that_somebody_listens_on_is_not_handed_out() -> None:
    with _next_listener(free_ports(1)[0]) as taken:
        assert taken.getsockname()[1] not in free_ports(3)


def _next_listener(port: int) -> socket.socket:
    """Listen on the next free port of this machine."""
    while True:
        port = port + 1 if port < 31_999 else 20_000
        with suppress(OSError):
            return socket.create_server((HOST, port))
