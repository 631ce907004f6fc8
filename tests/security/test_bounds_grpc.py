"""Bounds on what clients of the gRPC port can consume: memory, streams, descriptors."""

from __future__ import annotations

import asyncio
import socket
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest

from braft_core.abc import TransportOptions
from braft_core.file_descriptors import inbound_connection_limit
from braft_core.tls.issuing import Names, make_authority, make_certificate
from braft_core.transport.grpc.connector import MAX_STREAMS, Connector
from braft_core.transport.grpc.health_reflection import REFLECTIONS, WATCHERS
from braft_core.transport.size_limits import MAX_CALL, MAX_CONTROL
from braft_core.transport.tls_probe import TLSProbeCache
from braft_testing.processes import PATIENCE, ProcessCluster, wait_for
from tests.security.raw_clients import (
    MIB,
    PREFACE,
    connect,
    descriptors,
    forget_peak,
    http2_call,
    http2_frame,
    is_open,
    one_node,
    peak,
    status,
)

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("bounds of grpc")]

TOKEN = "a-secret-of-more-than-32-characters"
PEER, HEALTH = "/braft.v1.Peer/", "/grpc.health.v1.Health/"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with one_node(tmp_path_factory.mktemp("node"), transport="grpc") as nodes:
        yield nodes


@pytest.fixture
def node(shared: ProcessCluster) -> ProcessCluster:
    forget_peak(shared)
    return shared


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ProcessCluster]:
    with one_node(tmp_path, transport="grpc", token=TOKEN) as nodes:
        yield nodes


def call_many(
    nodes: ProcessCluster, path: str, number: int, size: int, channels: int = 8
) -> Counter[str]:
    """Call a method ``number`` times at once; return the count of each status."""

    async def scenario() -> Counter[str]:
        opened = [
            grpc.aio.insecure_channel(
                nodes.nodes[0].address, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(channels)
        ]
        body = bytes(size)

        async def call(channel: grpc.aio.Channel) -> str:
            try:
                await channel.unary_unary(path)(body, timeout=60)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return "OK"

        called = [call(opened[n % channels]) for n in range(number)]
        statuses = Counter(await asyncio.gather(*called))
        await asyncio.gather(*(channel.close() for channel in opened))
        return statuses

    return asyncio.run(scenario())


def check(nodes: ProcessCluster) -> None:
    """Check that the node answers other clients."""
    assert call_many(nodes, HEALTH + "Check", 1, 0, 1) == {"OK": 1}


@pytest.mark.smoke
def test_nothing_of_a_refused_call_is_read(guarded: ProcessCluster) -> None:
    """80 calls of 15 MiB, all refused, once took 1.3 GiB."""
    before = peak(guarded)
    for path in (PEER + "Propose", "/Raft/ApplyLog"):
        assert call_many(guarded, path, 80, 15 * MIB) == {"UNAUTHENTICATED": 80}
        assert peak(guarded) - before < 60
    check(guarded)


@pytest.mark.parametrize("path", [PEER + "Probe", HEALTH + "Check", "/RaftTransport/RequestVote"])
def test_few_large_requests_of_one_address_are_read_at_a_time(
    node: ProcessCluster, path: str
) -> None:
    before = peak(node)
    assert call_many(node, path, 80, 15 * MIB) == {"RESOURCE_EXHAUSTED": 80}
    assert peak(node) - before < 500  # reading all of them takes 1.5 to 2.2 GiB
    check(node)


def test_a_small_method_takes_no_large_request(node: ProcessCluster) -> None:
    assert call_many(node, PEER + "Probe", 1, MAX_CALL + 1) == {"RESOURCE_EXHAUSTED": 1}


def test_watchers_of_health_are_few(node: ProcessCluster) -> None:
    """20,000 streams once stayed open, and took 440 MiB."""
    before = peak(node)

    async def scenario() -> None:
        channels = [
            grpc.aio.insecure_channel(
                node.nodes[0].address, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(8)
        ]
        calls = [channels[n % 8].unary_stream(HEALTH + "Watch")(b"") for n in range(1600)]
        watching, refused = 0, Counter[str]()
        for call in calls:
            try:
                assert await call.read()
                watching += 1
            except grpc.aio.AioRpcError as error:
                refused[error.code().name] += 1
        assert watching == WATCHERS[0]
        assert refused["RESOURCE_EXHAUSTED"] > 100  # others were not even read
        calls[0].cancel()
        await asyncio.gather(*(channel.close() for channel in channels))

    asyncio.run(scenario())
    assert peak(node) - before < 60
    check(node)


def test_a_watcher_that_reads_nothing_does_not_keep_the_node_from_stopping(
    tmp_path: Path,
) -> None:
    with one_node(tmp_path, transport="grpc") as node:
        ends_though_unread(node)


def ends_though_unread(node: ProcessCluster) -> None:
    connection = connect(node)
    no_window = (4).to_bytes(2, "big") + bytes(4)
    connection.sendall(PREFACE + http2_frame(4, 0, 0, no_window))
    connection.sendall(http2_call(HEALTH + "Watch", 1) + http2_frame(0, 1, 1, bytes(5)))
    time.sleep(0.3)  # served or not: the node must stop in either case
    assert node.stop(0, 20) == 0
    connection.close()


def test_streams_of_reflection_are_few(node: ProcessCluster) -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

    async def scenario() -> None:
        async with grpc.aio.insecure_channel(node.nodes[0].address) as channel:
            calls = [channel.stream_stream(path)() for _ in range(100)]
            statuses = [asyncio.ensure_future(call.code()) for call in calls]
            most = REFLECTIONS[0]
            async with asyncio.timeout(30):
                while sum(not status.done() for status in statuses) > most:
                    await asyncio.wait(statuses, return_when=asyncio.FIRST_COMPLETED, timeout=0.1)
            refused = Counter(status.result().name for status in statuses if status.done())
            assert refused == {"RESOURCE_EXHAUSTED": 100 - most}
            for call, status in zip(calls, statuses, strict=True):
                if not status.done():
                    await call.write(b"\x3a\x01*")  # list_services
                    assert b"RaftTransport" in await call.read()
                    call.cancel()

    asyncio.run(scenario())


def test_the_settings_frame_limits_the_streams_of_a_connection(node: ProcessCluster) -> None:
    connection = connect(node)
    connection.sendall(PREFACE)
    settings = connection.recv(200)
    assert (3).to_bytes(2, "big") + MAX_STREAMS.to_bytes(4, "big") in settings
    connection.close()


def test_whoever_pings_without_end_is_told_to_go(node: ProcessCluster) -> None:
    """3 million pings a second were once answered.

    gRPC closes the connection once no write is under way. Its answers to further pings are writes,
    so a peer that goes on at the right pace keeps it open.
    """
    flood = http2_frame(6, 0, 0, b"12345678") * 10
    calm_down = (11).to_bytes(4, "big")
    goaway = http2_frame(7, 0, 0, bytes(4) + calm_down + b"too_many_pings")
    connection = connect(node)
    connection.sendall(PREFACE)
    connection.settimeout(0.5)
    told, end = b"", time.monotonic() + PATIENCE
    with connection, suppress(ConnectionError):  # it is closed, and the GOAWAY may be lost
        while goaway not in told:
            assert time.monotonic() < end, told
            with suppress(TimeoutError):
                connection.sendall(flood)
            with suppress(TimeoutError):
                told = told[-len(goaway) :] + (answer := connection.recv(MIB))
                if not answer:
                    break
    check(node)


def test_whoever_says_nothing_is_cut_soon(node: ProcessCluster) -> None:
    """Without TLS this was once two minutes."""
    silent = [connect(node) for _ in range(100)]
    wait_for(lambda: not any(map(is_open, silent)), 30, "the node cuts silent connections")
    for connection in silent:
        connection.close()


def test_half_of_a_handshake_holds_a_descriptor_for_seconds(tmp_path: Path) -> None:
    """500 of them once held theirs for 60 to 75 s."""
    ca = make_authority(tmp_path / "ca", "test", 10)
    made = make_certificate(tmp_path / "tls", "node", ca.cert, ca.key, Names(ips=("127.0.0.1",)), 5)
    tls = {"tls_ca": ca.cert, "tls_cert": made.cert, "tls_key": made.key}
    with one_node(tmp_path / "node", None, transport="grpc", **tls) as node:
        hello = b"\x16\x03\x01\x02\x00\x01"  # the beginning of a ClientHello
        halves = [connect(node) for _ in range(100)]
        for connection in halves:
            connection.sendall(hello)
        wait_for(lambda: not any(map(is_open, halves)), 40, "the node cuts half handshakes")
        for connection in halves:
            connection.close()


def test_streams_that_are_reset_at_once_cost_nothing(node: ProcessCluster) -> None:
    """CVE-2023-44487; once up to 2.8 GB."""
    before = peak(node)
    call = http2_call(PEER + "Probe", 1)
    for _ in range(10):
        with connect(node) as connection:
            connection.settimeout(20)
            connection.sendall(PREFACE)
            for first in range(1, 2 * 2000, 2 * 100):
                batch = b"".join(
                    call[:5] + stream.to_bytes(4, "big") + call[9:]
                    + http2_frame(3, 0, stream, bytes(4))
                    for stream in range(first, first + 200, 2)
                )  # fmt: skip
                try:
                    connection.sendall(batch)
                except OSError:  # the node closed the connection
                    break
    check(node)
    assert peak(node) - before < 150


def test_nothing_compressed_is_taken(node: ProcessCluster) -> None:
    """2 MB that become 2 GB: grpcio before 1.84 inflated them."""
    before = peak(node)
    bomb = zeros(256)
    assert len(bomb) < MIB
    with closing(connect(node)) as connection:
        connection.settimeout(20)
        connection.sendall(PREFACE + http2_frame(4, 1, 0))
        connection.sendall(http2_call(PEER + "Probe", 1, ("grpc-encoding", "gzip")))
        message = b"\x01" + len(bomb).to_bytes(4, "big") + bomb
        with_window(connection, message)
        check(node)
        assert peak(node) - before < 60


def zeros(mebibytes: int) -> bytes:
    """Return that many MiB of zeros, compressed by gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zero = bytes(MIB)
    return b"".join([*(packer.compress(zero) for _ in range(mebibytes)), packer.flush()])


def with_window(connection: socket.socket, message: bytes) -> None:
    """Send a message as fast as the server takes it, until it ends the call or connection."""
    connection.settimeout(0.5)
    window = 65535
    with suppress(TimeoutError, ConnectionError):
        while message and window > 0:
            part, message = message[: min(16384, window)], message[min(16384, window) :]
            connection.sendall(http2_frame(0, 0, 1, part))
            window -= len(part)
            if window <= 0:
                answer = connection.recv(MIB)
                window += 65535 if b"\x08" in answer else 0


def test_descriptors_are_left_when_all_connections_are_taken(tmp_path: Path) -> None:
    limit = 400
    with ExitStack() as opened, one_node(tmp_path, limit, transport="grpc") as node:
        before = descriptors(node)
        for port in (node.nodes[0].raft_port, node.nodes[0].discovery_port):
            for _ in range(400):
                connection = opened.enter_context(connect(node, port))
                with suppress(OSError):
                    connection.sendall(PREFACE)
        wait_for(lambda: status(node, "/readyz") == 200, 20, "HTTP answers")
        assert descriptors(node) - before <= inbound_connection_limit(limit) + 20


def test_an_answer_that_is_too_large_is_not_taken() -> None:
    """A server that the node calls may be hostile."""

    async def scenario() -> None:
        server = grpc.aio.server()

        async def serve(_data: bytes, _context: object) -> bytes:
            return bytes(MIB)

        vote = grpc.unary_unary_rpc_method_handler(serve)
        methods = grpc.method_handlers_generic_handler("RaftTransport", {"RequestVote": vote})
        server.add_generic_rpc_handlers((methods,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        tls_probes, address = TLSProbeCache(None), f"127.0.0.1:{port}"
        plain = tls_probes.get(address)
        assert plain is not None
        connector = Connector(TransportOptions(listen=()), None, tls_probes)
        channel = connector.channel(address, plain, MAX_CONTROL)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/RaftTransport/RequestVote")(b"", timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await channel.close()
        await server.stop(None)

    asyncio.run(scenario())
