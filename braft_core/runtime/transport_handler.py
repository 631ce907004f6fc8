"""What the transport calls: messages, connections, calls of other nodes, snapshots.

Passes each on to the part of the node that handles it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from braft_core.abc import Identity, SnapshotSink
from braft_core.cluster.membership import ClusterMembership
from braft_core.errors import BraftError, NotReady
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import InstallSnapshot, Message, SnapshotMeta
from braft_core.runtime.answer_codec import encoded
from braft_core.runtime.components import Components
from braft_core.runtime.node_view import NodeView
from braft_core.runtime.peer_calls import PeerCallHandler
from braft_core.runtime.replica import Replica
from braft_core.runtime.verified_sink import VerifiedSink

__all__ = ["NodeTransportHandler"]


class _Server(Protocol):
    """What the handler needs of the server."""

    @property
    def identity(self) -> Identity:
        """Who this node is now."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""

    def running(self) -> Replica:
        """Return the replica. :raises NotReady: this node is in no cluster."""


class NodeTransportHandler:
    """Implements :class:`~braft_core.abc.TransportHandler` for one node. Lives on the loop."""

    def __init__(
        self,
        server: _Server,
        components: Components,
        calls: PeerCallHandler,
        membership: ClusterMembership,
        view: NodeView,
    ) -> None:
        self._server, self._components = server, components
        self._calls, self._membership, self._view = calls, membership, view

    @property
    def identity(self) -> Identity:
        """Who this node is now."""
        return self._server.identity

    def on_message(self, message: Message) -> None:
        """Handle a Raft message; reject it while the node is in no cluster."""
        replica = self._server.replica
        if replica is not None:
            replica.driver.on_message(message)
        else:  # it was under way when this node left its cluster
            why = NotReady("this node is in no cluster")
            self._components.transport.refuse(message, why)

    def on_connection_lost(self, server_id: str) -> None:
        """Handle a broken connection."""
        self._input(lambda replica: replica.core.connection_lost(server_id))

    def on_unreachable(self, server_id: str) -> None:
        """Handle the loss of messages to a server."""
        self._input(lambda replica: replica.core.unreachable(server_id))

    def _input(self, action: Callable[[Replica], None]) -> None:
        replica = self._server.replica
        if replica is not None:
            replica.driver.call(lambda: action(replica))

    async def on_call(self, request: PeerRequest) -> PeerReply:
        """Answer a call of another node."""
        if self._calls.handles(request):
            return await self._calls.answer(request)
        return await self._membership.on_call(request)

    def wants_snapshot(self, message: InstallSnapshot) -> bool:
        """Return whether the contents of an offered snapshot are to be received."""
        return self._server.running().snapshotter.wants(message)

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """Return the sink of a snapshot that a peer sends; its contents are verified."""
        sink = self._components.storage.snapshots.create(
            meta.index, meta.term, meta.configuration, meta.configuration_index, meta.size
        )
        return VerifiedSink(sink, self._components.machine.check_snapshot)

    def open_snapshot(self, snapshot_id: str) -> Iterator[bytes]:
        """Return the contents of a snapshot of this node."""
        return self._components.storage.snapshots.open(snapshot_id)

    async def on_apply_log(self, data: bytes) -> bytes:
        """Answer ApplyLog of the Go implementation."""
        try:
            answer = await self._calls.propose(data, self._components.settings.request_timeout)
        except BraftError as error:
            answer = error
        return await encoded(answer)

    async def on_details(self) -> dict[str, Any]:
        """Answer GetDetails of the Go implementation."""
        return self._view.details()
