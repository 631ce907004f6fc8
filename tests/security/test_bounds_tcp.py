"""Bounds on what clients of the transport ``tcp`` can consume: memory, descriptors, time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from braft_tcp.call_server import encode_call
from braft_tcp.connection_slots import EACH, UNPROVED_EACH
from braft_tcp.frames import HEADER, HELLO_LIMIT, Kind
from braft_testing.processes import ProcessCluster, wait_for
from tests.security.raw_clients import (
    MIB,
    connect,
    descriptors,
    forget_peak,
    frame,
    greet,
    is_cut,
    is_open,
    one_node,
    peak,
    status,
)

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("bounds of tcp")]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with one_node(tmp_path_factory.mktemp("node"), transport="tcp") as nodes:
        yield nodes


@pytest.fixture
def node(shared: ProcessCluster) -> ProcessCluster:
    forget_peak(shared)
    return shared


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def serves(nodes: ProcessCluster) -> None:
    """Check that the node accepts and answers other clients."""
    with greet(nodes) as connection:
        connection.settimeout(20)
        connection.sendall(frame(Kind.CALL, encode_call("Details", b""), 7))
        head = connection.recv(HEADER.size, socket.MSG_WAITALL)
        assert HEADER.unpack(head)[2] == 7


def gets_in(nodes: ProcessCluster) -> bool:
    """Return whether the node accepts a new connection after its hello."""
    try:
        greet(nodes).close()
    except OSError:
        return False
    return True


def test_whoever_says_nothing_is_cut_soon(node: ProcessCluster, opened: ExitStack) -> None:
    silent = [opened.enter_context(connect(node)) for _ in range(UNPROVED_EACH)]
    wait_for(lambda: not any(map(is_open, silent)), 30, "the node cuts silent connections")


def test_silent_callers_make_room_for_others(node: ProcessCluster, opened: ExitStack) -> None:
    silent = [opened.enter_context(connect(node)) for _ in range(5 * UNPROVED_EACH)]
    wait_for(lambda: gets_in(node), 20, "a caller with a hello gets in")
    serves(node)
    assert sum(map(is_open, silent)) <= UNPROVED_EACH


def test_one_address_has_so_many_connections_and_no_more(
    node: ProcessCluster, opened: ExitStack
) -> None:
    wait_for(lambda: descriptors(node) < 100, 20, "those of other tests are gone")
    admitted = refused = 0
    for _ in range(EACH + 50):
        try:
            opened.enter_context(greet(node))
            admitted += 1
        except OSError:
            refused += 1
    assert EACH - 5 <= admitted <= EACH  # a connection of another test may still be open
    assert admitted + refused == EACH + 50


@pytest.mark.smoke
def test_nobody_announces_a_large_hello(node: ProcessCluster, opened: ExitStack) -> None:
    connection = opened.enter_context(connect(node))
    connection.sendall(HEADER.pack(HELLO_LIMIT + 1, Kind.HELLO, 0))
    wait_for(lambda: not is_open(connection), 20, "the node cuts the connection")


@pytest.mark.parametrize("kind", [Kind.PING, Kind.PONG], ids=lambda kind: kind.name)
def test_whoever_pings_without_end_is_cut(
    node: ProcessCluster, opened: ExitStack, kind: Kind
) -> None:
    connection = opened.enter_context(greet(node))
    assert is_cut(connection, frame(kind) * 10)
    serves(node)


@pytest.mark.parametrize("flood", ["pings", "calls"])
def test_whoever_reads_no_answers_is_not_read_either(
    node: ProcessCluster, opened: ExitStack, flood: str
) -> None:
    """Responses once queued up in the node's memory without bound."""
    before = peak(node)
    connection = opened.enter_context(greet(node))
    connection.settimeout(0.5)
    sent, number = 0, 0
    end = time.monotonic() + 5
    while time.monotonic() < end and sent < 100 * MIB:
        data = bytearray()
        for _ in range(1000):
            number += 1
            # The response to an unknown method repeats the method's name.
            call = frame(Kind.CALL, encode_call("x" * 200, b""), number)
            data += call if flood == "calls" else frame(Kind.PING)
        try:
            connection.sendall(data)
            sent += len(data)
        except TimeoutError:
            continue
        except OSError:
            break
    assert peak(node) - before < 40
    serves(node)


def test_few_large_frames_of_one_address_are_received_at_a_time(
    node: ProcessCluster, opened: ExitStack
) -> None:
    before = peak(node)
    connections = [opened.enter_context(greet(node)) for _ in range(40)]
    unfinished = HEADER.pack(15 * MIB, Kind.CALL, 1) + bytes(MIB)
    for connection in connections:
        connection.settimeout(0.2)
        for part in (unfinished, *[bytes(MIB)] * 13):
            try:
                connection.sendall(part)
            except TimeoutError:
                break
    assert peak(node) - before < 200  # receiving all of them takes 560
    serves(node)


def test_descriptors_are_left_when_all_connections_are_taken(
    tmp_path: Path, opened: ExitStack
) -> None:
    limit = 400
    with one_node(tmp_path, limit, transport="tcp") as node:
        for _ in range(600):
            opened.enter_context(connect(node))
        wait_for(lambda: status(node, "/readyz") == 200, 20, "HTTP answers")
        assert descriptors(node) < limit - 100
        wait_for(lambda: gets_in(node), 20, "a caller with a hello gets in")
        serves(node)
