"""Whether the members' states are equal: digests of equal indexes, and what a difference means.

Every member learns the digests of all others with their probes and compares for itself; nobody
decides for others. Where a majority of the voters has one digest, whoever has another one has
diverged. Where there is no majority, nobody knows who is right. A member's alarm lasts until a
digest of it at another index, or of the same index anew, agrees. Pure; used on the loop alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from braft_core.errors import DecodeError
from braft_core.identity import short_id
from braft_core.raft.types import Configuration
from braft_core.services.digests import (
    Checkpoint,
    Digest,
    decode_checkpoints,
    encode_checkpoints,
)

__all__ = ["Divergence", "StateComparison"]

_log = logging.getLogger(__name__)
#: Differences that are remembered as logged, at most.
_MAX_LOGGED = 256


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

    def sentence(self, names: Mapping[str, str]) -> str:
        """Return what users are shown; ``names`` by server id."""
        groups = "; ".join(
            f"{_listed(ids, names)} {'has' if len(ids) == 1 else 'have'} {digest.text[:12]}"
            for digest, ids in self.groups
        )
        return (
            f"the members' states of service {self.service!r} differ at entry {self.index}: "
            f"{groups}. {self._verdict(names)}"
        )

    def _verdict(self, names: Mapping[str, str]) -> str:
        if not self.decided:
            return "No majority of the voters has one state, so it is not known which is right"
        return f"The majority of the voters counts: {_listed(self.diverged, names)} diverged"


class StateComparison:
    """What one member knows of the states of all. Lives on the loop; attributes from any thread.

    :param own_id: this member.
    """

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._known: dict[str, tuple[Checkpoint, ...]] = {}
        #: By service and member.
        self._alarms: dict[tuple[str, str], Divergence] = {}
        self._logged: set[tuple[str, int, tuple[str, ...]]] = set()
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
        """The newest index at which there is somebody to compare with decides."""
        for checkpoint in reversed(self._known[server_id]):
            own = checkpoint.digests.get(service)
            if own is None:
                continue
            groups = self._groups(service, checkpoint.index, own.code)
            if sum(map(len, groups.values())) < 2:
                continue
            found = _difference(service, checkpoint.index, groups, configuration)
            if found is None or (found.decided and server_id not in found.diverged):
                self._alarms.pop((service, server_id), None)
            else:
                self._alarms[service, server_id] = found
            return

    def _groups(self, service: str, index: int, code: bytes) -> dict[Digest, list[str]]:
        groups: dict[Digest, list[str]] = {}
        for server_id in sorted(self._known):
            for checkpoint in self._known[server_id]:
                digest = checkpoint.digests.get(service)
                if checkpoint.index == index and digest is not None and digest.code == code:
                    groups.setdefault(digest, []).append(server_id)
        return groups

    def _publish(self, configuration: Configuration) -> None:
        names = {s.id: f"{short_id(s.id)} at {s.address}" for s in configuration.servers}
        found = dict.fromkeys(self._alarms.values())
        for each in found:
            self._log_once(each, names)
        self.sentence = ". ".join(each.sentence(names) for each in found)
        own = [
            each
            for (_, member), each in self._alarms.items()
            if member == self._own_id and each.decided
        ]
        self.own_fault = (
            f"this node's state of service {own[0].service!r} is not that of the majority at entry "
            f"{own[0].index}: stop it, remove its data directory, and let it join again"
            if own
            else ""
        )

    def _log_once(self, found: Divergence, names: Mapping[str, str]) -> None:
        key = (found.service, found.index, found.diverged)
        if key in self._logged:
            return
        if len(self._logged) >= _MAX_LOGGED:
            self._logged.clear()
        self._logged.add(key)
        _log.error("%s", found.sentence(names))


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


def _listed(ids: Iterable[str], names: Mapping[str, str]) -> str:
    shown: Iterator[str] = (names.get(server_id, short_id(server_id)) for server_id in ids)
    return ", ".join(shown)
