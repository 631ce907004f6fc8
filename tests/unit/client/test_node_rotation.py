"""Which node a watch asks next, how long it waits, and when it gives up: in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from braft_core.client.node_rotation import NodeRotation
from braft_core.errors import NoLeader, NotReady, Unreachable
from braft_core.runtime import clock


class Time:
    def __init__(self) -> None:
        self.now = 100.0


@pytest.fixture
def time() -> Iterator[Time]:
    made = Time()
    system = clock.system_clock()
    with clock.installed(system._replace(monotonic=lambda: made.now)):
        yield made


def pause_of(rotation: NodeRotation) -> float:
    step = rotation.step()
    assert isinstance(step, float)
    rotation.waited()
    return step


def test_at_first_each_node_is_asked_once(time: Time) -> None:
    rotation = NodeRotation(["a", "b"], 60)
    assert rotation.step() == "a"
    rotation.silent("refused")
    assert rotation.step() == "b"
    with pytest.raises(Unreachable, match=r"nobody answered: a \(refused\), b \(no route\)"):
        rotation.silent("no route")


def test_what_a_node_said_counts_more_than_silence(time: Time) -> None:
    rotation = NodeRotation(["a", "b"], 60)
    rotation.refused(NotReady("no cluster yet"))
    with pytest.raises(NotReady):
        rotation.silent("refused")


def test_a_served_watch_looks_for_a_node_until_its_patience_ends(time: Time) -> None:
    rotation = NodeRotation(["a", "b"], 60)
    rotation.served()
    time.now += 1_000
    rotation.ended(fruitless=False)
    asked: list[str] = []
    waited: list[float] = []

    def ask_on() -> None:
        step = rotation.step()
        if isinstance(step, float):
            waited.append(step)
            time.now += step
            rotation.waited()
        else:
            asked.append(step)
            time.now += 0.5
            rotation.refused(NoLeader("no leader"))

    def ask_without_end() -> None:
        while True:
            ask_on()

    with pytest.raises(NoLeader):
        ask_without_end()
    assert asked[:4] == ["b", "a", "b", "a"]
    assert 0.05 <= waited[0] <= 0.1
    assert all(1.0 <= pause <= 2.0 for pause in waited[6:])
    assert 60 <= time.now - 1_100 < 60 + 2 + 2 * 0.5
    # Who goes on after that has the same time again.
    rotation.step()
    rotation.silent("refused")
    rotation.silent("refused")
    assert pause_of(rotation) > 0


def test_answers_that_bring_nothing_are_not_asked_for_without_pause(time: Time) -> None:
    rotation = NodeRotation(["a", "b"], 60)
    for _ in range(2):
        rotation.served()
        rotation.ended(fruitless=False)
        assert isinstance(rotation.step(), str)
    pauses = []
    for number in range(12):
        rotation.served()
        rotation.ended(fruitless=True)
        if number % 2:
            pauses.append(pause_of(rotation))
        assert isinstance(rotation.step(), str)
    assert pauses[0] <= 0.1
    assert pauses[-1] >= 1.0
    rotation.served()
    rotation.ended(fruitless=False)
    rotation.ended(fruitless=True)
    rotation.ended(fruitless=True)
    assert pause_of(rotation) <= 0.1
