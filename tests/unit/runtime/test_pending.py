"""Which requests a committed batch decides, compared with a naive model of one slot per entry."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from braft_core.raft import Entry, EntryType
from braft_core.runtime.pending import PendingProposals
from braft_core.runtime.requests import Request


def requests(count: int, timeout: float = 60) -> list[Request]:
    return [Request(timeout) for _ in range(count)]


def entries(first: int, terms: Sequence[int]) -> list[Entry]:
    return [Entry(first + n, term, EntryType.COMMAND, b"") for n, term in enumerate(terms)]


def applied(pending: PendingProposals, batch: list[Entry]) -> tuple[dict[int, Request], set[int]]:
    """Return applied requests by index, and the ids of the lost ones."""
    segments, lost = pending.take(batch)
    places = {
        batch[0].index + segment.offset + n: request
        for segment in segments
        for n, request in enumerate(segment.requests)
    }
    return places, {id(request) for request in lost}


def test_a_batch_is_decided_in_pieces() -> None:
    pending = PendingProposals()
    group = requests(5)
    pending.add(3, 1, group)
    assert applied(pending, entries(1, [1, 1, 1])) == ({3: group[0]}, set())
    assert pending.undecided() == group[1:]
    assert applied(pending, entries(4, [1, 1])) == ({4: group[1], 5: group[2]}, set())
    assert applied(pending, entries(6, [1, 1])) == ({6: group[3], 7: group[4]}, set())
    assert not pending


def test_another_term_at_its_place_means_lost() -> None:
    pending = PendingProposals()
    old = requests(3)
    pending.add(5, 1, old)
    # Only the first of the three had reached the next leader.
    places, lost = applied(pending, entries(5, [1, 2]))
    assert places == {5: old[0]}
    # Terms never decrease along a log, so the following request is lost as well.
    assert lost == {id(old[1]), id(old[2])}
    assert not pending


def test_groups_of_a_deposed_and_a_new_leader_overlap() -> None:
    pending = PendingProposals()
    old, new = requests(4), requests(2)
    pending.add(5, 1, old)
    pending.add(6, 3, new)
    places, lost = applied(pending, entries(5, [1, 3, 3]))
    assert places == {5: old[0], 6: new[0], 7: new[1]}
    assert lost == {id(old[1]), id(old[2]), id(old[3])}
    assert pending.undecided() == []


def test_late_requests_are_named_once_and_keep_their_place() -> None:
    pending = PendingProposals()
    late, early = requests(1, timeout=-1), requests(1)
    pending.add(1, 1, late + early)
    now = early[0].deadline - 30
    assert pending.expire(now) == late
    late[0].future.set_result(None)
    assert pending.expire(now) == []
    assert applied(pending, entries(1, [1, 1]))[0] == {1: late[0], 2: early[0]}


def test_drain_returns_everything_once() -> None:
    pending = PendingProposals()
    group = requests(2)
    pending.add(1, 1, group)
    assert pending.drain() == group
    assert pending.drain() == []
    assert not pending


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], list[int], list[int]]:
    """Draw proposals (first, term, count), the committed log's terms, and its batch sizes."""
    log = sorted(draw(st.lists(st.integers(1, 4), min_size=1, max_size=20)))
    proposals = []
    for term in range(1, 5):
        # A leader of this term appends after all committed entries of earlier terms.
        start = sum(1 for each in log if each < term) + 1
        for _ in range(draw(st.integers(0, 3))):
            count = draw(st.integers(1, 4))
            proposals.append((start, term, count))
            start += count
    cuts = draw(st.lists(st.integers(1, 5), min_size=len(log), max_size=len(log)))
    return proposals, log, cuts


@given(histories())
def test_as_the_naive_twin(
    history: tuple[list[tuple[int, int, int]], list[int], list[int]],
) -> None:
    proposals, log, cuts = history
    pending = PendingProposals()
    twin: list[tuple[int, int, Request]] = []
    for first, term, count in proposals:
        group = requests(count)
        pending.add(first, term, group)
        twin += [(first + n, term, request) for n, request in enumerate(group)]
    position = 0
    for size in cuts:
        batch = entries(position + 1, log[position : position + size])
        if not batch:
            break
        position += len(batch)
        places, lost = applied(pending, batch)
        here = {i: (t, r) for i, t, r in twin if i <= position and log[i - 1] == t}
        gone = {id(r) for i, t, r in twin if i <= position and log[i - 1] != t}
        gone |= {id(r) for i, t, r in twin if i > position and t < log[position - 1]}
        assert places == {i: r for i, (_, r) in here.items()}
        assert lost == gone
        twin = [
            each for each in twin if id(each[2]) not in gone and places.get(each[0]) is not each[2]
        ]
    assert {id(r) for r in pending.undecided()} == {id(r) for _, _, r in twin}
