"""Watchers see exactly the history, whatever happens in between.

A leader's store takes the writes. A follower's gets them as entries or by a snapshot, and has the
watchers. Each job of the hub and each read of the applier is a step of its own, in any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from braft_core.abc import CommandContext
from braft_core.errors import Compacted, Rejected
from braft_core.runtime.event_cache import WatchLimits
from braft_core.runtime.interests import Span
from braft_core.runtime.requests import Query, settle
from braft_core.runtime.watch_hub import WatchHub
from braft_core.services.store import StoreService
from braft_core.store.events import Event

KEYS = [b"a", b"a\x00", b"ab", b"b", b"\xff"]
#: Keys, prefixes and other ranges.
SPANS = [
    *((key, b"") for key in KEYS),
    (b"a", b"b"),
    (b"ab", b"ac"),
    (b"\0", b"\0"),
    (b"a\x00", b"b"),
    (b"ab", b"\0"),
    (b"b", b"b"),
    (b"\xff", b"\0"),
]

#: A few events fill everything.
LIMITS = WatchLimits(watchers=20, piece=600, recent=1_500, old=1_500, old_pieces=2, events=2)


class Applier:
    """Serves the reads that wait, one at a time."""

    fault = ""

    def __init__(self, store: StoreService) -> None:
        self.store = store
        self.waiting: deque[Query] = deque()
        self.report: Callable[[], None] = lambda: None

    def call_when_applied(self, callback: Callable[[], None]) -> None:
        self.report = callback

    def read(self, index: int, queries: list[Query]) -> None:
        self.waiting += queries

    def serve(self) -> None:
        query = self.waiting.popleft()
        try:
            answer: Any = self.store.query(query.name, query.args)
        except Rejected as error:
            answer = error
        settle([(query, answer)])


class Worker:
    """Does jobs one at a time, when it is asked to."""

    is_current = ended = False

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work
        self.jobs: deque[Any] = deque()

    def start(self) -> None:
        """Nothing to do."""

    def put(self, job: Any) -> None:
        self.jobs.append(job)

    def stop(self, timeout: float) -> None:
        """Nothing to do."""

    def step(self) -> None:
        self.work([self.jobs.popleft()])


class Platform:
    """Makes one worker."""

    worker_made: Worker

    def worker(self, name: str, work: Callable[[Any], Any]) -> Worker:
        self.worker_made = Worker(work)
        return self.worker_made


class Owner:
    """Takes from a watcher when it was woken, and notes what it got."""

    def __init__(self, hub: WatchHub, span: Span, begin: int) -> None:
        self.span = span
        self.woken = True
        self.events: list[Event] = []
        self.lost: Compacted | None = None
        self.watcher = hub.watch(*span, begin, wake=self.wake)
        #: The first revision that it wants.
        self.begin = self.watcher.at[0]

    def wake(self) -> None:
        self.woken = True

    def take(self, size: int) -> bool:
        """Take once, if it was woken; return whether it was."""
        if not self.woken or self.lost is not None:
            return False
        try:
            piece = self.watcher.take(size)
        except Compacted as error:
            self.lost = error
            return False
        if piece is None:
            self.woken = False
        else:
            self.events += piece.events
            split = bool(piece.events) and piece.events[-1].revision > piece.revision
            assert piece.is_split == split
        return True


class Watching(RuleBasedStateMachine):
    """See the top of the file."""

    owners = Bundle("owners")

    def __init__(self) -> None:
        super().__init__()
        self.leader, self.follower = StoreService(), StoreService()
        self.log: list[tuple[str, list[Any]]] = []
        self.applied = 0
        #: All events that ever were: record and replaced one.
        self.history: list[tuple[Any, Any]] = []
        #: The newest revision of the follower at any time, and all revisions of its compactions.
        self.compacted = {0}
        self.applier, platform = Applier(self.follower), Platform()
        made: Any = platform
        self.hub = WatchHub(self.applier, [self.follower], "hub", made, LIMITS)
        self.worker = platform.worker_made
        self.all: list[Owner] = []

    # -- what is written -------------------------------------------------------------------------

    def write(self, command: str, *args: Any) -> None:
        before = self.leader.revision
        try:
            self.apply(self.leader, command, list(args))
        except Rejected:
            return
        self.log.append((command, list(args)))
        if self.leader.revision > before:
            events = self.leader.query("events", [before + 1, 1 << 20, True])[2]
            self.history += [(record, replaced) for record, replaced in events]

    def apply(self, store: StoreService, command: str, args: list[Any]) -> None:
        store.apply(command, args, CommandContext(1, 1, 1))

    @rule(key=st.sampled_from(KEYS), size=st.sampled_from([0, 0, 0, 500, 2_000]))
    def put(self, key: bytes, size: int) -> None:
        self.write("put", key, b"v" * size)

    @rule(keys=st.lists(st.sampled_from(KEYS), unique=True, min_size=1))
    def put_many(self, keys: list[bytes]) -> None:
        self.write("txn", [], [[1, key, b"%d" % len(self.history), 0, 0] for key in keys], [])

    @rule(span=st.sampled_from(SPANS))
    def delete(self, span: tuple[bytes, bytes]) -> None:
        self.write("delete", *span)

    @rule(back=st.integers(0, 6))
    def compact(self, back: int) -> None:
        self.write("compact", self.leader.revision - back)

    # -- what the follower gets ------------------------------------------------------------------

    @precondition(lambda self: self.applied < len(self.log))
    @rule(count=st.integers(1, 5))
    def apply_entries(self, count: int) -> None:
        for command, args in self.log[self.applied : self.applied + count]:
            self.apply(self.follower, command, args)
        self.applied = min(self.applied + count, len(self.log))
        self.changed()

    @rule()
    def restore(self) -> None:
        self.follower.restore(iter(list(self.leader.snapshot())))
        self.applied = len(self.log)
        self.changed()

    def changed(self) -> None:
        self.compacted.add(self.follower.upkeep.compacted)
        self.applier.report()

    @precondition(lambda self: self.applier.waiting)
    @rule()
    def serve_a_read(self) -> None:
        self.applier.serve()

    @precondition(lambda self: self.worker.jobs)
    @rule()
    def work(self) -> None:
        self.worker.step()

    # -- what watchers do ------------------------------------------------------------------------

    @precondition(lambda self: self.hub.count < LIMITS.watchers)
    @rule(
        target=owners, span=st.sampled_from(SPANS), back=st.one_of(st.none(), st.integers(-4, 12))
    )
    def watch(self, span: tuple[bytes, bytes], back: int | None) -> Owner:
        """Watch from now, from the past or from the future."""
        begin = 0 if back is None else max(self.follower.revision + 1 - back, 1)
        owner = Owner(self.hub, Span(*span), begin)
        self.all.append(owner)
        return owner

    @rule(owner=owners, size=st.sampled_from([0, 300, 1_000, 1 << 20]))
    def take(self, owner: Owner, size: int) -> None:
        owner.take(size)

    @rule(target=owners, owner=consumes(owners))
    def resume(self, owner: Owner) -> Owner:
        """Go on with another watcher from the revision that was seen."""
        seen = owner.watcher.revision
        owner.watcher.close()
        self.all.remove(owner)
        again = Owner(self.hub, owner.span, seen + 1)
        again.events = [event for event in owner.events if event.revision <= seen]
        again.begin = owner.begin
        self.all.append(again)
        return again

    @rule(owner=consumes(owners))
    def close(self, owner: Owner) -> None:
        owner.watcher.close()
        self.all.remove(owner)

    # -- what must hold --------------------------------------------------------------------------

    def wanted(self, owner: Owner, until: int) -> list[tuple[Any, Any]]:
        return [
            (record, replaced)
            for record, replaced in self.history
            if owner.begin <= record[3] <= until and owner.span.has(record[0])
        ]

    @invariant()
    def watchers_have_seen_what_they_claim(self) -> None:
        for owner in self.all:
            self.check(owner, owner.watcher.revision)
            assert owner.watcher.revision <= max(self.follower.revision, owner.begin - 1)

    def check(self, owner: Owner, until: int) -> None:
        got = [event for event in owner.events if event.revision <= until]
        wanted = self.wanted(owner, until)
        assert [event.record for event in got] == [record for record, _ in wanted]
        for event, (_, replaced) in zip(got, wanted, strict=True):
            assert event.previous == replaced or (
                event.previous is None and event.revision in self.compacted
            )
        # Behind it there is at most the begin of one revision.
        rest = [event.record for event in owner.events[len(got) :]]
        assert {record[3] for record in rest} <= {until + 1}
        assert (
            rest
            == [record for record, _ in self.wanted(owner, until + 1)][len(wanted) :][: len(rest)]
        )

    @invariant()
    def memory_is_bounded(self) -> None:
        # The last piece stays, and may be twice as large as it should be, and an event with what it
        # replaced.
        assert self.hub._cache.size <= LIMITS.recent + LIMITS.old + 4 * LIMITS.piece + 4 * 2_300

    def teardown(self) -> None:
        """Let all come to rest: each watcher that is woken, and only it, takes what there is."""
        self.applier.report()
        for _ in range(10_000):
            moved = bool(self.worker.jobs or self.applier.waiting)
            while self.worker.jobs:
                self.worker.step()
            while self.applier.waiting:
                self.applier.serve()
            took = [owner.take(1_000) for owner in self.all]
            moved |= any(took)
            if not moved:
                break
        else:
            raise AssertionError("the watchers do not come to rest")
        for owner in self.all:
            if owner.lost is not None:
                place = owner.watcher.at[0]
                assert owner.lost.data["revision"] == place < self.follower.upkeep.compacted
                self.check(owner, place - 1)
            else:
                self.check(owner, self.follower.revision)
                assert owner.watcher.is_current == (owner.begin <= self.follower.revision + 1)
        for owner in self.all:
            owner.watcher.close()
        assert self.hub.count == 0
        assert self.hub._cache.size == 0
        assert not [*self.hub._current, *self.hub._ahead, *self.hub._wanted]


Watching.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestWatching = Watching.TestCase
