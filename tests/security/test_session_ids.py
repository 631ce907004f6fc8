"""An attacker who may call a node uses sessions of other clients and their command numbers.

It speaks the wire protocols of both transports; of braft it uses only the command format.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import msgpack
import pytest

from braft_core import Node
from braft_testing.internals import internals
from braft_testing.processes import PATIENCE, free_ports

HOST = "127.0.0.1"
#: Log indexes at which a session of a young cluster may begin, and numbers of its commands.
GUESSES, NUMBERS = 40, 60


def noise(session: int, number: int) -> list[bytes]:
    """Return commands that would use up a number, in each format that ever existed."""
    call = msgpack.packb(["kv", "get_nothing", []])
    put = msgpack.packb(["kv", "put", ["noise", f"{session}", number]])
    old = struct.pack(">BBQQI", 2, 1, session, number, 0)
    new = struct.pack(">BB16sQI", 5, 1, session.to_bytes(16, "big"), number, 0)
    return [old + put, new + put, old + call]


def apply_log(address: str, _cluster: str, commands: list[bytes]) -> None:
    """Call the original's ApplyLog over gRPC."""
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary("/Raft/ApplyLog")
        waiting = [call.future(_field(1, command), timeout=PATIENCE) for command in commands]
        for answer in waiting:
            answer.exception()  # a refusal is an answer as well


def propose(address: str, cluster: str, commands: list[bytes]) -> None:
    """Send the commands over the transport ``tcp``, like a node that forwards them."""
    host, _, port = address.rpartition(":")
    hello = {"lane": 4, "cluster_id": cluster, "sender": "somebody", "to": "", "token": ""}
    versions = {"version_min": 1, "version_max": 1}
    request = b"".join(_field(1, command) for command in commands) + b"\x10" + _varint(20_000)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as wire:
        _frame(wire, 1, 0, b"braft-tcp\x00" + msgpack.packb({**hello, **versions}))
        assert _read(wire)[0] == 2, "not welcome"
        _frame(wire, 48, 1, bytes((7,)) + b"Propose" + request)
        kind, body = _read(wire)
        while kind in (3, 4):
            kind, body = _read(wire)
        assert kind in (49, 50), body


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(data)) + data


def _frame(wire: socket.socket, kind: int, request: int, body: bytes) -> None:
    wire.sendall(struct.pack("!IBQ", len(body), kind, request) + body)


def _read(wire: socket.socket) -> tuple[int, bytes]:
    head = _exactly(wire, 13)
    length, kind, _ = struct.unpack("!IBQ", head)
    return kind, _exactly(wire, length)


def _exactly(wire: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = wire.recv(count - len(data))
        assert more, "the node hung up"
        data += more
    return data


Attack = Callable[[str, str, list[bytes]], None]


@pytest.fixture(params=["grpc", "tcp"])
def attacked(request: pytest.FixtureRequest) -> Iterator[tuple[Node, Attack]]:
    """Run a node; yield it and how the attacker reaches it."""
    rport, dport, hport = free_ports(3)
    node = Node(
        ip=HOST,
        rport=rport,
        dport=dport,
        hport=hport,
        http=False,
        data_dir=":memory:",
        transport=request.param,
        services=["kv"],
    )
    with node:
        node.wait_ready(PATIENCE)
        yield node, apply_log if request.param == "grpc" else propose


def test_nobody_uses_up_the_numbers_of_a_session_by_guessing_its_id(
    attacked: tuple[Node, Attack],
) -> None:
    node, attack = attacked
    node.kv.put("m", "first", 0)  # the node's own session is open now
    inside = internals(node)
    address, cluster = (
        f"{HOST}:{inside.threads.components.ports.raft}",
        inside.server.identity.cluster_id,
    )
    guesses = [data for session in range(1, GUESSES) for data in noise(session, 2)]
    own = [
        data
        for number in range(2, NUMBERS)
        for session in (1, 2, 3)
        for data in noise(session, number)
    ]
    attack(address, cluster, guesses + own)
    for number in range(9):
        node.kv.put("m", f"k{number}", number)
    assert [node.kv.get("m", f"k{number}") for number in range(9)] == list(range(9))
    with node.session() as session:
        session.kv.put("m", "own", 1)
        attack(address, cluster, own)
        session.kv.put("m", "own", 2)
    assert node.kv.get("m", "own") == 2


def test_ids_of_sessions_are_drawn_anew_and_hold_128_bits(attacked: tuple[Node, Attack]) -> None:
    node, _ = attacked
    found = set()
    for _ in range(40):
        with node.session() as session:
            session.kv.put("m", "k", 1)
            found.add(session.id or "")
    assert len(found) == 40
    values = [int(name, 16) for name in found]
    assert all(len(name) == 32 for name in found)
    # In random ids each bit is set in some and clear in others (but for 2**-32 of the runs).
    assert all(0 < sum(value >> bit & 1 for value in values) < 40 for bit in range(128))
