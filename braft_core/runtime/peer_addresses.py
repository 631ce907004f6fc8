"""Where the other servers are: the addresses to which the transport connects."""

from __future__ import annotations

from typing import Protocol

from braft_core.abc import Identity, Transport
from braft_core.raft import Configuration

__all__ = ["PeerAddresses"]


class _Server(Protocol):
    @property
    def identity(self) -> Identity:
        """Who this node is now."""


class PeerAddresses:
    """The address of each member, as the transport uses it. Changed on the loop alone."""

    def __init__(self, server: _Server, transport: Transport) -> None:
        self._server, self._transport = server, transport
        self._addresses: dict[str, str] = {}

    def of(self, server_id: str) -> str:
        """Return the address of a server, "" if unknown. May be called from any thread."""
        own = self._server.identity
        if server_id == own.server_id:
            return own.address
        return self._addresses.get(server_id, "")

    def set(self, server_id: str, address: str) -> None:
        """Connect to ``server_id`` at ``address`` from now on."""
        own = self._server.identity.server_id
        if server_id != own and self._addresses.get(server_id) != address:
            self._addresses[server_id] = address
            self._transport.set_peer(server_id, address)

    def use_configuration(self, configuration: Configuration) -> None:
        """Connect to the members of a configuration, and to nobody else.

        The configuration gives the address only of a server that was unknown: what servers announce
        about themselves is newer (:mod:`braft_core.cluster.addresses`).
        """
        for server in configuration.servers:
            if server.id not in self._addresses:
                self.set(server.id, server.address)
        for server_id in [known for known in self._addresses if known not in configuration.ids]:
            del self._addresses[server_id]
            self._transport.remove_peer(server_id)
