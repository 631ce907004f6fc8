"""The rules of removing the dead, judged from outside at the moment a leader removes a voter.

Owns notes of its own about who answered whom and who led since when; it must not look at what
``braft_core.cluster.autopilot`` remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from braft_core.cluster.interface import AutopilotRules
from braft_core.raft.types import Configuration, Entry
from braft_testing.simulation.errors import InvariantBroken

__all__ = ["Attention", "RemovalRules"]


@dataclass(slots=True)
class Attention:
    """What one life of a server has heard, by its own clock."""

    #: When it last got an answer of each other one: to a probe, to Raft.
    probed: dict[str, float] = field(default_factory=dict)
    called: dict[str, float] = field(default_factory=dict)
    #: The term in which it leads, 0 for none, and since when.
    term: int = 0
    since: float = 0.0

    def leads(self, term: int, now: float) -> None:
        """It leads that term, or (0) none."""
        if term != self.term:
            self.term, self.since = term, now


class _Removed(NamedTuple):
    at: float
    victim: str
    entry: int
    term: int


class RemovalRules:
    """All rules of one run.

    :param committed: the one history of the run.
    :param drift: by how much a clock may be fast; a clock that jumps may shorten the window.
    """

    def __init__(
        self, rules: AutopilotRules, committed: Sequence[Entry], drift: float | None
    ) -> None:
        self._rules = rules
        self._committed = committed
        self._window = 0.0 if drift is None else rules.window / (1.0 + drift)
        self._removed: list[_Removed] = []
        self._sizes: list[tuple[float, int]] = []
        #: How many servers got their vote again.
        self.voting_again = 0

    @property
    def count(self) -> int:
        """How many removals there were."""
        return len(self._removed)

    def leader_counts(self, at: float, voters: int) -> None:
        """A leader has so many voters at the virtual time ``at``."""
        if not self._sizes or self._sizes[-1][1] != voters:
            self._sizes.append((at, voters))

    def check(
        self, leader: str, victim: str, attention: Attention, now: float, after: Configuration
    ) -> None:
        """A leader removes a voter, and ``after`` is left; ``now`` is its own clock.

        :raises InvariantBroken: it must not.
        """
        rules, left = self._rules, after.voters
        if victim == leader or len(left) < rules.min_quorum:
            raise InvariantBroken("enough voters stay", f"{leader} removes {victim}: {left} stay")
        if now - attention.probed.get(victim, -1e9) < rules.dead_after:
            raise InvariantBroken(
                "who answers is not removed",
                f"{leader} removes {victim}, heard {now - attention.probed[victim]:.3f} s ago",
            )
        well = [
            voter
            for voter in left
            if voter == leader
            or now - attention.called.get(voter, -1e9) <= rules.last_contact_threshold
        ]
        if 2 * len(well) <= len(left):
            raise InvariantBroken(
                "a healthy majority stays", f"{leader} removes {victim}: {well} of {left} are well"
            )
        if not attention.term or now - attention.since < rules.stabilization_time:
            raise InvariantBroken(
                "only a steady leader removes",
                f"{leader} removes {victim} after {now - attention.since:.3f} s",
            )

    def removed(self, at: float, victim: str, index: int, term: int) -> None:
        """A removal was appended at the virtual time ``at``.

        :raises InvariantBroken: too many voters were removed within the window.
        """
        self._removed.append(_Removed(at, victim, index, term))
        begin = at - self._window
        victims = {r.victim for r in self._removed if r.at > begin and self._happened(r)} | {victim}
        before = [size for when, size in self._sizes if when <= begin][-1:]
        most = max((size for when, size in self._sizes if when > begin), default=0)
        most = max([most, *before])
        if self._window and len(victims) > (most - 1) // 2:
            raise InvariantBroken(
                "less than half are removed",
                f"{sorted(victims)} of {most} within {self._window:.1f} s",
            )

    def returned(self, server: str, before: Configuration, after: Configuration) -> None:
        """A leader takes a server in, or gives it a vote.

        :raises InvariantBroken: it votes without having been a learner.
        """
        if after.is_voter(server):
            if before.get(server) is None:
                raise InvariantBroken("who returns is a learner first", f"{server} votes at once")
            self.voting_again += any(removal.victim == server for removal in self._removed)

    def _happened(self, removal: _Removed) -> bool:
        known = len(self._committed) >= removal.entry
        return known and self._committed[removal.entry - 1].term == removal.term
