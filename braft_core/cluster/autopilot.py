"""The rules by which a leader removes a dead voter, and the reasons why it does not.

Owns the rules and the state between two evaluations. Pure: time in seconds is passed in. It does
not know how a voter is probed or how a change is committed.

A voter ``v`` is removed if all of these hold (:class:`Decision` names the first that does not):

* This node has led for ``stabilization_time`` without interruption, with an entry of its own term
  committed. A gap of more than ``max_gap`` between evaluations also counts as an interruption: a
  suspended leader cannot know what happened meanwhile.
* ``v`` was silent for ``dead_after`` both in Raft and to direct probes, and the last probes of all
  its known addresses failed. Discovery is no evidence, neither its errors nor missing entries.
* No process with another protocol answers at an address of ``v``. It could be ``v`` itself with
  other settings of TLS, token or transport, in the middle of a rolling change.
* No change of the configuration is pending.
* Without ``v`` at least ``min_quorum`` voters remain, and a majority of those is healthy.
* Within ``window``, at most (V - 1) / 2 of V voters are removed, so that the remaining voters
  share a member with every earlier majority.
* ``pause`` has passed since the last removal.

A removed voter that returns becomes a learner and is promoted as any other
(:func:`braft_core.cluster.joining.should_promote`), also during a pause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from braft_core.cluster.interface import AutopilotRules, PeerView, RaftView, Removal
from braft_core.cluster.messages import describe_server
from braft_core.raft.types import Server, Suffrage

__all__ = ["Autopilot", "Decision", "ProbeEvidence", "Verdict"]

#: Consecutive probes that must have failed at each address of a voter.
MIN_FAILURES = 3


class Verdict(Enum):
    """Outcome of one evaluation."""

    OFF = "off"
    FOLLOWS = "follows"
    HEALTHY = "healthy"
    SILENT = "silent"
    INCOMPATIBLE = "not understood"
    NOT_STEADY = "not steady"
    PENDING = "change pending"
    TOO_FEW_VOTERS = "too few voters"
    TOO_FEW_HEALTHY = "too few healthy"
    SPENT = "window spent"
    PAUSE = "pause"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class ProbeEvidence:
    """What direct probes of one server have shown."""

    #: Seconds since it last answered; infinity for never.
    age: float = inf
    #: Consecutive failed probes, at that of its addresses with the fewest.
    failures: int = 0
    #: The error, if an incompatible process answers at one of its addresses; else "".
    incompatible: str = ""
    #: Seconds since an incompatible process last answered; infinity for never.
    incompatible_age: float = inf


_NEVER = ProbeEvidence()


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one evaluation, and the reason as a message."""

    verdict: Verdict
    reason: str
    #: The voter that is removed, or protected by a rule, or silent longest.
    subject: Server | None = None
    #: Seconds of silence of each voter that is not healthy, by its id.
    silent: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Verdict, str]:
        """The part whose change is worth a log line."""
        return self.verdict, self.subject.id if self.subject is not None else ""


class Autopilot:
    """Evaluates the rules. Remembers since when this node leads, and when it learned of removals.

    The age of a removal counts from when this node learned of it, by its monotonic clock. So a jump
    of the wall clock shortens no window, and a restart extends it.
    """

    def __init__(self, rules: AutopilotRules) -> None:
        self._rules = rules
        self._led_since = inf
        self._term = 0
        self._evaluated_at = -inf
        self._learned_at: dict[int, float] = {}

    def evaluate(
        self,
        now: float,
        own_id: str,
        view: RaftView,
        probed: Mapping[str, ProbeEvidence],
        removals: Sequence[Removal],
    ) -> Decision:
        """Evaluate the rules now.

        :param probed: the probes of the other voters, by id; no entry means never probed.
        :param removals: all removals that the cluster remembers.
        """
        self._observe(now, view, removals)
        if self._rules.mode == "off":
            return Decision(Verdict.OFF, "dead members are not removed: BRAFT_AUTOPILOT is off")
        if not view.is_leader:
            return Decision(Verdict.FOLLOWS, "only the leader removes dead members")
        voters = [s for s in view.configuration.servers if s.suffrage == Suffrage.VOTER]
        others = [s for s in voters if s.id != own_id]
        silences = {s.id: _silence(s, view, probed) for s in others}
        silent = {i: age for i, age in silences.items() if age > self._rules.last_contact_threshold}
        if not silent:
            return Decision(Verdict.HEALTHY, f"all {len(voters)} voters are healthy")
        # An incompatible voter must not hide a dead one.
        subject = max(
            (s for s in others if s.id in silent),
            key=lambda s: (not probed.get(s.id, _NEVER).incompatible, silent[s.id]),
        )
        verdict, reason = self._judge(now, view, subject, voters, silent, probed, removals)
        return Decision(verdict, reason, subject, silent)

    def _observe(self, now: float, view: RaftView, removals: Sequence[Removal]) -> None:
        steady = view.is_leader and view.has_quorum
        if not steady:
            self._led_since = inf
        elif self._led_since == inf or self._was_interrupted(now, view):
            self._led_since = now
        self._evaluated_at, self._term = now, view.term
        self._learned_at = {r.index: self._learned_at.get(r.index, now) for r in removals}

    def _was_interrupted(self, now: float, view: RaftView) -> bool:
        """Return whether the last evaluation is long ago, or another node may have led since."""
        return now - self._evaluated_at > self._rules.max_gap or view.term != self._term

    def _judge(
        self,
        now: float,
        view: RaftView,
        subject: Server,
        voters: Sequence[Server],
        silent: Mapping[str, float],
        probed: Mapping[str, ProbeEvidence],
        removals: Sequence[Removal],
    ) -> tuple[Verdict, str]:
        rules, who, asked = self._rules, describe_server(subject), probed.get(subject.id, _NEVER)
        # A node in a rolling change of settings is restarted, and answers nothing meanwhile.
        age = min(silent[subject.id], asked.incompatible_age)
        if asked.incompatible and silent[subject.id] >= rules.dead_after:
            return (
                Verdict.INCOMPATIBLE,
                f"{who} has been silent for {silent[subject.id]:.0f} s, but a process answers at "
                f"its address, so it is not dead: {asked.incompatible}",
            )
        if age < rules.dead_after:
            return (
                Verdict.SILENT,
                f"{who} has been silent for {age:.0f} s; it is dead after {rules.dead_after:g} s",
            )
        failures = asked.failures
        if failures < MIN_FAILURES:
            return (
                Verdict.SILENT,
                f"{who} has been silent for {age:.0f} s, and {failures} of {MIN_FAILURES} "
                "consecutive direct probes have failed",
            )
        dead = f"{who} is dead ({'never heard' if age == inf else f'silent for {age:.0f} s'})"
        led = now - self._led_since if self._led_since < inf else 0.0
        if led < rules.stabilization_time:
            return (
                Verdict.NOT_STEADY,
                f"{dead}; this node has led for {led:.0f} s, and removes members only after "
                f"{rules.stabilization_time:g} s (BRAFT_LEADER_STEADY)",
            )
        if view.change_pending:
            return Verdict.PENDING, f"{dead}; another membership change is pending"
        left = len(voters) - 1
        if left < rules.min_quorum:
            return (
                Verdict.TOO_FEW_VOTERS,
                f"{dead}; it stays, since {left} of {len(voters)} voters would be left, fewer than "
                f"{rules.min_quorum} (BRAFT_MIN_VOTERS)",
            )
        healthy, quorum = _healthy(view, voters, rules.last_contact_threshold), left // 2 + 1
        if healthy < quorum:
            return (
                Verdict.TOO_FEW_HEALTHY,
                f"{dead}; it stays, since {healthy} of the {left} voters that would be left are "
                f"healthy, fewer than their majority of {quorum}",
            )
        return self._within_budget(now, dead, len(voters), removals)

    def _within_budget(
        self, now: float, dead: str, voters: int, removals: Sequence[Removal]
    ) -> tuple[Verdict, str]:
        window, pause = self._rules.window, self._rules.pause
        recent = [r for r in removals if now - self._learned_at[r.index] < window]
        before = max([voters, *(r.voters for r in recent)])
        allowed = (before - 1) // 2
        if len(recent) >= allowed:
            return (
                Verdict.SPENT,
                f"{dead}; it stays for now, since {len(recent)} of {before} voters were removed "
                f"within {window:g} s, and at most {allowed} may be (BRAFT_REMOVAL_WINDOW)",
            )
        last = max((self._learned_at[r.index] for r in recent), default=-inf)
        if now - last < pause:
            return (
                Verdict.PAUSE,
                f"{dead}; {now - last:.0f} of {pause:g} s since the last removal",
            )
        return Verdict.REMOVE, f"{dead}; {voters - 1} voters are left"


def _healthy(view: RaftView, voters: Sequence[Server], within: float) -> int:
    """Count the voters in contact with Raft, including this node."""
    contacts = [view.peers[s.id].last_contact for s in voters if s.id in view.peers]
    return 1 + sum(age <= within for age in contacts)


def _silence(server: Server, view: RaftView, probed: Mapping[str, ProbeEvidence]) -> float:
    """Return the seconds since the last sign of life in Raft or to a probe."""
    by_raft = view.peers.get(server.id, PeerView()).last_contact
    return min(by_raft, probed.get(server.id, _NEVER).age)
