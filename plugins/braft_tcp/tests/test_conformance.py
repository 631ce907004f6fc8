"""The transport against the public suite."""

from __future__ import annotations

import os
import socket

import psutil

from braft_core.abc import Transport, TransportOptions
from braft_core.testing.transport import Node, TransportConformance
from braft_tcp import TcpTransport


class TestTcpTransport(TransportConformance):
    can_sever = True

    def make(self, address: str) -> Transport:
        return TcpTransport(TransportOptions(listen=(address,)))

    async def sever(self, first: Node, second: Node) -> None:
        """Shut the sockets down behind asyncio's back: what the kernel does for a dead process."""
        ports = {int(node.address.rpartition(":")[2]) for node in (first, second)}
        for connection in psutil.Process().net_connections("tcp"):
            if connection.status == psutil.CONN_ESTABLISHED and connection.raddr.port in ports:
                with socket.socket(fileno=os.dup(connection.fd)) as behind:
                    behind.shutdown(socket.SHUT_RDWR)
