"""Packet rules inside one namespace: drop, lose some, reject, hand to user space.

Translates rules to nftables or iptables text, and loads it with one call. Rules are loaded only
inside a namespace of the kit: a :class:`Firewall` cannot be made without one. Traffic of a node
with itself (``lo``) is never affected.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from braft_testing.faults.machine import FaultKitError, tool
from braft_testing.faults.namespaces import Namespace

__all__ = ["Action", "Firewall", "Rule", "iptables_text", "nftables_text"]


class Action(Enum):
    """What happens to a packet that a rule matches."""

    DROP = "drop"
    #: TCP is answered with a reset, as by a closed port.
    REJECT = "reject"
    #: Handed to the reader of queue 0 in user space; accepted without a reader.
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one namespace.

    :param inbound: whether it applies to incoming packets, instead of outgoing ones.
    :param peer: the IPv4 address of the other side; ``""``: any.
    :param share: the share of packets it applies to, drawn at random, above 0 and at most 1.
    """

    action: Action
    inbound: bool
    peer: str = ""
    share: float = 1.0


_NFT_ACTIONS = {
    Action.DROP: "drop",
    Action.REJECT: "meta l4proto tcp reject with tcp reset",
    Action.QUEUE: "queue num 0 bypass",
}
_IPTABLES_ACTIONS = {
    Action.DROP: "-j DROP",
    Action.REJECT: "-p tcp -j REJECT --reject-with tcp-reset",
    Action.QUEUE: "-j NFQUEUE --queue-num 0 --queue-bypass",
}


def nftables_text(rules: Iterable[Rule]) -> str:
    """Return all rules as a file for ``nft -f``, which replaces the present ones atomically."""
    lines: dict[bool, list[str]] = {True: [], False: []}
    for rule in rules:
        parts = ['iifname != "lo"' if rule.inbound else 'oifname != "lo"']
        if rule.peer:
            parts.append(f"ip {'saddr' if rule.inbound else 'daddr'} {rule.peer}")
        if rule.share < 1:
            parts.append(f"numgen random mod 1000 < {round(rule.share * 1000)}")
        lines[rule.inbound].append(" ".join([*parts, _NFT_ACTIONS[rule.action]]))
    chains = [
        f"  chain {hook} {{\n"
        f"    type filter hook {hook} priority 0; policy accept;\n"
        + "".join(f"    {line}\n" for line in lines[inbound])
        + "  }\n"
        for hook, inbound in (("input", True), ("output", False))
    ]
    return "flush ruleset\ntable ip faults {\n" + "".join(chains) + "}\n"


def iptables_text(rules: Iterable[Rule]) -> str:
    """Return all rules as input for ``iptables-restore``."""
    lines = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    for rule in rules:
        parts = ["-A INPUT ! -i lo" if rule.inbound else "-A OUTPUT ! -o lo"]
        if rule.peer:
            parts.append(f"{'-s' if rule.inbound else '-d'} {rule.peer}")
        if rule.share < 1:
            parts.append(f"-m statistic --mode random --probability {rule.share:.3f}")
        lines.append(" ".join([*parts, _IPTABLES_ACTIONS[rule.action]]))
    return "\n".join([*lines, "COMMIT", ""])


class Firewall:
    """The rules of one namespace. Use it from one thread at a time."""

    def __init__(self, namespace: Namespace, program: str = "") -> None:
        """Choose the program.

        :param program: ``iptables-restore`` or ``nft``; default: what is installed.
        :raises FaultKitError: if neither is installed.
        """
        self._namespace = namespace
        self._program = program or _installed()
        self._rules: list[Rule] = []

    def add(self, *rules: Rule) -> None:
        """Load these rules beside the present ones.

        :raises FaultKitError: if the kernel does not support them.
        """
        self._load([*self._rules, *rules])

    def clear(self) -> None:
        """Remove all rules."""
        if self._rules:
            self._load([])

    def _load(self, rules: list[Rule]) -> None:
        arguments, translate = _PROGRAMS[self._program]
        tool(self._program, *arguments, text=translate(rules), prefix=self._namespace.prefix)
        self._rules = rules


#: Arguments and translation of each program, in order of preference: some kernels have the NFQUEUE
#: of iptables and lack the "queue" of nftables.
_PROGRAMS: Mapping[str, tuple[tuple[str, ...], Callable[[Iterable[Rule]], str]]] = {
    "iptables-restore": ((), iptables_text),
    "nft": (("-f", "-"), nftables_text),
}


def _installed() -> str:
    for program in _PROGRAMS:
        if shutil.which(program):
            return program
    raise FaultKitError(f"none of {', '.join(_PROGRAMS)} is installed")
