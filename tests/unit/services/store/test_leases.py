"""Leases compared with a naive model, the promise that none ends early, and each bound."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.abc import CommandContext
from braft_core.errors import (
    BraftError,
    DecodeError,
    InvalidArgument,
    LeaseExists,
    LeaseNotFound,
)
from braft_core.services.store import leases as module
from braft_core.services.store.leases import (
    GRACE,
    HORIZON,
    MAX_EXPIRED,
    MAX_EXPIRED_KEYS,
    MAX_ID,
    MAX_RENEWED,
    MAX_STEP,
    MAX_TTL,
    Expired,
    Leases,
    LogClock,
)

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def at(seconds: float, term: int = 1) -> CommandContext:
    """Return the context of a command that was appended so long after the start."""
    return CommandContext(1, term, START + round(seconds * SECOND))


class Do(NamedTuple):
    """One command with its term and the leader's wall clock."""

    kind: str
    term: int
    stamp: int
    argument: Any


class Naive:
    """The rules of the module's docstring, word for word, in no hurry."""

    def __init__(self) -> None:
        self.now = self.stamp = self.term = 0
        #: By id: ttl, deadline, keys.
        self.leases: dict[int, tuple[int, int, set[bytes]]] = {}

    def advance(self, term: int, stamp: int) -> None:
        if term != self.term:
            self.term, self.stamp = term, stamp
            for lease, (ttl, deadline, keys) in self.leases.items():
                self.leases[lease] = (ttl, max(deadline, self.now + min(ttl, GRACE)), keys)
        else:
            self.now += min(max(0, stamp - self.stamp), MAX_STEP)
            self.stamp = stamp

    def grant(self, term: int, stamp: int, lease: int, ttl: float) -> Any:
        if lease in self.leases:
            return LeaseExists
        self.advance(term, stamp)
        span = round(max(ttl, 2) * SECOND)
        self.leases[lease] = (span, self.now + span, set())
        return max(ttl, 2)

    def renew(self, term: int, stamp: int, leases: list[int]) -> Any:
        self.advance(term, stamp)
        for lease in leases:
            if lease in self.leases:
                ttl, _, keys = self.leases[lease]
                self.leases[lease] = (ttl, self.now + ttl, keys)
        return [self.leases[n][0] / SECOND if n in self.leases else 0 for n in leases]

    def revoke(self, term: int, stamp: int, lease: int) -> Any:
        if lease not in self.leases:
            return LeaseNotFound
        self.advance(term, stamp)
        return sorted(self.leases.pop(lease)[2])

    def tick(self, term: int, stamp: int, claimed: int) -> Any:
        if claimed != term:
            return []
        self.advance(term, stamp)
        due = sorted((d, n) for n, (_, d, _) in self.leases.items() if d <= self.now)
        return [Expired(n, sorted(self.leases.pop(n)[2])) for _, n in due[:MAX_EXPIRED]]

    def attach(self, lease: int, key: bytes) -> Any:
        if lease not in self.leases:
            return LeaseNotFound
        self.leases[lease][2].add(key)
        return None

    def detach(self, lease: int, key: bytes) -> Any:
        if lease in self.leases:
            self.leases[lease][2].discard(key)


def real(leases: Leases, do: Do) -> Any:
    """Run a command on the leases; return its answer, or the class of its error."""
    context = CommandContext(1, do.term, do.stamp)
    try:
        match do.kind:
            case "grant":
                return leases.grant(context, *do.argument)
            case "attach" | "detach":
                return getattr(leases, do.kind)(*do.argument)
            case kind:
                return getattr(leases, kind)(context, do.argument)
    except BraftError as error:
        return type(error)


def naive(model: Naive, do: Do) -> Any:
    """Run a command on the model."""
    match do.kind:
        case "grant":
            return model.grant(do.term, do.stamp, *do.argument)
        case "attach" | "detach":
            return getattr(model, do.kind)(*do.argument)
        case kind:
            return getattr(model, kind)(do.term, do.stamp, do.argument)


def copy_of(leases: Leases) -> Leases:
    """Restore another instance from a snapshot, with the keys that the records would name."""
    copy = Leases()
    copy.grant(at(0), 99, 5)  # what was there before must go
    copy.restore(leases.head(), [list(row) for row in leases.rows()])
    for lease in leases:
        for key in leases.keys(lease):
            copy.attach(lease, key)
    return copy


ids = st.integers(1, 5)
keys = st.sampled_from([b"a", b"b", b"c"])
arguments = st.one_of(
    st.tuples(st.just("grant"), st.tuples(ids, st.sampled_from([0.5, 2, 2.5, 3, 4, 10]))),
    st.tuples(st.just("renew"), st.lists(ids, max_size=3)),
    st.tuples(st.just("revoke"), ids),
    st.tuples(st.just("tick"), st.sampled_from([0, 0, 0, 0, -1, 1])),
    st.tuples(st.just("attach"), st.tuples(ids, keys)),
    st.tuples(st.just("detach"), st.tuples(ids, keys)),
)
#: Steps of the wall clock in quarters of a second, back and forth, and sometimes far.
steps = st.one_of(st.integers(-3, 8), st.integers(-(10**6), 10**6))


@st.composite
def logs(draw: st.DrawFn) -> list[Do]:
    """Draw a log: terms only grow, and every leader's clock shows what it wants."""
    term, stamp, log = 1, START, []
    for (kind, argument), step, later in draw(
        st.lists(st.tuples(arguments, steps, st.integers(0, 9)), max_size=60)
    ):
        term += later == 0
        stamp = max(1, stamp + step * SECOND // 4)
        log.append(Do(kind, term, stamp, term + argument if kind == "tick" else argument))
    return log


def state(leases: Leases) -> Any:
    """Return everything that must be equal on all replicas."""
    return leases.head(), leases.rows(), [leases.keys(n) for n in leases]


@given(logs(), st.data())
def test_leases_do_what_the_model_does(log: list[Do], data: st.DataObject) -> None:
    leases, model = Leases(), Naive()
    snapshot_at = data.draw(st.integers(0, 60))
    restored: Leases | None = None
    for number, do in enumerate(log):
        if number == snapshot_at:
            restored = copy_of(leases)
            assert state(restored) == state(leases)
        answer = real(leases, do)
        assert answer == naive(model, do), do
        if restored is not None:
            assert real(restored, do) == answer
            assert state(restored) == state(leases)
        assert set(leases) == set(model.leases)
        for lease, (ttl, deadline, held) in model.leases.items():
            info = leases.info(lease)
            assert info is not None
            assert info.ttl == ttl / SECOND
            assert info.remaining == max(0, deadline - model.now) / SECOND
            assert leases.keys(lease) == sorted(held)
        if model.leases:
            left = max(0, min(due for _, due, _ in model.leases.values()) - model.now)
            assert leases.due_at is not None
            shown = leases.due_at - leases.clock.stamp
            assert shown == left if left <= HORIZON else HORIZON < shown <= left
        else:
            assert leases.due_at is None


class Reign(NamedTuple):
    """A leader: how long nobody led before it, its clock's error, and the waits between ticks."""

    gap: float
    error: float
    #: Seconds to the next tick, and by how much the clock is set forward or back before it.
    waits: list[tuple[float, float]]
    renews: list[bool]


reigns = st.builds(
    Reign,
    st.floats(0, 30),
    st.floats(-1e6, 1e6),
    st.lists(
        st.tuples(
            st.one_of(st.floats(0.001, 0.5), st.floats(0.5, 20)),  # the long ones are pauses
            st.one_of(st.just(0.0), st.just(0.0), st.floats(-1e5, 1e5)),
        ),
        min_size=1,
        max_size=10,
    ),
    st.lists(st.booleans(), min_size=10, max_size=10),
)


@settings(max_examples=50)
@given(st.lists(reigns, min_size=1, max_size=4), st.sampled_from([2, 3, 10]))
def test_no_lease_ends_early(script: list[Reign], ttl: int) -> None:
    """Count the time that clients could use: with a leader, and at most a second of each pause.

    A lease lasts for its ttl of that, less a second for each time that a clock was set forward.
    """
    leases = Leases()
    now, usable = 1_000.0, 0.0
    spent, lease = 0.0, 0
    for term, reign in enumerate(script, 1):
        now += reign.gap
        error, first = reign.error, True
        for (wait, jump), renews in zip(reign.waits, reign.renews, strict=False):
            if not first:
                now += wait
                usable += min(wait, 1.0)
                error += jump
                spent += jump > 0
            first = False
            context = at(now + error + 2e6, term)
            if lease not in leases:
                lease += 1
                leases.grant(context, lease, ttl)
                begun, usable, spent = now, 0.0, 0.0
            elif renews:
                assert leases.renew(context, [lease]) == [ttl]
                begun, usable, spent = now, 0.0, 0.0
            elif leases.tick(context, term):
                assert usable >= ttl - spent - 1e-4
                assert now - begun >= ttl - spent - 1e-4
                assert lease not in leases


def test_a_lease_ends_in_time_where_nothing_is_wrong() -> None:
    leases = Leases()
    leases.grant(at(0), 1, 10)
    for half in range(1, 20):
        assert leases.tick(at(half / 2), 1) == []
    assert leases.tick(at(10), 1) == [Expired(1, [])]


def test_time_stands_still_between_leaders_and_all_get_grace() -> None:
    leases = Leases()
    leases.grant(at(0), 1, 10)
    leases.grant(at(0), 2, 2)
    for second in range(1, 10):
        leases.renew(at(second), [2])
    assert leases.tick(at(9_000, term=2), 2) == []
    one, two = leases.info(1), leases.info(2)
    assert one is not None
    assert two is not None
    assert (one.remaining, two.remaining) == (3, 2)


def test_a_step_of_the_clock_counts_a_second_at_most() -> None:
    clock = LogClock()
    clock.advance(1, START)
    clock.advance(1, START + 100 * SECOND)
    assert clock.now == MAX_STEP
    clock.advance(1, START)
    clock.advance(1, START + SECOND // 2)
    assert clock.now == MAX_STEP + SECOND // 2


def test_a_leader_without_timestamps_moves_no_clock() -> None:
    leases = Leases()
    leases.grant(CommandContext(1, 1, 0), 1, 2)
    assert leases.tick(CommandContext(2, 1, 0), 1) == []
    assert leases.tick(CommandContext(3, 1, START), 1) == []
    assert leases.clock.now == 0
    assert leases.tick(CommandContext(4, 1, START + SECOND), 1) == []
    assert leases.clock.now == SECOND


@pytest.mark.parametrize("claimed", [1, 3])
def test_a_tick_of_another_term_changes_nothing(claimed: int) -> None:
    leases = Leases()
    leases.grant(at(0, term=2), 1, 2)
    for step in range(1, 5):
        leases.renew(at(step, term=2), [])
    before = state(leases)
    assert leases.tick(at(5, term=2), claimed) == []
    assert state(leases) == before
    assert leases.tick(at(5, term=2), 2) == [Expired(1, [])]


def test_a_lease_that_is_due_can_be_renewed_until_a_tick_expires_it() -> None:
    leases = Leases()
    leases.grant(at(0), 1, 2)
    for second in range(1, 6):
        leases.renew(at(second), [])
    assert leases.renew(at(6), [1]) == [2]
    assert leases.tick(at(6.5), 1) == []


def run_to(leases: Leases, seconds: int) -> None:
    """Let that many seconds pass without a tick."""
    for second in range(1, seconds + 1):
        leases.renew(at(second), [])


def test_a_tick_expires_up_to_a_thousand_leases_in_order() -> None:
    leases = Leases()
    for lease in reversed(range(1, 2502)):
        leases.grant(at(0), lease, 2)
    run_to(leases, 3)
    for expected in (range(1, 1001), range(1001, 2001), range(2001, 2502)):
        assert [each.lease for each in leases.tick(at(3), 1)] == list(expected)
    assert leases.tick(at(3), 1) == []
    assert leases.due_at is None


def test_a_tick_expires_no_lease_whose_keys_are_too_many_beside_others() -> None:
    leases = Leases()
    for lease, count in ((1, 1), (2, MAX_EXPIRED_KEYS), (3, MAX_EXPIRED_KEYS + 1), (4, 1)):
        leases.grant(at(0), lease, 2)
        for number in range(count):
            leases.attach(lease, b"%d" % number)
    run_to(leases, 3)
    assert [[e.lease for e in leases.tick(at(3), 1)] for _ in range(4)] == [[1], [2], [3], [4]]


def test_the_queue_of_deadlines_does_not_grow_with_what_was_revoked() -> None:
    leases = Leases()
    for lease in range(1, 5_000):
        leases.grant(at(0), lease, MAX_TTL)
        leases.revoke(at(0), lease)
    assert len(leases._queue) < 200
    assert leases.due_at is None


def test_an_id_can_be_granted_again() -> None:
    leases = Leases()
    for ttl in (2, 2, 10):
        leases.grant(at(0), 1, ttl)
        leases.attach(1, b"k")
        assert leases.revoke(at(0), 1) == [b"k"]
    leases.grant(at(0), 1, 10)
    run_to(leases, 3)
    assert leases.tick(at(3), 1) == []
    assert leases.keys(1) == []
    assert leases.due_at == START + 10 * SECOND


def test_the_number_of_leases_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LEASES", 2)
    leases = Leases()
    leases.grant(at(0), 1, 2)
    leases.grant(at(0), 2, 2)
    with pytest.raises(InvalidArgument, match="2 leases, the most"):
        leases.grant(at(0), 3, 2)
    leases.revoke(at(0), 1)
    leases.grant(at(0), 3, 2)


def wrong_calls() -> Iterator[tuple[str, tuple[Any, ...], str]]:
    """Yield bad commands and what their errors name."""
    for ttl in (
        0,
        -1,
        10**12,
        10**30,
        10**5000,
        1e300,
        float("nan"),
        float("inf"),
        True,
        "10",
        None,
    ):
        yield "grant", (7, ttl), "number of seconds above 0 and up to 9,000,000,000"
    for lease in (0, -1, MAX_ID + 1, 10**5000, 1.0, True, "1", None, [1]):
        yield "grant", (lease, 5), "id of a lease is an int of 1 to"
        yield "revoke", (lease,), "id of a lease is an int of 1 to"
        yield "renew", ([lease],), "id of a lease is an int of 1 to"
    many: tuple[Any, ...] = (None, 5, {}, "abc", [1] * (MAX_RENEWED + 1))
    for leases in many:
        yield "renew", (leases,), "a list of up to 10,000 ids"
    for term in (None, 1.0, "1", True):
        yield "tick", (term,), "a term"


@pytest.mark.parametrize(("kind", "wrong", "named"), list(wrong_calls()))
def test_bad_input_is_refused_and_changes_nothing(
    kind: str, wrong: tuple[Any, ...], named: str
) -> None:
    leases = Leases()
    leases.grant(at(0), 1, 10)
    before = state(leases)
    with pytest.raises(InvalidArgument, match=named):
        getattr(leases, kind)(at(1), *wrong)
    assert state(leases) == before


def test_ids_in_use_and_unknown_leases_are_named() -> None:
    leases = Leases()
    leases.grant(at(0), 41, 10)
    before = state(leases)
    with pytest.raises(LeaseExists, match="lease 41 exists"):
        leases.grant(at(1), 41, 10)
    for call in (leases.check, lambda lease: leases.revoke(at(1), lease)):
        with pytest.raises(LeaseNotFound, match="no lease 42") as caught:
            call(42)
        assert caught.value.data == {"lease": 42}
    with pytest.raises(LeaseNotFound, match="no lease 42"):
        leases.attach(42, b"k")
    assert leases.renew(at(0), [42]) == [0]
    assert leases.info(42) is None
    leases.detach(42, b"k")
    leases.detach(0, b"k")
    assert state(leases) == before


def test_ids_come_in_pages() -> None:
    leases = Leases()
    for lease in (30, 10, 50, 20, 40):
        leases.grant(at(0), lease, 10)
    assert leases.ids() == [10, 20, 30, 40, 50]
    assert leases.ids(limit=2) == [10, 20]
    assert leases.ids(after=20, limit=2) == [30, 40]


SMALL = st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.text(max_size=2))


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ([1, 1, 1], []),
        ([1, 1, 1, 2], []),  # the term began later than now
        ([1, 1, 1, -1], []),
        ([0, 0, 0, 0], [[1, 2 * SECOND, 5], [1, 2 * SECOND, 5]]),
        ([0, 0, 0, 0], [[0, 2 * SECOND, 5]]),
        ([0, 0, 0, 0], [[1, SECOND, 5]]),
        ([0, 0, 0, 0], [[1, 2 * SECOND]]),
        ([0, 0, 0, 0], 5),
    ],
)
def test_restore_refuses_what_no_snapshot_holds(head: Any, rows: Any) -> None:
    leases = Leases()
    leases.grant(at(0), 1, 5)
    with pytest.raises(DecodeError, match="not the leases of a store"):
        leases.restore(head, rows)
    assert len(leases) == 0


@settings(max_examples=50)
@given(st.recursive(SMALL, lambda inner: st.lists(inner, max_size=5)), st.lists(SMALL, max_size=3))
def test_restore_of_anything_raises_one_error(head: Any, rows: Any) -> None:
    leases = Leases()
    try:
        leases.restore(head, rows)
    except DecodeError:
        assert len(leases) == 0


def test_renewals_touch_no_queue() -> None:
    """A renewal is cheap: the queue learns of it when the old deadline comes up."""
    leases = Leases()
    for lease in range(1, 1001):
        leases.grant(at(0), lease, 10)
    for tenth in itertools.chain(range(1, 90)):
        leases.renew(at(tenth / 10), list(range(2, 1001)))
    assert len(leases._queue) == 1000
    assert leases.due_at == START + 10 * SECOND
