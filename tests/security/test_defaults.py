"""What a node with default settings opens to the network."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from braft_core import Node
from braft_core.errors import ConfigError
from braft_core.identity import first_host_address
from braft_core.local_nodes import NodeProcess, free_ports, node_environment
from braft_testing.processes import PATIENCE, wait_for

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
EVERYWHERE = {"0.0.0.0", "::"}
TOKEN = "a-secret-of-some-length"

both_transports = pytest.mark.parametrize("transport", ["grpc", "tcp"])


def three_ports() -> dict[str, Any]:
    return dict(zip(("rport", "dport", "hport"), free_ports(3), strict=True))


def listening(ports: dict[str, Any], pid: int | None = None) -> set[str]:
    """Return the addresses at which a process has these ports open."""
    found = {
        connection.laddr.port: connection.laddr.ip
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports.values()
    }
    assert set(found) == set(ports.values()), "one of them is not open"
    return set(found.values())


@both_transports
@pytest.mark.parametrize(
    "given",
    [{}, {"discovery": "none"}, {"discovery": "static::{rport},:{dport}"}],
    ids=["nothing set", "no discovery", "ports of this host"],
)
def test_an_embedded_node_listens_on_loopback(
    given: dict[str, Any], transport: str, tmp_path: Path
) -> None:
    ports = three_ports()
    given = {name: text.format(**ports) for name, text in given.items()}
    with Node(data_dir=str(tmp_path / "d"), transport=transport, **ports, **given):
        assert listening(ports) <= LOOPBACK


@both_transports
@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"discovery": "192.0.2.1:1"}, EVERYWHERE),
        ({"discovery": "no-such-name.invalid"}, EVERYWHERE),
        ({"host": "0.0.0.0"}, EVERYWHERE),
        ({"ip": "192.0.2.2"}, EVERYWHERE),
        ({"interface": "lo"}, LOOPBACK),
    ],
    ids=["list", "name", "host", "address", "interface"],
)
def test_it_listens_elsewhere_only_if_asked_to(
    given: dict[str, Any], where: set[str], transport: str, tmp_path: Path
) -> None:
    ports = three_ports()
    with Node(data_dir=str(tmp_path / "d"), transport=transport, **ports, **given):
        assert listening(ports) <= where


@pytest.mark.parametrize("chosen", ["", "none"])
def test_so_does_the_command_without_mdns(chosen: str, tmp_path: Path) -> None:
    ports = three_ports()
    process = NodeProcess(tmp_path)
    settings: dict[str, object] = {"plugins_disable": "mdns", "discovery": chosen, **ports}
    process.start(node_environment(settings))
    try:
        wait_for(lambda: b"Raft on" in process.log.read_bytes(), PATIENCE)
        assert listening(ports, process.pid) <= LOOPBACK
        assert b"not on loopback alone" not in process.log.read_bytes()
    finally:
        process.signal(signal.SIGTERM)
        process.wait(PATIENCE)


@both_transports
def test_beyond_loopback_in_clear_is_refused_where_that_is_forbidden(
    transport: str, tmp_path: Path
) -> None:
    """An embedded node and ``braft run`` refuse it, and name the setting."""
    with pytest.raises(ConfigError, match="insecure=off"):
        Node(host="0.0.0.0", insecure=False, transport=transport, data_dir=":memory:").start()
    settings = {"host": "0.0.0.0", "insecure": "off", "transport": transport, "data_dir": tmp_path}
    done = subprocess.run(
        [sys.executable, "-m", "braft_core", "run"],
        env=node_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    for name in ("BRAFT_INSECURE=off", "BRAFT_TLS_CERT", "BRAFT_IP=127.0.0.1"):
        assert name in " ".join(done.stderr.split())


def services_of(address: str, *metadata: tuple[str, str]) -> grpc.StatusCode | list[str]:
    """Return what reflection lists, or the status of its refusal."""
    with grpc.insecure_channel(address) as channel:
        call = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        try:
            answer = next(call(iter([request]), timeout=PATIENCE, metadata=metadata))
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
        return [service.name for service in answer.list_services_response.service]


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ({}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "grpc_reflection": True}, True),
        ({"grpc_reflection": False}, False),
    ],
    ids=["loopback", "beyond", "asked for", "switched off"],
)
def test_reflection_is_off_beyond_loopback(
    given: dict[str, Any], served: bool, tmp_path: Path
) -> None:
    ports = three_ports()
    with Node(data_dir=str(tmp_path / "d"), **ports, **given):
        found = services_of(f"127.0.0.1:{ports['rport']}")
        if served:
            assert isinstance(found, list)
            assert "RaftTransport" in found
        else:
            assert found is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_with_a_token_reflection_asks_for_it(host: str, tmp_path: Path) -> None:
    ports = three_ports()
    address = f"127.0.0.1:{ports['rport']}"
    given: dict[str, Any] = {"host": host, "token": TOKEN, "insecure": True, **ports}
    with Node(data_dir=str(tmp_path / "d"), **given):
        assert services_of(address) is grpc.StatusCode.UNAUTHENTICATED
        found = services_of(address, ("authorization", f"Bearer {TOKEN}"))
        assert isinstance(found, list)
        assert "RaftTransport" in found


def test_the_address_of_the_host_is_no_default() -> None:
    """Otherwise the tests above would prove nothing on this machine."""
    if first_host_address() in LOOPBACK:
        pytest.skip("this machine has no address but loopback")
    node = Node(data_dir=":memory:", rport=0, http=False)
    with node:
        assert node.address.startswith("127.0.0.1:")
