"""Reduce a failing run as long as the same rule breaks.

Delta debugging (Zeller and Hildebrandt 2002) on what a seed draws: time, kinds of faults, single
strikes, servers, clients, operations, and every parameter that has a harmless value. Owns the
search; a run is a function of the edits alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from braft_core.raft.config import RaftConfig
from braft_testing.simulation.edits import Edits
from braft_testing.simulation.plan import Plan
from braft_testing.simulation.world import Report

__all__ = ["minimize"]

#: Harmless values of the plan's fields.
_HARMLESS: dict[str, Any] = {
    "loss": 0.0,
    "duplication": 0.0,
    "reordering": 0.0,
    "jitter": 0.0,
    "alarm": 0.0,
    "late_wake": 0.0,
    "clock_drift": 0.0,
    "sync_latency": 0.0,
    "apply_latency": 0.0,
    "snapshot_every": 0,
    "snapshot_crash": 0.0,
    "snapshot_time": 0.0,
    "transfer_loss": 0.0,
    "transfer_time": 0.01,
    "session_share": 0.0,
    "set_share": 0.0,
    "lock_share": 0.0,
    "stale_share": 0.0,
    "lease_share": 0.0,
    "follower_read_share": 0.0,
    "bootstrap": False,
    "autopilot": None,
    "versions": (),
    "clients": 1,
}
_OPERATIONS = (200, 100, 50, 20, 10, 5, 2, 1, 0)
_TIMING = ("heartbeat_interval", "election_timeout", "election_jitter", "request_timeout")


class _Search:
    def __init__(
        self, plan: Plan, edits: Edits, report: Report, run: Callable[[Edits], Report], most: int
    ) -> None:
        self.plan = plan
        self.edits = edits
        self.report = report
        self.left = most
        self._run = run

    def attempt(self, edits: Edits) -> bool:
        """Keep these edits if the same rule still breaks."""
        if self.left <= 0 or edits == self.edits:
            return False
        self.left -= 1
        report = self._run(edits)
        if report.invariant != self.report.invariant:
            return False
        self.edits, self.report = edits, report
        return True

    def set_plan(self, **values: Any) -> bool:
        """Try other values of the plan's fields."""
        return self.attempt(replace(self.edits, plan={**self.edits.plan, **values}))

    def shorten(self) -> None:
        """End the faults where the rule breaks now, since later ones cannot matter."""
        if self.report.seconds < self.edits.applied_to(self.plan).seconds:
            self.set_plan(seconds=round(self.report.seconds + 1e-6, 6))

    def drop_kinds(self) -> None:
        """Drop kinds of faults, one after the other."""
        for kind in self.edits.applied_to(self.plan).faults:
            self.attempt(replace(self.edits, without=self.edits.without | {kind}))

    def drop_strikes(self) -> None:
        """Drop single strikes: halves, quarters, and so on."""
        strikes = [(kind, number) for _, kind, number in self.report.schedule]
        size = max(1, len(strikes) // 2)
        while strikes and size:
            for part in _parts(strikes, size):
                self.attempt(replace(self.edits, skip=self.edits.skip | set(part)))
            strikes = [(kind, number) for _, kind, number in self.report.schedule]
            size //= 2

    def simplify(self) -> None:
        """Try harmless values."""
        present = self.edits.applied_to(self.plan)
        for name, value in _HARMLESS.items():
            if getattr(present, name) != value:
                self.set_plan(**{name: value})
        default = RaftConfig()
        for name in RaftConfig.__slots__:
            value = getattr(default, name)
            if name not in _TIMING and getattr(present.config, name) != value:
                config = {**self.edits.config, name: value}
                self.attempt(replace(self.edits, config=config))

    def shrink(self) -> None:
        """Try fewer servers and fewer operations."""
        present = self.edits.applied_to(self.plan)
        for initial_voters in range(1, present.initial_voters + 1):
            if self.set_plan(servers=initial_voters, initial_voters=initial_voters):
                break
        present = self.edits.applied_to(self.plan)
        for servers in range(present.initial_voters, present.servers):
            if self.set_plan(servers=servers):
                break
        for operations in reversed(_OPERATIONS):
            if operations < present.operations and self.set_plan(operations=operations):
                break


def _parts(strikes: Sequence[tuple[str, int]], size: int) -> Iterable[Sequence[tuple[str, int]]]:
    return (strikes[start : start + size] for start in range(0, len(strikes), size))


def minimize(
    plan: Plan,
    edits: Edits,
    report: Report,
    run: Callable[[Edits], Report],
    most_runs: int = 400,
) -> tuple[Edits, Report]:
    """Return edits for the smallest run found that breaks the rule that ``report`` names.

    :param plan: what the seed draws, unedited.
    :param run: runs the seed with edits.
    """
    search = _Search(plan, edits, report, run, most_runs)
    before: Edits | None = None
    while search.edits != before and search.left > 0:
        before = search.edits
        search.shorten()
        search.drop_kinds()
        search.simplify()
        search.drop_strikes()
        search.shrink()
    return search.edits, search.report
