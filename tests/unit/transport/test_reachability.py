"""Distinguish peers that run but speak another protocol from dead or frozen ones."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from braft_core.transport import probe_reachability

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PATIENCE = 20.0


def ask(serve: Serve, context: ssl.SSLContext | None = None) -> tuple[bool, bool]:
    async def scenario() -> tuple[bool, bool]:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        found = await probe_reachability(f"127.0.0.1:{port}", PATIENCE)
        server.close()
        return found

    return asyncio.run(scenario())


async def speaks_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\0\0\6\4\0\0\0\0\0")
    await writer.drain()


async def answers_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"what?")
    await writer.drain()


async def closes(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def hangs_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Close at once, as a proxy does for a dead host."""


@pytest.mark.parametrize(
    ("serve", "answered"),
    [(speaks_first, True), (answers_nonsense, True), (closes, False), (hangs_up, False)],
)
def test_a_byte_that_comes_back_is_a_sign_of_life(serve: Serve, answered: bool) -> None:
    assert ask(serve) == (True, answered)


def test_a_server_with_tls_answers_whatever_it_thinks_of_us(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = ssl.CERT_REQUIRED
    assert ask(hangs_up, context) == (True, True)


def test_a_process_that_stands_still_does_not_answer() -> None:
    """Only the kernel accepts the connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert asyncio.run(probe_reachability(address, 0.5)) == (True, False)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no host at all", "127.0.0.1:99999"])
def test_nobody_is_there(address: str) -> None:
    assert asyncio.run(probe_reachability(address, PATIENCE)) == (False, False)
