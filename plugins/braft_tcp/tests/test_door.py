"""Listening while there is no room for another connection."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import pytest

from braft_core.testing.transport import Node
from braft_core.transport import PAUSE
from braft_tcp.frames import HEADER, Kind


def test_without_room_for_connections_it_waits_and_says_so_once(
    started: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept = socket.socket.accept
    tries: list[float] = []

    def full(self: socket.socket) -> tuple[socket.socket, Any]:
        if len(tries) == 3:
            return accept(self)
        tries.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    async def scenario(node: AbstractAsyncContextManager[Node]) -> None:
        async with node as listening, asyncio.timeout(100):
            host, _, port = listening.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(HEADER.pack(0, Kind.PING, 0))
            assert await reader.read(1), "who waited is answered"
            writer.close()

    monkeypatch.setattr(socket.socket, "accept", full)
    asyncio.run(scenario(started("b")))
    assert len(tries) == 3
    assert all(later - before >= PAUSE * 0.9 for before, later in pairwise(tries))
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "cannot take new connections: [Errno 24] Too many open files" in said[0]
