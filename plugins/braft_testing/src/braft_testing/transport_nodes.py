"""Nodes that record what their transport reports, and sample messages: for transport tests.

Asserts no rules; those are in :mod:`braft_testing.transport`.
"""

# ruff: noqa: D102, S101

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import psutil

from braft_core import peer
from braft_core.abc import (
    Identity,
    SnapshotSink,
    SnapshotStore,
    Transport,
    TransportOptions,
    TransportTiming,
)
from braft_core.errors import BraftError
from braft_core.local_nodes import HOST, free_ports
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.raft.types import Entry, EntryType, SnapshotMeta
from braft_core.storage.memory_snapshots import MemorySnapshots
from braft_core.tokens import Keyring
from braft_core.transport import LinkedTransport

__all__ = [
    "PATIENCE",
    "PATIENT_TIMING",
    "Node",
    "RecordingHandler",
    "TransportSuite",
    "answer_to",
    "append",
    "listening_node",
    "on_a_loop",
    "prompt",
    "sample_calls",
    "sample_requests",
    "sever_sockets",
    "silent",
    "until",
]

#: Seconds within which a rule must show.
PATIENCE = 20.0
#: Timeouts long enough that no message is dropped, even if the machine pauses for seconds.
PATIENT_TIMING = TransportTiming(connect=PATIENCE, handshake=PATIENCE, control_timeout=PATIENCE)
#: Seconds after which a test counts as hanging.
_HANGS = 6 * PATIENCE


_T = TypeVar("_T")
_Test = Callable[[_T], Awaitable[None]]


def on_a_loop(test: _Test[_T]) -> Callable[[_T], None]:
    """Run a test of a suite on an event loop, for a bounded time."""

    @functools.wraps(test)
    def run(self: _T) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(_HANGS):
                await test(self)

        asyncio.run(bounded())

    return run


async def until(
    condition: Callable[[], object], what: str = "", seconds: float | None = None
) -> None:
    """Wait for the condition; fail after ``seconds``, by default :data:`PATIENCE`."""
    loop = asyncio.get_running_loop()
    patience = PATIENCE if seconds is None else seconds
    deadline = loop.time() + patience
    while not condition():
        assert loop.time() < deadline, f"not within {patience} s: {what or condition}"
        await asyncio.sleep(0.002)


def prompt() -> float:
    """Return the seconds within which something must happen that waits for nothing else.

    Tests use it to show that there is no longer wait. The limit allows for loaded machines.
    """
    return PATIENCE / 4


def answer_to(request: Request) -> Response:
    """Return a positive response to that request, with numbers derived from the request's."""
    sender, to = request.to, request.sender
    response: Response
    match request:
        case AppendEntries():
            last = request.prev_log_index + len(request.entries)
            response = AppendEntriesResponse(sender, to, request.term, True, last)
        case RequestVote():
            response = RequestVoteResponse(sender, to, request.term, granted=True)
        case RequestPreVote():
            response = RequestPreVoteResponse(sender, to, request.term - 1, granted=True)
        case TimeoutNow():
            response = TimeoutNowResponse(sender, to)
        case InstallSnapshot():
            response = InstallSnapshotResponse(sender, to, request.term, success=True)
        case _:
            raise TypeError(f"no answer to {request!r}")
    response.context = request.context
    return response


class RecordingHandler:
    """A :class:`braft_core.abc.TransportHandler` that records calls, and answers if configured."""

    def __init__(self, server_id: str, address: str, cluster_id: str) -> None:
        self.identity = Identity(server_id, address, cluster_id)
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.lost: list[str] = []
        self.unreachable: list[str] = []
        self.calls: list[PeerRequest] = []
        #: Returns the immediate answer to a request, or ``None``.
        self.answer: Callable[[Request], Response | None] = answer_to
        self.on_called: Callable[[PeerRequest], Awaitable[PeerReply]] = _no_reply
        self.transport: Transport | None = None
        #: Snapshots that were offered, and whether they are accepted; it may raise.
        self.offers: list[InstallSnapshot] = []
        self.on_offered: Callable[[InstallSnapshot], bool] = lambda message: True
        #: Source of the snapshots that are sent, and destination of those received.
        self.snapshots: SnapshotStore = MemorySnapshots()

    def identify(self, **changes: str) -> None:
        """Change fields of the node's identity, as a node does."""
        self.identity = replace(self.identity, **changes)

    def on_message(self, message: Message) -> None:
        if not isinstance(message, Request):
            self.responses.append(message)
            return
        self.requests.append(message)
        response = self.answer(message)
        if response is not None and self.transport is not None:
            self.transport.reply(response)

    def on_connection_lost(self, server_id: str) -> None:
        self.lost.append(server_id)

    def on_unreachable(self, server_id: str) -> None:
        self.unreachable.append(server_id)

    async def on_call(self, request: PeerRequest) -> PeerReply:
        self.calls.append(request)
        return await self.on_called(request)

    def wants_snapshot(self, message: InstallSnapshot) -> bool:
        self.offers.append(message)
        return self.on_offered(message)

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        return self.snapshots.create(
            meta.index, meta.term, meta.configuration, meta.configuration_index, meta.size
        )

    def open_snapshot(self, snapshot_id: str) -> Iterator[bytes]:
        return self.snapshots.open(snapshot_id)

    async def on_apply_log(self, data: bytes) -> bytes:
        return data[::-1]

    async def on_details(self) -> dict[str, Any]:
        return {"serverID": self.identity.server_id}


async def _no_reply(request: PeerRequest) -> PeerReply:
    raise BraftError(f"no reply to {request!r} was prepared")


def silent(_request: Request) -> None:
    """Give no answer."""
    return


class Node:
    """A transport with its handler."""

    def __init__(self, transport: Transport, handler: RecordingHandler) -> None:
        self.transport = transport
        self.handler = handler
        handler.transport = transport

    @property
    def id(self) -> str:
        return self.handler.identity.server_id

    @property
    def address(self) -> str:
        return self.handler.identity.address

    def meets(self, other: Node) -> None:
        """Set the other node's address."""
        self.transport.set_peer(other.id, other.address)


@asynccontextmanager
async def listening_node(
    make: Callable[[TransportOptions], LinkedTransport],
    server_id: str = "b",
    cluster_id: str = "cl",
    token: str = "",
    **options: Any,
) -> AsyncIterator[Node]:
    """Start a node on the loop, on a free port unless the transport's ``options`` set one.

    :param token: what ``BRAFT_TOKEN`` accepts.
    """
    options.setdefault("listen", ("127.0.0.1:0",))
    if token:
        options["keyring"] = Keyring.of(token)
    transport = make(TransportOptions(**options))
    handler = RecordingHandler(server_id, "", cluster_id)
    await transport.start(handler)
    handler.identify(address=transport.listening[0])
    try:
        yield Node(transport, handler)
    finally:
        await transport.stop()


def sever_sockets(*nodes: Node) -> None:
    """Shut down this process's TCP connections to these nodes without the transport's knowledge.

    The kernel does the same when a process dies. Use it as :meth:`TransportSuite.sever` of a TCP
    transport.
    """
    for behind in _sockets_to(nodes):
        behind.shutdown(socket.SHUT_RDWR)


def patience_of_sockets(*nodes: Node) -> list[float]:
    """Return the ``TCP_USER_TIMEOUT`` of each connection to these nodes.

    Seconds; 0: the kernel's default.
    """
    option = socket.TCP_USER_TIMEOUT
    return [s.getsockopt(socket.IPPROTO_TCP, option) / 1000 for s in _sockets_to(nodes)]


def _sockets_to(nodes: Sequence[Node]) -> Iterator[socket.socket]:
    """Yield the established connections of this process to these nodes, as duplicate sockets."""
    ports = {int(node.address.rpartition(":")[2]) for node in nodes}
    for connection in psutil.Process().net_connections("tcp"):
        if connection.status == psutil.CONN_ESTABLISHED and connection.raddr.port in ports:
            with socket.socket(fileno=os.dup(connection.fd)) as behind:
                yield behind


class TransportSuite:
    """Creates the nodes of a suite's tests from one factory."""

    #: Whether :meth:`sever` can break connections.
    can_sever: ClassVar[bool] = False

    def make(self, address: str) -> Transport:
        """Return a new, unstarted transport that will listen on ``address``."""
        raise NotImplementedError("derive from TransportConformance and define make()")

    def new_address(self) -> str:
        """Return an unused address."""
        return f"{HOST}:{free_ports(1)[0]}"

    async def sever(self, first: Node, second: Node) -> None:
        """Break the connections between two nodes abruptly, as when a process dies."""
        raise NotImplementedError("define sever() if can_sever is set")

    async def start(self, server_id: str, address: str = "", cluster_id: str = "cl") -> Node:
        """Create and start a node."""
        address = address or self.new_address()
        node = Node(self.make(address), RecordingHandler(server_id, address, cluster_id))
        await node.transport.start(node.handler)
        return node

    @asynccontextmanager
    async def pair(
        self, cluster: str = "cl", other: str = "cl"
    ) -> AsyncIterator[tuple[Node, Node]]:
        """Start nodes ``a`` and ``b`` of those clusters, which know each other's address."""
        a = await self.start("a", cluster_id=cluster)
        b = await self.start("b", cluster_id=other)
        a.meets(b)
        b.meets(a)
        try:
            yield a, b
        finally:
            await a.transport.stop()
            await b.transport.stop()

    async def connected(self, a: Node, b: Node) -> None:
        """Wait until bulk messages of ``a`` reach ``b`` and are answered; then discard them."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while not a.handler.responses:
            assert loop.time() < deadline, f"{a.id} and {b.id} do not connect"
            a.transport.send(append(a.id, b.id, 1_000_000))
            await asyncio.sleep(0.02)
        a.transport.send(append(a.id, b.id, 2_000_000))  # answered after all before it
        await until(lambda: a.handler.responses[-1].request_id == 2_000_000, "the last append")
        for handler in (a.handler, b.handler):
            for record in (handler.requests, handler.responses, handler.unreachable):
                record.clear()


def append(sender: str, to: str, first: int, count: int = 1, size: int = 16) -> AppendEntries:
    """Return a bulk message: ``count`` entries of ``size`` bytes from index ``first`` on.

    ``first`` is also the request id.
    """
    entries = [
        Entry(index, 3, EntryType.COMMAND, index.to_bytes(8, "big") * (size // 8))
        for index in range(first, first + count)
    ]
    return AppendEntries(sender, to, 3, first - 1, 3, entries, first - 1, request_id=first)


def sample_requests(sender: str, to: str) -> list[Request]:
    """Return every kind of request, with all field values distinct."""
    entries = [
        Entry(12, 5, EntryType.NOOP, b""),
        Entry(13, 5, EntryType.COMMAND, bytes(range(256)), b"\x00ext", 1_700_000_000_123_456_789),
        Entry(14, 5, EntryType.BARRIER, b"", b"", 1),
        Entry(15, 2**40, EntryType.CONFIGURATION, b"c" * 3000, b"", 999_999_999),
    ]
    return [
        AppendEntries(sender, to, 6, 11, 4, entries, 9, request_id=101),
        AppendEntries(sender, to, 7, 16, 5, [], 15, request_id=102, echo=2**52 + 1),
        AppendEntries(sender, to, 8, 0, 0, [], 0, request_id=103),
        RequestVote(sender, to, 9, 21, 8, leadership_transfer=True, request_id=104),
        RequestVote(sender, to, 2**62, 22, 7, request_id=105),
        RequestPreVote(sender, to, 10, 23, 9, request_id=106),
        TimeoutNow(sender, to, request_id=107),
    ]


def sample_calls() -> list[tuple[PeerRequest, PeerReply]]:
    """Return every kind of peer call with a reply."""
    return [
        (
            peer.ProbeRequest("a", "name", "", "h:1"),
            peer.ProbeReply("b", "name", "cl", 3, True, "l", "h:3", "h:2", 1, 2, 5, False, True),
        ),
        (
            peer.ProbeRequest("a", "name", "cl", "h:1"),
            peer.ProbeReply(
                "b", "name", "cl", 3, True, "", "", "h:2", capabilities=b"\x00\xff", digests=b"\xc1"
            ),
        ),
        (
            peer.BootstrapProposal("name", "cl", b"\x80cfg", "a"),
            peer.BootstrapProposalReply(True, "cl", b"c", "why"),
        ),
        (peer.JoinRequest("a", "h:1", "name", "cl", True), peer.JoinReply("cl", b"\xffcfg")),
        (peer.AnnounceRequest("a", "h:1", "cl"), peer.AnnounceReply("b", "h:2")),
        (peer.ProposeRequest((b"1", b"", b"\xff"), 500), peer.ProposeReply((b"x", b""))),
        (peer.ProposeRequest((), 0), peer.ProposeReply(())),
        (peer.ReadIndexRequest("cl"), peer.ReadIndexReply(2**40, 7)),
        (
            peer.ChangeMembershipRequest("add_voter", "c", "h:3", 900),
            peer.AdminReply(b"cfg", "b"),
        ),
        (peer.TransferLeadershipRequest("c", 900), peer.AdminReply(b"", "c")),
        (peer.DetailsRequest(), peer.DetailsReply('{"ü": 1}'.encode())),
    ]
