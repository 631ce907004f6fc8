"""A cluster of braft nodes, each a child process (:mod:`benchmarks.node_main`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.child import Child
from benchmarks.peers.cluster import Cluster
from braft_core.local_nodes import free_ports

__all__ = ["BraftNodes"]

_FOUNDERS = 3


class BraftNodes(Cluster):
    """Three nodes with a static list; members may stop, restart and join."""

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None) -> None:
        """:param settings: keyword arguments of ``Node``."""
        super().__init__({})
        self._folder = folder
        self._settings = dict(settings or {})
        self._commands: dict[str, tuple[list[str], Path]] = {}

    def start(self) -> None:
        """Start three nodes and wait for a leader."""
        ports = free_ports(3 * _FOUNDERS)
        addresses = [f"127.0.0.1:{port}" for port in ports[:_FOUNDERS]]
        for number, address in enumerate(addresses):
            self._prepare(address, addresses, ports[number::_FOUNDERS])
        for address in addresses:
            self.start_node(address)
        self.wait()

    def _prepare(self, address: str, contacts: list[str], ports: list[int]) -> None:
        name = f"node{len(self._commands)}"
        command = [sys.executable, "-m", "benchmarks.node_main"]
        command += ["--data", str(self._folder / name), "--peers", ",".join(contacts)]
        command += ["--ports", *map(str, ports)]
        for setting, value in self._settings.items():
            command += ["--set", f"{setting}={value}"]
        self._commands[address] = command, self._folder / f"{name}.log"

    def start_node(self, address: str) -> Child:
        """Start or restart a node on its data directory, without waiting for it."""
        command, log = self._commands[address]
        self.children[address] = Child(command, log)
        return self.children[address]

    def stop_node(self, address: str) -> None:
        """Stop a node cleanly. It stays a member."""
        self.children.pop(address).stop(timeout=60)

    def newcomer(self) -> str:
        """Return the address of a new node that will join when it is started."""
        ports = free_ports(3)
        address = f"127.0.0.1:{ports[0]}"
        self._prepare(address, [*self._commands, address], ports)
        return address
