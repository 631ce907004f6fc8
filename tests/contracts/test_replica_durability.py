"""The order of write, send, acknowledge and apply in a real replica (the persistence contract).

Every test also obeys the rules of :mod:`tests.contracts.judge`, which follow the whole run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from braft_core.errors import Busy, OutcomeUnknown, Stopped, StorageError
from braft_core.raft import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Role,
    TimeoutNow,
)
from tests.contracts.replica_bench import (
    ME,
    Bench,
    entries,
    errors_of,
    fresh_snapshot,
    running_replica,
)

Scenario = Callable[[Bench], Awaitable[None]]


def run(scenario: Scenario, members: str = "abc") -> None:
    async def main() -> None:
        async with running_replica(members) as bench:
            await scenario(bench)

    asyncio.run(main())


# -- what waits for the disk ---------------------------------------------------------------------


def test_a_vote_leaves_after_its_write() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.request_vote(2)
        await bench.until_writing()
        assert bench.journal.of("sent") == []
        bench.store.release()
        (vote,) = await bench.until_sent(RequestVoteResponse)
        assert (vote.granted, vote.term) == (True, 2)

    run(scenario)


def test_an_acknowledgement_leaves_after_its_write() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.append(entries(2, 3, 1))
        await bench.until_writing()
        assert bench.journal.of("sent") == []
        bench.store.release()
        (answer,) = await bench.until_sent(AppendEntriesResponse)
        assert (answer.success, answer.last_log) == (True, 4)

    run(scenario)


def test_what_needs_no_write_itself_still_waits_for_those_before_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.append(entries(2, 2, 1), number=1)
        await bench.turn()
        bench.append(entries(2, 2, 1), number=2)  # the same once more: nothing new to write
        await bench.turn()
        assert bench.journal.of("sent") == []
        bench.store.release()
        answers = await bench.until_sent(AppendEntriesResponse, 2)
        assert [answer.request_id for answer in answers] == [1, 2]

    run(scenario)


def test_the_writer_is_busy_until_its_last_report() -> None:
    """A report of earlier writes does not let messages of later ones pass."""

    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.append(entries(2, 1, 1), number=1)
        await bench.until_writing()
        bench.append(entries(3, 1, 1), prev=(2, 1), number=2)
        await bench.turn()
        bench.store.release(1)
        await bench.until_sent(AppendEntriesResponse)
        begun = bench.journal.of
        await bench.journal.until(lambda: len(begun("write begins")) == 2, "the second write")
        bench.append(entries(3, 1, 1), prev=(2, 1), number=3)  # the same once more
        await bench.turn()
        assert [answer.request_id for answer in bench.sent(AppendEntriesResponse)] == [1]
        bench.store.release()
        answers = await bench.until_sent(AppendEntriesResponse, 3)
        assert [answer.request_id for answer in answers] == [1, 2, 3]

    run(scenario)


def test_a_candidate_asks_for_votes_after_its_own_is_durable() -> None:
    async def scenario(bench: Bench) -> None:
        bench.append(prev=(0, 0))
        await bench.settled()
        bench.store.hold()
        bench.receive(TimeoutNow("b", ME, request_id=9))
        await bench.until_writing()
        assert bench.sent(RequestVote) == []
        bench.store.release()
        assert {vote.to for vote in await bench.until_sent(RequestVote, 2)} == {"b", "c"}

    run(scenario)


def test_a_received_snapshot_is_acknowledged_after_the_reset() -> None:
    async def scenario(bench: Bench) -> None:
        meta = fresh_snapshot(bench, 50, 1, 7)
        bench.store.hold()
        bench.receive(InstallSnapshot("b", ME, 1, meta, request_id=3))
        await bench.turn()
        assert bench.sent(InstallSnapshotResponse) == []
        bench.store.release()
        (answer,) = await bench.until_sent(InstallSnapshotResponse)
        assert answer.success

    run(scenario)


def test_older_snapshots_are_deleted_after_the_received_one_is_named() -> None:
    async def scenario(bench: Bench) -> None:
        for index in (10, 20):
            fresh_snapshot(bench, index, 1, index)
        meta = fresh_snapshot(bench, 50, 1, 7)
        bench.store.hold()
        bench.append(entries(2, 1, 1))
        await bench.until_writing()
        bench.receive(InstallSnapshot("b", ME, 1, meta, request_id=3))
        await bench.turn()
        bench.store.release(1)
        await bench.until_writing(2)
        await asyncio.to_thread(int)  # whoever deletes now is through before
        assert bench.journal.of("snapshot deleted") == []
        bench.store.release()
        await bench.journal.until(lambda: bench.journal.of("snapshot deleted"), "the deletion")
        named = [
            fact.kind == "snapshot deleted"
            for fact in bench.journal.facts
            if fact.kind == "snapshot deleted"
            or (fact.kind == "durable" and any(batch.snapshot for batch in fact.what))
        ]
        assert not named[0], "it is named first"
        assert [one.index for one in bench.store.snapshots.list()] == [50, 20]

    run(scenario)


# -- what may leave early --------------------------------------------------------------------------


def test_pre_votes_and_heartbeats_are_answered_during_a_write() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.append(entries(2, 1, 1))
        await bench.turn()
        bench.receive(RequestPreVote("c", ME, 2, 1, 1, request_id=5))
        bench.append(prev=(0, 0), number=6)
        await bench.turn()
        assert len(bench.sent(RequestPreVoteResponse)) == 1
        assert [answer.request_id for answer in bench.sent(AppendEntriesResponse)] == [6]

    run(scenario)


def test_a_leader_replicates_in_parallel_with_its_own_write() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.store.hold()
        before = len(bench.sent(AppendEntries))
        command = bench.command()
        await bench.turn()
        sent = [message for message in bench.sent(AppendEntries)[before:] if message.entries]
        assert {message.to for message in sent} == {"b", "c"}
        # A majority of others has it now: it is committed, and here it is not durable.
        await bench.turn()
        assert not command.future.done()
        assert command.data not in [entry.data for entry in bench.journal.of("applied")]
        bench.store.release()
        await command.awaitable

    run(scenario)


# -- reports ---------------------------------------------------------------------------------------


def test_writes_that_were_joined_are_all_reported_and_acknowledged() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.append(entries(2, 1, 1), number=1)
        await bench.until_writing()
        for number in range(2, 12):
            bench.append(entries(number + 1, 1, 1), prev=(number, 1), number=number)
            await bench.turn()
        bench.store.release()
        answers = await bench.until_sent(AppendEntriesResponse, 11)
        assert [answer.request_id for answer in answers] == list(range(1, 12))
        await bench.settled()
        assert bench.journal.of("persisted")[-1] == bench.journal.of("ready")[-1].number
        assert len(bench.journal.of("durable")) <= 3, "they share writes"
        assert bench.replica.writer.idle

    run(scenario)


def test_committed_entries_are_applied_in_order_while_writes_are_joined() -> None:
    async def scenario(bench: Bench) -> None:
        bench.machine.gate.close()
        for number in range(1, 9):
            bench.append(entries(number + 1, 1, 1), prev=(number, 1), commit=number, number=number)
            await bench.turn()
        bench.append(prev=(9, 1), commit=9, number=20)
        await bench.turn()
        bench.machine.gate.open()
        await bench.until_applied(9)
        assert [entry.index for entry in bench.journal.of("applied")] == list(range(1, 10))

    run(scenario)


# -- failing disks ---------------------------------------------------------------------------------


def test_a_failed_write_acknowledges_nothing_and_ends_the_replica() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        answered = len(bench.journal.of("sent"))
        bench.store.hold()
        before = len(bench.journal.of("write begins"))
        proposed = bench.command()
        await bench.until_writing(before + 1)
        bench.transport.answers_to = None
        bench.request_vote(9, (99, 9))
        await bench.turn()
        query = bench.query()
        bench.store.fail(StorageError("input/output error"))
        bench.store.release()
        await bench.journal.until(lambda: bench.journal.of("fatal"), "the end")
        await asyncio.to_thread(bench.replica.close, 20.0)
        assert len(bench.journal.of("write begins")) == before + 1, "it writes no more"
        late = bench.command()
        await bench.turn()
        assert len(bench.journal.of("fatal")) == 1
        assert list(errors_of([proposed, late])) == [OutcomeUnknown.__name__, Stopped.__name__]
        assert query in bench.forwarded or query.awaitable.done()
        bench.append(entries(50, 1, 9), prev=(49, 9), term=9, number=60)
        bench.request_vote(10, (99, 9))
        await bench.turn()
        later = bench.journal.of("sent")[answered:]
        assert not any(isinstance(message, RequestVoteResponse) for message in later)
        assert not any(isinstance(message, AppendEntriesResponse) for message in later)

    run(scenario)


def test_nothing_leaves_after_the_halt_although_the_write_succeeds() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.append(entries(2, 1, 1))
        await bench.turn()
        bench.journal.note("halt")
        bench.replica.halt(Stopped("enough"))
        bench.store.release()
        await bench.journal.until(lambda: bench.journal.of("durable"), "the write ends")
        await bench.turn()
        await asyncio.to_thread(bench.replica.close, 20.0)
        await bench.turn()
        assert bench.journal.of("sent") == []

    run(scenario)


def test_a_full_disk_pauses_everything_and_is_over_when_there_is_space() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.store.full = True
        waiting = bench.command()
        # Each attempt to write is a fact, and the trouble is reported after the first.
        await bench.journal.until(lambda: bench.driver.disk_trouble, "the trouble is known")
        refused = bench.command()
        await bench.journal.until(refused.future.done, "the refusal")
        assert isinstance(refused.awaitable.exception(), Busy)
        assert not waiting.future.done()
        assert bench.journal.of("fatal") == []
        bench.store.full = False
        await waiting.awaitable
        await bench.settled()
        assert bench.driver.disk_trouble is None
        await bench.command().awaitable

    run(scenario)


def test_a_stop_on_a_full_disk_acknowledges_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.full = True
        bench.append(entries(2, 1, 1))
        await bench.journal.until(lambda: len(bench.journal.of("write begins")) > 1, "a retry")
        await asyncio.to_thread(bench.replica.close, 20.0)
        await bench.turn()
        assert bench.journal.of("sent") == []
        assert bench.journal.of("persisted") == []
        assert bench.core.role is Role.FOLLOWER

    run(scenario)


def test_a_stop_writes_what_is_queued() -> None:
    async def scenario(bench: Bench) -> None:
        bench.store.hold()
        bench.append(entries(2, 1, 1), number=1)
        await bench.until_writing()
        bench.append(entries(3, 1, 1), prev=(2, 1), number=2)
        await bench.turn()
        closing = asyncio.ensure_future(asyncio.to_thread(bench.replica.close, 20.0))
        await bench.turn()
        bench.store.release()
        await closing
        assert [entry.index for entry in bench.disk.entries] == [1, 2, 3]

    run(scenario)


@pytest.mark.parametrize("action", ["compaction", "naming"])
def test_maintenance_that_fails_ends_the_replica(action: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.append(entries(2, 5, 1), commit=6)
        await bench.settled()
        error = StorageError("input/output error")
        if action == "naming":
            bench.store.fail(error)
        else:
            bench.store.compact = lambda *_: _raise(error)  # type: ignore[method-assign]
        with pytest.raises((StorageError, Stopped)):
            await bench.replica.snapshotter.take()
        await bench.journal.until(lambda: bench.journal.of("fatal"), "the end")

    run(scenario)


def _raise(error: Exception) -> None:
    raise error
