"""Whether the members' states are equal: digests of equal indexes, and what a difference means.

Every member learns the digests of all others with their probes and compares for itself; nobody
decides for others. Where a majority of the voters has one digest, whoever has another one has
diverged. Where there is no majority, nobody knows who is right. A member's alarm lasts until a
digest of it at another index, or of the same index anew, agrees; meanwhile it names the index at
which it was first seen. Pure; used on the loop alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import DecodeError
from braft_core.raft.types import Configuration
from braft_core.services.digests import (
    Checkpoint,
    Digest,
    decode_checkpoints,
    encode_checkpoints,
)

__all__ = ["Divergence", "StateComparison"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Two states of one service that should be equal."""

    service: str
    index: int
    #: The members by the digest that they have, the largest group first.
    groups: tuple[tuple[Digest, tuple[str, ...]], ...]
    #: Whether the first group has a majority of the voters.
    decided: bool

    @property
    def diverged(self) -> tuple[str, ...]:
        """The members whose state is not that of the majority; none if there is no majority."""
        return tuple(m for _, ids in self.groups[1:] for m in ids) if self.decided else ()

    @property
    def parties(self) -> tuple[object, ...]:
        """Who differs from whom: while that is so, a later index is no news."""
        return self.decided, *(ids for _, ids in self.groups)

    def sentence(self, services: Sequence[str], names: Mapping[str, str]) -> str:
        """Return what users are shown, of services that differ alike; ``names`` by server id."""
        where = f"the states of {_and(services)} differ at entry {self.index}"
        first = _and([names[m] for m in self.groups[0][1]])
        if self.decided:
            diverged = _and([names[m] for m in self.diverged])
            return f"{where}: {diverged} diverged from the majority, {first}"
        others = " and from ".join(_and([names[m] for m in ids]) for _, ids in self.groups[1:])
        return (
            f"{where}: {first} from {others}; no majority of the voters agrees, so it is not known "
            "which state is right"
        )


class StateComparison:
    """What one member knows of the states of all. Lives on the loop; attributes from any thread.

    :param own_id: this member.
    """

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._known: dict[str, tuple[Checkpoint, ...]] = {}
        #: By service and member.
        self._alarms: dict[tuple[str, str], Divergence] = {}
        #: What stands and was logged.
        self._logged: frozenset[str] = frozenset()
        self._unreadable: set[str] = set()
        #: Own checkpoints, the oldest first. Replaced, never changed.
        self.own: tuple[Checkpoint, ...] = ()
        #: What stands in ``notes``, "" if all is well.
        self.sentence = ""
        #: Why this member must not be asked, "" if it may.
        self.own_fault = ""

    @property
    def told(self) -> bytes:
        """Return this member's digests for others."""
        return encode_checkpoints(self.own)

    def set_own(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace this member's own digests."""
        self.own = self._known[self._own_id] = tuple(checkpoints)

    def forget_own(self) -> None:
        """Begin again: this member's state was replaced."""
        self.set_own(())
        self._alarms = {key: each for key, each in self._alarms.items() if key[1] != self._own_id}

    def learn(self, server_id: str, data: bytes) -> None:
        """Take in what a member says of itself; nothing leaves what is known as it is."""
        if server_id == self._own_id:
            return
        try:
            checkpoints = decode_checkpoints(data)
        except DecodeError as error:
            if server_id not in self._unreadable:
                self._unreadable.add(server_id)
                _log.warning(
                    "node %s tells digests that this node cannot read: %s",
                    short_id(server_id),
                    error.message,
                )
            return
        if checkpoints:
            self._known[server_id] = checkpoints

    def compare(self, configuration: Configuration) -> None:
        """Judge all members by what is known now, and log what is new."""
        members = set(configuration.ids)
        self._known = {key: each for key, each in self._known.items() if key in members}
        self._unreadable &= members
        self._alarms = {key: each for key, each in self._alarms.items() if key[1] in members}
        for server_id in self._known:
            for service in self._services(server_id):
                self._judge(service, server_id, configuration)
        self._publish(configuration)

    def _services(self, server_id: str) -> list[str]:
        return sorted({name for each in self._known[server_id] for name in each.digests})

    def _judge(self, service: str, server_id: str, configuration: Configuration) -> None:
        """The newest index at which there is somebody to compare with decides.

        A member that diverged is no witness against others, and stays under its verdict, whoever
        leaves, until its state is equal again.
        """
        before = self._alarms.get((service, server_id))
        for checkpoint in reversed(self._known[server_id]):
            own = checkpoint.digests.get(service)
            if own is None:
                continue
            groups = self._groups(service, checkpoint.index, own.code, server_id)
            if sum(map(len, groups.values())) < 2:
                continue
            found = _difference(service, checkpoint.index, groups, configuration)
            if found is None or (found.decided and server_id not in found.diverged):
                self._alarms.pop((service, server_id), None)
            elif before is None or (
                before.parties != found.parties and before.decided <= found.decided
            ):
                self._alarms[service, server_id] = found
            return

    def _groups(
        self, service: str, index: int, code: bytes, judged: str
    ) -> dict[Digest, list[str]]:
        groups: dict[Digest, list[str]] = {}
        for server_id in sorted(self._known):
            alarm = self._alarms.get((service, server_id))
            if server_id != judged and alarm is not None and alarm.decided:
                continue
            for checkpoint in self._known[server_id]:
                digest = checkpoint.digests.get(service)
                if checkpoint.index == index and digest is not None and digest.code == code:
                    groups.setdefault(digest, []).append(server_id)
        return groups

    def _publish(self, configuration: Configuration) -> None:
        # An alarm may outlive a member that it names.
        gone = {
            m: short_id(m) for each in self._alarms.values() for _, ids in each.groups for m in ids
        }
        names = gone | {s.id: f"{short_id(s.id)} at {s.address}" for s in configuration.servers}
        found = sorted(dict.fromkeys(self._alarms.values()), key=_rank)
        alike: dict[tuple[object, ...], list[Divergence]] = {}
        for each in found:
            alike.setdefault((each.index, each.parties), []).append(each)
        sentences = [
            some[0].sentence([each.service for each in some], names) for some in alike.values()
        ]
        logged, self._logged = self._logged, frozenset(sentences)
        for sentence in sentences:
            if sentence not in logged:
                _log.error("%s", sentence)
        self.sentence = "; ".join(sentences)
        own = [each for each in found if self._own_id in each.diverged]
        self.own_fault = (
            f"this node's state of service {own[0].service!r} is not that of the majority at entry "
            f"{own[0].index}: stop it, remove its data directory, and let it join again"
            if own
            else ""
        )


def _rank(found: Divergence) -> tuple[bool, str, int]:
    """The users' own services first: what braft keeps of their answers differs with them."""
    return found.service.startswith("$"), found.service, found.index


def _difference(
    service: str, index: int, groups: Mapping[Digest, Sequence[str]], configuration: Configuration
) -> Divergence | None:
    if len(groups) < 2:
        return None
    voters = frozenset(configuration.voters)

    def votes(ids: Iterable[str]) -> int:
        return sum(server_id in voters for server_id in ids)

    ordered = sorted(groups.items(), key=lambda group: (-votes(group[1]), group[1][0]))
    decided = 2 * votes(ordered[0][1]) > len(voters)
    return Divergence(service, index, tuple((d, tuple(ids)) for d, ids in ordered), decided)


def _and(texts: Sequence[str]) -> str:
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]
