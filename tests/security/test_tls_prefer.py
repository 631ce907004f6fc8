"""``prefer``: one port for callers with and without TLS, and calls that try TLS first."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from braft_core import peer
from braft_core.abc import TLSFiles, TransportTiming
from braft_core.errors import Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import Request, RequestVote
from braft_core.tls.issuing import Made, Names, make_authority, make_certificate
from braft_core.transport.grpc import GrpcTransport, port_mux
from braft_testing.transport import PATIENCE, PATIENT_TIMING, Node, listening_node, until
from braft_testing.transport_nodes import append

Started = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture(params=["grpc", "tcp"])
def started(request: pytest.FixtureRequest) -> Started:
    transport: Any = GrpcTransport
    if request.param == "tcp":
        transport = pytest.importorskip("braft_tcp").TcpTransport
    return partial(listening_node, transport, rpc_timeout=PATIENCE, timing=PATIENT_TIMING)


def files(folder: Path, count: int = 3) -> list[TLSFiles]:
    ca = make_authority(folder, "test", 10)
    return [issue(folder, ca, f"n{number}") for number in range(count)]


def issue(folder: Path, ca: Made, name: str, client: bool = False) -> TLSFiles:
    names = Names(ips=("127.0.0.1",))
    made = make_certificate(folder, name, ca.cert, ca.key, names, 5, client)
    return TLSFiles(ca.cert, made.cert, made.key)


def prefer(tls: TLSFiles) -> TLSFiles:
    return replace(tls, prefer=True)


async def hello(_request: PeerRequest) -> PeerReply:
    return peer.DetailsReply(b"{}")


async def talks(a: Node, b: Node) -> None:
    """Exchange a call and messages on both Raft channels."""
    b.handler.on_called = hello
    reply = await a.transport.call(b.address, peer.DetailsRequest(), PATIENCE)
    assert reply == peer.DetailsReply(b"{}")
    a.meets(b)
    b.meets(a)
    for request in (append(a.id, b.id, 1), RequestVote(a.id, b.id, 7, 0, 0)):
        a.handler.responses.clear()

        def exchange(request: Request = request) -> object:
            a.transport.send(request)
            return a.handler.responses

        await until(exchange, f"a response to {request}")


@pytest.mark.parametrize("first", ["off", "prefer", "require"])
@pytest.mark.parametrize("second", ["off", "prefer", "require"])
def test_whoever_may_talk_to_each_other_does(
    started: Started, tmp_path: Path, first: str, second: str
) -> None:
    def of(mode: str, tls: TLSFiles) -> TLSFiles | None:
        return {"off": None, "prefer": prefer(tls), "require": tls}[mode]

    one, other, _ = files(tmp_path)

    async def scenario() -> None:
        async with started("a", tls=of(first, one)) as a, started("b", tls=of(second, other)) as b:
            if {first, second} == {"off", "require"}:
                with pytest.raises(Unreachable) as caught:
                    await a.transport.call(b.address, peer.DetailsRequest(), 20)
                assert caught.value.data["answered"]
                return
            await talks(a, b)
            await talks(b, a)

    asyncio.run(scenario())


def test_two_that_prefer_tls_use_it(started: Started, tmp_path: Path) -> None:
    """A relay between them sees only TLS records."""
    one, other, _ = files(tmp_path)

    async def scenario() -> None:
        async with (
            started("b", tls=prefer(other)) as b,
            between(b) as seen,
            started("a", tls=prefer(one)) as a,
        ):
            b.handler.identify(address=seen.address)
            await talks(a, b)
        assert seen.firsts
        assert set(seen.firsts) == {0x16}

    asyncio.run(scenario())


class _Seen:
    def __init__(self, address: str) -> None:
        self.address = address
        #: The first byte of each connection.
        self.firsts: list[int] = []


@asynccontextmanager
async def between(node: Node) -> AsyncIterator[_Seen]:
    """Run a listener that forwards to a node, and records how each connection begins."""
    host, _, port = node.address.rpartition(":")
    tasks: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            inner, outer = await asyncio.open_connection(host, int(port))
            tasks.append(asyncio.create_task(pump(inner, writer)))
            with closing(outer):
                first = await reader.read(65536)
                if first:
                    seen.firsts.append(first[0])
                    outer.write(first)
                    await pump(reader, outer)

    server = await asyncio.start_server(serve, host, 0)
    seen = _Seen(f"{host}:{server.sockets[0].getsockname()[1]}")
    try:
        yield seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_who_speaks_tls_is_not_called_without_it(started: Started, tmp_path: Path) -> None:
    """Not even if its certificate belongs to another CA."""
    one, *_ = files(tmp_path / "ours")
    foreign, *_ = files(tmp_path / "theirs")

    async def scenario() -> None:
        async with started("b", tls=prefer(foreign)) as b, between(b) as seen:
            async with started("a", tls=prefer(one)) as a:
                with pytest.raises(Unreachable, match="certificate is not accepted") as caught:
                    await a.transport.call(seen.address, peer.DetailsRequest(), 20)
                assert caught.value.data["answered"]
            assert set(seen.firsts) == {0x16}

    asyncio.run(scenario())


def test_who_says_nothing_is_not_called_without_tls(started: Started, tmp_path: Path) -> None:
    """A closed connection does not prove that the server lacks TLS: an attacker can cause it."""
    one, *_ = files(tmp_path)
    firsts: list[bytes] = []

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        firsts.append(await reader.read(1))
        writer.transport.abort()

    async def scenario() -> None:
        server = await asyncio.start_server(close, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with started("a", tls=prefer(one)) as a:
            with pytest.raises(Unreachable):
                await a.transport.call(address, peer.DetailsRequest(), 5)
        server.close()
        assert set(firsts) == {b"\x16"}

    asyncio.run(scenario())


def test_a_server_that_changes_its_mind_is_followed(started: Started, tmp_path: Path) -> None:
    one, other, _ = files(tmp_path)

    async def scenario() -> None:
        async with started("a", tls=prefer(one)) as a:
            async with started("b") as b:
                await talks(a, b)
                address = b.address
            for tls in (other, None, prefer(other), None):
                async with started("b", tls=tls, listen=(address,)) as b:
                    b.handler.on_called = hello

                    async def asked() -> bool:
                        try:
                            await a.transport.call(address, peer.DetailsRequest(), 5)
                        except Unreachable:
                            return False
                        return True

                    async with asyncio.timeout(PATIENCE):
                        while not await asked():
                            pass

    asyncio.run(scenario())


def test_a_client_s_certificate_is_no_peer_s_here_either(started: Started, tmp_path: Path) -> None:
    ca = make_authority(tmp_path, "test", 10)
    ours, client = issue(tmp_path, ca, "b"), issue(tmp_path, ca, "client", client=True)
    context = ssl.create_default_context(cafile=ca.cert)
    context.load_cert_chain(client.cert, client.key)

    async def scenario() -> None:
        async with started("b", tls=prefer(ours)) as b:
            transport: Any = b.transport
            if isinstance(transport, GrpcTransport):
                import grpc.aio

                credentials = grpc.ssl_channel_credentials(
                    ca.cert.read_bytes(), client.key.read_bytes(), client.cert.read_bytes()
                )
                async with grpc.aio.secure_channel(b.address, credentials) as channel:
                    call = channel.unary_unary("/RaftTransport/RequestVote")
                    with pytest.raises(grpc.aio.AioRpcError):
                        await call(b"", timeout=PATIENCE)
            else:
                from braft_tcp.frames import HEADER, Channel, Hello, Kind, encode_hello

                host, _, port = b.address.rpartition(":")
                reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
                data = encode_hello(Hello(Channel.BULK, "cl", "x", "b"))
                writer.write(HEADER.pack(len(data), Kind.HELLO, 0) + data)
                assert HEADER.unpack(await reader.readexactly(HEADER.size))[1] == Kind.REFUSED
                writer.transport.abort()
            assert transport.counters["refused_no_peer"] == 1

    asyncio.run(scenario())


# ---------------------------------------------------------------------- the port mux of gRPC


def test_the_port_mux_cuts_off_silent_callers_and_refuses_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *_ = files(tmp_path)
    monkeypatch.setattr(port_mux, "MAX_CALLERS", 3)
    timing = TransportTiming(first_bytes=0.2)

    async def scenario() -> None:
        async with listening_node(GrpcTransport, "b", tls=prefer(one), timing=timing) as b:
            host, _, port = b.address.rpartition(":")
            silent = [await asyncio.open_connection(host, int(port)) for _ in range(8)]
            async with asyncio.timeout(PATIENCE):
                for reader, writer in silent:
                    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                        await reader.readexactly(1)
                    writer.transport.abort()
            async with listening_node(GrpcTransport, "a") as a:
                await talks(a, b)

    asyncio.run(scenario())


def test_nothing_is_left_of_the_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    one, *_ = files(tmp_path / "tls")

    def folders() -> list[int]:
        """Return the modes of the folders of port muxes."""
        return [folder.stat().st_mode & 0o777 for folder in tmp_path.glob("braft-*")]

    async def scenario() -> None:
        async with listening_node(GrpcTransport, "b", tls=prefer(one)):
            assert folders() == [0o700]
        assert folders() == []

    asyncio.run(scenario())
