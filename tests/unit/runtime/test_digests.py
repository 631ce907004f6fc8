"""When states are captured, and how they are hashed in the background."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from braft_core import StateMachineService, command
from braft_core.cluster.interface import RaftView
from braft_core.runtime import clock
from braft_core.runtime.digests import Digester, StateDigests, is_due
from braft_core.runtime.platform import THREADS
from braft_core.runtime.timing import Timing
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.capabilities import NONE, Capabilities
from braft_core.services.cluster import ClusterService
from braft_core.services.digests import Checkpoint
from braft_core.services.state_machine import StateMachine

PATIENCE = 40.0
#: Seconds of work after which hashing pauses.
STRETCH = Timing().digest_stretch
MSGPACK = MsgpackSerializer()


class Slow(StateMachineService):
    """Returns the bytes of its state when the test allows it."""

    name = "slow"

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.state = b"x"

    @command
    def nothing(self) -> None: ...

    def snapshot(self) -> Iterator[bytes]:
        return iter([self.state])

    def digest_chunks(self) -> Iterator[bytes]:
        state = self.state

        def chunks() -> Iterator[bytes]:
            self.begun.release()
            assert self.go.acquire(timeout=PATIENCE)
            yield state

        return chunks()

    def restore(self, chunks: Iterator[bytes]) -> None: ...


class Hashing:
    def __init__(self) -> None:
        self.service = Slow()
        self.found: list[tuple[Checkpoint, int]] = []
        self.added = threading.Semaphore(0)
        self.digester = Digester(StateMachine([self.service], {}), "digest", self._add, STRETCH)

    def _add(self, checkpoint: Checkpoint, generation: int) -> None:
        self.found.append((checkpoint, generation))
        self.added.release()

    @property
    def indexes(self) -> list[int]:
        return [checkpoint.index for checkpoint, _ in self.found]


@pytest.fixture
def hashing() -> Iterator[Hashing]:
    made = Hashing()
    yield made
    for _ in range(9):
        made.service.go.release()
    made.digester.stop(PATIENCE)


@pytest.mark.parametrize(
    ("now", "interval", "cost", "due"),
    [
        (159.0, 60.0, 0.0, False),
        (160.0, 60.0, 0.0, True),
        (1e9, 0.0, 0.0, False),
        (199.0, 60.0, 1.0, False),  # a hundred times the cost of the last one
        (200.0, 60.0, 1.0, True),
    ],
)
def test_a_checkpoint_is_due_after_its_interval_and_a_hundred_times_its_cost(
    now: float, interval: float, cost: float, due: bool
) -> None:
    assert is_due(now, 100.0, interval, cost) is due


def test_what_is_hashed_is_what_was_captured(hashing: Hashing) -> None:
    hashing.digester.capture(5)
    assert hashing.service.begun.acquire(timeout=PATIENCE)
    hashing.service.state = b"y"
    hashing.digester.capture(6)
    for _ in range(2):
        hashing.service.go.release()
        assert hashing.added.acquire(timeout=PATIENCE)
    hashing.service.state = b"x"
    hashing.digester.capture(7)
    hashing.service.go.release()
    assert hashing.added.acquire(timeout=PATIENCE)
    one, two, three = (checkpoint.digests["slow"] for checkpoint, _ in hashing.found)
    assert one == three != two
    assert hashing.digester.cost > 0


def test_a_newer_capture_takes_the_place_of_one_that_waits(hashing: Hashing) -> None:
    hashing.digester.capture(5)
    assert hashing.service.begun.acquire(timeout=PATIENCE)
    for index in (6, 7, 8):
        hashing.digester.capture(index)
    for _ in range(2):
        hashing.service.go.release()
        assert hashing.added.acquire(timeout=PATIENCE)
    assert hashing.indexes == [5, 8]


def test_a_replaced_state_is_known_by_its_generation(hashing: Hashing) -> None:
    hashing.digester.capture(5)
    assert hashing.service.begun.acquire(timeout=PATIENCE)
    hashing.digester.capture(6)
    hashing.digester.forget()
    hashing.service.go.release()
    assert hashing.added.acquire(timeout=PATIENCE)
    hashing.digester.capture(7)
    hashing.service.go.release()
    assert hashing.added.acquire(timeout=PATIENCE)
    assert [(c.index, generation) for c, generation in hashing.found] == [(5, 0), (7, 1)]
    assert hashing.digester.generation == 1


def test_the_end_of_the_node_ends_the_hashing(hashing: Hashing) -> None:
    hashing.digester.capture(5)
    assert hashing.service.begun.acquire(timeout=PATIENCE)
    hashing.digester.capture(6)
    hashing.service.go.release()
    hashing.digester.stop(PATIENCE)
    assert 6 not in hashing.indexes


def test_hashing_pauses_for_three_times_as_long_as_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A counter replaces the time, so a busy machine has no influence."""
    worked = iter(range(10**6))
    monkeypatch.setattr(clock, "thread_time", lambda: next(worked) * 0.002)
    pauses: list[float] = []

    class Many(Slow):
        def digest_chunks(self) -> Iterator[bytes]:
            return iter([b"x"] * 30)

    digester = Digester(
        StateMachine([Many()], {}), "digest", lambda found, generation: None, STRETCH
    )

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    monkeypatch.setattr(digester._stopped, "wait", pause)
    digester.capture(5)
    thread = digester._thread
    if thread is not None:
        thread.join(PATIENCE)
    assert len(pauses) >= 7
    assert all(seconds == pytest.approx(3 * 0.006) for seconds in pauses)


# ------------------------------------------------------------------------------------------------
# The leader's decision to commit a checkpoint


def leader(
    *, leads: bool = True, empty: bool = False, agreed: Capabilities | None = None, applied: int = 9
) -> StateDigests:
    cluster = ClusterService()
    machine = StateMachine([cluster], {MSGPACK.tag: MSGPACK})
    components = SimpleNamespace(
        server_id="a",
        machine=machine,
        cluster=cluster,
        ports=SimpleNamespace(raft=1),
        settings=SimpleNamespace(digest_interval=1e-9, request_timeout=1.0),
        timing=Timing(),
        platform=THREADS,
    )
    applier = SimpleNamespace(call_when_replaced=lambda callback: None, applied_index=applied)
    server: Any = SimpleNamespace(components=components, applier=applier, is_leader=leads)
    agreed = machine.capabilities if agreed is None else agreed
    ports: Any = SimpleNamespace(raft_view=lambda: RaftView(empty=empty), agreed=agreed)
    return StateDigests(server, ports)


def test_a_leader_commits_a_checkpoint_only_where_there_is_something_and_all_know_it() -> None:
    assert leader()._is_due()
    assert not leader(leads=False)._is_due()
    assert not leader(empty=True)._is_due(), "an empty cluster may still be abandoned"
    assert not leader(agreed=NONE)._is_due(), "a member may not know the command"


def test_nothing_new_needs_no_checkpoint() -> None:
    made = leader(applied=9)
    made._digester.last_index = 9
    assert not made._is_due()
    made._digester.last_index = 8
    assert made._is_due()
