"""The applier thread: answers to callers, order of reads, a failing state machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from braft_core.errors import InvalidArgument, NotReady, OutcomeUnknown, Stopped, UnknownService
from braft_core.raft import Entry, EntryType
from braft_core.runtime.applier import Applier
from braft_core.runtime.pending import Segment
from braft_core.runtime.requests import Query, Request
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import encode_command
from braft_core.services.kv import KVService
from braft_core.services.state_machine import StateMachine
from braft_testing.processes import PATIENCE

SERIALIZER = MsgpackSerializer()


def put(index: int, value: int) -> Entry:
    data = encode_command(SERIALIZER, "kv", "put", ["m", "k", value])
    return Entry(index, 1, EntryType.COMMAND, data)


def get() -> Query:
    return Query("kv", "get", ("m", "k"), 10)


@pytest.fixture
def fatal() -> list[BaseException]:
    """Return the error that ended the applier."""
    return []


@pytest.fixture
def applier(fatal: list[BaseException]) -> Iterator[Applier]:
    machine = StateMachine([KVService()], {SERIALIZER.tag: SERIALIZER})
    applier = Applier(machine, "applier-under-test", fatal.append)
    applier.start()
    yield applier
    applier.stop(PATIENCE)


def test_each_request_of_a_batch_gets_the_answer_of_its_entry(applier: Applier) -> None:
    requests = [Request(10) for _ in range(3)]
    entries = [put(index, index) for index in range(1, 6)]
    applier.apply(entries, [Segment(1, requests[:2]), Segment(4, requests[2:])])
    assert [request.blocking.result(PATIENCE) for request in requests] == [2, 3, 5]
    assert applier.applied_index == 5


def test_a_command_that_fails_is_an_answer(applier: Applier, fatal: list[BaseException]) -> None:
    bad, good = Request(10), Request(10)
    entry = Entry(1, 1, EntryType.COMMAND, encode_command(SERIALIZER, "kv", "put", ["m", "", 1]))
    applier.apply([entry, put(2, 2)], [Segment(0, [bad, good])])
    with pytest.raises(InvalidArgument):
        bad.blocking.result(PATIENCE)
    assert good.blocking.result(PATIENCE) == 2
    assert fatal == []


def test_reads_wait_for_their_index_and_see_it(applier: Applier) -> None:
    now, later, latest = get(), get(), get()
    applier.read(3, [latest])
    applier.read(2, [later])
    applier.read(0, [now])
    assert now.blocking.result(PATIENCE) is None
    assert not later.future.done()
    applier.apply([put(1, 10), put(2, 20)], [])
    assert later.blocking.result(PATIENCE) == [20, 2]
    assert not latest.future.done()
    applier.apply([put(3, 30)], [])
    assert latest.blocking.result(PATIENCE) == [30, 3]


def test_a_read_that_fails_is_an_answer(applier: Applier) -> None:
    query = Query("nowhere", "get", (), 10)
    applier.read(0, [query])
    with pytest.raises(UnknownService):
        query.blocking.result(PATIENCE)


def test_reads_that_never_come_true_are_answered_at_the_stop(applier: Applier) -> None:
    query = get()
    applier.read(99, [query])
    applier.stop(PATIENCE)
    with pytest.raises(Stopped):
        query.blocking.result(0)


def test_a_machine_that_breaks_ends_the_node(fatal: list[BaseException]) -> None:
    class Broken(StateMachine):
        def apply_many(self, entries: object, outcomes: object) -> None:
            raise MemoryError

    applier = Applier(Broken([KVService()], {}), "applier-under-test", fatal.append)
    applier.start()
    applier.apply([put(1, 1)], [])
    applier.stop(PATIENCE)
    assert [type(error) for error in fatal] == [MemoryError]
    assert applier.applied_index == 0
    assert not any(t.name == "applier-under-test" for t in threading.enumerate())


def test_a_machine_that_breaks_leaves_nobody_waiting(fatal: list[BaseException]) -> None:
    class Broken(StateMachine):
        def apply_many(self, entries: object, outcomes: object) -> None:
            raise MemoryError

    applier = Applier(Broken([KVService()], {}), "applier-under-test", fatal.append)
    ahead, behind, applied, second = get(), get(), Request(10), Request(10)
    applier.read(9, [ahead])
    applier.apply([put(1, 1)], [Segment(0, [applied])])
    applier.apply([put(2, 1)], [Segment(0, [second])])
    applier.read(0, [behind])
    applier.start()
    for query in (ahead, behind):
        with pytest.raises(Stopped):
            query.blocking.result(40)
    for request in (applied, second):
        with pytest.raises(OutcomeUnknown):
            request.blocking.result(40)
    applier.stop(PATIENCE)


def test_a_read_that_comes_after_the_end_is_refused(applier: Applier) -> None:
    applier.stop(PATIENCE)
    query = get()
    applier.read(0, [query])
    with pytest.raises(Stopped):
        query.blocking.result(1)


def unknown(index: int) -> Entry:
    data = encode_command(SERIALIZER, "nowhere", "put", [])
    return Entry(index, 1, EntryType.COMMAND, data)


def test_an_entry_that_this_node_cannot_execute_stops_its_applying(
    fatal: list[BaseException],
) -> None:
    stops: list[int] = []
    machine = StateMachine([KVService()], {SERIALIZER.tag: SERIALIZER})
    applier = Applier(machine, "applier-under-test", fatal.append, lambda: stops.append(1))
    applier.start()
    before, at, behind, ahead = Request(10), Request(10), Request(10), get()
    applier.read(3, [ahead])
    applier.apply([put(1, 1), unknown(2)], [Segment(0, [before, at])])
    applier.apply([put(3, 3)], [Segment(0, [behind])])
    assert before.blocking.result(PATIENCE) == 1
    for request in (at, behind):
        with pytest.raises(OutcomeUnknown, match=r"stopped applying at entry 2: .*'nowhere'"):
            request.blocking.result(PATIENCE)
    for needs in (ahead, get()):
        applier.read(2, [needs])
        with pytest.raises(NotReady, match="stopped applying at entry 2"):
            needs.blocking.result(PATIENCE)
    stale = get()
    applier.read(0, [stale])
    assert stale.blocking.result(PATIENCE) == [1, 1]
    assert applier.applied_index == 1
    with pytest.raises(NotReady, match="no snapshot can be taken"):
        asyncio.run(asyncio.wait_for(applier.capture(), 10))
    assert (fatal, stops) == ([], [1])
    applier.stop(PATIENCE)


def test_a_change_of_the_membership_needs_no_state_machine(applier: Applier) -> None:
    change, barrier = Request(10), Request(10)
    entries = [
        unknown(1),
        Entry(2, 1, EntryType.CONFIGURATION, b""),
        Entry(3, 1, EntryType.BARRIER, b""),
    ]
    applier.apply(entries, [Segment(1, [change, barrier])])
    assert change.blocking.result(PATIENCE) is None
    with pytest.raises(OutcomeUnknown):
        barrier.blocking.result(PATIENCE)


def test_a_snapshot_that_can_be_read_takes_it_past_the_entry(applier: Applier) -> None:
    other = StateMachine([KVService()], {SERIALIZER.tag: SERIALIZER})
    other.apply(put(5, 50))
    applier.apply([unknown(2)], [])
    applier.restore(5, 1, other.snapshot())
    query = get()
    applier.read(5, [query])
    assert query.blocking.result(PATIENCE) == [50, 5]
    assert applier.stopped is None


@pytest.mark.parametrize("broken", ["missing", "refuses"])
def test_a_snapshot_that_cannot_be_read_is_waited_out(
    applier: Applier, fatal: list[BaseException], broken: str
) -> None:
    class Other(KVService):
        name = "kv" if broken == "refuses" else "other"

        def snapshot(self) -> Iterator[bytes]:
            return iter([b"\xc1 of a later version"])

    services = [Other()] if broken == "refuses" else [KVService(), Other()]
    later = StateMachine(services, {SERIALIZER.tag: SERIALIZER})
    for service in services:
        data = encode_command(SERIALIZER, service.name, "put", ["m", "k", 1])
        later.apply(Entry(1, 1, EntryType.COMMAND, data))
    chunks = later.snapshot()
    applier.apply([put(1, 1)], [])
    applier.restore(5, 1, chunks)
    query = get()
    applier.read(0, [query])
    with pytest.raises(NotReady, match="stopped applying at the snapshot at entry 5"):
        query.blocking.result(PATIENCE)
    assert fatal == []
    assert applier.applied_index == 1
