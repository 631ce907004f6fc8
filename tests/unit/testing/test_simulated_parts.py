"""Each part of the simulator alone: time, disk, network, plan, durability rules."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from braft_core.errors import Rejected
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVoteResponse,
)
from braft_core.raft.ready import Ready
from braft_core.raft.types import Configuration, Entry, EntryType, HardState, SnapshotMeta
from braft_core.services.envelope import SessionStamp, with_session
from braft_testing.simulation import InvariantBroken, draw_plan
from braft_testing.simulation.clock import NodeClock, Scheduler
from braft_testing.simulation.disk import Compaction, Disk, LogImage
from braft_testing.simulation.durability_invariants import DurabilityInvariants
from braft_testing.simulation.history import Kind, Operation
from braft_testing.simulation.network import Envelope, Network
from braft_testing.simulation.plan import FAULTS, Plan, stream
from braft_testing.simulation.snapshots import recover
from braft_testing.simulation.state_machine import (
    LOST,
    Machine,
    command_of,
    is_unique,
    query_of,
    take_answer,
    value_written,
)
from braft_testing.simulation.trace import Trace


def entry(index: int, term: int = 1) -> Entry:
    return Entry(index, term, EntryType.COMMAND, b"")


def batch(number: int, *entries: Entry, cut: int | None = None) -> Ready:
    return Ready(number=number, entries=list(entries), truncate_from=cut)


# -- time ----------------------------------------------------------------------------------


def test_events_come_in_order_of_time_then_of_scheduling() -> None:
    scheduler, seen = Scheduler(), list[str]()
    scheduler.after(2.0, seen.append, "c")
    scheduler.after(1.0, seen.append, "a")
    scheduler.after(1.0, seen.append, "b")
    assert scheduler.run_until(1.5)
    assert (seen, scheduler.now, scheduler.steps) == (["a", "b"], 1.5, 2)


def test_a_run_can_be_cut_short_by_steps() -> None:
    scheduler = Scheduler()
    for _ in range(3):
        scheduler.after(1.0, lambda: None)
    assert not scheduler.run_until(5.0, max_steps=2)


def test_a_clock_drifts_and_jumps_but_never_runs_back() -> None:
    clock = NodeClock(100.0, rate=2.0)
    assert clock.local(1.0) == 102.0
    assert clock.delay_until(106.0, 1.0) == 2.0
    clock.adjust(1.0, rate=0.5, jump=3.0)
    assert clock.local(1.0) == 105.0
    assert clock.local(3.0) == 106.0


# -- the disk ------------------------------------------------------------------------------


def make_disk(scheduler: Scheduler, seed: int = 0) -> Disk:
    return Disk(scheduler, lambda: 1.0, random.Random(seed), LogImage())


def test_batches_become_durable_in_order_after_a_sync() -> None:
    scheduler, durable = Scheduler(), list[int]()
    disk = make_disk(scheduler)
    disk.on_durable = lambda ready: durable.append(ready.number)
    for number in (1, 2, 3):
        disk.submit(batch(number, entry(number)))
    assert (len(disk.volatile.entries), len(disk.durable.entries)) == (3, 0)
    scheduler.run_until(10.0)
    assert durable == [1, 2, 3]
    assert disk.durable == disk.volatile


def test_an_empty_batch_waits_behind_earlier_ones() -> None:
    scheduler, durable = Scheduler(), list[int]()
    disk = make_disk(scheduler)
    disk.on_durable = lambda ready: durable.append(ready.number)
    disk.submit(batch(1, entry(1)))
    disk.submit(batch(2))
    assert durable == []
    scheduler.run_until(10.0)
    assert durable == [1, 2]


def test_a_crash_keeps_a_prefix_and_no_late_sync_follows() -> None:
    kept = set()
    for seed in range(30):
        scheduler, durable = Scheduler(), list[Ready]()
        disk = make_disk(scheduler, seed)
        disk.on_durable = durable.append
        for number in (1, 2, 3):
            disk.submit(batch(number, entry(number)))
        lost = disk.crash()
        assert [e.index for e in disk.durable.entries] == list(range(1, 4 - lost))
        assert disk.volatile == disk.durable
        scheduler.run_until(10.0)
        assert durable == []
        kept.add(3 - lost)
    assert kept == {0, 1, 2, 3}


def test_truncation_comes_before_the_entries_of_a_batch() -> None:
    image = LogImage()
    image.apply(batch(1, entry(1), entry(2), entry(3)))
    image.apply(batch(2, entry(2, term=2), cut=2))
    assert [image.term_at(i) for i in range(5)] == [0, 1, 2, -1, -1]


@pytest.mark.parametrize(
    ("rule", "ready"),
    [
        ("the log has no gaps", batch(1, entry(3))),
        ("the log has no gaps", batch(1, cut=0)),
        ("stored term never decreases", Ready(number=1, hard_state=HardState(4, ""))),
        ("stored vote never changes", Ready(number=1, hard_state=HardState(5, "b"))),
        ("stored vote never changes", Ready(number=1, hard_state=HardState(5, ""))),
    ],
)
def test_a_disk_refuses_what_no_correct_core_asks(rule: str, ready: Ready) -> None:
    image = LogImage(HardState(5, "a"))
    with pytest.raises(InvariantBroken) as broken:
        image.apply(ready)
    assert broken.value.invariant == rule


# -- the network ---------------------------------------------------------------------------


def make_network(**changes: float) -> tuple[Scheduler, Network, list[object]]:
    calm = {"jitter": 0.01, "loss": 0.0, "duplication": 0.0, "reordering": 0.0}
    plan = dataclasses.replace(draw_plan(0), **{**calm, **changes})  # type: ignore[arg-type]
    scheduler, arrived = Scheduler(), list[object]()
    network = Network(
        scheduler, plan, random.Random(1), lambda envelope: arrived.append(envelope.payload)
    )
    return scheduler, network, arrived


def message(term: int) -> AppendEntries:
    return AppendEntries("a", "b", term, 1, 1, (), 1)


def deliver(count: int = 50, **changes: float) -> list[int]:
    scheduler, network, arrived = make_network(**changes)
    for term in range(count):
        network.send(Envelope("a", "b", 1, message(term)))
    scheduler.run_until(10.0)
    return [m.term for m in arrived if isinstance(m, AppendEntries)]


def test_a_good_network_keeps_order() -> None:
    assert deliver() == list(range(50))


def test_loss_duplication_and_reordering_happen() -> None:
    assert 0 < len(deliver(loss=0.5)) < 50
    assert len(deliver(duplication=0.5)) > 50
    assert sorted(deliver(reordering=0.5)) == list(range(50)) != deliver(reordering=0.5)


def test_what_a_client_sends_is_never_doubled() -> None:
    scheduler, network, arrived = make_network(duplication=1.0)
    network.send(Envelope("c", "a", 0, "command"))
    scheduler.run_until(10.0)
    assert arrived == ["command"]


def test_a_cut_is_directed_and_swallows_what_is_under_way() -> None:
    scheduler, network, arrived = make_network()
    network.send(Envelope("a", "b", 1, "under way"))
    network.cut([("a", "b")])
    network.send(Envelope("b", "a", 1, "the other way"))
    scheduler.run_until(1.0)
    network.heal()
    network.send(Envelope("a", "b", 1, "after"))
    scheduler.run_until(2.0)
    assert arrived == ["the other way", "after"]


# -- plans, traces, registers --------------------------------------------------------------


def test_a_plan_is_a_function_of_its_seed_and_faults_are_a_choice() -> None:
    assert draw_plan(3) == draw_plan(3)
    plans = [draw_plan(seed) for seed in range(200)]
    for kind in FAULTS:
        least = 20 if kind in ("wipe", "death", "slow_syncs", "upgrade", "forgery") else 60
        assert least < sum(1 for plan in plans if kind in plan.faults) < 140
    assert {plan.initial_voters for plan in plans} == {1, 2, 3, 4, 5, 6}
    assert max(plan.servers for plan in plans) == 7


def test_streams_of_a_seed_are_independent() -> None:
    assert stream(1, "a").random() == stream(1, "a").random() != stream(1, "b").random()


def test_different_traces_have_different_digests() -> None:
    def digest(*lines: str) -> str:
        trace = Trace(lambda: 1.0)
        for line in lines:
            trace.add(line)
        return trace.digest

    assert digest("a", "b") == digest("a", "b")
    assert digest("a", "b") != digest("b", "a")


def applied(machine: Machine, index: int, operation: Operation, revision: int = 0) -> Operation:
    data = command_of(operation, revision)
    take_answer(operation, machine.apply(Entry(index, 1, EntryType.COMMAND, data)))
    return operation


def test_registers_write_and_compare() -> None:
    machine = Machine()
    applied(machine, 4, Operation(1, "c", Kind.WRITE, "k", value=1))
    held = applied(machine, 5, Operation(2, "c", Kind.CAS, "k", value=2, expected=1), 4)
    missed = applied(machine, 6, Operation(3, "c", Kind.CAS, "k", value=3, expected=1), 4)
    read = Operation(4, "c", Kind.READ, "k")
    take_answer(read, machine.query(*query_of(read)))
    assert (held.seen, held.revision) == (1, 5)
    assert (missed.seen, missed.revision) == (LOST, 5)
    assert (read.seen, read.revision) == (2, 5)
    assert value_written(command_of(held)) == 2


def test_sets_are_listed_as_bits() -> None:
    machine, listed = Machine(), Operation(9, "c", Kind.LIST, "set")
    with pytest.raises(Rejected) as nobody:
        machine.query(*query_of(listed))
    take_answer(listed, nobody.value)
    assert listed.seen == 0
    applied(machine, 1, Operation(1, "c", Kind.INSERT, "set", value=0))
    applied(machine, 2, Operation(2, "c", Kind.INSERT, "set", value=3))
    gone = applied(machine, 3, Operation(3, "c", Kind.REMOVE, "set", value=0))
    take_answer(listed, machine.query(*query_of(listed)))
    assert (gone.seen, listed.seen) == (1, 0b1000)


def test_a_command_that_is_applied_twice_is_noted_over_snapshots() -> None:
    machine, twin = Machine(), Machine()
    first = applied(machine, 1, Operation(7, "c", Kind.ADD, "n"))
    twin.restore([machine.capture()])
    second = applied(twin, 2, Operation(7, "c", Kind.ADD, "n"))
    assert (first.seen, second.seen) == (1, 2)
    assert (machine.tally.doubled, twin.tally.doubled) == ([], [7])


def test_only_commands_with_a_unique_number_are_unique() -> None:
    write, add = Operation(1, "c", Kind.WRITE, "k", value=1), Operation(2, "c", Kind.ADD, "n")
    assert is_unique(command_of(write))
    assert not is_unique(with_session(command_of(add), SessionStamp(bytes(16), 1, 1)))
    assert not is_unique(command_of(Operation(3, "c", Kind.REMOVE, "set", value=1)))


def test_a_compacted_log_continues_behind_a_snapshot() -> None:
    history = [entry(1), entry(2), entry(3, 2)]
    image = LogImage(HardState(2, ""), list(history), history=history)
    image.apply(Compaction(2, 1))
    assert [image.term_at(i) for i in range(5)] == [0, 1, 1, 2, -1]
    assert (image.base, image.last_index) == (2, 3)
    with pytest.raises(InvariantBroken, match="the log has no gaps"):
        image.apply(batch(1, cut=2))
    image.reset(SnapshotMeta("x", 5, 2, Configuration(), 0))
    assert (image.base, image.last_index, image.term_at(5)) == (5, 5, 2)


def test_a_disk_compacts_only_what_a_snapshot_covers() -> None:
    disk = Disk(Scheduler(), lambda: 0.0, random.Random(1), LogImage(entries=[entry(1), entry(2)]))
    disk.snapshots.place(1, 1, Configuration(), 0, b"")
    with pytest.raises(InvariantBroken, match="only entries in a snapshot are compacted"):
        disk.compact(Compaction(2, 1))
    disk.compact(Compaction(1, 1))
    assert disk.volatile.base == 1


def test_a_full_disk_makes_writes_wait() -> None:
    scheduler, durable = Scheduler(), list[int]()
    disk = Disk(scheduler, lambda: 0.0, random.Random(1), LogImage())
    disk.on_durable = lambda ready: durable.append(ready.number)
    disk.full = True
    disk.submit(batch(1, entry(1)))
    scheduler.run_until(5.0)
    assert (durable, disk.durable.last_index, disk.writing_since) == ([], 0, 0.0)
    disk.full = False
    scheduler.run_until(6.0)
    assert (durable, disk.durable.last_index, disk.writing_since) == ([1], 1, math.inf)


def test_a_damaged_snapshot_is_passed_over_and_its_loss_refused() -> None:
    disk = Disk(Scheduler(), lambda: 0.0, random.Random(1), LogImage(entries=[entry(1), entry(2)]))
    disk.snapshots.place(1, 1, Configuration(), 0, b"")
    newest = disk.snapshots.place(2, 1, Configuration(), 0, b"")
    disk.snapshots.damaged.add(newest.id)
    older = recover(disk)
    assert older is not None
    assert older.snapshot is not None
    assert older.snapshot.index == 1
    disk.repair(lambda image: image.apply(Compaction(2, 1)))
    assert recover(disk) is None


# -- durability --------------------------------------------------------------------------------


def broken_rule(durability: DurabilityInvariants, image: LogImage, *arguments: object) -> str:
    with pytest.raises(InvariantBroken) as broken:
        durability.check(image, *arguments)  # type: ignore[arg-type]
    return broken.value.invariant


def test_a_vote_must_be_durable_and_the_only_one_in_its_term() -> None:
    durability, vote = DurabilityInvariants(), RequestVoteResponse("b", "a", 3, True)
    assert broken_rule(durability, LogImage(HardState(2, "")), vote, None).startswith("terms")
    assert broken_rule(durability, LogImage(HardState(3, "")), vote, None).startswith("votes")
    durability.check(LogImage(HardState(3, "a")), vote, None)
    other = RequestVoteResponse("b", "c", 3, True)
    assert broken_rule(durability, LogImage(HardState(3, "c")), other, None) == "one vote per term"


def test_a_leader_needs_the_sent_votes_of_a_majority() -> None:
    durability = DurabilityInvariants()
    durability.vote("a", 3, "a")
    with pytest.raises(InvariantBroken, match="1 of"):
        durability.elected("a", 3, ("a", "b", "c"))
    durability.vote("b", 3, "a")
    durability.elected("a", 3, ("a", "b", "c"))
    with pytest.raises(InvariantBroken, match="2 of"):
        durability.elected("a", 3, ("a", "b", "c", "d"))


def test_a_campaign_without_timeout_now_needs_pre_votes() -> None:
    durability, image = DurabilityInvariants(), LogImage(HardState(2, ""))
    with pytest.raises(InvariantBroken, match="PreVote"):
        durability.campaign("a", 3, ("a", "b", "c"))
    ask = RequestPreVote("a", "b", 3, 0, 0)
    durability.check(image, RequestPreVoteResponse("b", "a", 2, True), ask)
    durability.campaign("a", 3, ("a", "b", "c"))
    with pytest.raises(InvariantBroken, match="PreVote"):
        durability.campaign("c", 3, ("a", "b", "c"))


def test_acknowledged_entries_must_be_durable() -> None:
    image = LogImage(HardState(2, ""), [entry(1), entry(2)])
    answer = AppendEntriesResponse("b", "a", 2, True, 2)

    def request(index: int, term: int) -> AppendEntries:
        return AppendEntries("a", "b", 2, 0, 0, [entry(index, term)], 0)

    DurabilityInvariants().check(image, answer, request(2, 1))
    for wrong in (request(3, 1), request(2, 2)):
        assert (
            broken_rule(DurabilityInvariants(), image, answer, wrong)
            == "acknowledged entries are durable"
        )
    heartbeat = AppendEntries("a", "b", 2, 0, 0, (), 0)
    DurabilityInvariants().check(image, answer, heartbeat)


def test_every_duration_of_a_plan_is_positive() -> None:
    for seed in range(100):
        plan: Plan = draw_plan(seed)
        assert plan.config.heartbeat_interval < plan.config.election_timeout
        assert plan.seconds > 0
        assert plan.think_time > 0
