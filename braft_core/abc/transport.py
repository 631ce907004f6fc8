"""Transport: messages between nodes."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from braft_core.abc.storage import SnapshotSink
from braft_core.abc.transport_timing import TransportTiming
from braft_core.errors import BraftError
from braft_core.raft.messages import InstallSnapshot, Message, Request, Response
from braft_core.raft.types import SnapshotMeta
from braft_core.tokens import Keyring

if TYPE_CHECKING:
    from braft_core.peer import PeerReply, PeerRequest

__all__ = ["Identity", "TLSFiles", "Transport", "TransportHandler", "TransportOptions"]


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files for mutual TLS, and which certificates belong to peers."""

    ca: Path
    cert: Path
    key: Path
    #: Also serve and call nodes without TLS, for a rolling change.
    prefer: bool = False
    #: Certificate names of peers; for none see ``braft_core.tls.peer_rule``.
    peer_names: tuple[str, ...] = ()
    #: The name in peers' certificates; "": the address at which they are called.
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """What a transport is built from."""

    #: ``host:port`` pairs to listen on (Raft port first, then discovery port).
    listen: tuple[str, ...]
    tls: TLSFiles | None = None
    reflection: bool = True
    #: Largest message accepted from a peer, bytes.
    max_message_bytes: int = 16 << 20
    #: Deadline of one Raft RPC, seconds.
    rpc_timeout: float = 2.0
    #: The secrets by which nodes authenticate each call and connection. They are never sent. Empty:
    #: no authentication. A transport that never leaves the process may ignore it.
    keyring: Keyring = field(default_factory=Keyring)
    timing: TransportTiming = field(default_factory=TransportTiming)
    #: Bound into the proof.
    cluster_name: str = ""
    #: Accept Raft's own requests without a proof, and send them to peers that cannot prove theirs.
    unproved_raft: bool = False
    #: The options of the plugin; see ``braft_core.plugin.options``.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is. The node replaces it; a transport reads it for each call or stream."""

    server_id: str
    address: str
    #: "" while the node is in no cluster; then Raft RPCs are refused.
    cluster_id: str = ""


class TransportHandler(Protocol):
    """What a transport calls. All calls happen on the loop's thread, and none of them blocks.

    The two exceptions are :meth:`create_snapshot` and :meth:`open_snapshot`: each transfer calls
    them on a separate thread of the transport, and they may block.
    """

    @property
    def identity(self) -> Identity:
        """The node's identity."""

    def on_message(self, message: Message) -> None:
        """Handle a Raft request (with ``context`` set), or the response to one of ours."""

    def on_connection_lost(self, server_id: str) -> None:
        """Handle the loss of an established connection with a peer, in either direction.

        Not called if the connection was closed in an orderly way by a healthy peer.
        """

    def on_unreachable(self, server_id: str) -> None:
        """Handle dropped requests to a peer: there is no connection, or the queue is full."""

    async def on_call(self, request: PeerRequest) -> PeerReply:
        """Answer a peer call. A ``BraftError`` that this raises is sent to the caller."""

    def wants_snapshot(self, message: InstallSnapshot) -> bool:
        """Return whether to receive the contents of a snapshot that a peer offers.

        Called on the loop, before anything is stored. If not, the transport receives nothing and
        passes the message to :meth:`on_message` without an id; the node answers it.

        :raises BraftError: the offer is refused; the transport sends the error to the peer.
        """

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """Return where to store a snapshot that a leader sends. On its own thread; may block.

        The transport writes to the sink on the same thread, and commits it before ``on_message``
        hands out the snapshot with its id; or aborts it.

        :raises StorageError: it cannot be stored.
        """

    def open_snapshot(self, snapshot_id: str) -> Iterator[bytes]:
        """Return the contents of a snapshot of this node, to be sent. May block.

        The transport iterates on the same thread, and drops the iterator half-way if it must.

        :raises StorageError: it is gone.
        """

    async def on_apply_log(self, data: bytes) -> bytes:
        """Serve the original's ``Raft.ApplyLog``: apply a serialized command, return the answer."""

    async def on_details(self) -> dict[str, Any]:
        """Serve the original's ``Raft.GetDetails``: this node's entry in ``GET /raft``."""


class Transport(abc.ABC):
    """Carries Raft messages and peer calls. Every method runs on the loop."""

    name: ClassVar[str]
    #: What a node with this transport lacks: a sentence for ``braft plugins`` and ``braft config``.
    caution: ClassVar[str] = ""

    def __init__(self, options: TransportOptions) -> None:
        self.options = options

    @abc.abstractmethod
    async def start(self, handler: TransportHandler) -> None:
        """Listen. :raises ConfigError: naming the address, if it is taken or not ours."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """Stop listening, end all connections, leave no task or thread. Idempotent."""

    def refresh(self) -> None:  # noqa: B027 - a transport without files has nothing to look at
        """Reload what may have changed outside, such as certificates.

        *Any thread*, once each second and on SIGHUP; may block. Existing connections stay. Files
        that cannot be used are not used, and :attr:`notes` says why. Does nothing by default.
        """

    def reconnect(self) -> None:  # noqa: B027 - nothing to do where connections cannot go stale
        """Replace all outbound connections: this host's addresses have changed.

        A connection from an address that this host lost would wait for answers that cannot arrive.
        Does nothing by default.
        """

    @property
    def notes(self) -> dict[str, str]:
        """*Any thread.* What is wrong though the transport works: a message by subject."""
        return {}

    @abc.abstractmethod
    def set_peer(self, server_id: str, address: str) -> None:
        """Set the address of a server; connect in the background and stay connected."""

    @abc.abstractmethod
    def remove_peer(self, server_id: str) -> None:
        """Remove a server and close its connection."""

    @abc.abstractmethod
    def send(self, message: Request) -> None:
        """Queue a Raft request for ``message.to``. Never blocks, never raises for network reasons.

        AppendEntries to one peer stay in order. Heartbeats use a separate channel and may overtake
        them. A request that cannot be sent in time is dropped, and ``on_unreachable`` is called.
        The peer's response arrives at ``on_message`` with ``request_id`` filled in.
        """

    @abc.abstractmethod
    def reply(self, message: Response) -> None:
        """Answer the request whose ``context`` the message carries."""

    def refuse(self, message: Message, error: BraftError) -> None:  # noqa: B027 - see below
        """Close the connection that brought a message which breaks a rule of the protocol.

        A request gets no other answer. After a response, a new connection to its sender replaces
        the old one. A ``ProtocolViolation`` is counted as :data:`braft_core.transport.VIOLATION`.
        Does nothing by default; the node refuses the message in any case.
        """

    @property
    def counters(self) -> Counter[str]:
        """*Any thread.* Events since the start by name; ``refused_*`` counts refusals."""
        return Counter()

    @abc.abstractmethod
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Call the node at ``address`` and wait for its reply.

        :param timeout: seconds, for everything including the connection.
        :raises Unreachable: no answer in time. ``data['sent']`` is False if the request was surely
            never sent. ``data['answered']`` is True if the answer could not be understood (see
            :func:`braft_core.transport.answers`).
        :raises BraftError: the error that the peer's handler raised.
        """
