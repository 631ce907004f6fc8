"""Ports and data directory of a node without settings for them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node, StateMachineService, command, identity, query
from braft_core.errors import ConfigError
from braft_core.local_nodes import free_ports
from braft_core.runtime import location
from braft_core.storage.directory import DirectoryLock
from braft_testing.processes import PATIENCE

HOST = "127.0.0.1"
STEP = 10


class Counter(StateMachineService):
    name = "counter"
    total = 0

    @command
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @query
    def value(self) -> int:
        return self.total

    def dump(self) -> int:
        return self.total

    def load(self, total: int) -> None:
        self.total = total


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the first default port; the working directory is empty."""
    while True:
        first = free_ports(1)[0]
        wanted = [first + step + n for step in (0, STEP, 2 * STEP) for n in range(3)]
        if wanted[-1] < 65000 and all(_is_free(port) for port in wanted):
            break
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(identity, "DEFAULT_RAFT_PORTS", range(first, 65000, STEP))
    return first


@pytest.fixture
def listen() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
        return True


def hold(stack: ExitStack, port: int) -> None:
    """Listen on a port, as a foreign program would."""
    sock = stack.enter_context(closing(socket.socket()))
    sock.bind((HOST, port))
    sock.listen()


def count() -> int:
    """Run the counter of the README once, with no setting but the address."""
    with Node(services=[Counter], ip=HOST, http=False, sleep="0", discovery="none") as node:
        node.wait_ready(40)
        counter = node.service(Counter)
        counter.add(5)
        total: int = counter.value()
        return total


def directories() -> list[int]:
    return sorted(int(path.name) for path in Path("braft-data").iterdir())


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_a_taken_port_never_leads_to_other_data(base: int, listen: ExitStack, offset: int) -> None:
    assert count() == 5
    with ExitStack() as other:
        hold(other, base + offset)
        with pytest.raises(ConfigError) as caught:
            count()
    message = caught.value.message
    assert str(base + offset) in message
    assert "held by process" in message, "this test's own process, which may be named"
    assert f"braft-data/{base}" in message
    assert directories() == [base], "no other directory was made"
    assert count() == 10


def test_data_made_beside_a_taken_port_is_found_again_when_it_is_free(base: int) -> None:
    with ExitStack() as other:
        hold(other, base + 1)
        assert count() == 5
    assert directories() == [base + STEP]
    assert count() == 10
    assert directories() == [base + STEP]


def test_a_directory_of_no_cluster_is_nothing_to_keep_to(base: int) -> None:
    """A start that lost a race for its port leaves such a directory."""
    with Node(ip=HOST, http=False, discovery="none", expect=2):
        pass
    assert directories() == [base]
    with ExitStack() as other:
        hold(other, base + 1)
        assert count() == 5
    assert directories() == [base, base + STEP]
    assert count() == 10, "its ports are free again, and there is nothing in it"


def test_a_port_that_is_set_moves_and_the_data_stays(base: int, listen: ExitStack) -> None:
    assert count() == 5
    hold(listen, base + 1)
    free = free_ports(1)[0]
    with Node(services=[Counter], ip=HOST, http=False, sleep="0", dport=free) as node:
        node.wait_ready(40)
        assert node.service(Counter).value() == 5
    assert directories() == [base]


@pytest.mark.parametrize("data_dir", [None, ":memory:"])
def test_a_port_that_is_taken_between_choice_and_start_leads_to_another_choice(
    base: int, listen: ExitStack, monkeypatch: pytest.MonkeyPatch, data_dir: str | None
) -> None:
    chosen: list[int] = []

    def choose(*args: Any, **more: Any) -> identity.Ports:
        ports = identity.pick_ports(*args, **more)
        if ports.raft not in chosen:
            chosen.append(ports.raft)
        if chosen == [base] and ports.raft == base:
            hold(listen, base)
        return ports

    monkeypatch.setattr(location, "pick_ports", choose)
    given: dict[str, Any] = {"data_dir": data_dir} if data_dir else {}
    with Node(ip=HOST, http=False, discovery="none", **given) as node:
        assert node.settings.rport is None
        node.wait_ready(PATIENCE)
        node.kv.put("m", "k", 1)
    assert chosen == [base, base + STEP]


def test_nodes_of_one_place_find_their_own_data_again(base: int) -> None:
    def run_three() -> list[str]:
        with ExitStack() as stack:
            nodes = [
                stack.enter_context(Node(ip=HOST, http=False, discovery="none")) for _ in range(3)
            ]
            return [node.server_id for node in nodes]

    assert run_three() == run_three()
    assert directories() == [base, base + STEP, base + 2 * STEP]


def test_a_node_that_is_just_stopping_is_waited_for(base: int) -> None:
    assert count() == 5
    lock = DirectoryLock(Path("braft-data") / str(base))
    lock.acquire()

    import threading

    timer = threading.Timer(0.3, lock.release)
    timer.start()
    assert count() == 10
    timer.join()
    assert directories() == [base]


def test_a_free_port_at_every_start_is_warned_of(
    base: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Node(ip=HOST, http=False, discovery="none", rport=0):
        pass
    assert "BRAFT_DATA_DIR" in caplog.text
