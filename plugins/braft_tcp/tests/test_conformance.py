"""Run the public conformance suite on the transport."""

from __future__ import annotations

import socket

import pytest

from braft_core.abc import Transport, TransportOptions
from braft_core.tokens import Keyring
from braft_tcp import TcpTransport
from braft_testing.transport import (
    PATIENCE,
    PATIENT_TIMING,
    Node,
    TransportConformance,
    sever_sockets,
)
from braft_testing.transport_nodes import on_a_loop, patience_of_sockets


class TestTcpTransport(TransportConformance):
    can_sever = True

    def make(self, address: str) -> Transport:
        return TcpTransport(
            TransportOptions(listen=(address,), rpc_timeout=PATIENCE, timing=PATIENT_TIMING)
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


class TestTcpTransportWithAToken(TestTcpTransport):
    """The same, with every frame sealed."""

    def make(self, address: str) -> Transport:
        keyring = Keyring.of("a-secret-of-some-length")
        options = TransportOptions(
            listen=(address,), rpc_timeout=PATIENCE, keyring=keyring, timing=PATIENT_TIMING
        )
        return TcpTransport(options)
