"""The transport against the public suite."""

from __future__ import annotations

from braft_core.abc import Transport, TransportOptions
from braft_core.testing.transport import Node, TransportConformance, sever_sockets
from braft_tcp import TcpTransport


class TestTcpTransport(TransportConformance):
    can_sever = True

    def make(self, address: str) -> Transport:
        return TcpTransport(TransportOptions(listen=(address,)))

    async def sever(self, first: Node, second: Node) -> None:
        sever_sockets(first, second)
