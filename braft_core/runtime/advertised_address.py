"""The address that a node advertises now."""

from __future__ import annotations

from braft_core.addresses import join_host_port

__all__ = ["AdvertisedAddress"]


class AdvertisedAddress:
    """Where other nodes reach this node. Changed on the loop, read on any thread."""

    def __init__(self, ip: str, raft_port: int) -> None:
        self._ip, self._raft_port = ip, raft_port

    @property
    def ip(self) -> str:
        """The address of the host."""
        return self._ip

    @property
    def address(self) -> str:
        """The ``host:port`` of the Raft port."""
        return join_host_port(self._ip, self._raft_port)

    def move(self, ip: str) -> str:
        """Advertise another address of this host from now on; return it with the port."""
        self._ip = ip
        return self.address
