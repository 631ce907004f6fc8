"""The session table compared with a model that keeps everything, and each of its bounds."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.errors import (
    BraftError,
    Busy,
    CommandFailed,
    Conflict,
    DecodeError,
    Rejected,
    SessionExpired,
)
from braft_core.services import sessions
from braft_core.services.sessions import (
    IDLE,
    MAX_CHARGE,
    MAX_STEP,
    MAX_TOTAL,
    NEW,
    SMALL,
    SessionTable,
)


def sid(number: int) -> bytes:
    """Return the id of a session."""
    return number.to_bytes(16, "big")


SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Do(NamedTuple):
    """One command: ``kind`` is ``open``, ``close`` or ``use``."""

    kind: str
    session: int
    sequence: int
    first_unacknowledged: int
    stamp: int
    outcome: Any


class Run:
    """A table, and the log of the commands that it let through."""

    def __init__(self) -> None:
        self.table = SessionTable()
        self.applied: list[int] = []

    def do(self, index: int, step: Do) -> Any:
        if step.kind == "open":
            return self.table.open(sid(index), step.stamp)
        if step.kind == "close":
            return self.table.close(sid(step.session), step.stamp)
        answer = self.table.begin(
            sid(step.session), step.sequence, step.first_unacknowledged, step.stamp
        )
        if answer is not NEW:
            return answer
        self.applied.append(index)
        self.table.finish(sid(step.session), step.sequence, step.outcome)
        return step.outcome

    def bytes(self) -> bytes:
        return b"".join(self.table.snapshot())


class Twin:
    """A model: the rules of the table by brute force over the whole history."""

    def __init__(self) -> None:
        self.history: list[tuple[int, Do, str]] = []
        self.answers: dict[tuple[int, int], Any] = {}

    def do(self, index: int, step: Do) -> Any:
        if step.kind == "open":
            self.history.append((index, step, "opened"))
            return sid(index)
        alive = self._alive(step.session, self._now(step))
        if step.kind == "close":
            self.history.append((index, step, "closed"))
            return alive
        self.history.append((index, step, "used" if alive else "refused"))
        if not alive:
            return "expired"
        first_unacknowledged = max(
            s.first_unacknowledged
            for _, s, what in self.history
            if s.session == step.session and s.kind == "use" and what == "used"
        )
        if step.sequence < max(1, first_unacknowledged):
            return "expired"
        return self.answers.setdefault((step.session, step.sequence), step.outcome)

    def _now(self, last: Do) -> int:
        return _time([*(s.stamp for _, s, _ in self.history), last.stamp])

    def _alive(self, session: int, now: int) -> bool:
        used: int | None = None
        before: list[int] = []
        for index, step, what in self.history:
            at = _time([*before, step.stamp])
            before.append(step.stamp)
            if what == "opened" and index == session:
                used = at
            elif step.session == session and what == "closed":
                used = None
            elif step.session == session and what == "used" and used is not None:
                used = at
        return used is not None and used + sessions.IDLE > now


def _time(stamps: list[int]) -> int:
    return sum(min(max(0, b - a), MAX_STEP) for a, b in itertools.pairwise(stamps))


OUTCOMES = st.one_of(
    st.none(),
    st.integers(0, 9),
    st.just("text"),
    st.just(b"bytes"),
    st.just([1, {"a": None}]),
    st.builds(lambda n: Conflict("no", revision=n), st.integers(0, 5)),
)


@st.composite
def steps(draw: st.DrawFn) -> list[Do]:
    found = []
    stamp = START
    kinds = st.sampled_from(["open", "close"] + ["use"] * 10)
    for _ in range(draw(st.integers(1, 40))):
        kind = draw(kinds)
        sequence = draw(st.integers(1, 6))
        stamp += draw(st.sampled_from([0, 1, SECOND, MAX_STEP, MAX_STEP * 20, -MAX_STEP, 10**18]))
        stamp = max(stamp, 1)
        found.append(
            Do(
                kind,
                draw(st.integers(1, 4)),
                sequence,
                draw(st.integers(1, sequence)),
                stamp,
                draw(OUTCOMES),
            )
        )
    return [Do("open", 0, 0, 0, START, None), *found]


def _same(answer: Any, expected: Any) -> bool:
    if expected == "expired":
        return isinstance(answer, SessionExpired)
    if isinstance(expected, BraftError):
        return type(answer) is type(expected) and answer.data == expected.data
    return type(answer) is type(expected) and bool(answer == expected)


@given(steps())
@settings(max_examples=300, deadline=None)
def test_the_table_answers_as_a_twin_that_remembers_all(plan: list[Do]) -> None:
    run, twin = Run(), Twin()
    seen: set[tuple[int, int]] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "IDLE", 4 * MAX_STEP)
        _compare(plan, run, twin, seen)


def _compare(plan: list[Do], run: Run, twin: Twin, seen: set[tuple[int, int]]) -> None:
    for index, step in enumerate(plan, 1):
        answer = run.do(index, step)
        assert _same(answer, twin.do(index, step)), (index, step, answer)
        if step.kind == "use" and index in run.applied:
            assert (step.session, step.sequence) not in seen, "applied twice"
            seen.add((step.session, step.sequence))


@given(steps(), st.data())
@settings(max_examples=200, deadline=None)
def test_a_table_restored_at_any_point_goes_on_as_the_one_that_was_not(
    plan: list[Do], data: st.DataObject
) -> None:
    run, other = Run(), Run()
    cut = data.draw(st.integers(0, len(plan)))
    for index, step in enumerate(plan, 1):
        if index == cut + 1:
            blob = run.bytes()
            size = data.draw(st.integers(1, 50))
            chunks = [blob[at : at + size] for at in range(0, len(blob), size)]
            other.table.restore(iter(chunks))
            assert other.bytes() == blob
        answer = run.do(index, step)
        if index > cut:
            assert _same(other.do(index, step), answer) or isinstance(answer, SessionExpired)
    if cut < len(plan):
        assert run.bytes() == other.bytes()


def opened(count: int = 1) -> Run:
    run = Run()
    for index in range(1, count + 1):
        run.do(index, Do("open", 0, 0, 0, START, None))
    return run


def use(
    run: Run,
    sequence: int,
    *,
    first_unacknowledged: int = 1,
    stamp: int = START,
    outcome: Any = None,
    session: int = 1,
) -> Any:
    return run.do(
        1000 + sequence, Do("use", session, sequence, first_unacknowledged, stamp, outcome)
    )


def test_an_hour_without_a_command_ends_a_session_and_a_command_keeps_it() -> None:
    run = opened(2)
    stamp = START
    for number in range(1, IDLE // MAX_STEP):
        stamp += MAX_STEP
        assert use(run, number, stamp=stamp, outcome=number) == number
    assert len(run.table) == 2
    stamp += MAX_STEP
    use(run, 100, stamp=stamp, outcome=0)
    assert len(run.table) == 1
    assert isinstance(use(run, 1, stamp=stamp, session=2), SessionExpired)


def test_a_leader_whose_clock_is_wrong_ends_no_session() -> None:
    run = opened(2)
    wrong = START + 10 * 365 * 86400 * SECOND
    assert use(run, 1, stamp=wrong, outcome=1) == 1
    for number in range(2, 50):
        assert use(run, number, stamp=wrong + number * SECOND, outcome=1) == 1
    for number in range(50, 99):  # the next leader's clock is right
        assert use(run, number, stamp=START + number * SECOND, outcome=1) == 1
    assert use(run, 1, session=2, outcome=7) == 7


def test_time_goes_on_at_the_rate_of_a_clock_that_is_wrong() -> None:
    run = opened(2)
    wrong = START - 86400 * SECOND
    number = 0
    for number in range(1, IDLE // MAX_STEP + 2):
        use(run, number, stamp=wrong + number * MAX_STEP)
    assert isinstance(use(run, 1, session=2, stamp=wrong + number * MAX_STEP), SessionExpired)


def test_entries_without_a_stamp_take_no_time() -> None:
    run = opened()
    use(run, 1, stamp=0)
    use(run, 2, stamp=START + 1)
    assert run.table._now == 1


def test_the_least_recently_used_session_makes_room_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    run = opened(3)
    use(run, 1, session=1)
    run.do(4, Do("open", 0, 0, 0, START, None))
    assert len(run.table) == 3
    assert isinstance(use(run, 1, session=2), SessionExpired)
    assert use(run, 1, session=1, outcome="again") is None


def test_a_session_full_of_answers_takes_no_command_until_the_floor_rises() -> None:
    run = opened()
    count = MAX_CHARGE // SMALL
    for number in range(1, count + 1):
        assert use(run, number, outcome=number) == number
    refused = use(run, count + 1, outcome="no")
    assert isinstance(refused, Busy)
    assert refused.data == {"session": sid(1).hex(), "first_unacknowledged": 1}
    assert use(run, 1, outcome="no") == 1, "repetitions are answered all the same"
    assert use(run, count + 1, first_unacknowledged=2, outcome="yes") == "yes"
    assert isinstance(use(run, 1), SessionExpired)


def test_what_was_refused_is_applied_when_it_comes_again() -> None:
    run = opened()
    use(run, 1, outcome="x" * MAX_CHARGE)
    use(run, 2, outcome="x" * (MAX_CHARGE - 100))
    assert isinstance(use(run, 3, outcome=3), Busy)
    assert use(run, 3, first_unacknowledged=3, outcome=3) == 3
    assert run.table._total == SMALL


def test_all_answers_together_are_bounded_and_the_oldest_sessions_go() -> None:
    big = "x" * (MAX_CHARGE - 100)
    count = MAX_TOTAL // MAX_CHARGE + 2
    run = opened(count)
    for session in range(1, count + 1):
        assert use(run, 1, session=session, outcome=big) == big
    assert run.table._total <= MAX_TOTAL
    assert isinstance(use(run, 1, session=1), SessionExpired)
    assert use(run, 1, session=count, outcome="other") == big


def test_an_answer_too_large_to_keep_is_not_applied_again() -> None:
    run = opened()
    use(run, 1, outcome="x" * (MAX_CHARGE + 1))
    again = use(run, 1, outcome="again")
    assert isinstance(again, Rejected)
    assert "was not kept" in again.message
    assert run.applied == [1001]


def test_errors_count_the_same_whatever_their_text_is() -> None:
    sizes = set()
    for text in ("short", "long " * 400, "very long " * 5000):
        run = opened()
        use(run, 1, outcome=CommandFailed(text, type="ValueError"))
        sizes.add(run.table._total)
        again = use(run, 1)
        assert isinstance(again, CommandFailed)
        assert again.message.startswith(text[:200])
    assert len(sizes) == 1


def test_a_repeated_answer_belongs_to_its_caller() -> None:
    run = opened()
    use(run, 1, outcome=[1])
    use(run, 1).append(2)
    assert use(run, 1) == [1]
    failed = use(run, 2, outcome=Conflict("no", revision=1))
    again = use(run, 2)
    assert again is not failed
    assert again.data == {"revision": 1}


def test_a_floor_may_leap_as_far_as_it_likes() -> None:
    run = opened()
    use(run, 1)
    use(run, 1 << 63, first_unacknowledged=(1 << 63) - 5, outcome=1)
    assert run.table._total == SMALL
    assert isinstance(use(run, 1), SessionExpired)


def test_an_empty_table_has_nothing_to_keep() -> None:
    table = SessionTable()
    assert not table
    assert b"".join(table.snapshot())
    table.open(sid(5), START)
    assert table
    table.restore(iter(()))
    assert not table
    assert len(table) == 0


def test_a_session_that_is_opened_again_keeps_its_answers_and_counts_as_used() -> None:
    run = opened()
    use(run, 3, first_unacknowledged=2, outcome="first")
    stamp = START
    for _ in range(IDLE // MAX_STEP - 1):
        stamp += MAX_STEP
        assert run.table.begin(sid(99), 1, 1, stamp) is not NEW
    assert run.table.open(sid(1), stamp) == sid(1)
    assert len(run.table) == 1
    assert use(run, 3, first_unacknowledged=2, stamp=stamp + MAX_STEP, outcome="again") == "first"
    assert isinstance(use(run, 1, stamp=stamp + MAX_STEP), SessionExpired)
    assert run.applied == [1003]


def test_a_session_that_is_opened_again_takes_no_room_from_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    run = opened(2)
    use(run, 1, session=1, outcome="kept")
    run.table.open(sid(2), START)
    assert use(run, 1, session=1, outcome="again") == "kept"


@pytest.mark.parametrize(
    "session", [-1, 0, 7, b"", b"short", bytes(8), bytes(17), "text", None, 1.0]
)
def test_what_is_no_id_of_a_session_is_not_restored(session: Any) -> None:
    rows = [msgpack.packb([5, START]), msgpack.packb([session, 5, 1, []])]
    with pytest.raises(DecodeError, match="not a session table"):
        SessionTable().restore(iter(rows))


def test_a_session_that_is_there_twice_is_not_restored() -> None:
    rows = [msgpack.packb([5, START]), *[msgpack.packb([bytes(16), 5, 1, []])] * 2]
    with pytest.raises(DecodeError, match="twice"):
        SessionTable().restore(iter(rows))


@pytest.mark.parametrize("cut", [1, 3, 10, 12])
def test_half_a_table_is_a_decode_error(cut: int) -> None:
    run = opened()
    use(run, 1, outcome="text")
    with pytest.raises(DecodeError, match="not a session table"):
        SessionTable().restore(iter([run.bytes()[:-cut]]))


@given(st.binary(max_size=40))
def test_no_bytes_do_more_than_fail_to_restore(data: bytes) -> None:
    try:
        SessionTable().restore(iter([data]))
    except DecodeError:
        return
