"""Waiting for state changes in threads and on the loop; notifying listeners in order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from braft_core.runtime import clock
from braft_core.runtime.conditions import StateCondition
from braft_core.runtime.events import Events
from braft_testing.processes import PATIENCE


def test_a_thread_and_the_loop_are_woken_by_one_notice() -> None:
    condition, state = StateCondition(), {"on": False}
    results: list[bool] = []

    def wait() -> None:
        results.append(condition.wait_for(lambda: state["on"], clock.monotonic() + 10))

    async def main() -> bool:
        thread = threading.Thread(target=wait)
        thread.start()
        waiter = asyncio.create_task(
            condition.await_for(lambda: state["on"], clock.monotonic() + 10)
        )
        await asyncio.sleep(0)
        condition.notify()  # nothing has changed: both check and go on waiting
        await asyncio.sleep(0.01)
        assert not waiter.done()
        assert thread.is_alive()
        state["on"] = True
        condition.notify()
        found = await waiter
        await asyncio.to_thread(thread.join, 10)
        return found

    assert asyncio.run(main()) is True
    assert results == [True]


@pytest.mark.slow  # waits in real time
def test_a_deadline_ends_the_waiting() -> None:
    condition = StateCondition()
    began = time.monotonic()
    assert condition.wait_for(lambda: False, clock.monotonic() + 0.05) is False
    assert asyncio.run(condition.await_for(lambda: False, clock.monotonic() + 0.05)) is False
    assert 0.1 <= time.monotonic() - began < 5
    assert condition.wait_for(lambda: True, clock.monotonic() - 1) is True
    assert asyncio.run(condition.await_for(lambda: True, clock.monotonic() - 1)) is True


@pytest.fixture
def events() -> Iterator[Events]:
    events = Events("events-under-test")
    events.start()
    yield events
    events.stop(PATIENCE)


def test_listeners_are_called_in_order_also_after_one_raised(
    events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    done = threading.Event()

    def broken(number: int) -> None:
        raise RuntimeError("a listener's bug")

    events.listen("number", broken)
    events.listen("number", seen.append)
    for number in range(100):
        events.emit("number", number)
    events.call(done.set)
    assert done.wait(PATIENCE)
    assert seen == list(range(100))
    assert "a listener's bug" in caplog.text


def test_an_ended_listener_hears_nothing_and_ending_twice_is_fine(events: Events) -> None:
    seen: list[int] = []
    done = threading.Event()
    end = events.listen("number", seen.append)
    end()
    end()
    events.emit("number", 1)
    events.emit("nobody listens", 1)
    events.call(done.set)
    assert done.wait(PATIENCE)
    assert seen == []


def test_stop_makes_the_calls_that_are_queued() -> None:
    events, seen = Events("events-under-test"), list[int]()
    for number in range(10):
        events.call(lambda number=number: seen.append(number))  # type: ignore[misc]
    events.start()
    events.stop(PATIENCE)
    assert seen == list(range(10))


def test_stop_before_start_and_stop_from_within() -> None:
    Events("never started").stop(1)
    events, done = Events("events-under-test"), threading.Event()
    events.start()

    def end() -> None:
        events.stop(PATIENCE)
        done.set()

    events.call(end)
    assert done.wait(PATIENCE)
