"""Where each server is now: the address book over the addresses in the Raft configuration.

Owns the mapping server id → address. Pure: no I/O, no clock. It must not know how an address became
known, only when.

The committed configuration is the weakest source: after a roll-out every member may be back under
a new address, and nobody can commit the new ones before an election succeeds. What a server said
of itself (an announcement, a probe reply) therefore wins over the configuration, the newest first.
"""

from __future__ import annotations

from typing import NamedTuple

from braft_core.abc import Contact
from braft_core.addresses import parse_address
from braft_core.raft.types import Configuration, Server

__all__ = ["AddressBook", "contact_at"]


def contact_at(address: str, source: str = "") -> Contact:
    """Return the contact at ``host:port``. :raises DecodeError: it is no address."""
    place = parse_address(address)
    return Contact(place.host, place.port, source)


#: Servers that are no members (yet) and whose addresses are remembered.
MOST_STRANGERS = 256


class _Learned(NamedTuple):
    address: str
    at: float


class AddressBook:
    """Server id → current address. Not thread-safe: used on the node's loop alone."""

    def __init__(self) -> None:
        self._configured: dict[str, str] = {}
        self._learned: dict[str, _Learned] = {}
        self._told: dict[str, str] = {}

    def configure(self, configuration: Configuration) -> None:
        """Take the addresses of the configuration now in use; servers that left it are forgotten.

        To be called for every configuration: a server may leave and return between two looks.

        What was learned about a server that is not (yet) a member is kept: the announcement may
        overtake the configuration entry.
        """
        for server_id in self._configured:
            if configuration.get(server_id) is None:
                self._learned.pop(server_id, None)
                # Whoever was given its address has dropped it: should it return, it is news.
                self._told.pop(server_id, None)
        self._configured = {s.id: s.address for s in configuration.servers}

    def learn(self, now: float, server_id: str, address: str) -> bool:
        """A server said at ``now`` (seconds) where it is; returns whether that changed anything.

        Older news than the last is ignored.
        """
        known = self._learned.get(server_id)
        if not server_id or not address or (known is not None and known.at > now):
            return False
        before = self.get(server_id)
        self._learned[server_id] = _Learned(address, now)
        self._forget_strangers()
        return address != before

    def _forget_strangers(self) -> None:
        """Anybody may announce any id: of those that are no members, remember the newest."""
        strangers = self._learned.keys() - self._configured.keys()
        if len(strangers) > MOST_STRANGERS:
            del self._learned[min(strangers, key=lambda each: (self._learned[each].at, each))]

    def get(self, server_id: str) -> str:
        """Where that server is: what it said last, else what the configuration says, else ""."""
        learned = self._learned.get(server_id)
        return learned.address if learned else self._configured.get(server_id, "")

    def take_changes(self) -> list[tuple[str, str]]:
        """``(server id, address)`` of every member whose address changed since the last call."""
        current = {server_id: self.get(server_id) for server_id in self._configured}
        changes = [item for item in current.items() if self._told.get(item[0]) != item[1]]
        self._told = current
        return changes

    def outdated(self, configuration: Configuration) -> list[Server]:
        """Members whose configured address is not where they are, with the address to commit."""
        return [
            server._replace(address=self.get(server.id))
            for server in configuration.servers
            if server.id in self._learned and self.get(server.id) != server.address
        ]
