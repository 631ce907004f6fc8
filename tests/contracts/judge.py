"""What must hold for every run of a replica, whatever happened in it: the persistence contract.

Follows the journal once and keeps what the disk held at each moment. See
:mod:`braft_core.raft.ready` for the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from braft_core.abc import WriteBatch
from braft_core.errors import NotApplied, OutcomeUnknown, Stopped
from braft_core.raft import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    InstallSnapshotResponse,
    Message,
    Ready,
    RequestPreVote,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.runtime.requests import Command
from tests.contracts.replica_bench import ME, Bench

__all__ = ["judge"]


def judge(bench: Bench) -> None:
    """Check the journal of a run that has ended.

    :raises AssertionError: a rule was broken.
    """
    _Judge(bench).run()


class _Disk:
    """What is durable, and what ever was."""

    def __init__(self, bench: Bench) -> None:
        stored = bench.stored
        self.terms = {entry.index: entry.term for entry in stored.entries}
        self.terms[stored.compacted_index] = stored.compacted_term
        #: Every index and term that was durable once, and every term and vote.
        self.entries = set(self.terms.items())
        self.hard_states = {stored.hard_state}
        #: The last entry in a received snapshot: what comes before it is in there.
        self.covered = 0

    def write(self, batch: WriteBatch) -> None:
        if batch.hard_state is not None:
            self.hard_states.add(batch.hard_state)
        if batch.truncate_from is not None:
            self.terms = {i: t for i, t in self.terms.items() if i < batch.truncate_from}
        if batch.reset is not None:
            index, term = batch.reset
            self.terms = {index: term}
            self.covered = max(self.covered, index)
        self.terms.update({entry.index: entry.term for entry in batch.entries})
        self.entries |= self.terms.items()

    @property
    def indexes(self) -> set[int]:
        return {index for index, _ in self.entries}

    @property
    def term(self) -> int:
        return max(state.term for state in self.hard_states)


class _Judge:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._disk = _Disk(bench)
        self._readies: list[Ready] = []
        self._written: list[WriteBatch] = []
        self._persisted = 0
        start = bench.start_snapshot
        self._restoring: list[SnapshotMeta] = [start] if start is not None else []
        self._applied = 0
        self._applied_data: dict[bytes, int] = {}
        self._halted = False

    def run(self) -> None:
        rules: dict[str, Callable[[Any], None]] = {
            "ready": self._on_ready,
            "durable": self._on_durable,
            "persisted": self._on_persisted,
            "sent": self._on_sent,
            "applied": self._on_applied,
            "restored": self._on_restored,
            "halt": self._on_halt,
        }
        for kind, what in self._bench.journal.facts:
            if kind in rules:
                rules[kind](what)
        self._check_answers()

    # -- the disk --------------------------------------------------------------------------------

    def _on_ready(self, ready: Ready) -> None:
        self._readies.append(ready)
        if ready.snapshot is not None:
            self._restoring.append(ready.snapshot)

    def _on_durable(self, batches: list[WriteBatch]) -> None:
        for batch in batches:
            self._disk.write(batch)
            if batch.hard_state or batch.truncate_from or batch.reset or batch.entries:
                self._written.append(batch)
                expected = self._to_write(self._readies)[len(self._written) - 1]
                assert list(batch.entries) == expected.entries, "batches are written in order"
                assert batch.hard_state == expected.hard_state, "a batch is written whole"

    @staticmethod
    def _to_write(readies: list[Ready]) -> list[Ready]:
        return [ready for ready in readies if ready.must_persist]

    def _on_persisted(self, number: int) -> None:
        assert number > self._persisted, "batches are reported in order, each once"
        self._persisted = number
        needed = self._to_write([ready for ready in self._readies if ready.number <= number])
        assert len(self._written) >= len(needed), f"batch {number} is reported before its write"

    # -- messages --------------------------------------------------------------------------------

    def _on_halt(self, _: Any) -> None:
        self._halted = True

    def _on_sent(self, message: Message) -> None:
        assert not self._halted, f"it leaves after the end: {message}"
        if isinstance(message, RequestPreVote | TimeoutNow | TimeoutNowResponse):
            return
        disk, bench = self._disk, self._bench
        assert message.term <= disk.term, f"its term is not durable: {message}"
        match message:
            case RequestVote():
                assert HardState(message.term, ME) in disk.hard_states, message
            case RequestVoteResponse(granted=True):
                assert HardState(message.term, message.to) in disk.hard_states, message
            case AppendEntriesResponse(success=True) if message.request_id in bench.acknowledges:
                index = bench.acknowledges[message.request_id]
                durable = index in disk.indexes or index <= disk.covered
                assert durable, f"entry {index} is not durable: {message}"
            case InstallSnapshotResponse(success=True):
                meta = bench.offered[message.request_id]
                assert meta.index in disk.indexes, f"it is not durable: {message}"
            case AppendEntries():
                assert HardState(message.term, ME) in disk.hard_states, message

    # -- the state machine -----------------------------------------------------------------------

    def _on_applied(self, entry: Entry) -> None:
        if not self._applied:
            assert entry.index == self._bench.stored.compacted_index + 1, "it begins at its start"
        else:
            assert entry.index == self._applied + 1, f"{entry} follows {self._applied}"
        assert (entry.index, entry.term) in self._disk.entries, f"{entry} is not durable here"
        self._applied = entry.index
        assert not entry.data or entry.data not in self._applied_data, "a command is applied once"
        self._applied_data[entry.data] = entry.index

    def _on_restored(self, _: Any) -> None:
        meta = self._restoring.pop(0)
        assert meta.index >= self._applied, "the state goes back"
        self._applied = meta.index

    # -- answers ---------------------------------------------------------------------------------

    def _check_answers(self) -> None:
        for request in self._bench.requests:
            if request in self._bench.forwarded and not request.future.done():
                continue
            assert request.future.done(), f"{request} was never answered"
            if isinstance(request, Command):
                self._check_answer(request)

    def _check_answer(self, command: Command) -> None:
        error = command.awaitable.exception()
        index = self._applied_data.get(command.data)
        if error is None:
            assert command.awaitable.result() == index, "the answer is that of another entry"
        elif isinstance(error, NotApplied | Stopped):
            assert index is None, f"it was applied all the same: {error!r}"
        else:
            assert isinstance(error, OutcomeUnknown), repr(error)
