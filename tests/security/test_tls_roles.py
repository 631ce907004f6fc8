"""Which certificates of the CA make a peer; only peers may use Raft and peer calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from braft_core import peer
from braft_core.abc import TLSFiles
from braft_core.errors import ConfigError, Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.proto import message_class
from braft_core.raft.messages import RequestVote
from braft_core.tls.issuing import Made, Names, make_authority, make_certificate
from braft_core.transport.call_codec import encode_peer
from braft_core.transport.grpc import GrpcTransport
from braft_core.transport.raft_codec import encode_header, encode_request
from braft_testing.transport import PATIENCE, PATIENT_TIMING, Node, listening_node

Started = Callable[..., AbstractAsyncContextManager[Node]]

#: The cluster of the kit's nodes.
CLUSTER_ID = "cl"
NODE = Names(ips=("127.0.0.1",), dns=("braft-peer",))


@pytest.fixture(params=["grpc", "tcp"])
def started(request: pytest.FixtureRequest) -> Started:
    transport: Any = GrpcTransport
    if request.param == "tcp":
        transport = pytest.importorskip("braft_tcp").TcpTransport
    return partial(listening_node, transport, rpc_timeout=PATIENCE, timing=PATIENT_TIMING)


class Issuer:
    """A CA and the certificates that it issues."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = make_authority(folder / "ca", "test", 10)

    def issue(self, name: str, names: Names = NODE, client: bool = False, **more: Any) -> TLSFiles:
        made = self.made(name, names, client)
        return TLSFiles(self.ca.cert, made.cert, made.key, **more)

    def made(self, name: str, names: Names = NODE, client: bool = False) -> Made:
        return make_certificate(self.folder, name, self.ca.cert, self.ca.key, names, 5, client)


@pytest.fixture
def cluster(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


async def hello(_request: PeerRequest) -> PeerReply:
    return peer.DetailsReply(b"{}")


def counted(node: Node) -> int:
    transport: Any = node.transport
    return int(transport.counters["refused_no_peer"])


async def ask(caller: Node, called: Node) -> PeerReply:
    return await caller.transport.call(called.address, peer.DetailsRequest(), 20)


def test_peers_reach_each_other_by_the_server_name_without_an_address(
    started: Started, cluster: Issuer
) -> None:
    nameless = Names(dns=("braft-peer",))
    files = [cluster.issue(n, nameless, server_name="braft-peer") for n in ("a", "b")]
    by_address = [cluster.issue(n, nameless) for n in ("c", "d")]

    async def scenario() -> None:
        async with started("a", tls=files[0]) as a, started("b", tls=files[1]) as b:
            b.handler.on_called = hello
            assert await ask(a, b) == peer.DetailsReply(b"{}")
        async with started("a", tls=by_address[0]) as a, started("b", tls=by_address[1]) as b:
            with pytest.raises(Unreachable):
                await ask(a, b)

    asyncio.run(scenario())


def test_in_grpc_another_holder_of_a_certificate_calls_nobody(cluster: Issuer) -> None:
    """A client certificate is never a peer's; with names set, no other name is either."""
    ours = cluster.issue("b", peer_names=("braft-peer",))
    node = cluster.made("n")
    client = cluster.made("client", client=True)
    other = cluster.made("web", Names(ips=("127.0.0.1",), dns=("web.example",)))
    vote = encode_request(
        RequestVote("x", "b", 7, 0, 0), encode_header("x", "127.0.0.1:1"), b"127.0.0.1:1"
    )
    calls = {
        "/RaftTransport/RequestVote": vote,
        "/RaftTransport/RequestPreVote": vote,
        "/RaftTransport/AppendEntries": b"",
        "/RaftTransport/AppendEntriesPipeline": b"",
        "/RaftTransport/TimeoutNow": b"",
        "/RaftTransport/InstallSnapshot": b"",
        "/braft.v1.Peer/Details": encode_peer(peer.DetailsRequest()),
    }

    async def status(address: str, made: Made, path: str, data: bytes) -> grpc.StatusCode:
        credentials = grpc.ssl_channel_credentials(
            cluster.ca.cert.read_bytes(), made.key.read_bytes(), made.cert.read_bytes()
        )
        async with grpc.aio.secure_channel(address, credentials) as channel:
            try:
                await channel.unary_unary(path)(data, timeout=PATIENCE)
            except grpc.aio.AioRpcError as error:
                code: grpc.StatusCode = error.code()
                return code
        return grpc.StatusCode.OK

    async def scenario() -> None:
        async with listening_node(
            GrpcTransport, "b", tls=ours, rpc_timeout=PATIENCE, timing=PATIENT_TIMING
        ) as b:
            b.handler.on_called = hello
            for stranger in (client, other):
                for path, data in calls.items():
                    found = await status(b.address, stranger, path, data)
                    assert found is grpc.StatusCode.PERMISSION_DENIED, path
            assert not b.handler.calls
            assert not b.handler.requests
            assert counted(b) == 2 * len(calls)
            for path in ("/RaftTransport/RequestVote", "/braft.v1.Peer/Details"):
                assert await status(b.address, node, path, calls[path]) is grpc.StatusCode.OK

    asyncio.run(scenario())


def test_in_tcp_another_holder_of_a_certificate_calls_nobody(cluster: Issuer) -> None:
    """On each channel."""
    braft_tcp = pytest.importorskip("braft_tcp")
    from braft_tcp.frames import HEADER, Channel, Hello, Kind, encode_hello

    ours = cluster.issue("b", peer_names=("braft-peer",))
    node = cluster.made("n")
    client = cluster.made("client", client=True)
    other = cluster.made("web", Names(ips=("127.0.0.1",), dns=("web.example",)))

    async def answer(address: str, made: Made, channel: Channel) -> int:
        """Return the kind of the first frame that comes back."""
        context = ssl.create_default_context(cafile=cluster.ca.cert)
        context.load_cert_chain(made.cert, made.key)
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        hello = encode_hello(Hello(channel, CLUSTER_ID, "x", "b"))
        writer.write(HEADER.pack(len(hello), Kind.HELLO, 0) + hello)
        kind: int = HEADER.unpack(await reader.readexactly(HEADER.size))[1]
        writer.transport.abort()
        return kind

    async def scenario() -> None:
        async with listening_node(braft_tcp.TcpTransport, "b", tls=ours) as b:
            for stranger in (client, other):
                for channel in Channel:
                    assert await answer(b.address, stranger, channel) == Kind.REFUSED
            assert counted(b) == 2 * len(Channel)
            assert await answer(b.address, node, Channel.CALLS) == Kind.WELCOME

    asyncio.run(scenario())


def test_a_server_that_is_no_peer_learns_nothing(started: Started, cluster: Issuer) -> None:
    """Although the CA issued its server certificate for its address."""
    ours = cluster.issue("a", peer_names=("braft-peer",))
    theirs = cluster.issue("web", Names(ips=("127.0.0.1",), dns=("web.example",)))

    async def scenario() -> None:
        async with started("a", tls=ours) as a, started("b", tls=theirs) as b:
            b.handler.on_called = hello
            with pytest.raises(Unreachable, match=r"not a peer: the certificate of 'web\.example'"):
                await ask(a, b)
            # On Raft's channels: the node would have passed a request to its handler by the time
            # a later call ends.
            a.meets(b)
            a.transport.send(RequestVote("a", "b", 7, 0, 0))
            with pytest.raises(Unreachable):
                await ask(a, b)
            assert not b.handler.calls
            assert not b.handler.requests

    asyncio.run(scenario())


def test_a_node_does_not_start_with_a_certificate_that_its_peers_refuse(
    started: Started, cluster: Issuer
) -> None:
    async def start(files: TLSFiles, words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            async with started("a", tls=files):
                pass

    async def scenario() -> None:
        await start(cluster.issue("a", client=True), r"a\.pem cannot be this node's.*a client's")
        await start(cluster.issue("b", peer_names=("x.example",)), r"b\.pem cannot be this node's")
        await start(cluster.issue("c", server_name="x.example"), r"c\.pem is not for the name x")

    asyncio.run(scenario())


def test_a_client_s_certificate_gets_a_client_s_rights_in_grpc(cluster: Issuer) -> None:
    ours, client = cluster.issue("b"), cluster.made("client", client=True)

    async def scenario() -> None:
        async with listening_node(
            GrpcTransport, "b", tls=ours, rpc_timeout=PATIENCE, timing=PATIENT_TIMING
        ) as b:

            async def details() -> dict[str, Any]:
                return {"serverID": "b"}

            b.handler.on_details = details  # type: ignore[method-assign]
            credentials = grpc.ssl_channel_credentials(
                cluster.ca.cert.read_bytes(), client.key.read_bytes(), client.cert.read_bytes()
            )
            async with grpc.aio.secure_channel(b.address, credentials) as channel:
                answer = await channel.unary_unary("/Raft/GetDetails")(b"", timeout=PATIENCE)
            found = message_class("GetDetailsResponse").FromString(answer)
            assert found.serverId == "b"

    asyncio.run(scenario())
