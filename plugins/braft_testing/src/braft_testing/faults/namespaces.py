"""Network namespaces on a private switch, connected by veth pairs.

Owns every namespace it makes and removes them all. The switch (a bridge) is in a namespace too: the
host's own network is not changed, and addresses cannot collide with the host's. Must not know what
runs inside. Requires Linux, root and iproute2.
"""

from __future__ import annotations

import ctypes
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from braft_testing.faults.machine import FaultKitError, tool

__all__ = ["Namespace", "Network"]

_FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_SUBNET = "10.77.0"
_FIRST_HOST = 11
_BRIDGE = "switch"


@dataclass(frozen=True, slots=True)
class Namespace:
    """One host of the private network: its namespace name and its IPv4 address."""

    name: str
    address: str

    @property
    def prefix(self) -> list[str]:
        """A command prefix that runs another command inside; the process id stays the same."""
        return ["nsenter", f"--net={_FOLDER / self.name}"]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread inside: the sockets it opens are on this network.

        Other threads, and sockets opened before, stay where they are.

        :raises FaultKitError: if the kernel does not permit it.
        """
        with open("/proc/thread-self/ns/net", "rb") as home:
            with (_FOLDER / self.name).open("rb") as there:
                _set_namespace(there.fileno(), self.name)
            try:
                yield
            finally:
                _set_namespace(home.fileno(), "the namespace of before")


class Network:
    """A switch and the namespaces on it. Use ``with``: leaving it removes all of them.

    Create, use and leave it in one thread; :meth:`Namespace.inside` may be used from any.
    """

    def __init__(self) -> None:
        # If we are killed, the process id in the name shows whose leftover it is.
        self._tag = f"braft-{os.getpid()}-{secrets.token_hex(3)}"
        self._made: list[str] = []
        self._ports: dict[Namespace, str] = {}

    def __enter__(self) -> Self:
        try:
            self._switch = self._add_namespace("switch")
            tool("ip", "-n", self._switch, "link", "add", _BRIDGE, "type", "bridge")
            tool("ip", "-n", self._switch, "link", "set", _BRIDGE, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove every namespace with its interfaces and rules. Idempotent."""
        while self._made:
            with suppress(FaultKitError):
                tool("ip", "netns", "delete", self._made.pop())

    def add(self, label: str) -> Namespace:
        """Create a namespace on the switch."""
        name = self._add_namespace(label)
        number = len(self._made)
        namespace = Namespace(name, f"{_SUBNET}.{_FIRST_HOST + number - 2}")
        self._ports[namespace] = f"port{number}"
        self.reconnect(namespace)
        return namespace

    def reconnect(self, namespace: Namespace) -> None:
        """Connect a namespace that has no interface ``eth0`` to the switch."""
        name, port = namespace.name, self._ports[namespace]
        switch = ("ip", "-n", self._switch, "link")
        pair = ("type", "veth", "peer", "name", "eth0", "netns", name)
        tool(*switch, "add", port, *pair)
        tool(*switch, "set", port, "master", _BRIDGE, "up")
        tool("ip", "-n", name, "address", "add", f"{namespace.address}/24", "dev", "eth0")
        tool("ip", "-n", name, "link", "set", "eth0", "up")

    def set_link(self, namespace: Namespace, up: bool) -> None:
        """Set the link of a namespace to the switch up or down."""
        state = "up" if up else "down"
        tool("ip", "-n", self._switch, "link", "set", self._ports[namespace], state)

    def _add_namespace(self, label: str) -> str:
        name = f"{self._tag}-{label}"
        self._made.append(name)
        tool("ip", "netns", "add", name)
        tool("ip", "-n", name, "link", "set", "lo", "up")
        return name


def _set_namespace(descriptor: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        reason = os.strerror(ctypes.get_errno())
        raise FaultKitError(f"cannot enter network namespace {name}: {reason}")
