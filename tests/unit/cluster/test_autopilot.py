"""Each rule of dead server cleanup, and the guarantees of all together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.cluster.autopilot import (
    MIN_FAILURES,
    Autopilot,
    Decision,
    ProbeEvidence,
    Verdict,
)
from braft_core.cluster.interface import AutopilotRules, PeerView, RaftView, Removal
from braft_core.raft.types import Configuration, Server, Suffrage

RULES = AutopilotRules(stabilization_time=60.0, dead_after=60.0, min_quorum=2, window=3600.0)
DEAD = ProbeEvidence(inf, MIN_FAILURES)
LONG = 10_000.0


def servers(names: str, learners: str = "") -> Configuration:
    voters = [Server(n, f"{n}:1") for n in names]
    return Configuration((*voters, *(Server(n, f"{n}:1", Suffrage.NONVOTER) for n in learners)))


def view(names: str, silent: Iterable[str] = (), age: float = LONG, learners: str = "") -> RaftView:
    configuration = servers(names, learners)
    peers = {i: PeerView(age if i in silent else 0.1) for i in configuration.ids if i != "a"}
    return RaftView(configuration, "a", "a:1", True, True, peers=peers)


def steady(rules: AutopilotRules = RULES, names: str = "abc") -> Autopilot:
    """Return an autopilot whose node has led for 1,000 seconds without interruption."""
    autopilot = Autopilot(rules)
    for second in range(1001):
        autopilot.evaluate(float(second), "a", view(names), {}, [])
    return autopilot


def look(
    autopilot: Autopilot,
    seen: RaftView,
    dead: Iterable[str] = (),
    removals: Sequence[Removal] = (),
    now: float = 1000.2,
) -> Decision:
    return autopilot.evaluate(now, "a", seen, dict.fromkeys(dead, DEAD), removals)


def removal(index: int, voters: int, server_id: str = "z") -> Removal:
    return Removal(index, server_id, f"{server_id}:1", voters, "silent")


def test_a_voter_that_is_dead_by_all_rules_is_removed() -> None:
    decision = look(steady(), view("abc", "c"), "c")
    assert decision.verdict is Verdict.REMOVE
    assert decision.subject == Server("c", "c:1")
    assert decision.reason == "c at c:1 is dead (silent for 10000 s); 2 voters are left"
    assert decision.silent == {"c": LONG}


def test_an_incompatible_voter_is_never_dead() -> None:
    incompatible = ProbeEvidence(
        inf, 0, "cannot connect to c:1, though something listens there", 0.1
    )
    decision = steady().evaluate(1000.2, "a", view("abc", "c"), {"c": incompatible}, [])
    assert decision.verdict is Verdict.INCOMPATIBLE
    assert decision.subject == Server("c", "c:1")
    assert decision.reason.startswith("c at c:1 has been silent for 10000 s, but a process answers")
    assert incompatible.incompatible in decision.reason


def test_a_formerly_incompatible_voter_is_dead_only_after_its_own_silence() -> None:
    """A rolling change restarts it; until it answers, it looks like a dead voter."""
    asked = ProbeEvidence(inf, MIN_FAILURES, incompatible_age=59.0)
    decision = steady().evaluate(1000.2, "a", view("abc", "c"), {"c": asked}, [])
    assert decision.verdict is Verdict.SILENT
    asked = replace(asked, incompatible_age=60.0)
    assert (
        steady().evaluate(1000.2, "a", view("abc", "c"), {"c": asked}, []).verdict is Verdict.REMOVE
    )


def test_an_incompatible_voter_does_not_hide_a_dead_one() -> None:
    incompatible = ProbeEvidence(inf, 0, "handshake failed", 0.1)
    seen = view("abcdef", "bc")
    peers = {**seen.peers, "b": PeerView(LONG + 5)}
    autopilot = steady(names="abcdef")
    decision = autopilot.evaluate(
        1000.2, "a", replace(seen, peers=peers), {"b": incompatible, "c": DEAD}, []
    )
    assert decision.verdict is Verdict.REMOVE
    assert decision.subject == Server("c", "c:1")


def test_a_cluster_without_trouble_says_so() -> None:
    decision = look(steady(), view("abc"))
    assert (decision.verdict, decision.reason) == (Verdict.HEALTHY, "all 3 voters are healthy")


@pytest.mark.parametrize(
    ("age", "probed"),
    [
        (59.0, DEAD),
        (LONG, ProbeEvidence(59.0, MIN_FAILURES)),
        (LONG, ProbeEvidence(LONG, MIN_FAILURES - 1)),
        (LONG, ProbeEvidence(LONG, 0)),
    ],
)
def test_both_ways_must_have_been_silent_for_long(age: float, probed: ProbeEvidence) -> None:
    decision = steady().evaluate(1000.2, "a", view("abc", "c", age), {"c": probed}, [])
    assert decision.verdict is Verdict.SILENT


def test_a_voter_that_was_never_asked_is_not_removed() -> None:
    assert steady().evaluate(1000.2, "a", view("abc", "c"), {}, []).verdict is Verdict.SILENT


def test_a_sign_of_life_of_either_kind_is_one() -> None:
    seen = view("abc", "c")
    assert (
        steady().evaluate(1000.2, "a", seen, {"c": ProbeEvidence(0.5, 0)}, []).verdict
        is Verdict.HEALTHY
    )
    assert look(steady(), view("abc", "c", 2.0), "c").verdict is Verdict.HEALTHY


def test_a_leader_must_have_led_for_long_and_without_interruption() -> None:
    autopilot = Autopilot(RULES)
    seen = view("abc", "c")
    assert look(autopilot, seen, "c", now=0.0).verdict is Verdict.NOT_STEADY
    for second in range(1, 60):
        assert look(autopilot, seen, "c", now=float(second)).verdict is Verdict.NOT_STEADY
    assert look(autopilot, seen, "c", now=60.0).verdict is Verdict.REMOVE
    assert look(autopilot, replace(seen, is_leader=False), "c", now=61.0).verdict is Verdict.FOLLOWS
    assert look(autopilot, seen, "c", now=62.0).verdict is Verdict.NOT_STEADY


def test_a_leader_that_has_not_committed_in_its_term_is_not_stable() -> None:
    autopilot = steady()
    seen = replace(view("abc", "c"), has_quorum=False)
    assert look(autopilot, seen, "c").verdict is Verdict.NOT_STEADY
    assert look(autopilot, view("abc", "c"), "c", now=1000.4).verdict is Verdict.NOT_STEADY


def test_a_gap_between_evaluations_resets_the_leadership() -> None:
    autopilot = steady()
    later = 1000.0 + RULES.max_gap + 0.1
    assert look(autopilot, view("abc", "c"), "c", now=later).verdict is Verdict.NOT_STEADY


def test_a_new_term_resets_the_leadership() -> None:
    autopilot = steady()
    seen = replace(view("abc", "c"), term=7)
    assert look(autopilot, seen, "c").verdict is Verdict.NOT_STEADY
    assert look(autopilot, seen, "c", now=1000.4).verdict is Verdict.NOT_STEADY


def test_one_change_at_a_time() -> None:
    seen = replace(view("abc", "c"), change_pending=True)
    assert look(steady(), seen, "c").verdict is Verdict.PENDING


def test_no_fewer_voters_than_wanted() -> None:
    rules = replace(RULES, min_quorum=3)
    decision = look(steady(rules), view("abc", "c"), "c")
    assert decision.verdict is Verdict.TOO_FEW_VOTERS
    assert "2 of 3 voters would be left, fewer than 3 (BRAFT_MIN_VOTERS)" in decision.reason
    assert look(steady(rules), view("abcd", "d"), "d").verdict is Verdict.REMOVE


def test_half_of_four_is_not_enough() -> None:
    decision = look(steady(names="abcd"), view("abcd", "cd"), "cd")
    assert decision.verdict is Verdict.REMOVE, "3 would be left, and 2 of them are healthy"
    decision = look(steady(names="abcde"), view("abcde", "cde"), "cde")
    assert decision.verdict is Verdict.TOO_FEW_HEALTHY
    assert "2 of the 4 voters that would be left are healthy" in decision.reason


def test_answers_to_probes_alone_do_not_count_as_healthy() -> None:
    seen = view("abcd", "bcd")
    probed = {"b": ProbeEvidence(0.1, 0), "c": ProbeEvidence(0.1, 0), "d": DEAD}
    decision = steady(names="abcd").evaluate(1000.2, "a", seen, probed, [])
    assert decision.verdict is Verdict.TOO_FEW_HEALTHY


def test_fewer_than_a_minority_within_the_window() -> None:
    autopilot = steady(names="abcde")
    seen = view("abcd", "d")
    two = [removal(1, 6), removal(2, 5)]
    autopilot.evaluate(1000.1, "a", seen, {}, two)
    decision = look(autopilot, seen, "d", two, now=1000.2 + RULES.pause)
    assert decision.verdict is Verdict.NOT_STEADY, "it did not look for ten seconds"
    for tenth in range(10_105, 46_000):
        decision = look(autopilot, seen, "d", two, now=tenth / 10)
        assert decision.verdict in (Verdict.NOT_STEADY, Verdict.SPENT)
    assert "2 of 6 voters were removed within 3600 s, and at most 2 may be" in decision.reason
    assert look(autopilot, seen, "d", two, now=4600.2).verdict is Verdict.REMOVE


def test_a_pause_after_each_removal() -> None:
    autopilot = steady(names="abcdefg")
    seen, one = view("abcdef", "f"), [removal(1, 7)]
    assert look(autopilot, seen, "f", one, now=1000.5).verdict is Verdict.PAUSE
    for tenth in range(10_006, 10_105):
        assert look(autopilot, seen, "f", one, now=tenth / 10).verdict is Verdict.PAUSE
    assert look(autopilot, seen, "f", one, now=1010.5).verdict is Verdict.REMOVE


def test_a_restart_makes_the_window_longer_and_never_shorter() -> None:
    """A node counts a removal from the moment at which it learns of it."""
    autopilot = Autopilot(replace(RULES, stabilization_time=0.0))
    seen, one = view("abc", "c"), [removal(1, 3)]
    assert look(autopilot, seen, "c", one, now=0.0).verdict is Verdict.SPENT


def test_the_one_that_was_silent_longest_goes_first() -> None:
    seen = view("abcde", "de")
    peers = {**seen.peers, "e": PeerView(2 * LONG)}
    decision = look(steady(names="abcde"), replace(seen, peers=peers), "de")
    assert decision.subject is not None
    assert decision.subject.id == "e"


def test_learners_are_not_removed() -> None:
    assert look(steady(), view("abc", "x", learners="x"), "x").verdict is Verdict.HEALTHY


def test_off_is_off() -> None:
    rules = replace(RULES, mode="off")
    assert look(steady(rules), view("abc", "c"), "c").verdict is Verdict.OFF


def test_the_key_changes_with_verdict_or_subject_only() -> None:
    autopilot = steady()
    first = look(autopilot, view("abc", "c", 10.0), "c")
    assert first.key == look(autopilot, view("abc", "c", 11.0), "c", now=1000.4).key
    assert first.key != look(autopilot, view("abc", "b", 11.0), "b", now=1000.6).key


ages = st.one_of(st.floats(0, 200), st.just(inf))
NAMES = "abcdefg"


@given(
    size=st.integers(1, 7),
    contact=st.lists(ages, min_size=7, max_size=7),
    probes=st.lists(st.tuples(ages, st.integers(0, 5)), min_size=7, max_size=7),
    min_quorum=st.integers(1, 5),
    recent=st.lists(st.integers(1, 9), max_size=4),
    pending=st.booleans(),
    committed=st.booleans(),
)
def test_a_removal_always_keeps_the_rules(
    size: int,
    contact: list[float],
    probes: list[tuple[float, int]],
    min_quorum: int,
    recent: list[int],
    pending: bool,
    committed: bool,
) -> None:
    names = NAMES[:size]
    rules = replace(RULES, min_quorum=min_quorum)
    autopilot = steady(rules, names)
    removals = [removal(n, voters) for n, voters in enumerate(recent, start=1)]
    peers = {n: PeerView(contact[i]) for i, n in enumerate(names) if n != "a"}
    probed = {n: ProbeEvidence(*probes[i]) for i, n in enumerate(names) if n != "a"}
    seen = RaftView(servers(names), "a", "a:1", True, committed, pending, peers=peers)
    decision = autopilot.evaluate(1000.2, "a", seen, probed, removals)
    if decision.verdict is not Verdict.REMOVE:
        return
    assert committed
    assert not pending
    assert decision.subject is not None
    gone = decision.subject.id
    assert gone != "a"
    assert min(peers[gone].last_contact, probed[gone].age) >= rules.dead_after
    assert probed[gone].failures >= MIN_FAILURES
    left = [n for n in names if n != gone]
    assert len(left) >= min_quorum
    healthy = [n for n in left if n == "a" or peers[n].last_contact <= rules.last_contact_threshold]
    assert 2 * len(healthy) > len(left)
    assert not removals, "the last one was no pause ago"


@given(
    size=st.integers(2, 9),
    deaths=st.lists(st.integers(0, 8), max_size=20),
    restarts=st.sets(st.integers(0, 20)),
)
def test_over_any_hour_less_than_half_of_the_voters_go(
    size: int, deaths: list[int], restarts: set[int]
) -> None:
    """Voters die every few minutes and leaders change; a majority always remains."""
    names = list("abcdefghi"[:size])
    rules = replace(RULES, stabilization_time=0.0, min_quorum=1)
    autopilot, now, removals = Autopilot(rules), 0.0, list[Removal]()
    for turn, death in enumerate(deaths):
        if turn in restarts:
            autopilot = Autopilot(rules)
        victims = [n for n in names if n != "a"]
        dead = victims[death % len(victims)] if victims else ""
        for _ in range(120):
            now += 1.0
            seen = view("".join(names), dead)
            decision = look(autopilot, seen, dead, removals, now)
            if decision.verdict is Verdict.REMOVE:
                removals.append(removal(len(removals) + 1, len(names), dead))
                names.remove(dead)
                break
    assert len(removals) <= (size - 1) // 2
