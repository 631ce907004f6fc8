"""Network faults.

Clients reach every node, unless its link is down, so that stale answers are noticed.
"""

from __future__ import annotations

from collections.abc import Sequence

from braft_testing.faults.cluster import NotServing
from braft_testing.faults.delaying import DelayLine
from braft_testing.faults.firewall import Action, Rule
from braft_testing.faults.kinds.scene import Ability, Kind, Scene, struck
from braft_testing.faults.plan import Fault

__all__ = ["KINDS"]

_LEAST_LOSS, _MOST_LOSS = 0.05, 0.35
_LEAST_DELAY, _MOST_DELAY = 0.02, 0.3


def _partition(scene: Scene, fault: Fault) -> str:
    """Cut off a minority in both directions."""
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
    """Isolate every node."""
    for node in fault.nodes:
        others = [peer for peer in fault.nodes if peer != node]
        scene.cut(node, others, inbound=True, outbound=True)
    return "every node alone"


def _one_way(scene: Scene, fault: Fault) -> str:
    """Cut the packets to or from one node, in one direction only."""
    order = scene.leader_first(fault) if fault.strength < 0.5 else fault.nodes
    victim, others = order[0], order[1:]
    scene.cut(victim, others, inbound=fault.other, outbound=not fault.other)
    return f"node {victim} {'does not hear' if fault.other else 'is not heard by'} the others"


def _bridge(scene: Scene, fault: Fault) -> str:
    """Split into two halves that cannot reach each other, and one node that reaches both."""
    middle, rest = fault.nodes[0], fault.nodes[1:]
    left, right = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    for node in left:
        scene.cut(node, right, inbound=True, outbound=True)
    return f"{list(left)} | {middle} | {list(right)}"


def _loss(scene: Scene, fault: Fault) -> str:
    share = _LEAST_LOSS + fault.strength * (_MOST_LOSS - _LEAST_LOSS)
    for node in struck(fault):
        scene.rule(node, Rule(Action.DROP, True, share=share))
    return f"{share:.0%} of the packets to {list(struck(fault))}"


def _delay(scene: Scene, fault: Fault) -> str:
    """Hold each packet for its own random time, so that packets overtake one another."""
    most = _LEAST_DELAY + fault.strength * (_MOST_DELAY - _LEAST_DELAY)
    for node in struck(fault):
        place = scene.cluster.places[node]
        if place.namespace is None:
            raise NotServing(f"node {node} is in no namespace")
        scene.rule(node, Rule(Action.QUEUE, True))
        line = DelayLine(place.namespace, 0.0, most, seed=node)
        scene.undo.enter_context(line)
    return f"packets to {list(struck(fault))} by up to {most * 1000:.0f} ms, out of order"


def _reject(scene: Scene, fault: Fault) -> str:
    """Refuse the connections of one node with the others, with a reset."""
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


KINDS = (
    Kind("partition", Ability.NETWORK, _partition),
    Kind("partition leader", Ability.NETWORK, _partition_leader),
    Kind("partition all", Ability.NETWORK, _partition_all),
    Kind("one-way", Ability.NETWORK, _one_way),
    Kind("bridge", Ability.NETWORK, _bridge),
    Kind("link down", Ability.NETWORK, _link_down),
    Kind("loss", Ability.LOSS, _loss),
    Kind("reject", Ability.REJECT, _reject),
    Kind("delay", Ability.DELAY, _delay),
)
