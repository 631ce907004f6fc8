"""The transport against the public suite."""

from __future__ import annotations

from braft_core.abc import Transport, TransportOptions
from braft_core.testing.transport import PATIENCE, Node, TransportConformance, sever_sockets
from braft_tcp import TcpTransport


class TestTcpTransport(TransportConformance):
    can_sever = True

    def make(self, address: str) -> Transport:
        return TcpTransport(TransportOptions(listen=(address,), rpc_timeout=PATIENCE))

    async def sever(self, first: Node, second: Node) -> None:
        sever_sockets(first, second)
