"""Comparison of the members' states by their digests at equal indexes.

Every member learns the digests of the others with their probe replies and compares them itself. If
a majority of the voters has one digest, members with another one have diverged. Without a majority,
the correct state is unknown. The alarm about a member lasts until a later digest of it agrees, and
names the index at which the difference was first seen. Pure; use on the node's loop only.
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
    """A difference between states of one service that should be equal."""

    service: str
    index: int
    #: The members grouped by digest, the group with most votes first.
    groups: tuple[tuple[Digest, tuple[str, ...]], ...]
    #: Whether the first group has a majority of the voters.
    decided: bool

    @property
    def diverged(self) -> tuple[str, ...]:
        """The members whose state differs from the majority's; none without a majority."""
        return tuple(m for _, ids in self.groups[1:] for m in ids) if self.decided else ()

    @property
    def parties(self) -> tuple[object, ...]:
        """The part that identifies the difference; a later index alone is no change."""
        return self.decided, *(ids for _, ids in self.groups)

    def message(self, services: Sequence[str], names: Mapping[str, str]) -> str:
        """Return the message for services with the same difference; ``names`` by server id."""
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
    """The digests of all members, as known by one. Any thread may read the attributes.

    :param own_id: the server id of this member.
    """

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._known: dict[str, tuple[Checkpoint, ...]] = {}
        #: By service and server id.
        self._alarms: dict[tuple[str, str], Divergence] = {}
        #: The current messages, which are logged already.
        self._logged: frozenset[str] = frozenset()
        self._unreadable: set[str] = set()
        #: Digests of this member, the oldest first. Replaced, never changed.
        self.own: tuple[Checkpoint, ...] = ()
        #: The message about all differences, "" without differences.
        self.message = ""
        #: Why this member must not serve reads, "" if it may.
        self.own_fault = ""

    @property
    def encoded_own(self) -> bytes:
        """This member's digests, encoded for other members."""
        return encode_checkpoints(self.own)

    def set_own(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace the digests of this member."""
        self.own = self._known[self._own_id] = tuple(checkpoints)

    def forget_own(self) -> None:
        """Drop the digests and alarms of this member, because its state was replaced."""
        self.set_own(())
        self._alarms = {key: each for key, each in self._alarms.items() if key[1] != self._own_id}

    def learn(self, server_id: str, data: bytes) -> None:
        """Store the digests of another member; empty ones change nothing."""
        if server_id == self._own_id:
            return
        try:
            checkpoints = decode_checkpoints(data)
        except DecodeError as error:
            if server_id not in self._unreadable:
                self._unreadable.add(server_id)
                _log.warning(
                    "cannot decode the state digests of node %s: %s",
                    short_id(server_id),
                    error.message,
                )
            return
        if checkpoints:
            self._known[server_id] = checkpoints

    def compare(self, configuration: Configuration) -> None:
        """Compare all members by the known digests, and log new differences."""
        members = set(configuration.ids)
        self._known = {key: each for key, each in self._known.items() if key in members}
        self._unreadable &= members
        self._alarms = {key: each for key, each in self._alarms.items() if key[1] in members}
        for server_id in self._known:
            for service in self._services(server_id):
                self._compare_member(service, server_id, configuration)
        self._publish(configuration)

    def _services(self, server_id: str) -> list[str]:
        return sorted({name for each in self._known[server_id] for name in each.digests})

    def _compare_member(self, service: str, server_id: str, configuration: Configuration) -> None:
        """Compare one member at the newest index for which others have digests too.

        A diverged member is not compared with others. Its alarm stays until its state is equal
        again, whichever members leave.
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
        self, service: str, index: int, code: bytes, compared: str
    ) -> dict[Digest, list[str]]:
        groups: dict[Digest, list[str]] = {}
        for server_id in sorted(self._known):
            alarm = self._alarms.get((service, server_id))
            if server_id != compared and alarm is not None and alarm.decided:
                continue
            for checkpoint in self._known[server_id]:
                digest = checkpoint.digests.get(service)
                if checkpoint.index == index and digest is not None and digest.code == code:
                    groups.setdefault(digest, []).append(server_id)
        return groups

    def _publish(self, configuration: Configuration) -> None:
        # An alarm may name a member that has left.
        gone = {
            m: short_id(m) for each in self._alarms.values() for _, ids in each.groups for m in ids
        }
        names = gone | {s.id: f"{short_id(s.id)} at {s.address}" for s in configuration.servers}
        found = sorted(dict.fromkeys(self._alarms.values()), key=_rank)
        alike: dict[tuple[object, ...], list[Divergence]] = {}
        for each in found:
            alike.setdefault((each.index, each.parties), []).append(each)
        messages = [
            some[0].message([each.service for each in some], names) for some in alike.values()
        ]
        logged, self._logged = self._logged, frozenset(messages)
        for message in messages:
            if message not in logged:
                _log.error("%s", message)
        self.message = "; ".join(messages)
        own = [each for each in found if self._own_id in each.diverged]
        self.own_fault = (
            f"this node's state of service {own[0].service!r} is not that of the majority at entry "
            f"{own[0].index}: stop it, remove its data directory, and let it join again"
            if own
            else ""
        )


def _rank(found: Divergence) -> tuple[bool, str, int]:
    """Return the sort key: user services first, since internal ones differ with them."""
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
