"""The queue of requests that wait for another attempt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from braft_core.errors import NoLeader, Stopped
from braft_core.runtime.requests import Command, Query, settle
from braft_core.runtime.retry_queue import RetryQueue

#: No test waits for this delay; it only has to be longer than a turn of the loop.
DELAY = 0.005
STOPPED = Stopped("the node was stopped")


class Submitted:
    """Records what the queue submits, and on which thread."""

    def __init__(self, delay: float = DELAY) -> None:
        self.requests: list[Command | Query] = []
        self.threads: set[int] = set()
        self.any = asyncio.Event()
        self.queue = RetryQueue(self._submit, delay)
        self.queue.start()

    def _submit(self, request: Command | Query) -> None:
        self.requests.append(request)
        self.threads.add(threading.get_ident())
        self.any.set()


def command(timeout: float = 40) -> Command:
    return Command(b"", timeout, asyncio.get_running_loop())


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 40))


@pytest.mark.parametrize("at_once", [False, True])
def test_the_loop_submits_in_order_in_a_turn_of_its_own(at_once: bool) -> None:
    async def main() -> None:
        submitted = Submitted()
        requests = [command() for _ in range(3)]
        requests[0].sent = True
        submitted.queue.put_all(requests, at_once=at_once)
        assert submitted.requests == []
        await submitted.any.wait()
        assert submitted.requests == requests
        assert not requests[0].sent

    run(main)


def test_any_thread_may_put_and_only_the_loop_submits() -> None:
    async def main() -> None:
        submitted = Submitted()
        assert await asyncio.to_thread(submitted.queue.put, command())
        await submitted.any.wait()
        assert submitted.threads == {threading.get_ident()}

    run(main)


def test_one_without_delay_does_not_wait_for_those_with_one() -> None:
    async def main() -> None:
        submitted = Submitted(delay=3600.0)
        patient, next_turn = command(), command()
        submitted.queue.put(patient)
        submitted.queue.put(next_turn, at_once=True)
        await submitted.any.wait()
        assert submitted.requests == [next_turn]

    run(main)


def test_an_answered_or_cancelled_request_is_not_submitted() -> None:
    async def main() -> None:
        submitted = Submitted()
        answered, cancelled, waiting = command(), command(), command()
        submitted.queue.put_all([answered, cancelled, waiting])
        settle([(answered, 1)])
        cancelled.awaitable.cancel()
        await submitted.any.wait()
        assert submitted.requests == [waiting]

    run(main)


def test_an_expired_request_is_returned_once_and_not_submitted() -> None:
    async def main() -> None:
        submitted = Submitted()
        late, early = command(timeout=1), command()
        submitted.queue.put_all([late, early])
        assert submitted.queue.expire(late.deadline + 1) == [late]
        assert submitted.queue.expire(late.deadline + 1) == []
        await submitted.any.wait()
        assert submitted.requests == [early]

    run(main)


def test_stop_answers_what_waits_and_what_comes_later() -> None:
    async def main() -> None:
        submitted = Submitted()
        requests = [command() for _ in range(3)]
        submitted.queue.put(requests[0])
        submitted.queue.put(requests[1], at_once=True)
        submitted.queue.stop(STOPPED)
        submitted.queue.stop(NoLeader("later"))
        submitted.queue.put_all([requests[2]])
        for request in requests:
            with pytest.raises(Stopped, match="the node was stopped"):
                await request.awaitable
        assert not submitted.queue.put(command())
        assert submitted.requests == []

    run(main)


def test_nothing_is_taken_before_the_start_or_after_the_loop() -> None:
    async def main() -> RetryQueue:
        submitted = Submitted()
        unstarted = RetryQueue(submitted.requests.append, DELAY)
        assert not unstarted.put(command())
        return submitted.queue

    queue = asyncio.run(main())
    request = Command(b"", 40)
    queue.put_all([request])
    with pytest.raises(Stopped):
        request.blocking.result(0)
