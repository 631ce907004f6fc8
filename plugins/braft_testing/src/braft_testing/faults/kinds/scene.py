"""The context of a fault: a cluster, the tools to disturb it, and how to undo that.

Shared by the kinds of faults in the modules beside this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum

from braft_core.errors import BraftError
from braft_testing.faults.cluster import Cluster, NotServing
from braft_testing.faults.disks import Disk
from braft_testing.faults.firewall import Action, Firewall, Rule
from braft_testing.faults.interposing import Interposer
from braft_testing.faults.namespaces import Network
from braft_testing.faults.plan import Fault

__all__ = ["Ability", "Kind", "Scene", "struck", "wait_until"]

_POLL = 0.05


class Ability(Enum):
    """What a machine must support for a kind of fault."""

    PROCESSES = "processes and signals"
    NETWORK = "network namespaces and packet rules"
    LOSS = "packet rules by chance"
    REJECT = "packet rules that reject"
    DELAY = "a netfilter queue"
    DISK = "disks that can be filled"
    POWER = "disks that can lose power"
    SLOW = "syncs that can be held back"
    INTERPOSE = "clocks and syncs of a process that can be changed"


@dataclass(slots=True)
class Scene:
    """A cluster and the tools to disturb it. ``firewalls`` are per node, if there is a network.

    :param undo: what heals the present fault.
    """

    cluster: Cluster
    network: Network | None = None
    firewalls: Sequence[Firewall] = ()
    undo: ExitStack = field(default_factory=ExitStack)
    #: For an election and a write while each sync is slow: tens of syncs, and a start.
    slow_write_seconds: float = 120.0
    #: Within which a node notices that its files are gone.
    notice_seconds: float = 30.0

    def heal(self) -> None:
        """Undo the fault, and start the nodes that it ended."""
        self.undo.close()
        self.cluster.revive()

    def address(self, index: int) -> str:
        """Return the IPv4 address of a node."""
        return self.cluster.places[index].host

    def disk(self, index: int) -> Disk:
        """Return the disk of a node."""
        disk = self.cluster.places[index].disk
        if disk is None:
            raise NotServing(f"node {index} has no separate disk")
        return disk

    def interposer(self, index: int) -> Interposer:
        """Return the interposer of a node."""
        interposer = self.cluster.places[index].interposer
        if interposer is None:
            raise NotServing(f"node {index} has no interposer")
        return interposer

    def leader_first(self, fault: Fault) -> list[int]:
        """Return all nodes, the leader before the others."""
        leader = self.cluster.leader()
        return sorted(fault.nodes, key=lambda index: index != leader)

    def cut(self, node: int, peers: Iterable[int], *, inbound: bool, outbound: bool) -> None:
        """Drop what ``node`` sends to these peers, what it receives from them, or both."""
        directions = [way for way, chosen in ((True, inbound), (False, outbound)) if chosen]
        rules = [Rule(Action.DROP, way, self.address(p)) for p in peers for way in directions]
        self.rule(node, *rules)

    def rule(self, node: int, *rules: Rule) -> None:
        """Load rules in the namespace of a node until the fault is healed."""
        self.undo.callback(self.firewalls[node].clear)
        self.firewalls[node].add(*rules)


Inject = Callable[[Scene, Fault], str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault; ``inject`` makes it and returns a short description.

    :param ends_nodes: whether nodes may exit because of it.
    """

    name: str
    needs: Ability
    inject: Inject
    ends_nodes: bool = False


def struck(fault: Fault) -> Sequence[int]:
    """Return all nodes or only the first, as drawn for the fault."""
    return fault.nodes if fault.other else fault.nodes[:1]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    """Wait until the condition holds; an error means "not yet".

    :raises NotServing: if that takes longer than ``seconds``.
    """
    end = time.monotonic() + seconds
    why = ""
    while True:
        try:
            if condition():
                return
        except BraftError as error:
            why = f": {type(error).__name__}: {error}"
        if time.monotonic() >= end:
            raise NotServing(f"{what} within {seconds:g} s{why}")
        time.sleep(_POLL)
