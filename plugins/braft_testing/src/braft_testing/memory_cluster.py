"""A cluster of real nodes in this process, with a network and wall clock that a test controls.

The nodes are :class:`braft_core.Node` with the transport ``memory`` on one network, and memory
stores that outlive them. A cut network loses what is sent, as a real one does. Consensus uses real
time. (For virtual time there is the simulator, for real processes :mod:`braft_testing.processes`.)
Requires ``braft-static``. Use it from one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from unittest.mock import patch

from braft_core.abc import Service
from braft_core.errors import BraftError
from braft_core.node import Node
from braft_core.runtime import clock
from braft_core.runtime.timing import DEFAULT_TIMING, Timing
from braft_core.storage.memory import MemoryDisk
from braft_core.transport.memory import MemoryNetwork
from braft_testing.internals import with_timing
from braft_testing.processes import HOST, PATIENCE, free_ports, wait_for

__all__ = ["MemoryCluster", "WallClock"]

_T = TypeVar("_T")


class WallClock:
    """The time that commands see (``CommandContext.appended_at``) and by which sessions expire.

    It runs on from where it was set. Elections and deadlines use another clock, which cannot be
    set. Thread-safe.
    """

    def __init__(self) -> None:
        self._read = clock.wall_ns
        self._ahead_ns = 0

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch."""
        return self._read() + self._ahead_ns

    def advance(self, seconds: float) -> None:
        """Jump forward or back."""
        self._ahead_ns += int(seconds * 1e9)

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Let all nodes of this process read this clock within the block."""
        with patch.object(clock, "wall_ns", self.now_ns):
            yield self


class MemoryCluster:
    """A cluster of ``size`` nodes that bootstrap together, not started yet.

    Use it in a ``with`` statement, which starts them, waits until they serve, and stops them.

    :param services: as for :class:`braft_core.Node`; classes, since each node needs its own.
    :param timing: intervals and timeouts of every node that are no settings.
    :param settings: settings of every node by name.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        services: Iterable[str | type[Service]] | None = None,
        timing: Timing = DEFAULT_TIMING,
        **settings: Any,
    ) -> None:
        everybody = None if services is None else list(services)
        self._services = [everybody] * size
        self._settings, self._timing = settings, timing
        self._ports = [free_ports(3) for _ in range(size)]
        self._disks = [MemoryDisk() for _ in range(size)]
        self._running: dict[int, Node] = {}
        self.network = MemoryNetwork()
        self.clock = WallClock()
        self._installed = self.clock.installed()

    def __enter__(self) -> Self:
        self._installed.__enter__()
        try:
            self.start()
            self.wait_ready()
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
        """Stop all nodes. Idempotent."""
        try:
            self.network.heal()
            self.stop(*self._running)
        finally:
            self._installed.__exit__(None, None, None)

    # -- start and stop ------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many nodes there are, running or not."""
        return len(self._ports)

    @property
    def running(self) -> list[int]:
        """Indexes of the nodes that run."""
        return sorted(self._running)

    def node(self, index: int) -> Node:
        """Return the node of that index; a restart creates a new object."""
        return self._running[index]

    @property
    def nodes(self) -> list[Node]:
        """The nodes that run."""
        return [self._running[index] for index in self.running]

    def start(self, *indexes: int) -> None:
        """Start these nodes (default: all) on what their stores hold."""
        for index in indexes or range(self.size):
            if index in self._running:
                raise BraftError(f"node {index} runs already")
            self._running[index] = self._make(index).start()

    def stop(self, *indexes: int) -> None:
        """Stop these nodes in order; a leader transfers its leadership first."""
        for index in indexes:
            self._running.pop(index).stop()

    def kill(self, *indexes: int) -> None:
        """Kill these nodes like processes: they send nothing more."""
        for index in indexes:
            self.network.kill(self._listening(index))
        self.stop(*indexes)

    def restart(self, *indexes: int) -> None:
        """Kill these nodes, if they run, and start them on what their stores hold."""
        self.kill(*(index for index in indexes if index in self._running))
        self.start(*indexes)

    def equip(self, index: int, services: Iterable[str | type[Service]]) -> None:
        """Give a node other services from its next start on: another version of the program."""
        self._services[index] = list(services)

    # -- the network ---------------------------------------------------------------------------

    def partition(self, *groups: Sequence[int]) -> None:
        """Cut the network between groups of nodes. Nodes in no group form one more group.

        Cuts add up; :meth:`heal` ends them.
        """
        named = [index for group in groups for index in group]
        rest = [index for index in range(self.size) if index not in named]
        sides = [*groups, rest]
        for number, side in enumerate(sides):
            for other in sides[number + 1 :]:
                for one in side:
                    for two in other:
                        self.cut(one, two)

    def isolate(self, index: int) -> None:
        """Cut one node off from all others."""
        self.partition([index])

    def cut(self, source: int, target: int, *, both: bool = True) -> None:
        """Lose what one node sends to another, and by default the reverse direction too."""
        for sender in self._addresses(source):
            for receiver in self._addresses(target):
                self.network.block(sender, receiver, both=both)

    def heal(self) -> None:
        """End all cuts."""
        self.network.heal()

    # -- observation ---------------------------------------------------------------------------

    def wait_for(
        self, condition: Callable[[], _T], deadline: float = PATIENCE, what: str = ""
    ) -> _T:
        """Call :func:`braft_testing.processes.wait_for`."""
        return wait_for(condition, deadline, what)

    def wait_ready(self, *indexes: int, deadline: float = PATIENCE) -> None:
        """Wait until these nodes (default: all running ones) serve."""
        for index in indexes or self.running:
            self._running[index].wait_ready(deadline)

    def leader(self, among: Iterable[int] = (), deadline: float = PATIENCE) -> int:
        """Wait for a leader that can commit, and return its index.

        :param among: indexes to look at; default: all running ones.
        """
        indexes = list(among) or self.running

        def find() -> list[int]:
            leaders = [index for index in indexes if self._running[index].is_leader]
            if len(leaders) == 1:
                self._running[leaders[0]].barrier(timeout=1.0)
                return leaders
            return []

        return self.wait_for(find, deadline, f"one of the nodes {indexes} leads")[0]

    def followers(self) -> list[int]:
        """Return the indexes of the running nodes except the leader."""
        return self.followers_of(self.leader())

    def followers_of(self, leader: int) -> list[int]:
        """Return the indexes of the running nodes except ``leader``."""
        return [index for index in self.running if index != leader]

    # -- internals -------------------------------------------------------------------------------

    def _make(self, index: int) -> Node:
        raft, discovery, http = self._ports[index]
        chosen: dict[str, Any] = {
            "discovery": "static:" + ",".join(f"{HOST}:{ports[0]}" for ports in self._ports),
            "ip": HOST,
            "rport": raft,
            "dport": discovery,
            "hport": http,
            "http": False,
            "transport": "memory",
            "storage": "memory",
            "data_dir": f"node-{index}",  # the name only: a memory store makes no directory
            **self._settings,
        }
        memory = {"network": self.network, "disk": self._disks[index]}
        plugins = {**chosen.pop("plugins", {}), "memory": memory}
        node = Node(services=self._services[index], plugins=plugins, **chosen)
        return with_timing(node, self._timing)

    def _listening(self, index: int) -> str:
        return self._addresses(index)[0]

    def _addresses(self, index: int) -> list[str]:
        raft, discovery, _ = self._ports[index]
        return [f"{HOST}:{raft}", f"{HOST}:{discovery}"]
