"""Peers without the token: what they receive and what they can do, on both transports.

The attackers send frames of ``tcp`` and gRPC calls without a session.
"""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import msgpack
import pytest

from braft_core.errors import AccessDenied, BraftError
from braft_core.peer import ChangeMembershipRequest, DetailsReply, DetailsRequest
from braft_core.raft import (
    AppendEntries,
    Entry,
    EntryType,
    InstallSnapshot,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
)
from braft_core.raft.types import Configuration, Server, encode_configuration
from braft_core.transport.call_codec import encode_peer
from braft_core.transport.grpc import GrpcTransport
from braft_core.transport.raft_codec import encode_header, encode_request, encode_response
from braft_tcp import TcpTransport
from braft_tcp.call_server import encode_call
from braft_tcp.frames import HEADER, Channel, Hello, Kind, encode_hello
from braft_testing.transport import PATIENCE, listening_node, until

SECRET = "the-secret-of-the-cluster"
TRANSPORTS = {"grpc": GrpcTransport, "tcp": TcpTransport}
both = pytest.mark.parametrize("transport", list(TRANSPORTS))


def listening(transport: str, server_id: str, **options: Any) -> Any:
    options.setdefault("token", SECRET)
    return listening_node(TRANSPORTS[transport], server_id, rpc_timeout=PATIENCE, **options)


async def details(_request: object) -> DetailsReply:
    return DetailsReply(b"{}")


# ------------------------------------------------------------------- forged messages

_HEADER = encode_header("a", "h:1")
CONFIGURATION = Configuration((Server("mallory", "203.0.113.1:666"),))


def forged() -> dict[str, bytes]:
    entry = Entry(8, 9, EntryType.COMMAND, b"forged")
    configuration = Entry(9, 9, EntryType.CONFIGURATION, encode_configuration(CONFIGURATION))
    entries = AppendEntries("a", "b", 9, 7, 1, [entry, configuration], 9)
    return {
        "AppendEntries": encode_request(entries, _HEADER, b"h:1"),
        "InstallSnapshot": encode_request(
            InstallSnapshot("a", "b", 9, SnapshotMeta("forged", 99, 9, CONFIGURATION, 99, 10)),
            _HEADER,
            b"h:1",
        ),
    }


async def send_by_grpc(address: str, kind: str, data: bytes) -> str:
    """Return how the node ends the call."""
    async with grpc.aio.insecure_channel(address) as channel:
        metadata = (("braft-cluster-id", "cl"), ("braft-from", "a"), ("braft-to", "b"))
        try:
            if kind == "Call":
                await channel.unary_unary("/braft.v1.Peer/ChangeMembership")(data, timeout=20)
            elif kind == "InstallSnapshot":
                stream: Any = channel.stream_unary("/RaftTransport/InstallSnapshot")
                await stream(iter([data]), timeout=20, metadata=metadata)
            elif kind == "Pipeline":
                open_stream: Any = channel.stream_stream("/RaftTransport/AppendEntriesPipeline")
                call = open_stream(timeout=20, metadata=metadata)
                await call.write(data)
                await call.read()
                await call.code()
                return str((await call.code()).name)
            else:
                unary: Any = channel.unary_unary(f"/RaftTransport/{kind}")
                await unary(data, timeout=20, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return "OK"


_LANES = {
    "AppendEntries": (Channel.CONTROL, Kind.APPEND_ENTRIES),
    "Pipeline": (Channel.BULK, Kind.APPEND_ENTRIES),
    "InstallSnapshot": (Channel.SNAPSHOT, Kind.INSTALL_SNAPSHOT),
    "Call": (Channel.CALLS, Kind.CALL),
}


def frame(kind: int, body: bytes) -> bytes:
    return HEADER.pack(len(body), kind, 1) + body


async def send_by_tcp(address: str, kind: str, data: bytes) -> str:
    """Say hello, with or without a nonce, and go on as if it had been accepted."""
    channel, what = _LANES[kind]
    body = encode_call("ChangeMembership", data) if kind == "Call" else data
    heard = b""
    for number in (b"", bytes(32)):
        hello = encode_hello(Hello(channel, "cl", "a", "b", number))
        async with dialled(address) as (reader, writer):
            writer.write(frame(Kind.HELLO, hello) + frame(what, body))
            async with asyncio.timeout(20):
                try:
                    heard = await reader.read()
                except ConnectionError:
                    heard = b""
        assert not heard or heard[4] in (Kind.REFUSED, Kind.CHALLENGE)
    return "UNAUTHENTICATED"


@both
@pytest.mark.parametrize("kind", ["AppendEntries", "Pipeline", "InstallSnapshot", "Call"])
def test_forged_messages_of_an_unauthenticated_peer_have_no_effect(
    transport: str, kind: str
) -> None:
    change = encode_peer(ChangeMembershipRequest("add_voter", "mallory", "203.0.113.1:666", 1000))
    data = {**forged(), "Pipeline": forged()["AppendEntries"], "Call": change}[kind]
    send = send_by_grpc if transport == "grpc" else send_by_tcp

    async def scenario(token: str) -> tuple[str, int]:
        async with listening(transport, "b", token=token) as node:
            node.handler.on_called = details
            ended = await send(node.address, kind, data)
            reached = node.handler.requests or node.handler.calls
            return ended, len(reached)

    ended, reached = asyncio.run(scenario(SECRET))
    assert (ended, reached) == ("UNAUTHENTICATED", 0)


@both
def test_the_same_reaches_a_node_without_a_token(transport: str) -> None:
    """Otherwise the test above would pass with bytes that no node understands."""

    async def scenario() -> None:
        async with listening(transport, "b", token="") as node:
            data = forged()["AppendEntries"]
            if transport == "grpc":
                sending = asyncio.ensure_future(send_by_grpc(node.address, "AppendEntries", data))
                await until(lambda: node.handler.requests)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                return
            hello = encode_hello(Hello(Channel.BULK, "cl", "a", "b"))
            async with dialled(node.address) as (_, writer):
                writer.write(frame(Kind.HELLO, hello) + frame(Kind.APPEND_ENTRIES, data))
                await until(lambda: node.handler.requests)

    asyncio.run(scenario())


# ------------------------------------------------------------------- attackers that listen


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def dialled(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to ``address``, closed at the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        await shut(writer)


async def shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """Run a raw TCP server; yield its address, and close all connections at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                await serve(reader, writer)
        finally:
            await shut(writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(one(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        ending = list(tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


class Recorder:
    """An attacker's server: records all that it receives, and replies with ``answer``."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.heard = b""
        self.connections = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(65536):
            self.heard += data
            writer.write(self._answer(data))


def says_nothing_of_the_secret(heard: bytes) -> None:
    for form in (
        SECRET.encode(),
        SECRET.encode().hex().encode(),
        base64.b64encode(SECRET.encode())[:-2],
        b"earer",
    ):
        assert form not in heard


def welcome(_heard: bytes) -> bytes:
    return frame(Kind.WELCOME, msgpack.packb({"version": 1, "server_id": "b"}))


def bogus_challenge(_heard: bytes) -> bytes:
    core = msgpack.packb([bytes(32), "b"])
    return frame(Kind.CHALLENGE, msgpack.packb([core, [bytes(32)] * 16]))


@pytest.mark.parametrize("answer", [welcome, bogus_challenge], ids=lambda answer: answer.__name__)
def test_an_unauthenticated_server_gets_a_hello_and_nothing_else_by_tcp(
    answer: Callable[[bytes], bytes],
) -> None:
    recorder = Recorder(answer)

    async def scenario() -> None:
        async with served(recorder.serve) as address, listening("tcp", "a") as node:
            with pytest.raises(AccessDenied, match="token"):
                await node.transport.call(address, DetailsRequest(), 20)
            node.transport.set_peer("b", address)
            await until(lambda: recorder.connections >= 3)
            await until(lambda: len(recorder.heard) > 3 * 13)

    asyncio.run(scenario())
    says_nothing_of_the_secret(recorder.heard)
    kinds = set()
    at = 0
    while at + HEADER.size <= len(recorder.heard):
        length, kind, _ = HEADER.unpack_from(recorder.heard, at)
        kinds.add(kind)
        at += HEADER.size + length
    assert kinds <= {Kind.HELLO}


class RogueServer:
    """An attacker's gRPC server: answers challenges wrongly and accepts every call."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.calls: list[tuple[str, bytes, str]] = []
        self._answer = answer

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        metadata = repr(handler_call_details.invocation_metadata)

        async def serve(requests: Any, _context: Any) -> AsyncIterator[bytes]:
            async for data in requests:
                self.calls.append((method, data, metadata))
                yield self._answer(data)

        return grpc.stream_stream_rpc_method_handler(serve)


@asynccontextmanager
async def rogue_server(answer: Callable[[bytes], bytes]) -> AsyncIterator[tuple[str, RogueServer]]:
    rogue = RogueServer(answer)

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # untyped
        def service(self, handler_call_details: Any) -> Any:
            return rogue.service(handler_call_details)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", rogue
    finally:
        await server.stop(None)


def _wrong(_data: bytes) -> bytes:
    core = msgpack.packb([bytes(32), "b"])
    packed: bytes = msgpack.packb([core, [bytes(32)] * 16])
    return packed


def _reflected(data: bytes) -> bytes:
    return data


def _too_many(_data: bytes) -> bytes:
    core = msgpack.packb([bytes(32), "b"])
    packed: bytes = msgpack.packb([core, [bytes([n % 256]) * 32 for n in range(100)]])
    return packed


@pytest.mark.parametrize("answer", [_wrong, _reflected, _too_many], ids=lambda a: a.__name__)
def test_an_unauthenticated_server_gets_a_hello_and_nothing_else_by_grpc(
    answer: Callable[[bytes], bytes],
) -> None:
    async def scenario() -> None:
        async with rogue_server(answer) as (address, rogue), listening("grpc", "a") as node:
            with pytest.raises(BraftError):
                await node.transport.call(address, DetailsRequest(), 20)
            node.transport.set_peer("b", address)
            entries = AppendEntries("a", "b", 9, 0, 0, [], 0)
            for _ in range(3):
                node.transport.send(entries)
                await asyncio.sleep(0.1)
            await until(lambda: len(rogue.calls) >= 3)
            methods = {method for method, _, _ in rogue.calls}
            assert methods == {"/braft.v1.Proof/Challenge"}
            says_nothing_of_the_secret(repr(rogue.calls).encode())
            says_nothing_of_the_secret(b"".join(data for _, data, _ in rogue.calls))

    asyncio.run(scenario())


# ------------------------------------------------------------------- men in the middle


class Relay:
    """Forwards bytes between a client and ``target``; may inject bytes."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.inject: bytes = b""
        self.from_client: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with dialled(self.target) as (theirs, ours), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(reader, ours, client=True))
            tasks.create_task(self._pump(theirs, writer, client=False))

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, client: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if client:
                    self.from_client.append(data)
                sink.write(data)
                if client and self.inject and len(self.from_client) > 2:
                    sink.write(self.inject)
        sink.close()


@both
def test_a_relayed_proof_reaches_no_other_server(transport: str) -> None:
    """Node "a" calls server "c", and the man in the middle forwards everything to "b"."""

    async def scenario() -> None:
        async with listening(transport, "b") as b, listening(transport, "a") as a:
            relay = Relay(b.address)
            async with served(relay.serve) as address:
                a.transport.set_peer("c", address)
                await until(lambda: b.transport.counters["refused_wrong_target"] >= 1)
                assert b.handler.requests == []

    asyncio.run(scenario())


def test_a_relay_of_tcp_cannot_add_frames() -> None:
    async def scenario() -> None:
        async with listening("tcp", "b") as b, listening("tcp", "a") as a:
            b.handler.on_called = details
            relay = Relay(b.address)
            change = ChangeMembershipRequest("add_voter", "mallory", "203.0.113.1:666", 1000)
            relay.inject = frame(Kind.CALL, encode_call("ChangeMembership", encode_peer(change)))
            async with served(relay.serve) as address:
                for _ in range(20):
                    with suppress(BraftError):
                        await a.transport.call(address, DetailsRequest(), 20)
            assert all(isinstance(call, DetailsRequest) for call in b.handler.calls)
            assert b.transport.counters["refused_garbage"] >= 1

    asyncio.run(scenario())


@both
def test_a_recorded_connection_cannot_be_replayed(transport: str) -> None:
    """The attacker sends the bytes of an honest node to the server once more."""

    async def scenario() -> None:
        async with listening(transport, "b") as b, listening(transport, "a") as a:
            b.handler.on_called = details
            relay = Relay(b.address)
            async with served(relay.serve) as address:
                await a.transport.call(address, DetailsRequest(), 20)
            assert len(b.handler.calls) == 1
            counter = "refused_token" if transport == "tcp" else "refused_session"
            async with dialled(b.address) as (_, writer):
                for piece in relay.from_client:
                    writer.write(piece)
                    await asyncio.sleep(0.05)
                await until(lambda: b.transport.counters[counter] >= 1)
            assert len(b.handler.calls) == 1

    asyncio.run(scenario())


def test_reflected_tcp_frames_prove_nothing() -> None:
    """The attacker answers a hello with a challenge of the same node, on a second connection."""

    async def scenario() -> None:
        async with listening("tcp", "a") as a:
            sent: list[bytes] = []

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                async with dialled(a.address) as (theirs, ours):
                    ours.write(await reader.read(65536))
                    challenge = await theirs.read(65536)
                    # A server's proof is not valid as a client's.
                    offered = msgpack.unpackb(challenge[HEADER.size :])[1][0]
                    ours.write(frame(Kind.PROOF, offered))
                    sent.append(await theirs.read(65536))

            async with served(serve) as address:
                with pytest.raises(BraftError):
                    await a.transport.call(address, DetailsRequest(), 20)
                await until(lambda: sent)
            assert sent[0][4] == Kind.REFUSED
            assert a.transport.counters["refused_token"] >= 1
            assert a.handler.calls == []

    asyncio.run(scenario())


# ------------------------------------------------------------------- HashiCorp servers


@pytest.mark.parametrize("asked_for", [True, False])
def test_a_server_without_proofs_is_called_only_if_configured(asked_for: bool) -> None:
    """It is asked for a proof once, and not before each message."""
    called: list[str] = []

    def answered(node: Any, number: int) -> bool:
        return len(node.handler.responses) > number

    class HashiCorp(grpc.GenericRpcHandler):  # type: ignore[misc]  # untyped
        def service(self, handler_call_details: Any) -> Any:
            method = handler_call_details.method
            called.append(method)
            if not method.startswith("/RaftTransport/"):
                return None

            async def vote(data: bytes, _context: Any) -> bytes:
                says_nothing_of_the_secret(data)
                response = RequestVoteResponse("b", "a", 1, True)
                return encode_response(response, encode_header("b", "h:2"))

            return grpc.unary_unary_rpc_method_handler(vote)

    async def scenario() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((HashiCorp(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with listening("grpc", "a", unproved_raft=asked_for) as node:
                node.transport.set_peer("b", f"127.0.0.1:{port}")
                for number in range(5):
                    node.transport.send(RequestVote("a", "b", 1, 1, 1, request_id=number))
                    if asked_for:
                        await until(functools.partial(answered, node, number))
                    await asyncio.sleep(0.05)
                if not asked_for:
                    await until(lambda: "/braft.v1.Proof/Challenge" in called)
        finally:
            await server.stop(None)

    asyncio.run(scenario())
    votes = called.count("/RaftTransport/RequestVote")
    assert votes == (5 if asked_for else 0)
    if asked_for:
        first, last = (f(i for i, m in enumerate(called) if m.endswith("Vote")) for f in (min, max))
        # The control channel asked earlier; the bulk channel may connect meanwhile.
        assert called[first:last].count("/braft.v1.Proof/Challenge") <= 1
