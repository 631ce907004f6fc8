"""Publish events of the core: to the log, to plugins and to waiting callers.

The log names servers by short id and address, in the words of ``braft status``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from braft_core.compat.go_braft.details import raft_state
from braft_core.compat.go_braft.server_id import short_id
from braft_core.escaping import printable
from braft_core.raft import (
    EMPTY_CONFIGURATION,
    Configuration,
    ConfigurationChanged,
    ConfigurationCommitted,
    Event,
    LeaderChanged,
    Role,
    RoleChanged,
    Server,
    SnapshotMeta,
)
from braft_core.runtime.components import Components
from braft_core.runtime.conditions import StateCondition
from braft_core.runtime.events import Events
from braft_core.runtime.leadership import LeadershipTerms
from braft_core.runtime.peer_addresses import PeerAddresses

if TYPE_CHECKING:
    from braft_core.abc import NodeAPI

__all__ = ["EventPublisher"]

_log = logging.getLogger(__name__)


class _Server(Protocol):
    """What the publisher needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def addresses(self) -> PeerAddresses:
        """Where the other servers are."""

    @property
    def leadership(self) -> LeadershipTerms:
        """The terms in which this node leads."""

    @property
    def condition(self) -> StateCondition:
        """Woken after each event."""

    def leader_changed(self, leader: str) -> None:
        """Handle the election of another leader."""

    def use_configuration(self, configuration: Configuration) -> None:
        """Connect to the members of a configuration."""


class EventPublisher:
    """Turns events of the core into log lines, hook calls and callbacks. Lives on the loop."""

    def __init__(self, server: _Server, events: Events, node: NodeAPI) -> None:
        self._server = server
        self._events = events
        self._node = node
        self._committed: Configuration = EMPTY_CONFIGURATION
        #: The last role that was logged at INFO.
        self._logged_role: RoleChanged | None = None

    def on_event(self, event: Event) -> None:
        """Publish one event."""
        match event:
            case RoleChanged():
                self._server.leadership.on_role(event.role, event.term)
                self._on_role(event)
            case LeaderChanged():
                self._logged_role = None
                self._log("leader %s in term %d", self._named(event.leader), event.term)
                self._server.leader_changed(event.leader)
                self._events.emit("leader", event.leader, event.term)
                self._notify("leader_changed", leader=event.leader or None, term=event.term)
            case ConfigurationChanged():
                self._server.use_configuration(event.configuration)
            case ConfigurationCommitted():
                self._on_committed(event)
        self._server.condition.notify()

    def _on_role(self, event: RoleChanged) -> None:
        """Log a change of role; repeated pre-vote rounds at DEBUG, since there is one a second."""
        asking = event.role is Role.PRE_CANDIDATE
        level = logging.DEBUG if asking and event == self._logged_role else logging.INFO
        self._logged_role = event
        what = " (asking for pre-votes)" if asking else ""
        role = raft_state(event.role)
        self._log("%s%s in term %d: %s", role, what, event.term, event.reason, level=level)

    def on_snapshot(self, meta: SnapshotMeta) -> None:
        """Report that a snapshot of this node is durable."""
        self._notify("snapshot_taken", index=meta.index)

    def _on_committed(self, event: ConfigurationCommitted) -> None:
        before, self._committed = self._committed, event.configuration
        servers = map(_described, event.configuration.servers)
        self._log("configuration at index %d: %s", event.index, ", ".join(servers))
        for server in event.configuration.servers:
            if before.get(server.id) is None:
                self._notify("member_joined", server=server)
        for server in before.servers:
            if event.configuration.get(server.id) is None:
                self._notify("member_left", server=server)

    def _notify(self, event: str, **arguments: Any) -> None:
        plugins, node = self._server.components.plugins, self._node
        self._events.call(lambda: plugins.notify(f"braft_on_{event}", node=node, **arguments))

    def _named(self, leader: str) -> str:
        if not leader:
            return "(none)"
        address = self._server.addresses.of(leader)
        return f"{short_id(leader)} at {address}" if address else short_id(leader)

    def _log(self, text: str, *args: object, level: int = logging.INFO) -> None:
        # Ids and addresses of a configuration are whatever its leader says.
        safe = [printable(each) if isinstance(each, str) else each for each in args]
        _log.log(level, text, *safe, extra={"node": self._server.components.server_id})


def _described(server: Server) -> str:
    return f"{short_id(server.id)} at {server.address} ({server.suffrage.name.capitalize()})"
