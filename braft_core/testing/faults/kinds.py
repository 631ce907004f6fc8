"""The kinds of faults: how each is made, and how it is healed.

A kind makes its fault on a :class:`Scene` and leaves there what undoes it; healing runs these in
reverse order, also after an interruption in the middle. Every kind begins with a healthy cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum

from braft_core.errors import BraftError, ConfigError
from braft_core.testing.faults.clocks import WallClock
from braft_core.testing.faults.cluster import Cluster, NotServing
from braft_core.testing.faults.delaying import DelayLine
from braft_core.testing.faults.disks import Disk, LoopDisk
from braft_core.testing.faults.firewall import Action, Firewall, Rule
from braft_core.testing.faults.namespaces import Network
from braft_core.testing.faults.plan import Fault
from braft_core.testing.faults.stalling import SlowSyncs

__all__ = ["KINDS", "Ability", "Kind", "Scene", "impossible", "kind_named"]

_MEMBERSHIP_SECONDS = 40.0
_LEAST_LOSS, _MOST_LOSS = 0.05, 0.35
_LEAST_DELAY, _MOST_DELAY = 0.02, 0.3
_LEAST_SYNC, _MOST_SYNC = 0.02, 3.0
#: From this strength on it is the leader's disk that stalls, alone.
_STALL = 0.3
#: Seconds.
_LEAST_JUMP, _MOST_JUMP = 2.0, 3e8
_POLL = 0.05


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


# --------------------------------------------------------------------------------------------
# Processes


def _kill(scene: Scene, victims: Sequence[int]) -> str:
    scene.cluster.kill(*victims)
    scene.undo.callback(scene.cluster.start, *victims)
    return f"nodes {list(victims)}"


def _kill_one(scene: Scene, fault: Fault) -> str:
    return _kill(scene, fault.nodes[:1])


def _kill_leader(scene: Scene, fault: Fault) -> str:
    return _kill(scene, scene.leader_first(fault)[:1])


def _kill_majority(scene: Scene, fault: Fault) -> str:
    return _kill(scene, fault.nodes[: len(fault.nodes) // 2 + 1])


def _power_cycle(scene: Scene, fault: Fault) -> str:
    return _kill(scene, fault.nodes)


def _pause(scene: Scene, victims: Sequence[int]) -> str:
    scene.undo.callback(scene.cluster.resume, *victims)
    scene.cluster.pause(*victims)
    return f"nodes {list(victims)}"


def _pause_some(scene: Scene, fault: Fault) -> str:
    majority = len(fault.nodes) // 2 + 1
    return _pause(scene, fault.nodes[: majority if fault.other else 1])


def _pause_leader(scene: Scene, fault: Fault) -> str:
    return _pause(scene, scene.leader_first(fault)[:1])


def _restart(scene: Scene, fault: Fault) -> str:
    victim = scene.leader_first(fault)[0] if fault.other else fault.nodes[0]
    code = scene.cluster.stop(victim)
    scene.undo.callback(scene.cluster.start, victim)
    if code:
        raise NotServing(f"node {victim} was told to stop, and ended with exit code {code}")
    return f"node {victim}"


def _transfer(scene: Scene, fault: Fault) -> str:
    target = next(index for index in fault.nodes if index != scene.cluster.leader())
    try:
        server_id = scene.cluster.server_id(target) or ""
        scene.cluster.client(fault.nodes[0]).transfer_leadership(server_id)
    except BraftError as error:  # allowed: the answer says so, and all is as before
        return f"to node {target}: {type(error).__name__}: {error}"
    return f"to node {target}"


def _membership(scene: Scene, fault: Fault) -> str:
    cluster, newcomer = scene.cluster, scene.cluster.size
    scene.undo.callback(_remove, scene, newcomer, fault.other)
    cluster.start(newcomer)
    _wait(lambda: cluster.suffrage(newcomer) == "Voter", f"node {newcomer} is not a voter")
    return f"node {newcomer} added, removed {'while it runs' if fault.other else 'when it is dead'}"


def _remove(scene: Scene, newcomer: int, alive: bool) -> None:
    """Remove the newcomer, dead or alive; a live one may ask to be taken back until it is dead."""
    cluster = scene.cluster

    def removed() -> bool:
        server_id = cluster.server_id(newcomer)
        if server_id is not None:
            cluster.client(cluster.leader() or 0).remove_member(server_id)
        return server_id is None

    try:
        if alive:
            _wait(removed, f"node {newcomer} is not removed")
    finally:
        cluster.kill(*(index for index in cluster.running if index == newcomer))
        cluster.forget(newcomer)
    _wait(removed, f"node {newcomer} is not removed")


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _MEMBERSHIP_SECONDS
    why = ""
    while True:
        try:
            if condition():
                return
        except BraftError as error:
            why = f": {type(error).__name__}: {error}"
        if time.monotonic() >= end:
            raise NotServing(f"{what} within {_MEMBERSHIP_SECONDS:g} s{why}")
        time.sleep(_POLL)


# --------------------------------------------------------------------------------------------
# Networks. Clients reach every node, unless its cable is pulled: a stale answer is to be seen.


def _partition(scene: Scene, fault: Fault) -> str:
    """A minority is cut off, both ways."""
    size = 1 + round(fault.strength * ((len(fault.nodes) - 1) // 2 - 1))
    return _isolate(scene, fault.nodes, size)


def _partition_leader(scene: Scene, fault: Fault) -> str:
    return _isolate(scene, scene.leader_first(fault), 1)


def _isolate(scene: Scene, order: Sequence[int], size: int) -> str:
    inside, outside = order[:size], order[size:]
    for node in inside:
        scene.cut(node, outside, inbound=True, outbound=True)
    return f"{list(inside)} from {list(outside)}"


def _partition_all(scene: Scene, fault: Fault) -> str:
    """Every node is alone."""
    for node in fault.nodes:
        others = [peer for peer in fault.nodes if peer != node]
        scene.cut(node, others, inbound=True, outbound=True)
    return "every node alone"


def _one_way(scene: Scene, fault: Fault) -> str:
    """One node is not heard by the others, or does not hear them."""
    order = scene.leader_first(fault) if fault.strength < 0.5 else fault.nodes
    victim, others = order[0], order[1:]
    scene.cut(victim, others, inbound=fault.other, outbound=not fault.other)
    return f"node {victim} {'does not hear' if fault.other else 'is not heard by'} the others"


def _bridge(scene: Scene, fault: Fault) -> str:
    """Two halves that do not see each other, and one node that sees both."""
    middle, rest = fault.nodes[0], fault.nodes[1:]
    left, right = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    for node in left:
        scene.cut(node, right, inbound=True, outbound=True)
    return f"{list(left)} | {middle} | {list(right)}"


def _victims(fault: Fault) -> Sequence[int]:
    return fault.nodes if fault.other else fault.nodes[:1]


def _loss(scene: Scene, fault: Fault) -> str:
    share = _LEAST_LOSS + fault.strength * (_MOST_LOSS - _LEAST_LOSS)
    for node in _victims(fault):
        scene.rule(node, Rule(Action.DROP, True, share=share))
    return f"{share:.0%} of the packets to {list(_victims(fault))}"


def _delay(scene: Scene, fault: Fault) -> str:
    """Each packet is held for a time of its own, so that they overtake one another."""
    most = _LEAST_DELAY + fault.strength * (_MOST_DELAY - _LEAST_DELAY)
    for node in _victims(fault):
        place = scene.cluster.places[node]
        if place.namespace is None:
            raise NotServing(f"node {node} is in no namespace")
        scene.rule(node, Rule(Action.QUEUE, True))
        line = DelayLine(place.namespace, 0.0, most, seed=node)
        scene.undo.enter_context(line)
    return f"packets to {list(_victims(fault))} by up to {most * 1000:.0f} ms, out of order"


def _reject(scene: Scene, fault: Fault) -> str:
    """The connections of one node with the others are refused, at once and loudly."""
    victim, others = fault.nodes[0], fault.nodes[1:]
    peers = [scene.address(peer) for peer in others]
    rules = [Rule(Action.REJECT, way, peer) for peer in peers for way in (True, False)]
    scene.rule(victim, *rules)
    return f"node {victim} and the others"


def _link_down(scene: Scene, fault: Fault) -> str:
    victim = scene.leader_first(fault)[0] if fault.other else fault.nodes[0]
    namespace = scene.cluster.places[victim].namespace
    if scene.network is None or namespace is None:
        raise NotServing(f"node {victim} is in no namespace")
    scene.undo.callback(scene.network.set_link, namespace, True)
    scene.network.set_link(namespace, False)
    return f"node {victim}"


# --------------------------------------------------------------------------------------------
# Disks


def _disk_full(scene: Scene, fault: Fault) -> str:
    victims = _victims(fault)
    for node in victims:
        scene.undo.callback(scene.disk(node).free)
        scene.disk(node).fill()
    return f"nodes {list(victims)}"


def _slow_disk(scene: Scene, fault: Fault) -> str:
    """Up to a stall, after which a leader gives up its office."""
    victims = _victims(fault) if fault.strength < _STALL else scene.leader_first(fault)[:1]
    seconds = _LEAST_SYNC + fault.strength * (_MOST_SYNC - _LEAST_SYNC)
    for node in victims:
        scene.undo.enter_context(SlowSyncs(scene.cluster.pid(node), seconds))
    return f"each sync of nodes {list(victims)} takes {seconds:.2f} s longer"


# --------------------------------------------------------------------------------------------
# Clocks


def _clock_jump(scene: Scene, fault: Fault) -> str:
    """Forward or back, by seconds or by years, and later back to where it was."""
    order = scene.leader_first(fault) if fault.other else fault.nodes
    seconds = _LEAST_JUMP * (_MOST_JUMP / _LEAST_JUMP) ** fault.strength
    jumps = {order[0]: seconds, order[1]: -seconds} if len(order) > 1 else {order[0]: seconds}
    for node, by in jumps.items():
        clock = scene.clock(node)
        scene.undo.callback(clock.set, 0.0)
        clock.set(by)
    return ", ".join(f"node {node} by {by:+,.0f} s" for node, by in jumps.items())


def _power_loss(scene: Scene, fault: Fault) -> str:
    """All at once: disks forget what was not synced, processes die."""
    disks = [disk for node in fault.nodes if isinstance(disk := scene.disk(node), LoopDisk)]
    for disk in disks:
        disk.cut_power()
    scene.cluster.kill(*fault.nodes)
    scene.undo.callback(scene.cluster.start, *fault.nodes)
    for disk in disks:
        disk.unmount()
        disk.mount()
    return "all nodes, and what their disks had not synced"


_ALL = (
    Kind("kill", Ability.PROCESSES, _kill_one),
    Kind("kill leader", Ability.PROCESSES, _kill_leader),
    Kind("kill majority", Ability.PROCESSES, _kill_majority),
    Kind("power cycle", Ability.PROCESSES, _power_cycle),
    Kind("pause", Ability.PROCESSES, _pause_some),
    Kind("pause leader", Ability.PROCESSES, _pause_leader),
    Kind("restart", Ability.PROCESSES, _restart),
    Kind("transfer", Ability.PROCESSES, _transfer),
    Kind("membership", Ability.PROCESSES, _membership),
    Kind("partition", Ability.NETWORK, _partition),
    Kind("partition leader", Ability.NETWORK, _partition_leader),
    Kind("partition all", Ability.NETWORK, _partition_all),
    Kind("one-way", Ability.NETWORK, _one_way),
    Kind("bridge", Ability.NETWORK, _bridge),
    Kind("link down", Ability.NETWORK, _link_down),
    Kind("loss", Ability.LOSS, _loss),
    Kind("reject", Ability.REJECT, _reject),
    Kind("delay", Ability.DELAY, _delay),
    Kind("disk full", Ability.DISK, _disk_full),
    Kind("slow disk", Ability.SLOW, _slow_disk),
    Kind("clock jump", Ability.CLOCK, _clock_jump),
    Kind("power loss", Ability.POWER, _power_loss, ends_nodes=True),
)
#: By name.
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}


def kind_named(name: str) -> Kind:
    """The kind of that name. :raises ConfigError: there is none."""
    if name not in KINDS:
        raise ConfigError(f"kind of fault is {name!r}; accepted: {', '.join(KINDS)}")
    return KINDS[name]


def impossible(kinds: Iterable[Kind], missing: Mapping[Ability, str]) -> dict[str, str]:
    """Those of the kinds that a machine without these abilities cannot make, with the reason."""
    return {kind.name: missing[kind.needs] for kind in kinds if kind.needs in missing}
