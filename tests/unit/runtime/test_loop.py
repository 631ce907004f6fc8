"""Every call into a loop's thread is answered, also during its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest

from braft_core.errors import OutcomeUnknown, Stopped
from braft_core.runtime.loop import LoopThread
from braft_testing.processes import PATIENCE

#: Seconds that blocking calls of a loop have to end.
GRACE = 1.0
Future = concurrent.futures.Future[None]


async def endless() -> None:
    await asyncio.Event().wait()


def ended(thread: LoopThread) -> None:
    thread.stop(PATIENCE)
    assert thread.loop.is_closed()


def test_what_comes_after_the_end_is_refused() -> None:
    thread = LoopThread("loop-under-test", GRACE)
    thread.start()
    ended(thread)
    with pytest.raises(Stopped):
        thread.run(endless())


def test_what_is_under_way_at_the_end_may_have_happened() -> None:
    thread, begun = LoopThread("loop-under-test", GRACE), threading.Event()
    thread.start()

    async def work() -> None:
        begun.set()
        await endless()

    with concurrent.futures.ThreadPoolExecutor(1) as caller:
        call = caller.submit(thread.run, work())
        assert begun.wait(PATIENCE)
        ended(thread)
        with pytest.raises(OutcomeUnknown, match="was stopped"):
            call.result(PATIENCE)


def test_what_was_let_in_last_is_not_forgotten() -> None:
    """It is submitted between the last iteration and the cancellation of the rest."""
    found: list[Future] = []

    class Late(LoopThread):
        def _finish(self) -> None:
            found.append(self.submit(endless()))
            super()._finish()

    thread = Late("loop-under-test", GRACE)
    thread.start()
    ended(thread)
    with pytest.raises(concurrent.futures.CancelledError):
        found[0].result(PATIENCE)


def test_what_comes_while_the_rest_is_ended_is_refused() -> None:
    thread = LoopThread("loop-under-test", GRACE)
    refused: list[bool] = []

    async def stubborn() -> None:
        try:
            await endless()
        finally:
            with pytest.raises(Stopped):
                thread.submit(endless())
            refused.append(True)

    async def again() -> None:
        try:
            await endless()
        finally:
            tasks.append(asyncio.ensure_future(stubborn()))

    tasks: list[asyncio.Task[None]] = []
    thread.start()
    # Keep references: a task without one may be collected before the end.
    kept = [thread.submit(work) for work in (stubborn(), again())]
    ended(thread)
    assert refused == [True, True]
    assert all(future.done() for future in kept)
    assert [task.cancelled() for task in tasks] == [True]
