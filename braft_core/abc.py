"""The base classes a plugin derives from, with their calling rules.

One class per kind of plugin: :class:`Discovery`, :class:`Serializer`, :class:`Service`,
:class:`Transport`, :class:`Storage`. A plugin hands its class to braft through the hook of that
kind (``braft_core.plugin.specs``); braft chooses by the class's ``name`` and makes the instance.

Each method says which thread or task calls it and whether it may block. "The loop" is the asyncio
loop of the node, which runs in a thread of its own; what blocks there delays consensus.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from braft_core.raft.messages import Message, Request, Response
from braft_core.raft.types import Configuration, Entry, HardState, SnapshotMeta

if TYPE_CHECKING:
    from braft_core.peer import PeerReply, PeerRequest

__all__ = [
    "CommandContext",
    "Contact",
    "Discovery",
    "DiscoveryContext",
    "Identity",
    "NodeAPI",
    "Serializer",
    "Service",
    "SnapshotSink",
    "SnapshotStore",
    "Storage",
    "StorageOptions",
    "StoredState",
    "TLSFiles",
    "Transport",
    "TransportHandler",
    "TransportOptions",
    "WriteBatch",
]


# --------------------------------------------------------------------------------------------
# Discovery: where might other nodes be?


class Contact(NamedTuple):
    """A place where a node may answer. A hint, never membership.

    ``port`` may be the Raft port or the discovery port of that node: both answer probes.
    """

    host: str
    port: int
    source: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DiscoveryContext:
    """What a discovery is told about the node it works for."""

    node_id: str
    ip: str
    interface: str
    raft_port: int
    discovery_port: int
    http_port: int
    cluster_name: str
    #: The plugin's own section ``[plugins.<name>]`` of braft.toml, unvalidated, with the settings
    #: that belong to it (``MDNS_SERVICE``, ``K8S_*``).
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The process environment, for the plugin's own variables.
    environ: Mapping[str, str] = field(default_factory=dict)


class Discovery(abc.ABC):
    """Finds contacts. All coroutines run on the loop; blocking libraries belong in a thread."""

    #: The scheme: ``BRAFT_DISCOVERY=<name>:<spec>``.
    name: ClassVar[str]

    #: Seconds between polls of the default :meth:`watch`.
    poll_interval: float = 1.0

    def __init__(self, spec: str, context: DiscoveryContext) -> None:
        """Parse ``spec`` (the part after ``name:``, may be empty). Quick; no I/O.

        :raises ConfigError: naming the part of the spec that is wrong and what is accepted.
        """
        self.spec = spec
        self.context = context

    @property
    def expect(self) -> int | None:
        """How many founders the spec itself implies, or ``None`` (a static list has its length)."""
        return None

    def describe(self) -> str:
        """One line for status pages, such as ``static://a,b,c``."""
        return f"{self.name}://{self.spec}"

    @abc.abstractmethod
    async def discover(self) -> list[Contact]:
        """All contacts known now, this node itself included or not.

        Raise on failure: an error is not an empty list, and braft keeps the last set then.
        """

    async def start(self) -> None:  # noqa: B027 - optional hook
        """Begin announcing and browsing. Called once, before the first :meth:`discover`."""

    async def watch(self) -> AsyncIterator[list[Contact]]:
        """Yield the whole current set whenever it may have changed; default: poll."""
        while True:
            yield await self.discover()
            await asyncio.sleep(self.poll_interval)

    async def stop(self) -> None:  # noqa: B027 - optional hook
        """Withdraw the announcement and release everything.

        Idempotent, and harmless without :meth:`start`; must not raise.
        """


# --------------------------------------------------------------------------------------------
# Serializer: commands, queries and answers as bytes


class Serializer(abc.ABC):
    """Turns plain values into bytes and back. Called from several threads at once; stateless.

    Plain values are ``None``, ``bool``, ``int`` of up to 64 bits, ``float``, ``str``, ``bytes``,
    lists (a tuple comes back as one) and string-keyed dicts of these, nested up to 128 deep; exact
    types, no subclasses. Decoding must never execute anything found in the data.
    """

    name: ClassVar[str]
    #: First byte of everything this serializer wrote to the log, 1-255, unique and for ever.
    tag: ClassVar[int]

    @abc.abstractmethod
    def dumps(self, value: Any) -> bytes:
        """Encode. :raises TypeError: for a value it cannot represent."""

    @abc.abstractmethod
    def loads(self, data: bytes) -> Any:
        """Decode. :raises DecodeError: on any bytes that are not a complete valid encoding."""


# --------------------------------------------------------------------------------------------
# Service: a part of the replicated state machine


class CommandContext(NamedTuple):
    """What a command may know besides its arguments; the same on every node."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    term: int
    #: The leader's wall clock when it appended the command, nanoseconds since the epoch.
    #: The only time a command may use: it is in the log, so it is the same everywhere.
    appended_at: int


class Service(abc.ABC):
    """A named part of the state machine. All methods run on the applier thread, one at a time.

    :meth:`apply` must be deterministic: equal state and equal commands give equal state and equal
    answers on every node. No clock, no randomness, no I/O, no iteration over a set.
    Most services derive from :class:`braft_core.services.StateMachineService` instead, which turns
    methods marked ``@command`` and ``@query`` into these calls.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def apply(self, command: str, args: Sequence[Any], context: CommandContext) -> Any:
        """Execute a committed command and return a plain value.

        Whatever it raises becomes the caller's answer (a :class:`~braft_core.errors.Rejected`
        as it is, anything else as :class:`~braft_core.errors.CommandFailed`), on every node alike.
        """

    @abc.abstractmethod
    def query(self, query: str, args: Sequence[Any]) -> Any:
        """Answer a read from the current state, changing nothing."""

    @abc.abstractmethod
    def snapshot(self) -> Iterator[bytes]:
        """Capture the state now and return an iterator over its bytes in chunks.

        Called on the applier thread; the capture must be cheap. The iterator is consumed on
        another thread while commands go on being applied, and must show the captured state.
        """

    @abc.abstractmethod
    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the whole state by what :meth:`snapshot` wrote."""


# --------------------------------------------------------------------------------------------
# Transport: messages between nodes


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files for mutual TLS."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """What a transport is built from."""

    #: ``host:port`` pairs to listen on (Raft port first, then discovery port).
    listen: tuple[str, ...]
    tls: TLSFiles | None = None
    reflection: bool = True
    #: Largest message in bytes that is read from a peer.
    max_message_bytes: int = 16 << 20
    #: Deadline of one Raft RPC, seconds.
    rpc_timeout: float = 2.0
    #: The plugin's own section of braft.toml.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Identity:
    """Who this node is. The node updates it; a transport reads it for each call or stream."""

    server_id: str
    address: str
    #: "" while the node is in no cluster; then Raft RPCs are refused.
    cluster_id: str = ""


class TransportHandler(Protocol):
    """What a transport calls. All calls happen on the loop's thread, and none of them blocks.

    The two exceptions are :meth:`create_snapshot` and :meth:`open_snapshot`: they are called on a
    thread of the transport's own, one per transfer, and may block.
    """

    @property
    def identity(self) -> Identity:
        """The node's identity."""

    def on_message(self, message: Message) -> None:
        """A Raft request arrived (with ``context`` set) or the response to one of ours did."""

    def on_connection_lost(self, server_id: str) -> None:
        """An established connection with that peer broke, in whichever direction.

        Not called for orderly ends that say nothing about the peer's health.
        """

    def on_unreachable(self, server_id: str) -> None:
        """Requests to that peer were dropped: no connection, or a full queue."""

    async def on_call(self, request: PeerRequest) -> PeerReply:
        """A peer call arrived. A ``BraftError`` it raises travels back to the caller."""

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """Where a snapshot that a leader sends is stored. On a thread of its own; may block.

        The transport writes to the sink on the same thread, and commits it before ``on_message``
        hands out the snapshot with its id; or aborts it.

        :raises StorageError: it cannot be stored.
        """

    def open_snapshot(self, snapshot_id: str) -> Iterator[bytes]:
        """The contents of one of ours, to be sent. On a thread of its own; may block.

        The transport iterates on the same thread, and drops the iterator half-way if it must.

        :raises StorageError: it is gone.
        """

    async def on_apply_log(self, data: bytes) -> bytes:
        """The original's ``Raft.ApplyLog``: a command, serialized; returns the answer."""

    async def on_details(self) -> dict[str, Any]:
        """The original's ``Raft.GetDetails``: this node's entry of ``GET /raft``'s ``nodes``."""


class Transport(abc.ABC):
    """Carries Raft messages and peer calls. Every method runs on the loop."""

    name: ClassVar[str]

    def __init__(self, options: TransportOptions) -> None:
        self.options = options

    @abc.abstractmethod
    async def start(self, handler: TransportHandler) -> None:
        """Listen. :raises ConfigError: naming the address, if it is taken or not ours."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """Stop listening, end all connections, leave no task or thread. Idempotent."""

    @abc.abstractmethod
    def set_peer(self, server_id: str, address: str) -> None:
        """Remember (or change) where that server is; connect in the background and stay so."""

    @abc.abstractmethod
    def remove_peer(self, server_id: str) -> None:
        """Forget that server and end its connection."""

    @abc.abstractmethod
    def send(self, message: Request) -> None:
        """Queue a Raft request for ``message.to``. Never blocks, never raises for network reasons.

        AppendEntries to one peer stay in order, except heartbeats, which have a lane of their own
        and overtake. A request that cannot be sent in time is dropped and ``on_unreachable`` told.
        The peer's response comes back by ``on_message`` with ``request_id`` filled in.
        """

    @abc.abstractmethod
    def reply(self, message: Response) -> None:
        """Answer the request whose ``context`` the message carries."""

    @abc.abstractmethod
    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Call the node at ``address`` and wait for its reply.

        :param timeout: seconds, for everything including the connection.
        :raises Unreachable: no answer in time; ``data['sent']`` False if surely never sent.
        :raises BraftError: what the peer's handler raised.
        """


# --------------------------------------------------------------------------------------------
# Storage: what a node must not forget


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """What a store is built from."""

    #: The node's data directory; ``None`` for a node that forgets.
    data_dir: Path | None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class StoredState:
    """What a store holds at start. ``entries`` are consecutive and begin after the snapshot."""

    hard_state: HardState
    entries: list[Entry]
    #: Index and term of the last entry removed by compaction (0, 0 if none was).
    compacted_index: int = 0
    compacted_term: int = 0


@dataclass(slots=True)
class WriteBatch:
    """One atomic, durable change: hard state, then truncation or reset, then appends."""

    hard_state: HardState | None = None
    truncate_from: int | None = None
    #: Forget the whole log and go on behind this index and term (a snapshot was installed).
    reset: tuple[int, int] | None = None
    entries: Sequence[Entry] = ()


class SnapshotSink(abc.ABC):
    """A snapshot that is being written. One user, any thread; methods may block."""

    @abc.abstractmethod
    def write(self, chunk: bytes) -> None:
        """Add bytes. :raises StorageFull: no space; only :meth:`abort` is left to do then."""

    @abc.abstractmethod
    def commit(self) -> SnapshotMeta:
        """Make it durable and visible, atomically; returns its description with id and size."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Throw away what was written. Idempotent, and harmless after :meth:`commit`."""


class SnapshotStore(abc.ABC):
    """Snapshots of one node. Thread-safe; methods may block.

    A snapshot is listed once it is whole and durable, never before, whatever crashes when.
    """

    @abc.abstractmethod
    def create(
        self, index: int, term: int, configuration: Configuration, configuration_index: int
    ) -> SnapshotSink:
        """Begin a snapshot of the state after ``index``."""

    @abc.abstractmethod
    def list(self) -> list[SnapshotMeta]:
        """All whole snapshots, newest (highest index, then term) first."""

    @abc.abstractmethod
    def open(self, snapshot_id: str) -> Iterator[bytes]:
        """The contents in chunks of at most 1 MiB, each verified before it is handed out.

        :raises StorageError: there is no such snapshot.
        :raises StorageCorrupt: while iterating: a chunk fails its checksum, or the end is missing.
        """

    @abc.abstractmethod
    def retain(self, count: int) -> None:
        """Delete all but the ``count`` newest. One that is being read stays readable."""


class Storage(abc.ABC):
    """Durable state of one node. All methods but the constructor may block.

    ``open`` and ``close`` are called once each. All calls come from one thread at a time (the
    writer thread while the node runs), not necessarily always the same one.
    """

    name: ClassVar[str]

    def __init__(self, options: StorageOptions) -> None:
        """Remember the options; touch nothing."""
        self.options = options

    @abc.abstractmethod
    def open(self) -> StoredState:
        """Lock the store, check it and load it.

        :raises StorageLocked: another process has it.
        :raises StorageForeign: it is not a braft store, or of a newer format.
        :raises StorageCorrupt: a record fails its checksum. Only the torn last write of the store's
            own journal is cut; a damaged record never is, because it may have been acknowledged.
        """

    @abc.abstractmethod
    def write(self, batches: Sequence[WriteBatch]) -> None:
        """Make the batches durable, in order and all together, before returning.

        :raises StorageFull: nothing of it was written; the store stays usable.
        :raises StorageError: nothing is known to be written.
        """

    @abc.abstractmethod
    def get_meta(self, key: str) -> bytes | None:
        """A small named value (node id, cluster id, accepted founding configuration)."""

    @abc.abstractmethod
    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """Durably set (or with ``None`` delete) named values, all or nothing."""

    @property
    @abc.abstractmethod
    def snapshots(self) -> SnapshotStore:
        """The node's snapshots. Valid between :meth:`open` and :meth:`close`."""

    @abc.abstractmethod
    def compact(self, index: int, term: int) -> None:
        """Forget entries up to and including ``index``, which a durable snapshot covers."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the lock and all resources. Idempotent."""


# --------------------------------------------------------------------------------------------
# The node, as plugins see it


class NodeAPI(Protocol):
    """The methods of :class:`braft_core.Node` that HTTP routes, CLI commands and observers use.

    Synchronous methods may be called from any thread except the node's own loop.
    ``timeout`` is in seconds; ``None`` means the setting ``request_timeout``.
    """

    @property
    def settings(self) -> Any:
        """The frozen settings (``braft_core.config.Settings``)."""

    @property
    def server_id(self) -> str:
        """This server's id in the Raft configuration."""

    @property
    def is_leader(self) -> bool:
        """Whether this node believes to lead now (a hint; only a commit proves it)."""

    @property
    def leader(self) -> tuple[str, str]:
        """Server id and address of the known leader, or two empty strings."""

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be served, and if not, the sentence that says why."""

    def execute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """Replicate a command, wait until it is applied, return its answer.

        :raises NotApplied: it was surely not applied. :raises OutcomeUnknown: it may have been.
        :raises Rejected: it was applied and answered with an error.
        """

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = "linearizable",
        timeout: float | None = None,
    ) -> Any:
        """Read. ``consistency``: ``linearizable``, ``lease`` or ``stale``, see ``Node.query``."""

    def details(self) -> dict[str, Any]:
        """This node's entry in ``GET /raft``'s ``nodes``."""

    def cluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """The whole JSON of ``GET /raft``: every member asked, the silent ones with ``error``."""

    def members(self) -> list[dict[str, Any]]:
        """The current configuration: ``id``, ``address``, ``suffrage``, ``leader``."""

    def add_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Add a server (as a nonvoter first; a voter once it has caught up)."""

    def remove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Remove a server from the configuration."""

    def promote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Make a nonvoter a voter."""

    def transfer_leadership(self, to: str = "", timeout: float | None = None) -> str:
        """Hand leadership to ``to`` or the most up-to-date voter; returns the new leader's id."""

    def take_snapshot(self, timeout: float | None = None) -> dict[str, Any]:
        """Take a snapshot of this node's state now: ``id``, ``index``, ``term``, ``size``."""

    def snapshots(self) -> list[dict[str, Any]]:
        """The snapshots this node holds, newest first."""

    def open_snapshot(self, snapshot_id: str) -> tuple[dict[str, Any], Iterator[bytes]]:
        """One of them, described, and the bytes of its backup file, to be streamed anywhere.

        :raises StorageError: there is none of that id.
        """

    def on_leader_change(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        """Call ``callback(leader_id, term)`` on each change; returns a function that ends it."""
