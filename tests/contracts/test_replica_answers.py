"""Every request of a real replica is answered exactly once, and truthfully.

Every test also obeys the rules of :mod:`tests.contracts.judge`: at the end of each run all requests
have an answer, success means applied, and "not applied" means just that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from braft_core.errors import NoLeader, NotReady, OutcomeUnknown, Stopped
from braft_core.raft import (
    AppendEntries,
    Entry,
    EntryType,
    InstallSnapshot,
    InstallSnapshotResponse,
    Role,
)
from tests.contracts.replica_bench import (
    ME,
    Bench,
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


async def deposed(bench: Bench, *, commit: bool = True) -> list[Entry]:
    """Let server b lead the next term; its first entry replaces what is not committed here."""
    core = bench.core
    bench.transport.answers_to = None
    term, at = core.current_term + 1, core.commit_index
    replacing = [Entry(at + 1, term, EntryType.NOOP, b"")]
    bench.append(
        replacing,
        prev=(at, core.log.term_at(at) or 0),
        term=term,
        commit=at + 1 if commit else at,
        number=700,
    )
    await bench.settled()
    return replacing


# -- commands --------------------------------------------------------------------------------------


def test_commands_are_answered_by_their_own_entries() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.machine.gate.close()
        commands = [bench.command() for _ in range(5)]
        await bench.turn()
        commands += [bench.command() for _ in range(5)]
        await bench.turn()
        bench.machine.gate.open()
        answers = [await command.awaitable for command in commands]
        assert answers == list(range(answers[0], answers[0] + 10))

    run(scenario)


def test_a_replaced_command_is_not_applied_and_goes_to_the_next_leader() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        command = bench.command()
        await bench.turn()
        assert command.sent
        await deposed(bench)
        assert bench.forwarded == [command]
        assert not command.sent
        assert not command.future.done()

    run(scenario)


def test_several_replaced_commands_are_all_given_back() -> None:
    """One committed entry of a later term decides those at later indexes too."""

    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        commands = []
        for _ in range(4):
            commands.append(bench.command())
            await bench.turn()
        await deposed(bench)
        assert set(bench.forwarded) == set(commands)

    run(scenario)


def test_a_command_that_may_still_be_committed_has_no_answer_yet() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        command = bench.command(timeout=5.0)
        await bench.turn()
        await deposed(bench, commit=False)
        assert (bench.forwarded, command.future.done()) == ([], False)
        bench.advance(6.0)
        await bench.settled()
        assert isinstance(command.awaitable.exception(), OutcomeUnknown)

    run(scenario)


def test_the_deadline_of_an_appended_command_leaves_its_outcome_open() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        command = bench.command(timeout=0.2)
        await bench.turn()
        bench.advance(0.3)
        await bench.settled()
        assert isinstance(command.awaitable.exception(), OutcomeUnknown)

    run(scenario)


def test_a_deadline_needs_no_other_event() -> None:
    """The driver wakes itself for the deadlines of what is in the log."""

    async def main() -> None:
        async with running_replica(election_timeout=600.0, heartbeat_interval=60.0) as bench:
            await bench.lead()
            command = bench.command(timeout=0.01)
            bench.transport.answers_to = None
            await bench.turn()
            await deposed(bench, commit=False)
            # The leader's last timer, 5 ms, would wake the driver. It runs before this one.
            await asyncio.sleep(0.02)
            await bench.turn()
            bench.time.now += 0.2
            await bench.journal.until(command.future.done, "its deadline")
            assert isinstance(command.awaitable.exception(), OutcomeUnknown)

    asyncio.run(main())


def test_a_request_without_a_leader_is_surely_not_applied() -> None:
    async def scenario(bench: Bench) -> None:
        requests = [bench.command(timeout=0.2), bench.query(timeout=0.2)]
        await bench.turn()
        bench.advance(0.3)
        await bench.settled()
        for request in requests:
            assert isinstance(request.awaitable.exception(), NoLeader)

    run(scenario)


def test_a_request_submitted_during_a_turn_is_served_by_the_next() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        submitted: list[object] = []
        bench.driver.call(lambda: submitted.append(bench.command()))
        await bench.turn()
        (command,) = bench.requests
        assert submitted == [command]
        async with asyncio.timeout(20.0):
            await command.awaitable

    run(scenario)


def test_a_request_submitted_at_the_end_of_a_turn_wakes_the_driver() -> None:
    """Another thread may come in when everything was already taken."""

    async def scenario(bench: Bench) -> None:
        await bench.lead()
        core, deadline = bench.core, bench.core.next_deadline

        def last_step() -> float:
            core.next_deadline = deadline  # type: ignore[method-assign]
            bench.command()
            return deadline()

        core.next_deadline = last_step  # type: ignore[method-assign]
        bench.driver.call(lambda: None)
        await bench.turn()
        (command,) = bench.requests
        async with asyncio.timeout(20.0):
            await command.awaitable

    async def main() -> None:
        # Neither heartbeats nor elections wake the driver.
        async with running_replica(election_timeout=600.0, heartbeat_interval=100.0) as bench:
            await scenario(bench)

    asyncio.run(main())


# -- reads -----------------------------------------------------------------------------------------


def test_a_confirmed_read_waits_until_its_index_is_applied() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.machine.gate.close()
        command = bench.command()
        await bench.turn()
        query = bench.query()
        await bench.turn()
        assert not query.future.done()
        bench.machine.gate.open()
        index = await command.awaitable
        assert (await query.awaitable)[1] == index

    run(scenario)


def test_a_read_for_the_next_entry_waits_for_it() -> None:
    async def scenario(bench: Bench) -> None:
        bench.append(entries(2, 3, 1), commit=3)
        await bench.until_applied(3)
        query = bench.query()
        bench.requests.remove(query)
        bench.driver.serve(4, [query])
        await bench.settled()
        assert not query.future.done()
        bench.append(prev=(4, 1), commit=4)
        assert (await query.awaitable)[1] == 4

    run(scenario)


def test_a_read_of_a_deposed_leader_goes_to_the_next() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        query = bench.query()
        await bench.turn()
        await deposed(bench)
        assert bench.forwarded == [query]

    run(scenario)


def test_a_read_that_cannot_be_confirmed_ends_at_its_deadline() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        query = bench.query(timeout=0.1)
        await bench.turn()
        bench.advance(0.2)
        await bench.settled()
        assert isinstance(query.awaitable.exception(), NoLeader)

    run(scenario)


def test_a_lease_is_judged_by_the_time_of_the_read() -> None:
    """The turn may have begun long ago: the machine was suspended in the middle."""

    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.advance(0.01)
        await bench.settled()
        bench.transport.answers_to = None

        quick = bench.query(lease=True)
        await bench.settled()
        assert quick.future.done(), "the lease holds"

        def suspended() -> None:
            bench.time.now += 60.0
            bench.query(lease=True, timeout=100.0)

        bench.driver.call(suspended)
        await bench.settled()
        _, query = bench.requests
        assert not query.future.done(), "others may have elected a leader meanwhile"

    async def main() -> None:
        async with running_replica(lease_reads=True) as bench:
            bench.advance(10.0)
            await scenario(bench)

    asyncio.run(main())


# -- the end ---------------------------------------------------------------------------------------


def test_the_halt_answers_everybody() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        bench.transport.answers_to = None
        proposed, confirming = bench.command(), bench.query()
        await bench.turn()
        queued = [bench.command(), bench.query()]
        taken = asyncio.ensure_future(bench.replica.snapshotter.take())
        bench.journal.note("halt")
        bench.replica.halt(Stopped("enough"))
        await bench.turn()
        assert isinstance(proposed.awaitable.exception(), OutcomeUnknown)
        for request in (confirming, *queued):
            error = request.awaitable.exception()
            assert error is not None
            assert not isinstance(error, OutcomeUnknown)
        with pytest.raises((Stopped, NotReady)):
            await asyncio.wait_for(taken, 20.0)
        late = bench.command()
        await bench.turn()
        assert isinstance(late.awaitable.exception(), Stopped)

    run(scenario)


#: What a replica is doing when it is stopped.
_MOMENTS = ["starting", "following", "writing", "applying", "leading", "restoring", "reading"]


@pytest.mark.parametrize("moment", _MOMENTS)
def test_a_stop_at_any_moment_answers_everybody_and_leaves_no_thread(moment: str) -> None:
    async def scenario(bench: Bench) -> None:
        if moment in ("writing", "leading", "reading", "applying"):
            await bench.lead()
            assert bench.core.role is Role.LEADER
        if moment == "following":
            bench.append(entries(2, 3, 1), commit=3)
            await bench.until_applied(3)
        if moment == "writing":
            bench.store.hold()
        if moment in ("applying", "restoring"):
            bench.machine.gate.close()
        if moment == "restoring":
            meta = fresh_snapshot(bench, 50, 1, 7)
            bench.receive(InstallSnapshot("b", ME, 1, meta, request_id=2))
            await bench.until_sent(InstallSnapshotResponse)
        if moment == "reading":
            bench.transport.answers_to = None
        for _ in range(3):
            bench.command()
            bench.query()
            await bench.turn()

    run(scenario)


@pytest.mark.parametrize("moment", ["ahead", "behind"])
def test_a_stop_of_the_applier_answers_its_reads(moment: str) -> None:
    async def scenario(bench: Bench) -> None:
        query = bench.query()
        bench.requests.remove(query)
        if moment == "ahead":
            bench.driver.serve(10**6, [query])
            await asyncio.to_thread(bench.applier.stop, 20.0)
        else:
            await asyncio.to_thread(bench.applier.stop, 20.0)
            bench.driver.serve(0, [query])
        await bench.turn()
        assert isinstance(query.awaitable.exception(), Stopped)

    run(scenario)


def test_the_peers_of_a_leader_get_entries_in_order() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.lead()
        for _ in range(5):
            bench.command()
            await bench.turn()
        await bench.settled()
        sent = [m for m in bench.sent(AppendEntries) if m.to == "b" and m.entries]
        indexes = [entry.index for message in sent for entry in message.entries]
        assert indexes == sorted(set(indexes))

    run(scenario)
