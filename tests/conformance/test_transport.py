"""The two transports of the core against the public suite."""

from __future__ import annotations

import socket

import pytest

from braft_core.abc import Transport, TransportOptions
from braft_core.tokens import Keyring
from braft_core.transport.grpc import GrpcTransport, peer_link, pipeline, raft_server
from braft_core.transport.memory import MemoryNetwork, MemoryTransport
from braft_testing.transport import PATIENCE, Node, TransportConformance, sever_sockets
from braft_testing.transport_nodes import on_a_loop, patience_of_sockets


class TestMemoryTransport(TransportConformance):
    can_sever = True

    def setup_method(self) -> None:
        self.network = MemoryNetwork()

    def make(self, address: str) -> Transport:
        options = {"network": self.network}
        return MemoryTransport(
            TransportOptions(listen=(address,), rpc_timeout=0.5, options=options)
        )

    async def sever(self, first: Node, second: Node) -> None:
        self.network.sever(first.address, second.address)


@pytest.mark.usefixtures("patient_grpc")
class TestGrpcTransport(TransportConformance):
    can_sever = True

    @pytest.fixture(autouse=True)
    def _farewells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream whose goodbye is cut short counts as lost: it has time to be heard."""
        for part in (peer_link, pipeline, raft_server):
            monkeypatch.setattr(part, "_FAREWELL", 3.0)

    def make(self, address: str) -> Transport:
        return GrpcTransport(TransportOptions(listen=(address,), rpc_timeout=PATIENCE))

    async def sever(self, first: Node, second: Node) -> None:
        sever_sockets(first, second)

    @pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
    @on_a_loop
    async def test_the_kernel_does_not_hold_for_long_what_the_other_host_does_not_take(
        self,
    ) -> None:
        """After a cut of the network the buffers do not deliver what is of no use any more."""
        async with self.pair() as (a, b):
            await self.connected(a, b)
            assert patience_of_sockets(b) != []
            assert set(patience_of_sockets(b)) == {5.0}


class TestGrpcTransportWithAToken(TestGrpcTransport):
    """The same, with every message sealed."""

    def make(self, address: str) -> Transport:
        keyring = Keyring.of("a-secret-of-some-length")
        options = TransportOptions(listen=(address,), rpc_timeout=PATIENCE, keyring=keyring)
        return GrpcTransport(options)
