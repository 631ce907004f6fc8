"""The checker of a run accepts correct histories and finds each broken guarantee."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from braft_testing.faults.checking import (
    Violation,
    check_calls,
    check_journal,
    check_revisions,
)
from braft_testing.faults.recording import ABSENT, Action, Call, Recorder
from braft_testing.simulation.history import Outcome


class Register:
    """A cluster that never fails, as its clients see it: produces correct histories."""

    def __init__(self, key: str = "register-1") -> None:
        self.key = key
        self.calls: list[Call] = []
        self._value = self._revision = ABSENT
        self._clock = 0.0
        self._index = 10

    def call(self, action: Action, value: int = ABSENT, **told: object) -> Call:
        call = Call(len(self.calls) + 1, "client-0", action, self.key, value)
        call.invoked, call.returned = self._clock, self._clock + 0.5
        self._clock += 1.0
        call.outcome = Outcome.OK
        for name, fact in told.items():
            setattr(call, name, fact)
        self.calls.append(call)
        return call

    def put(self, value: int) -> Call:
        self._index += 1
        self._value, self._revision = value, self._index
        return self.call(Action.PUT, value, revision=self._revision)

    def get(self) -> Call:
        return self.call(Action.GET, seen=self._value, revision=self._revision)

    def put_if(self, value: int) -> Call:
        expected = {"expected": self._value, "expected_revision": self._revision}
        self._index += 1
        self._value, self._revision = value, self._index
        return self.call(Action.PUT_IF, value, revision=self._revision, **expected)

    def delete(self) -> Call:
        self._value = self._revision = ABSENT
        return self.call(Action.DELETE, revision=None)


def rules(calls: list[Call]) -> set[str]:
    return {violation.rule for violation in check_calls(calls).violations}


def a_history() -> Register:
    register = Register()
    register.get()
    register.put(1)
    register.get()
    register.put_if(2)
    register.get()
    register.delete()
    register.get()
    register.put(3)
    register.get()
    return register


def a_counter() -> Register:
    register = Register("counter-1")
    for total in range(1, 6):
        register.get()
        register.put_if(total)
    register.get()
    return register


def test_right_histories_pass() -> None:
    verdict = check_calls([*a_history().calls, *a_counter().calls])
    assert (verdict.keys, verdict.violations, verdict.undecided) == (2, (), ())


def test_a_lost_acknowledged_write_is_reported() -> None:
    calls = a_history().calls
    last = calls[-1]
    calls[-1] = replace(last, seen=ABSENT, revision=ABSENT)
    assert rules(calls) == {"linearizable"}


def test_a_stale_read_is_reported_twice() -> None:
    calls = a_history().calls
    before = calls[2]
    calls[4] = replace(calls[4], seen=before.seen, revision=before.revision)
    assert rules(calls) == {"linearizable", "stale"}


def test_a_stale_read_is_reported_even_where_the_search_is_given_up() -> None:
    calls = a_history().calls
    calls[4] = replace(calls[4], seen=calls[2].seen, revision=calls[2].revision)
    verdict = check_calls(calls, max_states=1)
    assert verdict.undecided == ("register-1",)
    assert {violation.rule for violation in verdict.violations} == {"stale"}


def test_a_write_that_was_applied_twice_is_reported() -> None:
    register = a_history()
    last = register.calls[-1]
    register.calls[-1] = replace(last, revision=(last.revision or 0) + 1)
    assert rules(register.calls) == {"doubled"}


def test_a_write_that_comes_back_is_reported() -> None:
    register = a_history()
    register.call(Action.GET, seen=1, revision=register.calls[1].revision)
    assert rules(register.calls) == {"linearizable", "stale"}


def test_a_revision_of_two_values_is_reported() -> None:
    calls = a_history().calls
    calls[2] = replace(calls[2], seen=77)
    assert rules(calls) == {"linearizable", "revisions"}


def test_a_refused_write_that_took_effect_is_reported() -> None:
    calls = a_history().calls
    calls[-2] = replace(calls[-2], outcome=Outcome.FAILED, revision=None)
    assert rules(calls) == {"linearizable"}


@pytest.mark.parametrize("observed", [True, False])
def test_a_write_of_unknown_outcome_may_have_happened_or_not(observed: bool) -> None:
    calls = a_history().calls
    put, read = calls[-2], calls[-1]
    calls[-2] = replace(put, outcome=Outcome.UNKNOWN, revision=None, returned=float("inf"))
    if not observed:
        calls[-1] = replace(read, seen=ABSENT, revision=ABSENT)
    assert rules(calls) == set()


def test_a_conflict_must_be_with_what_was_there() -> None:
    register = Register()
    first = register.put(1)
    second = register.put(2)
    conflict = {"conflict": True, "expected": 1, "expected_revision": first.revision}
    register.call(Action.PUT_IF, 3, revision=second.revision, **conflict)
    assert rules(register.calls) == set()
    register.calls[-1] = replace(register.calls[-1], revision=first.revision, expected=2)
    assert rules(register.calls) == {"linearizable", "stale"}


def test_a_conflict_with_an_unanswered_write_is_allowed() -> None:
    register = Register()
    register.put(1)
    register.call(Action.PUT_IF, 3, revision=99, conflict=True, expected=1, expected_revision=11)
    assert rules(register.calls) == set()


def test_a_delete_that_found_nothing_must_have_had_nothing_to_find() -> None:
    register = Register()
    register.put(1)
    register.call(Action.DELETE, seen=ABSENT)
    assert rules(register.calls) == {"linearizable"}


def test_a_doubled_increment_is_reported() -> None:
    register = a_counter()
    last = register.calls[-1]
    # Five were acknowledged and the counter is six: one was applied twice.
    register.calls[-1] = replace(last, seen=(last.seen or 0) + 1, revision=(last.revision or 0) + 1)
    assert rules(register.calls) == {"counter", "linearizable"}


def test_two_increments_to_the_same_sum_are_reported() -> None:
    register = a_counter()
    twin = replace(register.calls[-2], number=99, client="client-1", revision=16)
    register.calls.append(twin)
    assert {"counter", "linearizable"} <= rules(register.calls)


def test_a_lost_increment_is_reported() -> None:
    register = a_counter()
    register.calls[-1] = replace(register.calls[-1], seen=4, revision=14)
    assert rules(register.calls) == {"counter", "linearizable", "stale"}


def test_an_increment_of_unknown_outcome_may_be_in_the_sum_or_not() -> None:
    for happened in (True, False):
        register = a_counter()
        unknown = {"expected": 5, "expected_revision": 15, "outcome": Outcome.UNKNOWN}
        register.call(Action.PUT_IF, 6, returned=float("inf"), **unknown)
        seen, revision = (6, 16) if happened else (5, 15)
        register.call(Action.GET, seen=seen, revision=revision)
        assert rules(register.calls) == set()


def test_an_increment_of_unknown_outcome_may_have_come_too_late_from_the_start() -> None:
    register = a_counter()
    unknown = {"expected": 4, "expected_revision": 14, "outcome": Outcome.UNKNOWN}
    register.call(Action.PUT_IF, 5, returned=float("inf"), **unknown)
    register.get()
    assert rules(register.calls) == set()


def test_a_value_that_is_seen_before_it_is_written_is_reported() -> None:
    register = Register()
    register.call(Action.GET, seen=1, revision=11)
    register.call(Action.PUT, 1, returned=float("inf"), outcome=Outcome.UNKNOWN)
    assert rules(register.calls) == {"linearizable"}


def test_concurrent_calls_may_be_seen_in_either_order() -> None:
    register = Register()
    register.put(1)
    during = register.put(2)
    read = register.get()
    read.invoked, read.returned = during.invoked, during.returned
    for value, revision in ((1, 11), (2, 12)):
        register.calls[-1] = replace(read, seen=value, revision=revision)
        assert rules(register.calls) == set()


def test_a_long_history_with_many_unknown_outcomes_is_decided() -> None:
    chance = random.Random(1)
    register = Register()
    for value in range(1, 400):
        put = register.put(value)
        if chance.random() < 0.3:
            put.outcome, put.returned, put.revision = Outcome.UNKNOWN, float("inf"), None
        register.get()
    assert check_calls(register.calls).undecided == ()
    assert rules(register.calls) == set()


# --------------------------------------------------------------------------------------------
# Journals


def journal() -> tuple[list[Call], dict[str, object]]:
    outcomes = [Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN, Outcome.UNKNOWN]
    calls = [
        Call(n, "probe-0", Action.PUT, f"probe-0-{n}", n, outcome=outcome, revision=n)
        for n, outcome in enumerate(outcomes, start=1)
    ]
    return calls, {"probe-0-1": 1, "probe-0-3": 3}


def journal_rules(calls: list[Call], items: dict[str, object]) -> list[str]:
    return [violation.rule for violation in check_journal("journal", calls, items)]


def test_a_journal_holds_what_was_acknowledged_and_perhaps_what_is_unknown() -> None:
    calls, items = journal()
    assert journal_rules(calls, items) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"probe-0-1": None}, "lost"),
        ({"probe-0-1": 9}, "lost"),
        ({"probe-0-2": 2}, "refused"),
        ({"probe-0-3": 9}, "altered"),
        ({"probe-0-7": 7}, "invented"),
    ],
)
def test_each_wrong_journal_is_reported(change: dict[str, int | None], rule: str) -> None:
    calls, items = journal()
    merged = {key: value for key, value in {**items, **change}.items() if value is not None}
    assert journal_rules(calls, merged) == [rule]


def test_a_violation_says_rule_key_and_what_happened() -> None:
    calls = a_history().calls
    calls[4] = replace(calls[4], seen=1, revision=calls[2].revision)
    (found,) = check_revisions("register-1", calls)
    assert isinstance(found, Violation)
    text = str(found)
    assert text.startswith("stale: register-1: ")
    assert "get: ok 1@11" in text
    assert "put 2 if 1@11: ok None@12" in text


# --------------------------------------------------------------------------------------------
# The recorder


def test_the_longest_gap_is_between_acknowledged_writes_alone() -> None:
    recorder = Recorder()
    moments = iter([1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 7.0, 7.5])
    recorder.now = lambda: next(moments)  # type: ignore[method-assign]
    for action in (Action.PUT, Action.GET, Action.PUT_IF):
        call = recorder.invoke("client-0", action, "k")
        recorder.answered(call, revision=1)
    call = recorder.invoke("client-0", Action.PUT, "k")
    recorder.failed(call, "no leader")
    assert recorder.longest_gap(0.5, 9.0) == 6.0
    assert recorder.longest_gap(0.5, 2.5) == 1.5
    assert recorder.longest_gap(4.0, 5.0) == 1.0
    assert [recorder.acknowledged_since(start) for start in (0.5, 1.0, 2.0, 3.1)] == [2, 2, 1, 0]


def test_a_call_without_an_answer_stays_unknown() -> None:
    recorder = Recorder()
    call = recorder.invoke("client-0", Action.PUT, "k")
    recorder.lost(call, "OutcomeUnknown: no answer")
    assert call.outcome is Outcome.UNKNOWN
    assert call.returned == float("inf")
    assert not call.took_effect
