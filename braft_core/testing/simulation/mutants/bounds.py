"""Planted bugs of the bound of stale reads: it is told too small."""

from __future__ import annotations

from typing import Any

from braft_core.raft.messages import AppendEntries
from braft_core.raft.types import Role
from braft_core.runtime.freshness import Freshness, View
from braft_core.testing.simulation.bounds import Bound
from braft_core.testing.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_RULE = ("a stale read is no older than it says",)


def new_leaders_words_count(patch: Patch) -> dict[str, Any]:
    """As braft itself once did: a new leader does not know yet what is committed."""

    def heard(
        self: Freshness, core: View, message: AppendEntries, before: float, applied: int
    ) -> None:
        if message.sender == core.leader and not message.heartbeat:
            self._note(before - self._under_way, message.leader_commit, applied)

    patch.setattr(Freshness, "heard", heard)
    return {}


def new_leader_is_sure_at_once(patch: Patch) -> dict[str, Any]:
    def led(self: Freshness, core: View, now: float, applied: int) -> None:
        if core.role is Role.LEADER:
            self._note(now, core.commit_index, applied)

    patch.setattr(Freshness, "led", led)
    return {}


def bound_counts_what_is_not_applied(patch: Patch) -> dict[str, Any]:
    original = Freshness.bound

    def bound(self: Freshness, now: float, applied: int) -> float:
        return original(self, now, max((index for _, index in self._said), default=applied))

    patch.setattr(Freshness, "bound", bound)
    return {}


def bound_trusts_every_leader(patch: Patch) -> dict[str, Any]:
    """Without the time in which a leader may have been replaced, and a message under way."""
    original = Freshness.__init__

    def init(self: Freshness, election_timeout: float, heartbeat_interval: float) -> None:
        original(self, 0.0, 0.0)

    patch.setattr(Freshness, "__init__", init)
    return {}


def bound_begins_when_it_is_read(patch: Patch) -> dict[str, Any]:
    """A process that stood still takes old words for new ones."""

    def turn(self: Bound, now: float) -> None:
        self._before = self._turn = now

    patch.setattr(Bound, "turn", turn)
    return {}


MUTANTS = (
    Mutant(new_leaders_words_count, _RULE),
    Mutant(new_leader_is_sure_at_once, _RULE),
    Mutant(bound_counts_what_is_not_applied, _RULE),
    Mutant(bound_trusts_every_leader, _RULE),
    Mutant(bound_begins_when_it_is_read, _RULE),
)
