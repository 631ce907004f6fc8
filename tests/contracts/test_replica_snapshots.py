"""Received and own snapshots of a real replica: restored in order, named first, never half.

Every test also obeys the rules of :mod:`tests.contracts.judge`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from braft_core.errors import OutcomeUnknown, Stopped, StorageError
from braft_core.raft import (
    AppendEntriesResponse,
    Entry,
    EntryType,
    InstallSnapshot,
    InstallSnapshotResponse,
    encode_configuration,
)
from braft_testing.core_harness import configuration
from tests.contracts.replica_bench import (
    ME,
    Bench,
    bootstrapped_disk,
    entries,
    fresh_snapshot,
    running_replica,
)

Scenario = Callable[[Bench], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        async with running_replica() as bench:
            await scenario(bench)

    asyncio.run(main())


def test_commands_under_a_received_snapshot_have_an_unknown_outcome() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        command, query = bench.command(), bench.query()
        await bench.turn()
        term = bench.core.current_term + 1
        meta = fresh_snapshot(bench, 90, term, 5_000)
        bench.receive(InstallSnapshot("b", ME, term, meta, request_id=800))
        await bench.settled()
        assert isinstance(command.awaitable.exception(), OutcomeUnknown)
        assert query.future.done() or query in bench.forwarded
        assert bench.applier.applied_index == 90

    run(scenario)


def test_a_snapshot_is_restored_between_the_entries_before_and_behind_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.machine.gate.close()
        bench.append(entries(2, 3, 1), commit=4, number=1)
        await bench.journal.until(lambda: bench.journal.of("persisted"), "they are durable")
        await bench.turn()
        meta = fresh_snapshot(bench, 50, 1, 7)
        # All three arrive before the driver's next turn.
        bench.receive(InstallSnapshot("b", ME, 1, meta, request_id=2))
        bench.append(entries(51, 2, 1), prev=(50, 1), commit=52, number=3)
        await bench.until_sent(AppendEntriesResponse, 2)
        bench.machine.gate.open()
        await bench.until_applied(52)
        await bench.settled()
        order = [
            fact.kind if fact.kind == "restored" else fact.what.index
            for fact in bench.journal.facts
            if fact.kind in ("restored", "applied")
        ]
        assert order == [1, 2, 3, 4, "restored", 51, 52]

    run(scenario)


def test_reads_wait_for_a_restore_and_are_woken_by_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.machine.gate.close()
        query = bench.query()
        bench.requests.remove(query)
        bench.driver.serve(50, [query])
        meta = fresh_snapshot(bench, 50, 1, 7)
        bench.receive(InstallSnapshot("b", ME, 1, meta, request_id=2))
        await bench.until_sent(InstallSnapshotResponse)
        assert not query.future.done()
        bench.machine.gate.open()
        async with asyncio.timeout(20.0):
            assert await query.awaitable == [7, 50]

    run(scenario)


def test_a_received_snapshot_that_is_not_needed_is_deleted() -> None:
    async def scenario(bench: Bench) -> None:
        bench.append(entries(2, 9, 1), commit=10, number=1)
        await bench.settled()
        meta = fresh_snapshot(bench, 5, 1, 7)
        bench.receive(InstallSnapshot("b", ME, 1, meta, request_id=2))
        await bench.until_sent(InstallSnapshotResponse)
        await bench.journal.until(lambda: bench.journal.of("snapshot deleted"), "the deletion")
        assert bench.store.snapshots.list() == []
        assert bench.journal.of("restored") == []

    run(scenario)


def test_an_own_snapshot_is_named_before_the_log_is_compacted() -> None:
    async def scenario(bench: Bench) -> None:
        bench.append(entries(2, 9, 1), commit=10, number=1)
        await bench.settled()
        bench.store.hold()
        taking = asyncio.ensure_future(bench.replica.snapshotter.take())
        await bench.journal.until(
            lambda: any(
                batch.snapshot for one in bench.journal.of("write begins") for batch in one
            ),
            "the snapshot is being named",
        )
        assert bench.journal.of("compacted") == []
        bench.store.release()
        meta = await taking
        assert bench.journal.of("compacted") == [9]
        assert bench.disk.names is not None
        assert bench.disk.names[0].id == meta.id

    async def main() -> None:
        async with running_replica(snapshot_trailing=1) as bench:
            await scenario(bench)

    asyncio.run(main())


def test_a_snapshot_has_the_configuration_of_its_index() -> None:
    async def scenario(bench: Bench) -> None:
        bench.append(entries(2, 2, 1), commit=3, number=1)
        await bench.settled()
        later = Entry(4, 1, EntryType.CONFIGURATION, encode_configuration(configuration("abcd")))
        bench.append([later], prev=(3, 1), commit=3, number=2)
        await bench.settled()
        meta = await bench.replica.snapshotter.take()
        assert (meta.index, meta.configuration.ids) == (3, ("a", "b", "c"))

    run(scenario)


def test_a_received_snapshot_counts_as_the_newest() -> None:
    async def scenario(bench: Bench) -> None:
        meta = fresh_snapshot(bench, 50, 1, 7)
        bench.receive(InstallSnapshot("b", ME, 1, meta, request_id=2))
        await bench.settled()
        assert await bench.replica.snapshotter.take() == meta

    run(scenario)


@pytest.mark.parametrize("ending", ["unreadable", "halted"])
def test_a_snapshot_that_is_not_finished_is_aborted(ending: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.append(entries(2, 2, 1), commit=3)
        await bench.settled()
        reached, go_on = threading.Event(), threading.Event()

        def chunks() -> Iterator[bytes]:
            yield b"the beginning"
            reached.set()
            assert go_on.wait(20.0)
            if ending == "unreadable":
                raise RuntimeError("a bug of the service")
            yield b"the rest"

        bench.machine.snapshot = chunks  # type: ignore[method-assign]
        taking = asyncio.ensure_future(bench.replica.snapshotter.take())
        assert await asyncio.to_thread(reached.wait, 20.0)
        if ending == "halted":
            bench.journal.note("halt")
            bench.replica.halt(Stopped("enough"))
        go_on.set()
        with pytest.raises(StorageError):
            await taking
        await bench.journal.until(lambda: bench.journal.of("snapshot aborted"), "the abort")
        assert bench.store.snapshots.list() == []

    run(scenario)


def test_a_restart_restores_the_snapshot_before_the_entries_behind_it() -> None:
    disk = bootstrapped_disk()

    async def first() -> None:
        async with running_replica(disk=disk, snapshot_trailing=1) as bench:
            bench.append(entries(2, 9, 1), commit=10, number=1)
            await bench.settled()
            await bench.replica.snapshotter.take()
            bench.append(entries(11, 2, 1), prev=(10, 1), commit=10, number=2)
            await bench.settled()

    async def second() -> None:
        async with running_replica(disk=disk) as bench:
            await bench.settled()
            assert bench.applier.applied_index == 10
            bench.append(prev=(12, 1), commit=12, number=1)
            await bench.until_applied(12)

    asyncio.run(first())
    asyncio.run(second())
