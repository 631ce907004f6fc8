"""The rules of removing dead voters, checked from outside when a leader removes one.

Records independently which server answered which, and who led since when. It must not use the state
of ``braft_core.cluster.autopilot``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from braft_core.cluster.interface import AutopilotRules
from braft_core.raft.types import Configuration, Entry
from braft_testing.simulation.errors import InvariantBroken

__all__ = ["LeaderObservation", "RemovalInvariants"]


@dataclass(slots=True)
class LeaderObservation:
    """The contacts and leadership of one life of a server, by its own clock."""

    #: When each other server last answered: a probe, and Raft.
    probed: dict[str, float] = field(default_factory=dict)
    called: dict[str, float] = field(default_factory=dict)
    #: The term in which it leads, 0 for none, and since when.
    term: int = 0
    since: float = 0.0

    def leads(self, term: int, now: float) -> None:
        """Record the term in which it leads, 0 for none."""
        if term != self.term:
            self.term, self.since = term, now


class _Removed(NamedTuple):
    at: float
    victim: str
    entry: int
    term: int


class RemovalInvariants:
    """All rules of one run.

    :param committed: the one history of the run.
    :param drift: by how much a clock may be fast; ``None``: clocks may jump, so the window is not
        checked.
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
        """Record that a leader has so many voters at the virtual time ``at``."""
        if not self._sizes or self._sizes[-1][1] != voters:
            self._sizes.append((at, voters))

    def check(
        self,
        leader: str,
        victim: str,
        observation: LeaderObservation,
        now: float,
        after: Configuration,
    ) -> None:
        """Check the removal of a voter; ``after`` remains, and ``now`` is the leader's clock.

        :raises InvariantBroken: if the leader must not remove it.
        """
        rules, left = self._rules, after.voters
        if victim == leader or len(left) < rules.min_quorum:
            raise InvariantBroken(
                "a removal leaves enough voters", f"{leader} removes {victim}: {left} stay"
            )
        if now - observation.probed.get(victim, -1e9) < rules.dead_after:
            raise InvariantBroken(
                "a server that answers probes is not removed",
                f"{leader} removes {victim}, heard {now - observation.probed[victim]:.3f} s ago",
            )
        well = [
            voter
            for voter in left
            if voter == leader
            or now - observation.called.get(voter, -1e9) <= rules.last_contact_threshold
        ]
        if 2 * len(well) <= len(left):
            raise InvariantBroken(
                "a removal leaves a healthy majority",
                f"{leader} removes {victim}: {well} of {left} are well",
            )
        if not observation.term or now - observation.since < rules.stabilization_time:
            raise InvariantBroken(
                "only a stable leader removes voters",
                f"{leader} removes {victim} after {now - observation.since:.3f} s",
            )

    def removed(self, at: float, victim: str, index: int, term: int) -> None:
        """Record a removal appended at the virtual time ``at``.

        :raises InvariantBroken: if too many voters were removed within the window.
        """
        self._removed.append(_Removed(at, victim, index, term))
        begin = at - self._window
        victims = {r.victim for r in self._removed if r.at > begin and self._happened(r)} | {victim}
        before = [size for when, size in self._sizes if when <= begin][-1:]
        most = max((size for when, size in self._sizes if when > begin), default=0)
        most = max([most, *before])
        if self._window and len(victims) > (most - 1) // 2:
            raise InvariantBroken(
                "fewer than half of the voters are removed",
                f"{sorted(victims)} of {most} within {self._window:.1f} s",
            )

    def returned(self, server: str, before: Configuration, after: Configuration) -> None:
        """Check that a leader adds a server as a learner before it becomes a voter.

        :raises InvariantBroken: if it votes without having been a learner.
        """
        if after.is_voter(server):
            if before.get(server) is None:
                raise InvariantBroken(
                    "a returning server is a learner first", f"{server} votes at once"
                )
            self.voting_again += any(removal.victim == server for removal in self._removed)

    def _happened(self, removal: _Removed) -> bool:
        known = len(self._committed) >= removal.entry
        return known and self._committed[removal.entry - 1].term == removal.term
