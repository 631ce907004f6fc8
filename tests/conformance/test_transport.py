"""Run the public conformance suite on the two transports of braft-core."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from braft_core.abc import Transport, TransportOptions
from braft_core.tokens import Keyring
from braft_core.transport.grpc import GrpcTransport
from braft_core.transport.memory import MemoryNetwork, MemoryTransport
from braft_testing.transport import (
    PATIENCE,
    PATIENT_TIMING,
    Node,
    TransportConformance,
    sever_sockets,
)
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


class TestGrpcTransport(TransportConformance):
    can_sever = True

    #: A stream that is cut before its regular end was read would count as lost.
    timing = replace(PATIENT_TIMING, close=3.0)

    def make(self, address: str) -> Transport:
        return GrpcTransport(
            TransportOptions(listen=(address,), rpc_timeout=PATIENCE, timing=self.timing)
        )

    async def sever(self, first: Node, second: Node) -> None:
        sever_sockets(first, second)

    @pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
    @on_a_loop
    async def test_the_kernel_does_not_hold_for_long_what_the_other_host_does_not_take(
        self,
    ) -> None:
        """After a network partition the kernel's buffers deliver no outdated messages."""
        async with self.pair() as (a, b):
            await self.connected(a, b)
            assert patience_of_sockets(b) != []
            assert set(patience_of_sockets(b)) == {5.0}


class TestGrpcTransportWithAToken(TestGrpcTransport):
    """The same, with every message sealed."""

    def make(self, address: str) -> Transport:
        keyring = Keyring.of("a-secret-of-some-length")
        options = TransportOptions(
            listen=(address,), rpc_timeout=PATIENCE, keyring=keyring, timing=self.timing
        )
        return GrpcTransport(options)
