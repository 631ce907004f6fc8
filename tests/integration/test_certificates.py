"""Certificates are replaced while nodes run; SIGHUP reloads them and ends no node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from braft_core import Node
from braft_core.runtime.sighup import SighupHandler
from braft_testing.certificates import Authority
from braft_testing.internals import internals
from braft_testing.processes import HOST, NODE_COMMAND, PATIENCE, free_ports, wait_for

if TYPE_CHECKING:
    from tests.integration.conftest import MakeNodes

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_a_member_that_restarts_after_all_certificates_were_replaced_is_reached(
    transport: str, make_nodes: MakeNodes, leader_of: Callable[[list[Node]], Node], tmp_path: Path
) -> None:
    if transport == "tcp":
        pytest.importorskip("braft_tcp")
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    folders = [tmp_path / f"tls-{number}" for number in range(3)]
    files = [old.issue(folder) for folder in folders]
    nodes = make_nodes(
        3,
        transport=transport,
        http=False,
        tls_ca=lambda number: files[number].ca,
        tls_cert=lambda number: files[number].cert,
        tls_key=lambda number: files[number].key,
    )
    nodes[0].kv.put("m", "k", 0)
    restarted = next(node for node in nodes if node is not leader_of(nodes))
    for folder in folders:
        new.issue(folder)
    wait_for(
        lambda: all(_uses(node, folder) for node, folder in zip(nodes, folders, strict=True)),
        what="all have read them",
    )
    restarted.stop()
    others = [node for node in nodes if node is not restarted]
    others[0].kv.put("m", "k", 1)
    with Node(restarted.settings) as again:
        again.wait_ready(PATIENCE)
        assert again.kv.get("m", "k") == 1
        again.kv.put("m", "k", 2)
        for node in others:
            assert node.kv.get("m", "k") == 2


def _uses(node: Node, folder: Path) -> bool:
    running = internals(node).threads.components.transport._session  # type: ignore[attr-defined]
    in_use: bytes = running.certificates.current.pem.cert
    return in_use == (folder / "cert.pem").read_bytes()


# ---------------------------------------------------------------------- SIGHUP


def _environment(tmp_path: Path) -> dict[str, str]:
    raft, discovery, http = free_ports(3)
    files = Authority(tmp_path / "ca").issue(tmp_path / "tls")
    chosen = {
        "DISCOVERY": "none",
        "IP": HOST,
        "RPORT": raft,
        "DPORT": discovery,
        "HPORT": http,
        "DATA_DIR": tmp_path / "data",
        "TLS_CA": files.ca,
        "TLS_CERT": files.cert,
        "TLS_KEY": files.key,
    }
    return {**os.environ, **{f"BRAFT_{name}": str(value) for name, value in chosen.items()}}


def test_a_service_reads_its_files_again_on_sighup_and_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            NODE_COMMAND,
            env=_environment(tmp_path),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "election won" in log.read_text(), what="it leads")
        for count in (1, 2):
            process.send_signal(signal.SIGHUP)
            wait_for(
                lambda count=count: log.read_text().count("checking certificates") == count,  # type: ignore[misc]
                what="it looks again",
            )
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


#: Starts a session with standard input as its controlling terminal, as a terminal program does.
#: The signal may be ignored because the tests run under nohup.
_ON_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_node_ends_in_order_with_the_terminal_that_it_runs_on(tmp_path: Path) -> None:
    terminal, inside = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_TERMINAL, *NODE_COMMAND],
        env=_environment(tmp_path),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    try:
        os.close(inside)
        shown = b""
        while b"election won" not in shown:
            shown += os.read(terminal, 4096)
        process.send_signal(signal.SIGHUP)
        while b"checking certificates" not in shown:  # its terminal still exists
            shown += os.read(terminal, 4096)
        os.close(terminal)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("ignored", "terminal_before", "terminal_now", "ends"),
    [
        (False, True, False, True),
        (False, True, True, False),
        (False, False, False, False),
        (True, True, False, False),
    ],
    ids=["terminal gone", "terminal there", "service", "nohup"],
)
def test_sighup_ends_a_node_only_with_its_terminal(
    ignored: bool,
    terminal_before: bool,
    terminal_now: bool,
    ends: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(
        signal, "getsignal", lambda _: signal.SIG_IGN if ignored else signal.SIG_DFL
    )
    answers = [terminal_before, terminal_now]
    handler = SighupHandler(lambda: ended.append(True), lambda: answers.pop(0))
    assert not handler.take_request()
    handler(signal.SIGHUP, None)
    assert ended == [True] * ends
    assert handler.take_request() is not ends
    assert not handler.take_request()
