"""The store against a naive model that keeps the whole state of every revision.

The model copies a dictionary for each revision, so it has no index, no history and no compaction
that could be wrong in the same way.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from braft_core.abc import CommandContext
from braft_core.errors import Rejected
from braft_core.services.store import StoreService

KEYS = [b"a", b"a\x00", b"b", b"ba", b"\xff"]
ENDS = [b"", b"\0", *KEYS]
LEASES = [1, 2, 3]

Row = tuple[Any, ...]
State = dict[bytes, Row]


class Refused(Exception):
    """The model refuses a command."""


class Model:
    """What the store should be. ``states`` has the keys and records of each revision."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {1: {}}
        self.events: list[Row] = []
        self.revision = 1
        self.compacted = 0
        self.leases: set[int] = set()

    def within(self, key: bytes, end: bytes) -> Callable[[bytes], bool]:
        if end and end != b"\0" and end < key:
            raise Refused
        if not end:
            return key.__eq__
        return lambda each: key <= each and (end == b"\0" or each < end)

    def range(self, state: State, arguments: list[Any], now: int) -> list[Any]:
        key, end, limit, revision, sort, filters, flags = arguments
        if revision > self.revision or 0 < revision < self.compacted:
            raise Refused
        chosen = self.states[revision] if revision else state
        test = self.within(key, end)
        found = [chosen[each] for each in sorted(chosen) if test(each)]
        count = len(found)
        if filters is not None:
            bounds = zip(filters, (0, 99999, 0, 99999), strict=True)
            low, high, old, new = (bound or default for bound, default in bounds)
            found = [row for row in found if low <= row[3] <= high and old <= row[2] <= new]
        if sort is not None:
            column = (0, 5, 2, 3, 1)[sort[0]]
            if column or sort[1] == 2:
                found.sort(key=operator.itemgetter(column), reverse=sort[1] == 2)
        if flags & 2:
            return [now, count, False, []]
        shown = found[:limit] if limit else found
        if flags & 1:
            shown = [(row[0], b"", *row[2:]) for row in shown]
        return [now, count, len(shown) < len(found), shown]

    def holds(self, compare: list[Any]) -> bool:
        target, result, key, end, value = compare
        state, test = self.states[self.revision], self.within(key, end)
        column = (5, 2, 3, 1, 6)[target]
        relation = (operator.eq, operator.gt, operator.lt, operator.ne)[result]
        found = [row[column] for each, row in state.items() if test(each)]
        if not found:
            return column != 1 and relation(0, value)
        return all(relation(each, value) for each in found)

    def written(self, ops: list[Any]) -> tuple[set[bytes], list[tuple[bytes, bytes]]]:
        """Return what operations write; refuse a key that is put twice, or put and deleted."""
        every: list[tuple[set[bytes], list[tuple[bytes, bytes]]]] = []
        for op in ops:
            match op:
                case [1, key, value, lease, flags]:
                    if (flags & 2 and value) or (flags & 4 and lease):
                        raise Refused
                    every.append(({key}, []))
                case [2, key, end, _]:
                    self.within(key, end)
                    every.append((set(), [(key, end)]))
                case [3, [compares, then, otherwise]]:
                    for _, _, key, end, _ in compares:
                        self.within(key, end)
                    one, two = self.written(then), self.written(otherwise)
                    every.append((one[0] | two[0], one[1] + two[1]))
                case [0, key, end, *_]:
                    self.within(key, end)
        for at, (puts, _) in enumerate(every):
            for other, (further, ranges) in enumerate(every):
                if at == other:
                    continue
                if puts & further:
                    raise Refused
                if any(self.within(*each)(key) for key in puts for each in ranges):
                    raise Refused
        return set().union(*(each[0] for each in every)), [r for each in every for r in each[1]]

    def run(self, ops: list[Any]) -> list[Any]:
        """Do operations as one command."""
        self.written(ops)
        state, new = dict(self.states[self.revision]), list[Row]()
        answers = self.do(ops, state, new)
        if new:
            self.revision += 1
            self.states[self.revision] = state
            self.events += new
        return answers

    def do(self, ops: list[Any], state: State, new: list[Row]) -> list[Any]:
        return [self.do_one(op, state, new) for op in ops]

    def do_one(self, op: list[Any], state: State, new: list[Row]) -> list[Any]:
        mod = self.revision + 1
        match op:
            case [0, *arguments]:
                return self.range(state, arguments, mod if new else mod - 1)
            case [1, key, value, lease, flags]:
                old = state.get(key)
                if flags & 6 and old is None:
                    raise Refused
                if lease and lease not in self.leases:
                    raise Refused
                _, before, create, _, _, version, held = old or (key, b"", mod, mod, 0, 0, 0)
                value = before if flags & 2 else value
                lease = held if flags & 4 else lease
                state[key] = (key, value, create, mod, len(new), version + 1, lease)
                new.append(state[key])
                return [mod, old if flags & 1 else None]
            case [2, key, end, flags]:
                test = self.within(key, end)
                gone = [state.pop(each) for each in sorted(state) if test(each)]
                new += [(row[0], None, 0, mod, len(new) + at, 0, 0) for at, row in enumerate(gone)]
                return [mod if new else mod - 1, len(gone), gone if flags & 1 else []]
            case [3, [compares, then, otherwise]]:
                taken = all(self.holds(compare) for compare in compares)
                answers = self.do(then if taken else otherwise, state, new)
                return [mod if new else mod - 1, taken, answers]
        raise AssertionError(op)

    def compact(self, revision: int) -> int:
        if not self.compacted < revision <= self.revision:
            raise Refused
        self.compacted = revision
        return revision

    def revoke(self, lease: int) -> int:
        if lease not in self.leases:
            raise Refused
        self.leases.remove(lease)
        keys = [key for key, row in sorted(self.states[self.revision].items()) if row[6] == lease]
        if keys:
            # One command, and so one revision.
            state, mod = dict(self.states[self.revision]), self.revision + 1
            for at, key in enumerate(keys):
                del state[key]
                self.events.append((key, None, 0, mod, at, 0, 0))
            self.revision, self.states[mod] = mod, state
        return self.revision


keys = st.sampled_from(KEYS)
ends = st.sampled_from(ENDS)
values = st.sampled_from([b"", b"x", b"y"])
leases = st.sampled_from([0, *LEASES])
revisions = st.one_of(st.just(0), st.integers(0, 40))
sorts = st.one_of(st.none(), st.tuples(st.integers(0, 4), st.integers(0, 2)).map(list))
filters = st.one_of(st.none(), st.lists(st.integers(0, 12), min_size=4, max_size=4))
ranges = st.tuples(keys, ends, st.integers(0, 3), revisions, sorts, filters, st.integers(0, 3)).map(
    list
)
puts = st.tuples(keys, values, leases, st.integers(0, 7)).map(list)
deletes = st.tuples(keys, ends, st.integers(0, 1)).map(list)
compares = st.one_of(
    st.tuples(st.sampled_from([0, 1, 2, 4]), st.integers(0, 3), keys, ends, st.integers(0, 9)),
    st.tuples(st.just(3), st.integers(0, 3), keys, ends, values),
).map(list)


def transactions(op: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
    some = st.lists(op, max_size=3)
    return st.tuples(st.lists(compares, max_size=2), some, some).map(list)


ops = st.recursive(
    st.one_of(
        ranges.map(lambda op: [0, *op]),
        puts.map(lambda op: [1, *op]),
        deletes.map(lambda op: [2, *op]),
    ),
    lambda op: transactions(op).map(lambda txn: [3, txn]),
    max_leaves=6,
)


class StoreMachine(RuleBasedStateMachine):
    """Runs commands on two replicas and on the model."""

    @initialize()
    def start(self) -> None:
        self.model = Model()
        self.replicas = [StoreService(), StoreService()]
        self.index = 0
        #: A capture that was begun, and what it has to show.
        self.capture: tuple[Any, list[bytes], bytes] | None = None

    def apply(self, command: str, *arguments: Any) -> Any:
        """Apply a command to all replicas; return the answer, ``Refused`` for a refusal."""
        self.index += 1
        context, answers = CommandContext(self.index, 1, self.index), []
        for replica in self.replicas:
            try:
                answers.append(replica.apply(command, list(arguments), context))
            except Rejected as error:
                answers.append((error.code, error.message, error.data))
        assert answers[0] == answers[1]
        return answers[0]

    def compare(self, command: str, arguments: list[Any], wanted: Callable[[], Any]) -> None:
        before = self.snapshot(0)
        answer = self.apply(command, *arguments)
        try:
            expected = wanted()
        except Refused:
            assert isinstance(answer, tuple), answer
            assert self.snapshot(0) == before
        else:
            assert answer == expected

    def snapshot(self, replica: int) -> bytes:
        return b"".join(self.replicas[replica].snapshot())

    @rule(arguments=puts)
    def put(self, arguments: list[Any]) -> None:
        self.compare("put", arguments, lambda: self.model.run([[1, *arguments]])[0])

    @rule(arguments=deletes)
    def delete(self, arguments: list[Any]) -> None:
        self.compare("delete", arguments, lambda: self.model.run([[2, *arguments]])[0])

    @rule(arguments=transactions(ops))
    def txn(self, arguments: list[Any]) -> None:
        self.compare("txn", arguments, lambda: self.model.run([[3, arguments]])[0])

    @rule(revision=st.integers(0, 40))
    def compact(self, revision: int) -> None:
        self.compare("compact", [revision], lambda: self.model.compact(revision))

    @rule()
    def compact_all(self) -> None:
        revision = self.model.revision
        self.compare("compact", [revision], lambda: self.model.compact(revision))

    @rule(lease=st.sampled_from(LEASES))
    def grant(self, lease: int) -> None:
        self.apply("grant", lease, 100)
        self.model.leases.add(lease)

    @rule(lease=st.sampled_from(LEASES))
    def revoke(self, lease: int) -> None:
        self.compare("revoke", [lease], lambda: self.model.revoke(lease))

    @rule(arguments=ranges)
    def read(self, arguments: list[Any]) -> None:
        try:
            wanted = self.model.range(
                self.model.states[self.model.revision], arguments, self.model.revision
            )
        except Refused:
            wanted = None
        for replica in self.replicas:
            try:
                answer = replica.query("range", arguments)
            except Rejected:
                answer = None
            assert answer == wanted

    @rule(begin=st.integers(0, 40), size=st.sampled_from([0, 300, 10_000]))
    def events(self, begin: int, size: int) -> None:
        model = self.model
        if max(begin, 1) < model.compacted:
            return
        revision, following, events = self.replicas[0].query("events", [begin, size, True])
        wanted = [row for row in model.events if row[3] >= begin]
        got = [record for record, _ in events]
        assert got == wanted[: len(got)]
        assert revision == model.revision
        # No revision is split, and the next call goes on behind it.
        rest = wanted[len(got) :]
        assert not rest or (got and rest[0][3] == got[-1][3] + 1 == following)
        assert rest or following == max(begin, 1, revision + 1)
        assert [previous for _, previous in events] == [self.replaced(record) for record in got]

    def replaced(self, record: Row) -> Row | None:
        """Return what an event replaced, unless that was compacted."""
        known = self.model.states[record[3] - 1].get(record[0])
        return known if record[3] > self.model.compacted else None

    @rule(
        begin=st.integers(0, 40), sub=st.integers(0, 3), size=st.sampled_from([0, 300, 700, 10_000])
    )
    def changes(self, begin: int, sub: int, size: int) -> None:
        """All replicas cut the history into the same pieces, whose sum is the history."""
        model = self.model
        if max(begin, 1) < model.compacted:
            return
        place, got = [begin, sub], []
        for _ in range(1_000):
            revision, following, events = self.replicas[0].query("changes", [*place, size])
            assert self.replicas[1].query("changes", [*place, size]) == [
                revision, following, events
            ]  # fmt: skip
            assert following > place or not events
            place = following
            got += events
            if not events:
                break
            size_of = sum(256 + len(record[0]) + len(record[1] or b"") for record, _ in events)
            assert following[1] == 0 or size_of >= 2 * size
        assert revision == model.revision
        wanted = [row for row in model.events if (row[3], row[4]) >= (begin, sub)]
        assert got == [[record, self.replaced(record)] for record in wanted]
        assert place == max([max(begin, 1), sub], [revision + 1, 0])

    @rule()
    def restore(self) -> None:
        """Replace the second replica by what a snapshot of the first one has."""
        restored = StoreService()
        chunks = list(self.replicas[0].snapshot())
        restored.check_snapshot(iter(chunks))
        restored.restore(iter(chunks))
        self.replicas[1] = restored

    @rule(slices=st.integers(0, 3))
    def begin_capture(self, slices: int) -> None:
        """Begin to write a snapshot, of which commands come in between."""
        capture, wanted = self.replicas[0].snapshot(), self.snapshot(0)
        self.capture = (capture, [capture.next(1) or b"" for _ in range(slices)], wanted)

    @rule()
    def end_capture(self) -> None:
        if self.capture is not None:
            capture, begun, wanted = self.capture
            assert b"".join([*begun, *iter(lambda: capture.next(1), None)]) == wanted
            self.capture = None

    @invariant()
    def replicas_are_equal(self) -> None:
        one, two = self.replicas
        assert self.snapshot(0) == self.snapshot(1)
        assert one.query("status", []) == two.query("status", [])
        assert one.query("hash", []) == two.query("hash", [])
        status, model = one.query("status", []), self.model
        assert status["revision"] == model.revision
        assert status["keys"] == len(model.states[model.revision])
        assert status["size"] == self.retained_bytes()
        for lease in model.leases:
            state = model.states[model.revision]
            held = [key for key in sorted(state) if state[key][6] == lease]
            assert one.query("lease", [lease])[2] == two.query("lease", [lease])[2] == held

    def retained_bytes(self) -> int:
        """Return what all versions count that can still be seen."""
        model = self.model
        seen = {
            row
            for at, state in model.states.items()
            if at >= model.compacted
            for row in state.values()
        }
        seen |= {row for row in model.events if row[3] >= model.compacted}
        return sum(256 + len(row[0]) + len(row[1] or b"") for row in seen)


StoreMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True
)
TestStoreModel = StoreMachine.TestCase
