"""When a leader removes a voter that is dead, and why it does not.

Owns the rules, and what must be remembered between two looks to judge them. Pure: time in seconds
passed in, values in and out. It must not know how a voter is probed or how a change is committed.

The rules, all of them, for a voter ``v`` (the sentences of :class:`Decision` name the first that
does not hold):

* this node leads, has committed in its own term, and has done so without interruption for
  ``stabilization_time``; an interruption is also that it did not look for some seconds, because its
  process or machine stood still: who was away has no idea of what the others did;
* ``v`` was silent for ``dead_after`` both by Raft and when it was asked directly, and the last
  attempts to reach it, at every address known of it, failed. Discovery has no say: neither its
  errors nor its silence are evidence;
* nobody answers at an address of ``v`` who cannot be understood: that is a member with another
  setting of TLS, of the token or of the transport, in the middle of a rolling change;
* no change of the configuration is pending;
* without ``v`` at least ``min_quorum`` are left, and of those that are left a majority is healthy;
* fewer than a minority of the voters were removed within ``window``: of V voters at most
  (V - 1) / 2, so that what is left always shares a member with every majority of before;
* the last removal was a pause ago.

Nothing here brings a voter back: one that returns is a learner, and becomes a voter as any other
(:func:`braft_core.cluster.joining.should_promote`), also while a pause lasts.
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

#: Attempts in a row that must have failed at each address of a voter.
MIN_FAILURES = 3


class Verdict(Enum):
    """What came of a look."""

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
    """What came of asking one server directly."""

    #: Seconds since it last answered; infinity for never.
    age: float = inf
    #: Attempts in a row that failed, at that of its addresses where the fewest did.
    failures: int = 0
    #: Why somebody answers at one of its addresses and cannot be understood, "" if nobody does.
    incompatible: str = ""
    #: Seconds since that was so last; infinity for never.
    incompatible_age: float = inf


_NEVER = ProbeEvidence()


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one look, and the reason as a sentence."""

    verdict: Verdict
    reason: str
    #: The voter that is removed, or that a rule protects, or that is silent longest.
    subject: Server | None = None
    #: Seconds for which each voter that is not healthy has been silent, by its id.
    silent: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Verdict, str]:
        """Changes when there is something new to be told."""
        return self.verdict, self.subject.id if self.subject is not None else ""


class Autopilot:
    """Looks again and again. Remembers since when this node leads, and when removals were seen.

    A removal's age is counted from when this node first heard of it, by its own steady clock: a
    wall clock that jumps shortens no window, and a restart makes it longer.
    """

    def __init__(self, rules: AutopilotRules) -> None:
        self._rules = rules
        self._led_since = inf
        self._term = 0
        self._looked_at = -inf
        self._heard: dict[int, float] = {}

    def evaluate(
        self,
        now: float,
        own_id: str,
        view: RaftView,
        probed: Mapping[str, ProbeEvidence],
        removals: Sequence[Removal],
    ) -> Decision:
        """Judge.

        :param probed: of the other voters, by id; one that is missing was never asked.
        :param removals: all that are remembered.
        """
        self._observe(now, view, removals)
        if self._rules.mode == "off":
            return Decision(Verdict.OFF, "dead members are not removed: BRAFT_AUTOPILOT is off")
        if not view.is_leader:
            return Decision(Verdict.FOLLOWS, "the leader looks after the members")
        voters = [s for s in view.configuration.servers if s.suffrage == Suffrage.VOTER]
        others = [s for s in voters if s.id != own_id]
        silences = {s.id: _silence(s, view, probed) for s in others}
        silent = {i: age for i, age in silences.items() if age > self._rules.last_contact_threshold}
        if not silent:
            return Decision(Verdict.HEALTHY, f"all {len(voters)} voters are healthy")
        # One that runs with other settings must not stand before one that is dead.
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
        elif self._led_since == inf or self._was_away(now, view):
            self._led_since = now
        self._looked_at, self._term = now, view.term
        self._heard = {r.index: self._heard.get(r.index, now) for r in removals}

    def _was_away(self, now: float, view: RaftView) -> bool:
        """Whether it did not look for long, or others may have led since it did."""
        return now - self._looked_at > self._rules.max_gap or view.term != self._term

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
        # A node that is about to be understood again is restarted, and answers nobody meanwhile.
        age = min(silent[subject.id], asked.incompatible_age)
        if asked.incompatible and silent[subject.id] >= rules.dead_after:
            return (
                Verdict.INCOMPATIBLE,
                f"{who} has been silent for {silent[subject.id]:.0f} s, but somebody answers at "
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
                f"{who} has been silent for {age:.0f} s, and {failures} of {MIN_FAILURES} attempts "
                "in a row to reach it directly have failed",
            )
        dead = f"{who} is dead ({'never heard' if age == inf else f'silent for {age:.0f} s'})"
        led = now - self._led_since if self._led_since < inf else 0.0
        if led < rules.stabilization_time:
            return (
                Verdict.NOT_STEADY,
                f"{dead}; this node has led for {led:.0f} s, and removes nobody before "
                f"{rules.stabilization_time:g} s (BRAFT_LEADER_STEADY)",
            )
        if view.change_pending:
            return Verdict.PENDING, f"{dead}; another change of the members is under way"
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
        recent = [r for r in removals if now - self._heard[r.index] < window]
        before = max([voters, *(r.voters for r in recent)])
        allowed = (before - 1) // 2
        if len(recent) >= allowed:
            return (
                Verdict.SPENT,
                f"{dead}; it stays for now, since {len(recent)} of {before} voters were removed "
                f"within {window:g} s, and at most {allowed} may be (BRAFT_REMOVAL_WINDOW)",
            )
        last = max((self._heard[r.index] for r in recent), default=-inf)
        if now - last < pause:
            return (
                Verdict.PAUSE,
                f"{dead}; {now - last:.0f} of {pause:g} s since the last removal",
            )
        return Verdict.REMOVE, f"{dead}; {voters - 1} voters are left"


def _healthy(view: RaftView, voters: Sequence[Server], within: float) -> int:
    """How many voters answer to Raft; this one, which is no peer of its own, does."""
    contacts = [view.peers[s.id].last_contact for s in voters if s.id in view.peers]
    return 1 + sum(age <= within for age in contacts)


def _silence(server: Server, view: RaftView, probed: Mapping[str, ProbeEvidence]) -> float:
    """Seconds for which there was no sign of life of any kind."""
    by_raft = view.peers.get(server.id, PeerView()).last_contact
    return min(by_raft, probed.get(server.id, _NEVER).age)
