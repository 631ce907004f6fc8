"""Captures that are read in slices: on the applier thread, between batches of commands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from braft_core.abc import SlicedCapture
from braft_core.errors import Stopped
from braft_core.raft import Entry, EntryType
from braft_core.runtime.applier import Applier
from braft_core.runtime.digests import Digester
from braft_core.runtime.pending import Segment
from braft_core.runtime.requests import Request
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services import StateMachineService, command, query
from braft_core.services.digests import Checkpoint, new_hash
from braft_core.services.envelope import encode_command
from braft_core.services.state_machine import StateMachine
from braft_testing.processes import PATIENCE

SERIALIZER = MsgpackSerializer()


class Pages(SlicedCapture):
    """A capture of numbers, a slice each."""

    def __init__(self, numbers: list[int], fails: bool = False) -> None:
        self.numbers, self.fails = numbers, fails
        self.threads: set[int] = set()

    def next(self, size: int) -> bytes | None:
        assert size > 0
        self.threads.add(threading.get_ident())
        if self.fails:
            raise OSError("the page cannot be read")
        return b"%d;" % self.numbers.pop(0) if self.numbers else None


class Numbers(StateMachineService):
    """A list of numbers whose snapshot comes in slices."""

    name = "numbers"

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.captures: list[Pages] = []
        self.fails = False
        #: The thread that applied the last command.
        self.thread = 0

    @command
    def add(self, number: int) -> int:
        self.thread = threading.get_ident()
        self.numbers.append(number)
        return len(self.numbers)

    @query
    def get(self) -> list[int]:
        return self.numbers

    def snapshot(self) -> SlicedCapture:
        self.captures.append(Pages(list(self.numbers), self.fails))
        return self.captures[-1]

    def restore(self, chunks: Iterator[bytes]) -> None:
        self.numbers = [int(text) for text in b"".join(chunks).split(b";") if text]


def add(index: int) -> Entry:
    return Entry(index, 1, EntryType.COMMAND, encode_command(SERIALIZER, "numbers", "add", [index]))


@pytest.fixture
def service() -> Numbers:
    return Numbers()


@pytest.fixture
def machine(service: Numbers) -> StateMachine:
    return StateMachine([service], {SERIALIZER.tag: SERIALIZER})


@pytest.fixture
def applier(machine: StateMachine) -> Iterator[Applier]:
    fatal: list[BaseException] = []
    applier = Applier(machine, "applier-under-test", fatal.append)
    applier.start()
    yield applier
    applier.stop(PATIENCE)
    assert fatal == []


def apply(applier: Applier, index: int) -> Any:
    request = Request(10)
    applier.apply([add(index)], [Segment(0, [request])])
    return request.blocking.result(PATIENCE)


def captured(applier: Applier) -> Iterator[bytes]:
    return asyncio.run(asyncio.wait_for(applier.capture(), PATIENCE)).chunks


def test_slices_are_made_on_the_applier_thread_between_commands(
    applier: Applier, service: Numbers
) -> None:
    apply(applier, 1)
    apply(applier, 2)
    chunks = captured(applier)
    begun = [next(chunks) for _ in range(4)]
    assert apply(applier, 3) == 3
    assert service.captures[0].numbers == [2]
    restored = Numbers()
    StateMachine([restored], {SERIALIZER.tag: SERIALIZER}).restore([*begun, *chunks])
    assert restored.numbers == [1, 2]
    assert service.captures[0].threads == {service.thread}


def test_a_capture_that_fails_is_the_failure_of_its_consumer(
    applier: Applier, service: Numbers
) -> None:
    service.fails = True
    apply(applier, 1)
    with pytest.raises(OSError, match="cannot be read"):
        list(captured(applier))
    assert apply(applier, 2) == 2


def test_a_stop_ends_a_capture(applier: Applier) -> None:
    apply(applier, 1)
    chunks = captured(applier)
    begun = [next(chunks) for _ in range(4)]
    assert b"1;" in begun
    applier.stop(PATIENCE)
    with pytest.raises(Stopped):
        list(chunks)


def test_a_failure_of_the_state_machine_ends_a_capture(machine: StateMachine) -> None:
    fatal: list[BaseException] = []
    applier = Applier(machine, "applier-under-test", fatal.append)
    applier.start()
    apply(applier, 1)
    chunks = captured(applier)
    for _ in range(3):
        next(chunks)
    ended = threading.Event()

    def fail(chunks: Iterator[bytes]) -> None:
        ended.wait(PATIENCE)
        raise MemoryError

    machine.restore = fail  # type: ignore[assignment, method-assign]
    applier.restore(2, 1, iter(()))
    consumer = threading.Timer(0, ended.set)
    consumer.start()
    with pytest.raises(Stopped):
        list(chunks)
    applier.stop(PATIENCE)
    assert [type(error) for error in fatal] == [MemoryError]


def test_the_applier_thread_itself_may_read_a_capture(applier: Applier, service: Numbers) -> None:
    apply(applier, 1)
    found: list[bytes] = []

    class Reads(Numbers):
        def restore(self, chunks: Iterator[bytes]) -> None:
            found.extend(applier.slices(Pages([1, 2])))

    machine = StateMachine([Reads()], {SERIALIZER.tag: SERIALIZER})
    machine.apply(add(1))
    contents = list(machine.snapshot())
    applier._machine = machine
    applier.restore(2, 1, iter(contents))
    chunks = captured(applier)
    assert found == [b"1;", b"2;"]
    assert chunks is not None


def test_digests_are_made_of_slices(
    applier: Applier, machine: StateMachine, service: Numbers
) -> None:
    apply(applier, 1)
    results: list[Checkpoint] = []
    done = threading.Event()

    def on_digest(checkpoint: Checkpoint, generation: int) -> None:
        results.append(checkpoint)
        done.set()

    digester = Digester(machine, "digest-under-test", on_digest, 10.0)
    digester.capture(1)
    assert done.wait(PATIENCE)
    hashed = new_hash()
    hashed.update(b"1;")
    assert results[0].digests["numbers"].value == hashed.digest()
    assert service.captures[0].threads == {service.thread}
    digester.stop(PATIENCE)


def test_without_an_applier_slices_are_read_in_place(machine: StateMachine) -> None:
    machine.apply(add(1))
    assert b"1;" in b"".join(machine.snapshot())
