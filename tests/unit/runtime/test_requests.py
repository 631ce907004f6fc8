"""How answers reach their callers: in threads, on loops, exactly once, in batches."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest

from braft_core.errors import BraftError, NotLeader
from braft_core.runtime.requests import Request, settle


def test_a_value_and_an_error_reach_their_threads() -> None:
    good, bad = Request(1), Request(1)
    settle([(good, 7), (bad, NotLeader("not me"))])
    assert good.blocking.result(0) == 7
    with pytest.raises(NotLeader, match="not me"):
        bad.blocking.result(0)


def test_the_first_answer_counts() -> None:
    request = Request(1)
    settle([(request, 1), (request, 2)])
    settle([(request, NotLeader())])
    assert request.blocking.result(0) == 1


def test_an_error_that_is_none_of_ours_is_a_value() -> None:
    """Services return plain values; a returned exception object is a mistake, and visible."""
    request = Request(1)
    error = ValueError("as a value")
    settle([(request, error)])
    assert request.blocking.result(0) is error


def test_answers_to_one_loop_travel_in_one_wake_up() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wake_ups = 0
        plain = loop.call_soon_threadsafe

        def counting(*args: object, **options: object) -> object:
            nonlocal wake_ups
            wake_ups += 1
            return plain(*args, **options)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = counting  # type: ignore[assignment, method-assign]
        requests = [Request(5, loop) for _ in range(100)]
        thread = threading.Thread(target=settle, args=(list(zip(requests, range(100))),))  # noqa: B905
        thread.start()
        assert await asyncio.gather(*(request.awaitable for request in requests)) == list(
            range(100)
        )
        thread.join()
        assert wake_ups == 1

    asyncio.run(main())


def test_a_caller_that_was_cancelled_harms_nobody() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gone, here = Request(5, loop), Request(5, loop)
        gone.awaitable.cancel()
        settle([(gone, 1), (here, 2)])
        assert await here.awaitable == 2

    asyncio.run(main())


def test_a_loop_that_is_closed_keeps_no_answer_from_others() -> None:
    loop = asyncio.new_event_loop()
    gone, here = Request(5, loop), Request(5)
    loop.close()
    settle([(gone, 1), (here, 2)])
    assert here.blocking.result(0) == 2


def test_a_request_is_waited_for_as_it_was_made() -> None:
    async def main() -> None:
        with pytest.raises(BraftError, match="cannot block"):
            _ = Request(1, asyncio.get_running_loop()).blocking

    asyncio.run(main())
    with pytest.raises(BraftError, match="cannot be awaited"):
        _ = Request(1).awaitable


def test_remaining_seconds_run_out() -> None:
    assert 400 < Request(500).remaining() <= 500
    assert Request(-1).remaining() < 0


def test_two_threads_that_answer_at_once_harm_nobody() -> None:
    """The applier has an answer and the loop a deadline; both saw the request undecided."""

    class Slow(concurrent.futures.Future[object]):
        def done(self) -> bool:
            return False

    request, other = Request(1), Request(1)
    request.future = Slow()
    settle([(request, 1), (request, NotLeader()), (request, 2), (other, 3)])
    assert request.blocking.result(0) == 1
    assert other.blocking.result(0) == 3
