"""Random schedules for a real replica: messages, requests, held and failing writes, snapshots.

The other servers are a model that keeps the rules of Raft: what is committed stays, terms have one
leader. Whatever the order, the rules of :mod:`tests.contracts.judge` hold for every run.
"""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.errors import StorageError
from braft_core.raft import Entry, InstallSnapshot, Role, SnapshotMeta, TimeoutNow
from tests.contracts.replica_bench import ME, Bench, entries, fresh_snapshot, running_replica

_STEPS = [
    "append",
    "commit",
    "heartbeat",
    "next leader",
    "vote",
    "lead",
    "command",
    "query",
    "hold",
    "release",
    "pass",
    "hold applying",
    "apply",
    "snapshot",
    "take",
    "time",
    "settle",
]


class _Others:
    """Servers b and c as one: their log, what is committed, and who leads."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.term = 1
        #: Entries and terms by position; index 1 is the bootstrap entry.
        self.log: list[Entry] = []
        self.taking: set[asyncio.Task[SnapshotMeta]] = set()

    @property
    def last(self) -> tuple[int, int]:
        return (self.log[-1].index, self.log[-1].term) if self.log else (1, 1)

    def _take_over(self) -> None:
        """Lead the next term, with everything that may be committed."""
        core = self.bench.core
        self.bench.transport.answers_to = None
        if core.current_term >= self.term:
            kept = core.log.slice(max(2, core.log.first_index), core.last_index + 1)
            if core.role is Role.LEADER:
                # What this server has proposed is on the others too, except for what is not
                # committed: some of that is lost.
                kept = [entry for entry in kept if entry.index <= core.commit_index]
                self.log = [entry for entry in self.log if entry.index < core.log.first_index]
                self.log += kept
        self.term = max(self.term, core.current_term) + 1

    async def step(self, step: str) -> None:
        bench, core = self.bench, self.bench.core
        leads = core.role is Role.LEADER or core.current_term > self.term
        match step:
            case "append" if not leads:
                prev = self.last
                self.log += entries(prev[0] + 1, 2, self.term)
                bench.append(self.log[-2:], prev=prev, term=self.term)
            case "commit" if not leads:
                index, term = self.last
                begin = core.log.first_index
                missing = [entry for entry in self.log if entry.index >= max(begin, 2)]
                if missing and missing[0].index == begin:
                    return  # the entry before it is compacted here
                prev = (
                    (missing[0].index - 1, self._term_at(missing[0].index - 1))
                    if missing
                    else (
                        index,
                        term,
                    )
                )
                bench.append(missing, prev=prev, term=self.term, commit=index)
            case "heartbeat" if not leads:
                bench.append(prev=(0, 0), term=self.term)
            case "next leader":
                self._take_over()
                bench.append(prev=(0, 0), term=self.term)
            case "vote" if not leads:
                self.term += 1
                bench.request_vote(self.term, (10_000, self.term - 1), sender="c")
                bench.append(prev=(0, 0), term=self.term, sender="c")
            case "lead" if not leads:
                bench.append(prev=(0, 0), term=self.term)
                await bench.turn()
                bench.transport.answers_to = bench.receive
                bench.receive(TimeoutNow("b", ME, request_id=1))
            case "command":
                bench.command(timeout=5.0)
            case "query":
                bench.query(timeout=5.0)
            case "hold":
                bench.store.hold()
            case "release":
                bench.store.release()
            case "pass":
                bench.store.release(1)
            case "hold applying":
                bench.machine.gate.close()
            case "apply":
                bench.machine.gate.open()
            case "snapshot" if not leads:
                index = max(self.last[0], core.last_index) + 5
                meta = fresh_snapshot(bench, index, self.term, 2_000_000 + index)
                self.log = [Entry(index, self.term, 1, b"in the snapshot")]
                number = 5_000 + index
                bench.receive(InstallSnapshot("b", ME, self.term, meta, request_id=number))
            case "take":
                taking = asyncio.ensure_future(bench.replica.snapshotter.take())
                self.taking.add(taking)
            case "time":
                bench.advance(0.02)
            case "settle":
                bench.store.release()
                bench.machine.gate.open()
                await bench.settled()
        await bench.turn()

    def _term_at(self, index: int) -> int:
        return next((entry.term for entry in self.log if entry.index == index), 1)


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(_STEPS), min_size=5, max_size=30),
    st.booleans(),
)
def test_any_schedule_keeps_the_contract(steps: list[str], fails: bool) -> None:
    async def main() -> None:
        async with running_replica(snapshot_trailing=1, election_timeout=60.0) as bench:
            others = _Others(bench)
            for step in steps:
                await others.step(step)
            if fails:
                bench.store.fail(StorageError("input/output error"))
                await others.step("append")
            bench.store.release()
            bench.machine.gate.open()
            await bench.turn()
        for taking in others.taking:
            taking.cancel()
        await asyncio.gather(*others.taking, return_exceptions=True)

    asyncio.run(main())
