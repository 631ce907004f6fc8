"""The applier thread: answers to their callers, reads in their place, a machine that breaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from braft_core.errors import CommandFailed, OutcomeUnknown, Stopped, UnknownService
from braft_core.raft import Entry, EntryType
from braft_core.runtime.applier import Applier
from braft_core.runtime.proposals import Segment
from braft_core.runtime.requests import Query, Request
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import encode_command
from braft_core.services.kv import KVService
from braft_core.services.machine import StateMachine

SERIALIZER = MsgpackSerializer()


def put(index: int, value: int) -> Entry:
    data = encode_command(SERIALIZER, "kv", "put", ["m", "k", value])
    return Entry(index, 1, EntryType.COMMAND, data)


def get() -> Query:
    return Query("kv", "get", ("m", "k"), 10)


@pytest.fixture
def fatal() -> list[BaseException]:
    """What made the applier end."""
    return []


@pytest.fixture
def applier(fatal: list[BaseException]) -> Iterator[Applier]:
    machine = StateMachine([KVService()], {SERIALIZER.tag: SERIALIZER})
    applier = Applier(machine, "applier-under-test", fatal.append)
    applier.start()
    yield applier
    applier.stop(10)


def test_each_request_of_a_batch_gets_the_answer_of_its_entry(applier: Applier) -> None:
    requests = [Request(10) for _ in range(3)]
    entries = [put(index, index) for index in range(1, 6)]
    applier.apply(entries, [Segment(1, requests[:2]), Segment(4, requests[2:])])
    assert [request.blocking.result(10) for request in requests] == [2, 3, 5]
    assert applier.applied_index == 5


def test_a_command_that_fails_is_an_answer(applier: Applier, fatal: list[BaseException]) -> None:
    bad, good = Request(10), Request(10)
    entry = Entry(1, 1, EntryType.COMMAND, encode_command(SERIALIZER, "kv", "put", [1]))
    applier.apply([entry, put(2, 2)], [Segment(0, [bad, good])])
    with pytest.raises(CommandFailed):
        bad.blocking.result(10)
    assert good.blocking.result(10) == 2
    assert fatal == []


def test_reads_wait_for_their_index_and_see_it(applier: Applier) -> None:
    now, later, latest = get(), get(), get()
    applier.read(3, [latest])
    applier.read(2, [later])
    applier.read(0, [now])
    assert now.blocking.result(10) is None
    assert not later.future.done()
    applier.apply([put(1, 10), put(2, 20)], [])
    assert later.blocking.result(10) == [20, 2]
    assert not latest.future.done()
    applier.apply([put(3, 30)], [])
    assert latest.blocking.result(10) == [30, 3]


def test_a_read_that_fails_is_an_answer(applier: Applier) -> None:
    query = Query("nowhere", "get", (), 10)
    applier.read(0, [query])
    with pytest.raises(UnknownService):
        query.blocking.result(10)


def test_reads_that_never_come_true_are_answered_at_the_stop(applier: Applier) -> None:
    query = get()
    applier.read(99, [query])
    applier.stop(10)
    with pytest.raises(Stopped):
        query.blocking.result(0)


def test_a_machine_that_breaks_ends_the_node(fatal: list[BaseException]) -> None:
    class Broken(StateMachine):
        def apply_many(self, entries: object) -> list[object]:
            raise MemoryError

    applier = Applier(Broken([KVService()], {}), "applier-under-test", fatal.append)
    applier.start()
    applier.apply([put(1, 1)], [])
    applier.stop(10)
    assert [type(error) for error in fatal] == [MemoryError]
    assert applier.applied_index == 0
    assert not any(t.name == "applier-under-test" for t in threading.enumerate())


def test_a_machine_that_breaks_leaves_nobody_waiting(fatal: list[BaseException]) -> None:
    class Broken(StateMachine):
        def apply_many(self, entries: object) -> list[object]:
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
    applier.stop(10)


def test_a_read_that_comes_after_the_end_is_refused(applier: Applier) -> None:
    applier.stop(10)
    query = get()
    applier.read(0, [query])
    with pytest.raises(Stopped):
        query.blocking.result(1)
