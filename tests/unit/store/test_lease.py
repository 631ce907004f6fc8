"""The lease that a process holds: when it counts as lost, and who is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from braft_core.errors import (
    BraftError,
    InvalidArgument,
    InvalidRequest,
    LeaseLost,
    LeaseNotFound,
    NoLeader,
    OutcomeUnknown,
    Stopped,
)
from braft_core.store.lease import MARGIN, Lease
from braft_core.store.once import Once
from braft_testing.processes import PATIENCE


def on_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run the test in its own event loop."""
    return lambda: asyncio.run(test())


class World:
    """A cluster, a keeper and a clock in one, as a lease sees them."""

    staleness = 0.0

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {"grant": 10, "revoke": 1}
        self.held: list[Lease] = []
        self.abandoned: list[int] = []
        self.running = True
        #: What happens while the cluster works on a command.
        self.meanwhile: Callable[[], None] = lambda: None

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        self.calls.append((service, command, *args))
        self.meanwhile()
        answer = self.answers[command]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        await asyncio.sleep(0)
        return self.execute(service, command, *args, timeout=timeout)

    def query(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)

    async def aquery(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)

    def hold(self, lease: Lease) -> None:
        self.held.append(lease)

    def release(self, lease: Lease) -> None:
        self.held.remove(lease)

    def abandon(self, lease_id: int) -> None:
        self.abandoned.append(lease_id)

    def call(self, action: Callable[[], None]) -> None:
        action()

    def keeper(self) -> World:
        if not self.running:
            raise Stopped("the node is not running")
        return self

    def lease(self, ttl: float = 10) -> Lease:
        return Lease(self, self.keeper, lambda: self.now, ttl)


def test_a_statement_grants_keeps_and_revokes() -> None:
    world = World()
    with world.lease() as lease:
        assert world.held == [lease]
        assert world.calls == [("store", "grant", lease.id, 10)]
        assert 0 < lease.id < 1 << 63
        lease.check()
    assert world.held == []
    assert world.calls[1:] == [("store", "revoke", lease.id)]
    assert not lease.lost.is_set()
    lease.close()
    assert len(world.calls) == 2


@on_loop
async def test_an_async_statement_does_the_same() -> None:
    world = World()
    async with world.lease() as lease:
        assert world.held == [lease]
    assert world.held == []
    assert [call[1] for call in world.calls] == ["grant", "revoke"]


def test_a_lease_is_certain_from_when_it_was_asked_for_less_a_second() -> None:
    world = World()

    def take() -> None:
        world.now += 3

    world.meanwhile = take
    with world.lease() as lease:
        assert lease.remaining == 10 - 3 - MARGIN
        world.now += 5.5
        lease.renewed(world.now - 1)
        assert lease.remaining == 10 - 1 - MARGIN
        lease.renewed(world.now - 5)  # an answer that was overtaken
        assert lease.remaining == 10 - 1 - MARGIN
        world.now += 8
        assert lease.remaining == 0
        with pytest.raises(LeaseLost, match="not renewed in time"):
            lease.check()


def test_what_the_store_grants_counts() -> None:
    world = World()
    world.answers["grant"] = 2
    with world.lease(0.1) as lease:
        assert lease.ttl == 2
        assert lease.remaining == 2 - MARGIN


def test_the_end_of_the_statement_reports_the_loss() -> None:
    world = World()
    seen: list[LeaseLost | None] = []
    lease = world.lease()
    with pytest.raises(LeaseLost, match="it could not be renewed in time") as caught, lease:  # noqa: PT012
        lease.on_lost(seen.append)
        end = lease.on_lost(lambda _: seen.append(None))
        end()
        end()
        lease.lose("it could not be renewed in time")
        lease.lose("again")
        assert lease.lost.is_set()
        assert lease.remaining == 0
        with pytest.raises(LeaseLost, match="could not be renewed"):
            lease.check()
        lease.on_lost(seen.append)
    assert caught.value.data == {"lease": lease.id}
    assert [type(each) for each in seen] == [LeaseLost, LeaseLost]
    # The store may still have it.
    assert world.calls[-1] == ("store", "revoke", lease.id)


def test_what_the_body_raises_is_not_hidden() -> None:
    world = World()
    with pytest.raises(KeyError), world.lease() as lease:  # noqa: PT012
        lease.lose("it has expired or was revoked")
        raise KeyError
    assert [call[1] for call in world.calls] == ["grant"]  # it is gone there


@pytest.mark.parametrize("error", [NoLeader("x"), OutcomeUnknown("x"), LeaseNotFound("x")])
def test_closing_gives_up_quietly(error: BraftError) -> None:
    world = World()
    world.answers["revoke"] = error
    with world.lease() as lease:
        pass
    assert not lease.lost.is_set()


@pytest.mark.parametrize(
    ("error", "abandoned"),
    [
        (NoLeader("x"), False),
        (InvalidArgument("x"), False),
        (OutcomeUnknown("x"), True),
        (KeyboardInterrupt(), True),
    ],
)
def test_a_grant_that_fails_leaves_nothing(error: BaseException, abandoned: bool) -> None:
    world = World()
    world.answers["grant"] = error
    lease = world.lease()
    with pytest.raises(type(error)):
        lease.grant()
    assert world.held == []
    assert world.abandoned == [lease.id] * abandoned
    lease.close()
    with pytest.raises(InvalidRequest, match="granted before"):
        lease.grant()


@on_loop
async def test_a_cancelled_grant_leaves_nothing() -> None:
    world = World()
    lease = world.lease()
    task = asyncio.create_task(lease.agrant())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.held, world.abandoned) == ([], [lease.id])


def test_a_node_that_does_not_run_grants_nothing() -> None:
    world = World()
    world.running = False
    lease = world.lease()
    with pytest.raises(Stopped):
        lease.grant()
    assert world.calls == []
    world.running = True
    with lease:
        lease.check()


def test_a_lease_is_used_once() -> None:
    world = World()
    lease = world.lease()
    with pytest.raises(InvalidRequest, match="not held"):
        lease.check()
    with lease, pytest.raises(InvalidRequest, match="granted before"):
        lease.grant()
    with pytest.raises(InvalidRequest, match="not held"):
        lease.check()
    assert lease.remaining == 0


def test_once_wakes_threads() -> None:
    once = Once()
    assert not once.wait(0)
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(once.wait(PATIENCE)))
    thread.start()
    assert once.set()
    assert not once.set()
    thread.join()
    assert woken == [True]


@on_loop
async def test_once_wakes_tasks() -> None:
    once = Once()

    async def wait() -> None:
        await once

    tasks = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    assert len(once._waiters) == 2
    await asyncio.to_thread(once.set)
    await asyncio.gather(*tasks[1:])
    await once
    assert not once._waiters


def test_once_survives_a_closed_loop() -> None:
    once, loop = Once(), asyncio.new_event_loop()

    async def wait() -> None:
        await once

    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    waiters = dict(once._waiters)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    once._waiters.update(waiters)  # as if the loop had ended before the task could
    loop.close()
    assert once.set()
