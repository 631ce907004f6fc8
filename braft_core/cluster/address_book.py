"""The current address of each server.

Owns the mapping from server id to address. Pure: no I/O, no clock.

The committed configuration is the weakest source. After a roll-out every member may have a new
address, and none can be committed before an election succeeds. An address that a server reported
of itself (in an announcement or a probe reply) therefore overrides the configuration, the newest
report first.
"""

from __future__ import annotations

from typing import NamedTuple

from braft_core.abc import Contact
from braft_core.addresses import parse_address
from braft_core.raft.types import Configuration, Server

__all__ = ["AddressBook", "contact_at"]


def contact_at(address: str, source: str = "") -> Contact:
    """Return the contact at ``host:port``. :raises DecodeError: if it is no address."""
    place = parse_address(address)
    return Contact(place.host, place.port, source)


#: Most servers outside the configuration whose addresses are remembered.
MAX_NON_MEMBERS = 256


class _Learned(NamedTuple):
    address: str
    at: float


class AddressBook:
    """Server id → current address. Use on the node's loop only."""

    def __init__(self) -> None:
        self._configured: dict[str, str] = {}
        self._learned: dict[str, _Learned] = {}
        self._reported: dict[str, str] = {}

    def configure(self, configuration: Configuration) -> None:
        """Use the addresses of this configuration; forget servers that left it.

        Call for every configuration, since a server may leave and return between two ticks.

        Keep what was learned about servers that are not members yet: an announcement may arrive
        before the configuration entry.
        """
        for server_id in self._configured:
            if configuration.get(server_id) is None:
                self._learned.pop(server_id, None)
                # The transport has dropped its address: report it again if the server returns.
                self._reported.pop(server_id, None)
        self._configured = {s.id: s.address for s in configuration.servers}

    def learn(self, now: float, server_id: str, address: str) -> bool:
        """Store the address that a server reported at ``now``; return whether it is a change.

        Reports older than the last one are ignored.
        """
        known = self._learned.get(server_id)
        if not server_id or not address or (known is not None and known.at > now):
            return False
        before = self.get(server_id)
        self._learned[server_id] = _Learned(address, now)
        self._limit_non_members()
        return address != before

    def _limit_non_members(self) -> None:
        """Keep only the newest ids outside the configuration: any caller may announce any id."""
        others = self._learned.keys() - self._configured.keys()
        if len(others) > MAX_NON_MEMBERS:
            del self._learned[min(others, key=lambda each: (self._learned[each].at, each))]

    def get(self, server_id: str) -> str:
        """Return the reported address, else the configured one, else ""."""
        learned = self._learned.get(server_id)
        return learned.address if learned else self._configured.get(server_id, "")

    def take_changes(self) -> list[tuple[str, str]]:
        """Return ``(server id, address)`` of all members that moved since the last call."""
        current = {server_id: self.get(server_id) for server_id in self._configured}
        changes = [item for item in current.items() if self._reported.get(item[0]) != item[1]]
        self._reported = current
        return changes

    def outdated(self, configuration: Configuration) -> list[Server]:
        """Return the members whose configured address is outdated, with their new address."""
        return [
            server._replace(address=self.get(server.id))
            for server in configuration.servers
            if server.id in self._learned and self.get(server.id) != server.address
        ]
