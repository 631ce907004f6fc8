"""Hostile server ids and addresses in requests to join."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.abc import TransportOptions
from braft_core.errors import BraftError, DecodeError, Unreachable
from braft_core.local_nodes import free_ports
from braft_core.peer import (
    AnnounceRequest,
    ChangeMembershipRequest,
    JoinRequest,
    PeerRequest,
    ProbeReply,
    ProbeRequest,
)
from braft_core.transport import LinkedTransport
from braft_core.transport.grpc import GrpcTransport
from braft_tcp.transport import TcpTransport
from braft_testing.processes import PATIENCE
from braft_testing.transport_nodes import listening_node

TRANSPORTS: dict[str, Callable[[TransportOptions], LinkedTransport]] = {
    "grpc": GrpcTransport,
    "tcp": TcpTransport,
}
TOKEN = "a-secret-of-some-length"
HOSTILE_ADDRESSES = [
    "unix:{socket}",
    "unix://{socket}",
    "unix-abstract:braft",
    "vsock:1:2",
    "xds:///other:1",
    "dns://127.0.0.1:53/x:1",
    "127.0.0.1:1\n2026-01-01 INFO forged",
    "\x1b[2J\x1b[H:1",
    "a\u202eb:1",
    "http://127.0.0.1:1",
    "user@127.0.0.1:1",
    "0.0.0.0:15000",
    "224.0.0.251:5353",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "x" * 300 + ":1",
    "",
]
HOSTILE_IDS = ["x\ny", "\x1b]0;owned\x07", "a\u202eb", "a b", "a/b", "é", "x" * 129, ""]

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)
with_and_without_token = pytest.mark.parametrize("token", ["", TOKEN], ids=["open", "token"])


@pytest.fixture
def local_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, socket.socket]]:
    """Run a local service, such as a container engine's, that nothing may connect to."""
    path = tmp_path_factory.mktemp("s") / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0)
        yield path, listener


@both_transports
@with_and_without_token
def test_an_invalid_address_lets_nobody_join(
    transport: str,
    token: str,
    local_socket: tuple[Path, socket.socket],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, listener = local_socket
    rport, dport, hport = free_ports(3)
    settings: dict[str, Any] = {"token": token} if token else {}
    caplog.set_level(logging.INFO)
    with Node(
        data_dir=str(tmp_path / "d"),
        transport=transport,
        rport=rport,
        dport=dport,
        hport=hport,
        **settings,
    ) as node:
        node.kv.put("m", "k", 1, timeout=PATIENCE)
        address = f"127.0.0.1:{rport}"
        failures, cluster_id = asyncio.run(_attack(transport, token, address, path))
        assert cluster_id
        assert [member.address for member in node.members()] == [address]
        assert node.kv.get("m", "k") == 1
    for request, error in failures:
        assert isinstance(error, DecodeError | Unreachable), request
        assert "accepted: " in error.message, request
        assert error.message.isprintable()
        assert len(error.message) < 600
    with pytest.raises(BlockingIOError):
        listener.accept()
    for record in caplog.records:
        assert record.getMessage().isprintable()


async def _attack(
    transport: str, token: str, address: str, path: Path
) -> tuple[list[tuple[PeerRequest, BraftError]], str]:
    """Ask to join with each hostile name; return the errors and the cluster id."""
    failures = []
    async with listening_node(TRANSPORTS[transport], "stranger", "", token=token) as node:
        call = node.transport.call
        probe = await call(address, ProbeRequest("stranger", "braft", "", node.address), PATIENCE)
        assert isinstance(probe, ProbeReply)
        for request in _requests(probe, path):
            try:
                reply = await call(address, request, PATIENCE)
            except BraftError as error:
                failures.append((request, error))
            else:
                raise AssertionError(f"{request} was answered {reply}")
    return failures, probe.cluster_id


def _requests(probe: ProbeReply, path: Path) -> Iterator[PeerRequest]:
    join = JoinRequest("new", "127.0.0.1:1", probe.cluster_name, "", voter=False)
    announce = AnnounceRequest("new", "127.0.0.1:1", probe.cluster_id)
    add = ChangeMembershipRequest("add_nonvoter", "new", "127.0.0.1:1", 1000)
    asks = ProbeRequest("new", probe.cluster_name, probe.cluster_id, "127.0.0.1:1")
    for text in HOSTILE_ADDRESSES:
        hostile = text.format(socket=path)
        for request in (join, announce, add, asks):
            yield replace(request, address=hostile)
    for hostile in HOSTILE_IDS:
        for request in (join, announce, add, asks):
            yield replace(request, server_id=hostile)


@both_transports
def test_nobody_is_connected_to_but_by_host_and_port(
    transport: str, local_socket: tuple[Path, socket.socket]
) -> None:
    """Also if a configuration, another node's error or a restored state names the address."""
    path, listener = local_socket

    async def main() -> None:
        async with listening_node(TRANSPORTS[transport]) as node:
            for number, text in enumerate(HOSTILE_ADDRESSES):
                hostile = text.format(socket=path)
                with pytest.raises(DecodeError, match="accepted: host:port"):
                    await node.transport.call(hostile, ProbeRequest("b", "c", "", "h:1"), 1.0)
                node.transport.set_peer(f"peer-{number}", hostile)
            await asyncio.sleep(0.3)

    asyncio.run(main())
    with pytest.raises(BlockingIOError):
        listener.accept()
