"""The stage of a fault: a cluster, what can be done to it, and what undoes it.

Shared by the kinds of faults, which are in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum

from braft_core.testing.faults.clocks import WallClock
from braft_core.testing.faults.cluster import Cluster, NotServing
from braft_core.testing.faults.disks import Disk
from braft_core.testing.faults.firewall import Action, Firewall, Rule
from braft_core.testing.faults.namespaces import Network
from braft_core.testing.faults.plan import Fault

__all__ = ["Ability", "Kind", "Scene", "struck"]


class Ability(Enum):
    """What a machine must be able to do for a kind of fault."""

    PROCESSES = "processes and signals"
    NETWORK = "network namespaces and packet rules"
    LOSS = "packet rules by chance"
    REJECT = "packet rules that reject"
    DELAY = "a netfilter queue"
    DISK = "disks that can be filled"
    POWER = "disks that can lose power"
    SLOW = "syncs that can be held back"
    CLOCK = "wall clocks that can be set"


@dataclass(slots=True)
class Scene:
    """A cluster and what can be done to it. ``firewalls`` are per node, where there is a network.

    :param undo: what heals the fault that is on.
    """

    cluster: Cluster
    network: Network | None = None
    firewalls: Sequence[Firewall] = ()
    undo: ExitStack = field(default_factory=ExitStack)

    def heal(self) -> None:
        """Undo the fault, and start the nodes that it ended."""
        self.undo.close()
        self.cluster.revive()

    def address(self, index: int) -> str:
        """The IPv4 address of a node."""
        return self.cluster.places[index].host

    def disk(self, index: int) -> Disk:
        """The disk of a node."""
        disk = self.cluster.places[index].disk
        if disk is None:
            raise NotServing(f"node {index} has no disk of its own")
        return disk

    def clock(self, index: int) -> WallClock:
        """The wall clock of a node."""
        clock = self.cluster.places[index].clock
        if clock is None:
            raise NotServing(f"node {index} has no clock of its own")
        return clock

    def leader_first(self, fault: Fault) -> list[int]:
        """All nodes, the leader before the others."""
        leader = self.cluster.leader()
        return sorted(fault.nodes, key=lambda index: index != leader)

    def cut(self, node: int, peers: Iterable[int], *, inbound: bool, outbound: bool) -> None:
        """Drop what goes from ``node`` to these peers, what comes from them, or both."""
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
    """A kind of fault; ``inject`` makes it and says in a few words what it did.

    :param ends_nodes: nodes may end by themselves in the course of it.
    """

    name: str
    needs: Ability
    inject: Inject
    ends_nodes: bool = False


def struck(fault: Fault) -> Sequence[int]:
    """Return all nodes or the first, as the coin of the fault says."""
    return fault.nodes if fault.other else fault.nodes[:1]
